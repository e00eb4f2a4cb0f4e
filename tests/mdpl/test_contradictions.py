"""Files whose numbers and words contradict each other (they are made as in test_user_files.py)."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from jlsm.errors import InputError, RepairWarning
from jlsm.io import load_forcing
from jlsm.io.site_file import read_site_changes
from mdpl.towers.load import find_site_files, load_usable_towers
from mdpl.towers.observations import load_observations
from tests.mdpl.test_user_files import (
    refusal,
    repairs,
    weather,
    write_flux,
    write_met,
)  # fmt: skip


def met_with_unit(path: Path, name: str, value: float, unit: str) -> Path:
    write_met(path, scalars={name: value})
    with netCDF4.Dataset(path, "a") as file:
        file[name].units = unit
    return path


@pytest.mark.parametrize(
    ("name", "value", "unit", "right"),
    [
        ("reference_height", 300.0, "cm", 3.0),
        ("elevation", 1030.0, "ft", 313.944),
        ("elevation", 0.3, "km", 300.0),
        ("elevation", 314.0, "m a.s.l.", 314.0),
        ("reference_height", 10.0, "metres above ground", 10.0),
        ("longitude", 97.5, "degrees_west", -97.5),
        ("latitude", 36.6, "degrees", 36.6),
        ("latitude", 36.6, "°N", 36.6),
    ],
)
def test_numbers_of_the_site_have_units_too(tmp_path, name, value, unit, right):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RepairWarning)
        _, site = load_forcing(met_with_unit(tmp_path / "m.nc", name, value, unit))
    assert float(getattr(site, name)) == pytest.approx(right)
    said = [str(one.message) for one in caught if "as its units attribute says" in str(one.message)]
    assert len(said) == (value != right), "a conversion is announced, once"


@pytest.mark.parametrize(
    ("name", "unit", "words"),
    [
        ("canopy_height", "kg", "canopy_height has units 'kg', a unit of something else, expected 'm'"),
        ("latitude", "radians", "latitude has units 'radians', a unit that is not known here"),
        ("latitude", "degrees_east", "latitude has units 'degrees_east', a unit of something else"),
    ],
)
def test_numbers_of_the_site_in_units_of_something_else(tmp_path, name, unit, words):
    assert words in refusal(load_forcing, met_with_unit(tmp_path / "m.nc", name, 0.5, unit))


def test_the_southern_hemisphere_in_words(tmp_path):
    path = met_with_unit(tmp_path / "m.nc", "latitude", 36.6, "degrees_south")
    assert "it fits a latitude of 36.60" in refusal(load_forcing, path)


def test_more_humidity_than_air_holds(tmp_path):
    """Twice the humidity: each value is in its range."""
    humid = weather()["Qair"] * 2.0
    path = write_met(tmp_path / "m.nc", series={"Qair": (humid, "kg/kg")})
    assert "times what air of" in refusal(load_forcing, path)
    few = weather()["Qair"].copy()
    few[5] *= 3.0
    assert "1 time steps are 10 % beyond" in repairs(write_met(path, series={"Qair": (few, "kg/kg")}))


@pytest.mark.parametrize(
    "words",
    [
        "good_observation bad_observation",
        "measured suspect_measurement",
        "original interpolated_from_observations",
        "measured estimated_from_measurements",
        "observed observation_out_of_range",
        "ok rejected_measurement",
    ],
)
def test_a_measurement_that_is_none(tmp_path, words):
    days = {"Qle": (np.full(20, 50.0), "W/m2"), "Qle_qc": (np.arange(20) % 2, "-")}
    flags = {"flag_values": np.array([0, 1], "i2"), "flag_meanings": words}
    observed = load_observations(write_flux(tmp_path / "f.nc", days, flag_attributes=flags))
    assert observed.fluxes["Qle"].measured.tolist() == [True, False] * 10


def test_shares_in_whole_per_cent(tmp_path):
    """0 is the worst day there, and would be "measured" as a code."""
    days = {"Qle": (np.full(20, 50.0), "W/m2"), "Qle_qc": (np.tile([0, 25, 50, 100], 5), "-")}
    words = refusal(load_observations, write_flux(tmp_path / "f.nc", days))
    assert "values from 0 to 100 may be codes (0 is measured) or per cent (100 is measured)" in words
    said = load_observations(write_flux(tmp_path / "f.nc", days, flag_attributes={"flag_meanings": "measured: 0"}))
    assert said.fluxes["Qle"].measured.sum() == 5


@pytest.mark.parametrize("spread", [-5.0, 0.0, 1e7])
def test_an_uncertainty_that_is_none(tmp_path, spread):
    days = {"Qle": (np.full(20, 50.0), "W/m2"), "Qle_uc": (np.full(20, 4.0), "W/m2")}
    days["Qle_uc"][0][3] = spread
    observed = load_observations(write_flux(tmp_path / "f.nc", days))
    assert np.flatnonzero(np.isnan(observed.fluxes["Qle"].uncertainty)).tolist() == [3]
    assert any("Qle_uc: 1 values are no standard deviations" in note for note in observed.notes)


def test_a_pair_of_two_towers(tmp_path):
    fluxes = {"Qle": (np.full(20, 50.0), "W/m2")}
    write_met(tmp_path / "XX-Tst_2001_Met.nc")
    for attributes, words in (
        ({"site_code": "DE-Geb"}, "XX-Tst_2001_Flux.nc: is of DE-Geb, .*Met.nc of XX-Tst at 36.60 N, -97.50 E"),
        ({}, "is of a tower at 51.10 N, 10.91 E, .*: give two files of one tower"),
    ):
        path = write_flux(tmp_path / "XX-Tst_2001_Flux.nc", fluxes, attributes=attributes)
        if not attributes:
            with netCDF4.Dataset(path, "a") as file:
                for name, value in (("latitude", 51.1), ("longitude", 10.91)):
                    file.createVariable(name, "f4", ())[...] = value
        _, left_out = load_usable_towers(find_site_files(tmp_path))
        (reason,) = left_out.values()
        assert re.search(words, reason)


@pytest.mark.parametrize("dates", ["today tomorrow", "2001 2002", "20010101 20020101", "1 200"])
def test_dates_of_leaf_area_in_other_forms(tmp_path, dates):
    """NumPy reads them all, as something else: the year 20010101, the day 0001-01-01."""
    first, last = dates.split()
    (tmp_path / "lai.csv").write_text(f"date,lai\n2000-01-01,0.5\n{first},1\n{last},2\n")
    (tmp_path / "site.toml").write_text('lai_file = "lai.csv"\n')
    with pytest.raises(InputError, match=f"lai.csv: is no table of leaf area \\('{first}' is no date\\)"):
        read_site_changes(tmp_path / "site.toml")
