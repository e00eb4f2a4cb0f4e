"""Radiation of sun and sky: the physics the weather generator keeps to.

Potential radiation comes from jlsm's own solar geometry, so that the model never sees more sun than its sky has.
Longwave radiation: clear-sky emissivity of Prata (1996), Q. J. R. Meteorol. Soc. 122, 1127, with the cloud term of
Crawford & Duchon (1999), J. Appl. Meteorol. 38, 474.
"""

from __future__ import annotations

import numpy as np

from jlsm.constants import DAY, STEFAN_BOLTZMANN

STEP = 1800
"""s"""
STEPS_PER_DAY = DAY // STEP


def potential_radiation(days: np.ndarray, *, latitude: float, longitude: float, utc_offset: float) -> np.ndarray:
    """Solar radiation on a horizontal plane without atmosphere, half-hourly means, W m-2, ``[48 * days]``.

    Args:
        days: days since 1970-01-01, local standard time.
        latitude, longitude: degrees north and east.
        utc_offset: local standard time minus UTC, hours.
    """
    from jlsm.processes.solar import mean_cos_zenith

    second_of_day = np.tile(np.arange(STEPS_PER_DAY) * STEP, len(days))
    place = (np.float64(latitude), longitude, utc_offset)
    cosine, lit, extraterrestrial = mean_cos_zenith(np.repeat(days, STEPS_PER_DAY), second_of_day, STEP, *place)
    return np.asarray(cosine * lit * extraterrestrial)


def clear_sky_emissivity(vapour_pressure: np.ndarray, temperature: np.ndarray) -> np.ndarray:
    """Effective emissivity of a clear sky (Prata 1996, eq. 19); vapour pressure in Pa, temperature in K."""
    water = 46.5 * (vapour_pressure / 100.0) / temperature  # precipitable water, g cm-2
    return 1.0 - (1.0 + water) * np.exp(-np.sqrt(1.2 + 3.0 * water))


def sky_longwave(temperature: np.ndarray, emissivity: np.ndarray, cloud: np.ndarray) -> np.ndarray:
    """Downward longwave radiation, W m-2, with a share of cloud 0-1 (Crawford & Duchon 1999, eq. 14)."""
    return (cloud + (1.0 - cloud) * emissivity) * STEFAN_BOLTZMANN * temperature**4
