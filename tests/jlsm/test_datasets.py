"""Outputs and parameters in xarray: names, units, labels, clocks."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jlsm
from jlsm.io import to_dataset
from jlsm.outputs import Outputs, output_fields
from tests.jlsm.columns import make_forcing, make_parameters, make_site

SITES = 3


def stack(days=(10760, 10760, 10761)):
    """(outputs, forcing, site) of three sites with a code each; each output is its column's number plus its step's."""
    forcing = make_forcing(columns=SITES, steps=96, day=np.asarray(days))
    site = dataclasses.replace(make_site(latitude=jnp.asarray([10.0, 20.0, 30.0]), columns=SITES), code=("A", "B", "C"))
    values = jnp.arange(96.0)[:, None] + 1000.0 * jnp.arange(SITES)
    layers = jnp.broadcast_to(values[:, None], (96, 6, SITES))
    fields = dict.fromkeys(output_fields()) | {"Qle": values, "SoilTemp": layers}
    return Outputs(**fields), forcing, site


def test_a_stack_has_labelled_sites():
    out, forcing, site = stack((10760,) * SITES)
    dataset = jlsm.outputs_dataset(out, forcing, site)
    assert dataset["Qle"].dims == ("site", "time") and dataset["SoilTemp"].dims == ("site", "time", "soil_layer")
    np.testing.assert_array_equal(dataset["Qle"].sel(site="B"), out.Qle[:, 1])
    assert dataset["Qle"].attrs["units"] == "W m-2" and dataset["SoilTemp"].attrs["long_name"] == "soil temperature"
    np.testing.assert_array_equal(dataset["latitude"], [10.0, 20.0, 30.0])
    assert dataset["soil_layer_thickness"].dims == ("soil_layer",) and "y" not in dataset.dims
    assert dataset["time"].values[0] == np.datetime64("1999-06-18") and dataset.attrs["IGBP_veg_short"] == "CRO"


def test_records_of_different_days_share_an_axis():
    out, forcing, site = stack()
    dataset = jlsm.outputs_dataset(out, forcing, site)
    assert dataset.sizes["time"] == 96 + 48
    late = dataset["Qle"].sel(site="C")
    assert np.isnan(late[:48]).all()
    np.testing.assert_array_equal(late[48:], out.Qle[:, 2])


def test_padding_is_left_out():
    out, forcing, site = stack((10760,) * SITES)
    valid = jnp.broadcast_to(jnp.arange(96)[:, None] < jnp.asarray([96, 96, 40]), (96, SITES))
    dataset = jlsm.outputs_dataset(out, dataclasses.replace(forcing, valid=valid), site)
    assert int(np.isfinite(dataset["Qle"]).sum()) == 96 + 96 + 40


def test_one_site_is_as_in_result_files():
    out, forcing, site = jax.tree.map(lambda leaf: leaf[..., 0], stack())
    site = dataclasses.replace(site, code="A", name="a", igbp="CRO", soil_texture="loam")
    assert jlsm.outputs_dataset(out, forcing, site).identical(to_dataset(out, forcing, site))


def test_parameters_of_a_stack():
    _, forcing, site = stack((10760,) * SITES)
    params = jlsm.default_parameters(site)
    season = jnp.linspace(0.5, 1.5, 96)[:, None]
    params = jlsm.replace_parameters(
        params, {"vegetation.vcmax25": jnp.asarray([80.0, 90.0, 100.0]), "vegetation.leaf_area_scale": season}
    )
    dataset = jlsm.parameters_dataset(params, site, forcing)
    assert set(dataset.data_vars) == set(jlsm.PARAMETERS)
    assert float(dataset["vegetation.vcmax25"].sel(site="C")) == 100.0
    assert dataset["vegetation.vcmax25"].attrs["units"] == "umol m-2 s-1"
    assert dataset["soil.porosity"].dims == ("site",) and dataset["soil.albedo_vis"].attrs["units"] == "1"
    assert dataset["vegetation.leaf_area_scale"].dims == ("time", "site")
    assert dataset["time"].values[1] == np.datetime64("1999-06-18T00:30")
    assert "time" not in jlsm.parameters_dataset(params, site).coords
    _, other, _ = stack()
    assert jlsm.parameters_dataset(params, site, other)["local_time"].dims == ("time", "site")


def test_parameters_of_one_site():
    site = jax.tree.map(lambda leaf: leaf[0], make_site(columns=1))
    site = dataclasses.replace(site, code="XX-One", igbp="CRO", soil_texture="loam")
    dataset = jlsm.parameters_dataset(jlsm.default_parameters(site), site)
    assert dataset["soil.porosity"].dims == () and dataset.attrs["site_code"] == "XX-One" and not dataset.coords


@pytest.mark.parametrize("codes", [("", "", ""), ""])
def test_sites_without_codes_are_numbered(codes):
    site = dataclasses.replace(make_site(columns=SITES), code=codes)
    dataset = jlsm.parameters_dataset(make_parameters(columns=SITES), site)
    np.testing.assert_array_equal(dataset["site"], [0, 1, 2])


def test_the_model_needs_no_xarray():
    code = "import sys, jlsm; jlsm.simulate, jlsm.Parameters, jlsm.Outputs; sys.exit('xarray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
