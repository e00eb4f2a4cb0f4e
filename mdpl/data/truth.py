"""The hidden parameters of the synthetic sites: what a calibration should find, known to tests and reports only.

Nothing that calibrates reads this module or the attributes that carry the same numbers.
"""

from __future__ import annotations

import zlib

import numpy as np

from mdpl.data.climate import FIVE_CROPS

SEED = 20010101
STRONG = (
    "vegetation.vcmax25", "vegetation.ball_berry_slope", "vegetation.leaf_area_scale",
    "vegetation.root_depth_scale", "vegetation.critical_water_potential", "vegetation.leaf_reflectance_nir",
    "vegetation.leaf_drag_coefficient", "vegetation.leaf_heat_coefficient",
    "soil.soil_evaporation_a1", "soil.soil_evaporation_a2",
)  # fmt: skip
"""parameters that decide on the fluxes of a field: moved by ``STRONG_SHARE`` of their range"""
WEAK = (
    "vegetation.ball_berry_intercept", "vegetation.quantum_efficiency", "vegetation.dark_respiration_fraction",
    "vegetation.high_temperature_limit", "vegetation.low_temperature_limit", "vegetation.leaf_reflectance_vis",
    "vegetation.leaf_transmittance_vis", "vegetation.leaf_transmittance_nir", "vegetation.canopy_water_capacity",
    "vegetation.vegetation_cover",
)  # fmt: skip
"""the others: moved by ``WEAK_SHARE``"""
STRONG_SHARE = (0.10, 0.20)
WEAK_SHARE = (0.03, 0.10)
LOGARITHMIC = 20.0
"""a range whose ends differ by more than this factor is measured in the logarithm"""


def hidden_truth() -> dict[str, dict[str, float]]:
    """``{site code with -syn: {group.name: value}}``: the parameters that made the synthetic fluxes.

    All parameters of ``PFT_PARAMETERS`` except the C4 ones and the canopy height, which keep their defaults (the
    synthetic maize is a C3 plant, so that a calibration of the default set can reach the truth). Each lies a
    share of its range away from the default, to a random side (the other one where a bound is near).
    """
    return {f"{code}-syn": _draw(code) for code in FIVE_CROPS}


def _draw(code: str) -> dict[str, float]:
    from jlsm.parameters import PARAMETERS, default_parameters, get_parameter
    from mdpl.data.pairs import synthetic_site

    rng = np.random.default_rng([SEED, zlib.crc32(code.encode())])
    params = default_parameters(synthetic_site(code))
    values = {}
    for key in (*STRONG, *WEAK):
        share = rng.uniform(*(STRONG_SHARE if key in STRONG else WEAK_SHARE))
        side = _sides(key)[FIVE_CROPS.index(code)]
        info = PARAMETERS[key]
        default = float(get_parameter(params, key))
        moved = _at(info, _share_of(info, default) + side * share)
        if not _at(info, 0.03) <= moved <= _at(info, 0.97):
            moved = _at(info, _share_of(info, default) - side * share)
        values[key] = float(f"{moved:.6g}")
    return values


def _sides(key: str) -> np.ndarray:
    """Up (1) or down (-1) at each site: two or three of each, so that no one value suits all sites."""
    rng = np.random.default_rng([SEED, zlib.crc32(key.encode())])
    return rng.permutation([1.0, 1.0, -1.0, -1.0, rng.choice([1.0, -1.0])])


def _is_logarithmic(info) -> bool:
    return info.lower > 0.0 and info.upper / info.lower > LOGARITHMIC


def _share_of(info, value: float) -> float:
    if _is_logarithmic(info):
        return float(np.log(value / info.lower) / np.log(info.upper / info.lower))
    return (value - info.lower) / (info.upper - info.lower)


def _at(info, share: float) -> float:
    if _is_logarithmic(info):
        return float(info.lower * (info.upper / info.lower) ** share)
    return info.lower + share * (info.upper - info.lower)
