"""The sun as witness of the fluxes' signs."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.errors import InputError, RepairWarning
from mdpl.towers.intervals import DAY, TimeAxis, model_time
from mdpl.towers.load import find_site_files, load_usable_towers
from mdpl.towers.observations import FluxSeries, Observations
from mdpl.towers.signs import check_signs
from tests.mdpl.fakes import make_forcing
from tests.mdpl.test_user_files import CLOCK, START, weather, write_flux, write_met


@pytest.mark.parametrize("name", ["Rnet", "Qle"])
def test_where_summers_are_dry_daily_latent_heat_may_go_against_the_sun(name):
    days = np.arange(365)
    season = np.sin(2.0 * np.pi * (days - 80) / 365)
    forcing = dataclasses.replace(make_forcing(365, dt=DAY), SWdown=jnp.asarray(200.0 + 100.0 * season, jnp.float32))
    first = model_time(forcing).start
    observations = Observations("x.nc", TimeAxis(first, DAY), {name: FluxSeries(60.0 - 50.0 * season, days >= 0)})
    if name == "Rnet":
        with pytest.raises(InputError, match="Rnet goes against the sun"):
            check_signs(observations, forcing)
    else:
        (line,) = check_signs(observations, forcing)
        assert line.startswith("Qle goes against the sun")


def half_hours(path: Path, sign: dict[str, float]) -> Path:
    """A half-hourly Flux file in which fluxes follow the sun, each times its sign."""
    sun = weather()["SWdown"]
    fluxes = {name: (sign.get(name, 1.0) * (0.3 * sun + 5.0), "W/m2") for name in ("Qle", "Qh", "Rnet", "Qg")}
    return write_flux(path, fluxes, units=f"seconds since {START}", days=CLOCK, attributes={"time_step": "30 min"})


@pytest.mark.parametrize("name", ["Rnet", "Qle", "Qh", "Qg", ""])
def test_the_sun_knows_the_signs_of_fluxes(tmp_path, name):
    write_met(tmp_path / "XX-Tst_2001_Met.nc")
    half_hours(tmp_path / "XX-Tst_2001_Flux.nc", {name: -1.0})
    pairs = find_site_files(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RepairWarning)
        towers, left_out = load_usable_towers(pairs)
        (ignored,), _ = load_usable_towers(pairs, sun_check=False)
    against = f"{name} goes against the sun (correlation with SWdown -1.00 at 960 measured steps)"
    if name in ("Rnet", "Qle"):
        (reason,) = left_out.values()
        assert against in reason and "sun_check = 'ignore'" in reason
        return
    (tower,) = towers
    said = [str(one.message) for one in caught if "against the sun (corr" in str(one.message)]
    noted = [note for note in tower.observations.notes if "against the sun" in note]
    assert len(said) == len(noted) == bool(name)
    if name:
        assert against in said[0] and against in noted[0]
    assert not any("against the sun" in note for note in ignored.observations.notes)
