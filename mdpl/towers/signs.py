"""The sun as witness of the fluxes' signs: by day the surface gains radiation, and gives heat and vapour to the air.

Each flux is held against the sun of the same intervals. At ten towers, half-hourly and daily, the correlation is 0.9
to 1.0 for net radiation and 0.5 to 0.9 for the turbulent fluxes; the ground heat flux has 0.5 to 0.8 and once -0.4,
where it counts upward.
"""

from __future__ import annotations

import numpy as np

from jlsm.errors import InputError
from jlsm.forcing import Forcing
from mdpl.towers.intervals import DAY
from mdpl.towers.observations import Observations, to_observed_interval

LEAST_CORRELATION = -0.2
"""below it the sign is taken to be the other one"""
LEAST_STEPS = 100
"""measured intervals without which nothing is said"""
SURE = ("Rnet", "Qle", "Qle_cor")
"""fluxes that never go against the sun of the hours; Qh does over a field that its surroundings heat, Qg by
convention"""
SURE_DAILY = ("Rnet",)
"""of daily means: where summers are dry, Qle may be highest in winter"""
_CONVENTIONS = {"Rnet": "downward", "Qg": "into the ground"}


def check_signs(observations: Observations, forcing: Forcing) -> tuple[str, ...]:
    """Notes on fluxes that go against the sun.

    Args:
        observations: fluxes of a tower.
        forcing: its weather.

    Raises:
        InputError: net radiation, or the latent heat flux of intervals shorter than a day, goes against the sun; no
            overlap of the two records.
    """
    sun, covered = to_observed_interval(np.asarray(forcing.SWdown, float), forcing, observations)
    notes = []
    for name in ("Rnet", "Qle", "Qh", "Qg", "Qle_cor", "Qh_cor"):
        series = observations.fluxes.get(name)
        if series is None:
            continue
        steps = series.measured & covered
        correlation = _correlation(np.asarray(sun)[steps], series.values[steps])
        if correlation >= LEAST_CORRELATION:
            continue
        line = (
            f"{name} goes against the sun (correlation with SWdown {correlation:.2f} at {int(steps.sum())} measured "
            f"steps): it counts {_CONVENTIONS.get(name, 'upward')} here, and its sign seems to be the other one"
        )
        if name in (SURE if observations.time.length < DAY else SURE_DAILY):
            raise InputError(f"{observations.file}: {line}: change it in the file, or set sun_check = 'ignore'")
        notes.append(line)
    return tuple(notes)


def _correlation(sun: np.ndarray, flux: np.ndarray) -> float:
    """Between -1 and 1; 0 where it means nothing."""
    if sun.size < LEAST_STEPS or np.ptp(sun) == 0.0 or np.ptp(flux) == 0.0:
        return 0.0
    return float(np.corrcoef(sun, flux)[0, 1])
