"""Site files of users: what goes before the Met file, what is refused, towers that cannot be used."""

from __future__ import annotations

import dataclasses
import re
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.errors import InputError, RepairWarning
from jlsm.forcing import stack_sites
from jlsm.io import load_forcing
from jlsm.io.site_file import read_site_changes
from jlsm.parameters import default_parameters
from jlsm.state import initial_state, with_soil_moisture
from mdpl.towers.load import find_site_files, load_towers, load_usable_towers
from tests.mdpl.test_user_files import (
    DAYS,
    ZERO,
    repairs,
    write_flux,
    write_met,
)  # fmt: skip


def with_site_file(tmp_path, text: str):
    (tmp_path / "s.toml").write_text(text)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        return load_forcing(write_met(tmp_path / "m.nc"), site_file=tmp_path / "s.toml")


def test_a_site_file_goes_before_the_met_file(tmp_path):
    forcing, place = with_site_file(
        tmp_path,
        'soil_texture = "Clay"\nigbp = "Grasslands"\ncanopy_height = 0.7\nc4_fraction = 0.25\n'
        "lai_monthly = [1, 1, 1, 1, 1, 2, 3, 4, 1, 1, 1, 1]\n",
    )
    assert (place.soil_texture, place.igbp, float(place.canopy_height)) == ("clay", "GRA", pytest.approx(0.7))
    params = default_parameters(place)
    assert float(params.vegetation.c4_fraction) == 0.25
    assert float(params.soil.porosity) == pytest.approx(0.482)
    # July's value in its middle, halfway to June's on the first
    assert float(forcing.LAI[0]) == pytest.approx(2.5) and float(forcing.LAI[15 * 48 + 24]) == pytest.approx(3.0)
    both, stack = stack_sites([(forcing, place), load_quietly(tmp_path / "m.nc")])
    assert default_parameters(stack).vegetation.c4_fraction.tolist() == [0.25, 0.0]


def load_quietly(path: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        return load_forcing(path)


def test_observed_soil_moisture_takes_the_place_of_the_states(tmp_path):
    (tmp_path / "s.toml").write_text("soil_moisture = [[0.1, 0.1], [0.2, 0.3]]")
    depths, values = map(np.asarray, read_site_changes(tmp_path / "s.toml").soil_moisture)
    frozen = initial_state(jnp.full(2, 270.0), jnp.full(2, 0.45))
    frozen = dataclasses.replace(frozen, soil_ice=frozen.soil_moisture, soil_moisture_carry=frozen.soil_moisture * 1e-3)
    state = with_soil_moisture(frozen, depths, values, jnp.asarray([0.45, 0.25]))
    # layers' middles are at 0.025, 0.15, 0.625, ... m: the ends are held, 0.15 m is halfway
    np.testing.assert_allclose(state.soil_moisture[:3, 0], [0.1, 0.2, 0.3], rtol=1e-6)
    np.testing.assert_allclose(state.soil_moisture[:3, 1], [0.1, 0.2, 0.25], rtol=1e-6)
    np.testing.assert_array_equal(state.soil_ice[:3], state.soil_moisture[:3])
    assert (state.soil_moisture_carry == 0).all()


def test_leaf_area_by_date(tmp_path):
    (tmp_path / "lai.csv").write_text("date,lai\n2001-07-01,1.0\n2001-07-11,3.0\n")
    forcing, _ = with_site_file(tmp_path, 'lai_file = "lai.csv"')
    assert float(forcing.LAI[0]) == 1.0 and float(forcing.LAI[5 * 48]) == pytest.approx(2.0)
    assert float(forcing.LAI[-1]) == 3.0
    assert "its ends are held" in repairs(tmp_path / "m.nc", site_file=tmp_path / "s.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("soil = 1", "unknown name 'soil'"),
        ("canopy_height = 900", "outside 0 to 120"),
        ("canopy_height = nan", "outside 0 to 120"),
        ('canopy_height = "tall"', "is not a number"),
        ("soil_texture = 3.5", "is not a text"),
        ("lai_monthly = [1, 2]", "twelve numbers"),
        ("lai_monthly = [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 40]", "outside 0 to 15"),
        ('lai_file = "none.csv"', "cannot be read"),
        ('lai_file = "s.toml"', "at least two dates"),
        ("canopy_height", "not valid TOML"),
        ("soil_moisture = [0.1, 0.2]", "not a list of pairs"),
        ("soil_moisture = [[0.1, 1.2]]", "outside 0 to 1"),
        ("soil_moisture = [[0.5, 0.2], [0.1, 0.2]]", "depths must increase"),
    ],
)
def test_bad_site_files(tmp_path, text, words):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        load_forcing(write_met(tmp_path / "m.nc"), site_file=tmp_path / "s.toml")
    assert "\n" not in str(caught.value)


def test_all_towers_are_tried_before_the_first_refusal(tmp_path):
    for code, changes in {"AA-One": {}, "BB-Two": {"drop": ("Tair",)}, "CC-Thr": {"drop": ("Wind",)}}.items():
        write_met(tmp_path / f"{code}_2001_Met.nc", attributes={"site_code": code}, **changes)
        write_flux(tmp_path / f"{code}_2001_Flux.nc", DAYS | ZERO)
    files = find_site_files(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)
        with pytest.raises(InputError, match=r"2 of 3 towers cannot be used: .*BB-Two.*Tair.* \| .*CC-Thr.*Wind"):
            load_towers(files)
        towers, reasons = load_usable_towers(files)
        assert [tower.label for tower in towers] == ["AA-One"] and len(reasons) == 2
        (tmp_path / "AA-One_2001_Site.toml").write_text('soil_texture = "sand"')
        assert load_usable_towers(find_site_files(tmp_path))[0][0].site.soil_texture == "sand"
