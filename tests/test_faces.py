"""What editors and type checkers see of a package is what it has, and nothing heavy is loaded for it."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from importlib.resources import files

import pytest

FACES = ["jlsm", "mdpl", "mdpl.data"]


@pytest.mark.parametrize("name", FACES)
def test_static_names_are_the_lazy_ones(name):
    package = importlib.import_module(name)
    (block,) = (node for node in ast.parse(inspect.getsource(package)).body if isinstance(node, ast.If))
    imported = {alias.asname: (line.module, alias.name) for line in block.body for alias in line.names}
    assert imported == {public: (f"{name}.{home}", public) for public, home in package._HOME.items()}
    assert files(name.split(".")[0]).joinpath("py.typed").is_file()


@pytest.mark.parametrize("name", FACES)
def test_every_public_name_is_there(name):
    package = importlib.import_module(name)
    assert set(package.__all__) <= set(dir(package))
    assert all(getattr(package, public) is not None for public in package.__all__)


def test_a_function_stays_a_function_whatever_was_imported_before():
    """No submodule has the name of a public function: importing it would put the module in the function's place."""
    import mdpl
    import mdpl.calibration
    import mdpl.scale.transfer

    assert callable(mdpl.calibrate) and callable(mdpl.transfer)


def test_help_needs_no_jax():
    code = "import sys, jlsm, mdpl, jlsm.command_line.app, mdpl.cli; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
