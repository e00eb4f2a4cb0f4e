"""What printing shows: names, units, shapes and ranges, a line per field, for values of any kind."""

from __future__ import annotations

import dataclasses
import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlsm
from jlsm.describe import units_of
from mdpl.config import Config
from tests.jlsm.columns import make_forcing, make_parameters, make_site, make_state


def lines_of(value) -> dict[str, str]:
    """Field -> what stands behind it."""
    return {line.split()[0]: line.strip() for line in repr(value).splitlines()[1:]}


@pytest.fixture(scope="module")
def params():
    return make_parameters()


def test_parameters_show_every_value_with_its_unit(params):
    params = jlsm.replace_parameters(params, {"vegetation.vcmax25": jnp.linspace(80.0, 120.0, 32)})
    text = repr(params)
    assert len(text.splitlines()) == 1 + 5 + len(jlsm.PARAMETERS) and max(map(len, text.splitlines())) < 100
    assert re.search(r"vcmax25 +80 \.\. 120 +umol m-2 s-1 +float\d\d\[32\]", text)
    for name, info in ((info.name, info) for info in jlsm.PARAMETERS.values()):
        assert re.search(rf"{name} .*{re.escape(info.unit)}", text), name
    assert repr(params.soil).startswith("Soil\n  porosity ")


@pytest.mark.parametrize("make", [make_forcing, make_site, lambda: make_state(make_parameters())])
def test_fields_with_numbers_have_units(make):
    value = make()
    shown = lines_of(value)
    assert list(shown) == [field.name for field in dataclasses.fields(value)]
    for field in dataclasses.fields(value):
        if eqx.is_array(getattr(value, field.name)) and field.name != "valid":
            assert units_of(field) and units_of(field) in shown[field.name], field.name


def test_missing_values_masks_and_texts():
    stack = dataclasses.replace(
        make_site(), canopy_height=jnp.asarray([np.nan, 2.0, 3.0]), code=("A", "B", "C", "D", "E"), name=()
    )
    assert "2 .. 3 (1 not finite) " in lines_of(stack)["canopy_height"]
    assert lines_of(stack)["code"].endswith("A, B, C, D, ... (5)")
    assert lines_of(dataclasses.replace(stack, canopy_height=jnp.full(2, jnp.nan)))["canopy_height"].split()[1] == "2"
    forcing = dataclasses.replace(make_forcing(), valid=jnp.arange(96) < 5)
    assert "5 of 96 True" in repr(forcing) and "dt" in lines_of(forcing)


def test_traced_and_abstract_values_show_type_and_shape(params):
    seen = []

    def look(params):
        seen.append(repr(params))
        return params.soil.porosity

    jax.jit(look)(params)
    jax.grad(lambda p: look(p).sum())(params)
    jax.vmap(look)(params)
    seen.append(repr(jax.eval_shape(lambda p: p, params)))
    seen.append(repr(jax.tree.map(lambda leaf: None, params)))
    assert all(len(text.splitlines()) == 1 + 5 + len(jlsm.PARAMETERS) for text in seen)
    assert [re.search(r"porosity +(.*)", text).group(1).split()[0] for text in seen[:4]] == ["traced"] * 3 + ["..."]
    assert re.search(r"porosity +traced +m3 m-3 +float\d\d\[32\]", seen[0])


def test_outputs_and_config():
    out = jlsm.Outputs(**dict.fromkeys(field.name for field in dataclasses.fields(jlsm.Outputs)))
    assert lines_of(dataclasses.replace(out, Qle=jnp.asarray([1.0, 2.0])))["Qle"].split()[1:6] == "1 .. 2 W m-2".split()
    shown = lines_of(Config(sites=("DE-Geb", "IT-BCi"), epochs=3))
    assert list(shown) == [field.name for field in dataclasses.fields(Config)]
    assert shown["sites"].endswith("DE-Geb, IT-BCi") and shown["epochs"].endswith(" 3") and shown["data"].endswith("''")
