"""What a flux tower makes of true fluxes: random error, gaps and flags.

Error: independent from one half-hour to the next, Laplace-distributed, its standard deviation growing with the flux,
differently for either sign: Richardson et al. (2006), Agric. For. Meteorol. 136, 1. The coefficients (grassland
site) were not checked against the printed table, which was out of reach. No systematic
error: the energy balance of the synthetic towers closes but for noise, which that of real ones does not.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mdpl.data.sky import STEPS_PER_DAY


class ErrorModel(NamedTuple):
    """Standard deviation of the random error, W m-2: intercept + slope * flux, for either sign of the flux."""

    intercept_up: float
    slope_up: float
    intercept_down: float
    slope_down: float
    laplace: bool = True

    def deviation(self, flux: np.ndarray) -> np.ndarray:
        """Standard deviation at each flux."""
        up = self.intercept_up + self.slope_up * flux
        return np.where(flux >= 0.0, up, self.intercept_down + self.slope_down * flux)

    def draw(self, flux: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """One error per flux."""
        # a Laplace variable of scale b has the standard deviation sqrt(2) b
        unit = rng.laplace(scale=np.sqrt(0.5), size=flux.shape) if self.laplace else rng.standard_normal(flux.shape)
        return self.deviation(flux) * unit


ERRORS = {
    # Richardson et al. (2006), grassland; their sample of downward Qle gives no slope
    "Qle": ErrorModel(8.1, 0.16, 8.1, 0.0),
    "Qh": ErrorModel(17.3, 0.07, 13.3, -0.16),
    # assumed: noise of a good net radiometer, and of heat flux plates; normal
    "Rnet": ErrorModel(3.0, 0.02, 3.0, -0.02, laplace=False),
    "Qg": ErrorModel(3.0, 0.05, 3.0, -0.05, laplace=False),
}
SHORT_GAP = 4
"""half-hours; a turbulent flux missing no longer is interpolated and flagged 1"""


def observe(
    fluxes: dict[str, np.ndarray], wind: np.ndarray, rain: np.ndarray, sun: np.ndarray, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Observed fluxes and their flags.

    Args:
        fluxes: true Qle, Qh, Rnet, Qg, W m-2, half-hourly ``[time]``.
        wind, rain, sun: Wind (m s-1), Precip (kg m-2 s-1), SWdown (W m-2) of the same steps.
        rng: the only source of chance.

    Returns:
        ``(values, flags)``: NaN and 3 where missing, interpolated and 1 in short gaps, else 0.
    """
    steps = wind.size
    outage = _outages(steps, rng)
    calm = (sun <= 0.0) & (wind < np.quantile(wind[sun <= 0.0], 0.35))
    raining = rain > 0.0
    raining |= np.concatenate([[False], raining[:-1]])  # the open path dries for half an hour
    lost = {
        "Qle": (calm & (rng.random(steps) < 0.8)) | (raining & (rng.random(steps) < 0.9)),
        "Qh": (calm & (rng.random(steps) < 0.8)) | (raining & (rng.random(steps) < 0.5)),
    }
    values, flags = {}, {}
    for name, true in fluxes.items():
        turbulent = name in lost
        missing = outage | (rng.random(steps) < (0.06 if turbulent else 0.01))
        if turbulent:
            missing |= lost[name]
        observed = np.where(missing, np.nan, true + ERRORS[name].draw(true, rng))
        flag = np.where(missing, 3, 0).astype(np.int8)
        if turbulent:
            short = _short_gaps(missing)
            at = np.arange(steps)
            observed[short] = np.interp(at[short], at[~missing], observed[~missing])
            flag[short] = 1
        values[name], flags[name] = observed, flag
    return values, flags


def _outages(steps: int, rng: np.random.Generator) -> np.ndarray:
    """Nothing recorded: ten failures a year of half a day on average, and every other year one of 10 to 25 days."""
    gone = np.zeros(steps, bool)
    years = steps / (365.25 * STEPS_PER_DAY)
    for _ in range(rng.poisson(10.0 * years)):
        start = rng.integers(steps)
        gone[start : start + rng.geometric(1.0 / 24.0)] = True
    for _ in range(rng.poisson(0.5 * years)):
        start = rng.integers(steps)
        gone[start : start + rng.integers(10, 26) * STEPS_PER_DAY] = True
    return gone


def _short_gaps(missing: np.ndarray) -> np.ndarray:
    """Steps of gaps of at most ``SHORT_GAP`` steps that have a value on either side."""
    edges = np.diff(np.concatenate([[False], missing, [False]]).astype(int))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    short = np.zeros(missing.size, bool)
    for start, end in zip(starts, ends, strict=True):
        if end - start <= SHORT_GAP and start > 0 and end < missing.size:
            short[start:end] = True
    return short
