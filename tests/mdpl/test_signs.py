"""The sun as witness of the fluxes' signs (files are in test_user_files.py)."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.errors import InputError
from mdpl.towers.intervals import DAY, TimeAxis, model_time
from mdpl.towers.observations import FluxSeries, Observations
from mdpl.towers.signs import check_signs
from tests.mdpl.fakes import make_forcing


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
