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

from jlsm.numerics import jaxprs

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


DERIVATIVES = """
import sys
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import jlsm
from tests.jlsm.columns import make_forcing, make_parameters, make_site, make_state

params, site = make_parameters(), make_site()
forcing, state = make_forcing(290.0).window(24, 30), make_state(params, snow_mass=np.linspace(0.0, 40.0, 32))
fields, names = ("Qle", "Qh"), ("vcmax25", "root_depth_scale")

def flux(values, adjoint):
    changed = jlsm.replace_parameters(params, values)
    return jlsm.simulate(changed, forcing, site, state, fields=fields, adjoint=adjoint)[0].Qle.sum()

values = {name: jlsm.get_parameter(params, name) for name in names}
results = {}
for adjoint in (jlsm.Checkpointed(), jlsm.ReverseOnly()):
    value, slopes = jax.value_and_grad(flux)(values, adjoint)
    results[f"value of {adjoint}"] = value
    results |= {f"{name} by {adjoint}": slope for name, slope in slopes.items()}
directions = {name: 0.1 * value[:, None] + jnp.zeros((32, 8)) for name, value in values.items()}
out, end, of_out, of_end = jlsm.simulate_tangents(params, directions, forcing, site, state, fields=fields)
results |= {"value of Qh": out.Qh, "value of moisture": end.soil_moisture}
results |= {"tangent of Qh": of_out.Qh, "tangent of moisture": of_end.soil_moisture}
np.savez(sys.argv[1], **results)
"""


@pytest.mark.slow
def test_the_model_and_its_derivatives_are_the_same_without_it(tmp_path):
    results = []
    for switch in ("0", "1"):
        file, environment = tmp_path / f"{switch}.npz", os.environ | {"JLSM_JAXPRS": switch}
        subprocess.run([sys.executable, "-c", DERIVATIVES, str(file)], cwd=ROOT, check=True, env=environment)
        results.append(dict(np.load(file)))
    off, on = results
    assert len(on) == 10
    for name, expected in on.items():
        tolerance = 1e-12 if name.startswith("value") else 1e-9
        scale = np.abs(expected).max()
        assert scale > 0, name
        np.testing.assert_allclose(off[name], expected, rtol=tolerance, atol=tolerance * scale, err_msg=name)
