"""Code about traced programs stays in its folder, and everything works without it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest

import jlsm
from jlsm.numerics import jaxprs
from tests.jlsm.columns import COLUMNS, make_forcing, make_parameters, make_site, make_state

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "jlsm" / "numerics" / "jaxprs"
INTERNALS = ("jax.extend", "jax.core", "jax.interpreters", "jax._src")


def internals_of(file: Path) -> list[str]:
    """What a file uses of jax's insides, by import or by attribute."""
    uses = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            uses += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            uses += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Attribute):
            uses.append(ast.unparse(node))
    return sorted({use for use in uses if use.startswith(INTERNALS)})


def reads_programs(file: Path) -> list[str]:
    """Attributes that only traced programs have."""
    names = {node.attr for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if hasattr(node, "attr")}
    return sorted(names & {"eqns", "primitive", "invars", "outvars", "constvars"})


def test_only_one_file_touches_the_insides_of_jax():
    for package in ("jlsm", "mdpl", "benchmarks", "examples"):
        for file in (ROOT / package).rglob("*.py"):
            if file != FOLDER / "jax_internals.py":
                assert not internals_of(file), file
            if FOLDER not in file.parents:
                assert not reads_programs(file), file
    assert internals_of(FOLDER / "jax_internals.py")


def test_the_folder_is_loaded_only_where_it_is_used():
    """With it switched off nothing of it is imported, so no version of jax can make an import fail."""
    code = (
        "import sys, jlsm, jlsm.simulation, jlsm.processes.surface_energy;"
        "sys.exit(any(name.startswith('jlsm.numerics.jaxprs.') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=os.environ | {"JLSM_JAXPRS": "0"})


@pytest.mark.parametrize("version, known", [("0.7.9", False), ("0.8.0", True), ("0.12.0.1", True), ("0.13.0", False)])
def test_an_unknown_jax_switches_it_off_with_one_warning(monkeypatch, version, known):
    jaxprs.enabled.cache_clear()
    monkeypatch.delenv("JLSM_JAXPRS", raising=False)
    monkeypatch.setattr(jax, "__version__", version)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert jaxprs.enabled() is known and jaxprs.enabled() is known
    assert len(caught) == (not known)
    monkeypatch.setenv("JLSM_JAXPRS", "1")
    jaxprs.enabled.cache_clear()
    assert jaxprs.enabled()
    jaxprs.enabled.cache_clear()


def results() -> dict[str, object]:
    """Two steps of the model; the gradient of a run whose trajectory is worked out again; sensitivities."""
    params, forcing = make_parameters(), make_forcing(285.0).window(12, 14)
    state = make_state(params, snow_mass=np.maximum(np.linspace(-40.0, 40.0, COLUMNS), 0.0))
    arguments, fields = (forcing, make_site(), state), ("Qle", "Qh")

    def stores(end):  # what rounding leaves out of them is rounding
        return {name: value for name, value in vars(end).items() if not name.endswith("_carry")}

    def loss(params, state):
        again = jlsm.ReverseOnly(chunk=1, trajectory_bytes=0)
        out, end = jlsm.simulate(params, forcing, make_site(), state, fields=fields, adjoint=again)
        return out.Qle.sum() + end.ground_temperature.sum() + 10.0 * end.soil_moisture.sum() + end.snow_mass.sum()

    value, (of_params, of_state) = jax.value_and_grad(loss, argnums=(0, 1))(params, state)
    names = ("vcmax25", "soil.porosity", "canopy_height")
    out, end, slopes = jlsm.sensitivities(params, names, *arguments, fields=fields)
    gradient = {"of parameters": of_params, "of state": stores(of_state)}
    return {"value": value, "out": out, "end": stores(end), **gradient, "sensitivities": slopes}


@pytest.mark.slow
def test_the_model_and_its_derivatives_are_the_same_without_it(monkeypatch):
    with_it = results()
    monkeypatch.setattr(jaxprs, "enabled", lambda: False)
    with jax.disable_jit():  # operation by operation: compiling forward mode takes minutes without the folder
        without_it = results()
    for name, expected in with_it.items():
        tolerance = 1e-12 if name in ("value", "out", "end") else 1e-9
        for a, b in zip(jax.tree.leaves(without_it[name]), jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * np.abs(b).max(), err_msg=name)
    assert np.abs(with_it["of parameters"].vegetation.vcmax25).max() > 0
    assert (np.abs(with_it["sensitivities"].Qle).max(axis=(0, 1)) > 0).all()
