"""What editors and type checkers see of the package is what it has."""

from __future__ import annotations

import ast
import inspect
from importlib.resources import files

import jlsm


def test_static_names_are_the_lazy_ones():
    tree = ast.parse(inspect.getsource(jlsm))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.asname: (line.module, alias.name) for line in block.body for alias in line.names}
    assert imported == {name: (f"jlsm.{home}", name) for name, home in jlsm._HOME.items()}
    assert files("jlsm").joinpath("py.typed").is_file()


def test_every_public_name_is_there():
    assert set(jlsm.__all__) <= set(dir(jlsm))
    assert all(getattr(jlsm, name) is not None for name in jlsm.__all__)
