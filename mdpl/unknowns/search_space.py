"""The parameters that are searched, and the unconstrained offsets the optimiser sees in their place.

An offset moves a parameter away from its default, along a sigmoid that passes through the default:

    value = default + range * (sigmoid(u0 + offset) - sigmoid(u0)),  u0 = logit of the default's share of the range.

The difference is written so that an offset of 0 gives the default to the last bit: epoch 0 *is* the default model. A
default on or next to a bound (``vegetation_cover`` 1) has no finite ``u0``; it takes the slope of a point ``EDGE`` of
the range inside, and what would then step over the bound is reflected at it. So every parameter has a slope at its
default, none leaves its bounds, and none gets stuck at one (a clip would have no gradient beyond it). Reflection
leaves the last ``EDGE`` of the range at the *other* bound out of reach. C4 parameters are left out where a site has
no C4 plants, because nothing there depends on them.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jlsm.errors import InputError
from jlsm.parameters import PARAMETERS, PFT_PARAMETERS, Parameters, get_parameter, replace_parameters

EDGE = 0.01
"""smallest distance from a bound at which the sigmoid's slope is taken, share of the range"""
C4_PARAMETERS = tuple(key for key in PARAMETERS if key.endswith("_c4") or key.endswith(".c4_fraction"))


class SearchSpace(NamedTuple):
    """Selected parameters of all sites."""

    keys: tuple[str, ...]
    """``group.name`` of each searched parameter"""
    default: Float[np.ndarray, "sites parameters"]
    lower: Float[np.ndarray, "parameters"]
    upper: Float[np.ndarray, "parameters"]
    active: Bool[np.ndarray, "sites parameters"]
    """False where a site keeps its default (C4 parameters without C4 plants)"""

    def start(self) -> Float[np.ndarray, "sites parameters"]:
        """The offsets of the default: zeros."""
        return np.zeros_like(self.default)

    def values(self, offsets: Float[Array, "sites parameters"]) -> Float[Array, "sites parameters"]:
        """Bounded values; the default where a parameter is not active at a site."""
        return bounded(offsets, self.default, self.lower, self.upper, self.active)

    def insert(self, params: Parameters, values: Float[Array, "columns parameters"]) -> Parameters:
        """``params`` with the searched values in place (``values[:, i]`` belongs to ``keys[i]``)."""
        return replace_parameters(params, {key: values[:, i] for i, key in enumerate(self.keys)})


def bounded(offset, default, lower, upper, active: bool | np.ndarray | Array = True) -> Float[Array, "..."]:
    """Values between ``lower`` and ``upper`` that pass through ``default`` at offset 0, exactly.

    All arguments broadcast. The result has JAX's default precision, like the parameters themselves.
    """
    default, lower, upper = (jnp.asarray(number, float) for number in (default, lower, upper))
    offset = jnp.asarray(offset, default.dtype)
    share = jnp.clip((default - lower) / (upper - lower), EDGE, 1.0 - EDGE)
    # sigmoid(u0 + offset) - sigmoid(u0) without a difference of two rounded numbers, and without overflow
    rising = offset > 0
    step = jnp.expm1(jnp.where(rising, -offset, offset))
    moved = share * (1.0 - share) * jnp.where(rising, -step, step)
    value = default + (upper - lower) * moved / (1.0 + jnp.where(rising, 1.0 - share, share) * step)
    value = jnp.where(value > upper, 2.0 * upper - value, value)
    value = jnp.where(value < lower, 2.0 * lower - value, value)
    return jnp.where(active, value, default)


def select_parameters(patterns: tuple[str, ...], exclude: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Parameter keys that match.

    Args:
        patterns: ``"pft"`` (all of ``PFT_PARAMETERS``), keys, names, or globs such as ``"soil.*"`` (a glob
            selects calibratable parameters only).
        exclude: keys, names or globs taken out again.

    Raises:
        InputError: a pattern that matches nothing, a parameter that is not calibratable, nothing left.
    """
    chosen: list[str] = []
    for pattern in patterns:
        matches = PFT_PARAMETERS if pattern == "pft" else _matching(pattern)
        chosen.extend(key for key in matches if key not in chosen)
    removed = {key for pattern in exclude for key in _matching(pattern)}
    selected = tuple(key for key in chosen if key not in removed)
    if not selected:
        raise InputError("config: parameters: nothing left to calibrate: widen 'parameters' or shorten 'exclude'")
    return selected


def declared_forms(declared: dict[str, str], keys: tuple[str, ...]) -> dict[str, str]:
    """``time_varying`` of a config (keys, names or globs -> form) by full key.

    Raises:
        InputError: a name that is no parameter, or not among those searched.
    """
    forms = {}
    for pattern, form in declared.items():
        matches = [key for key in _matching(pattern) if key in keys]
        if not matches:
            raise InputError(f"config: time_varying.{pattern}: not among the searched parameters: add it to them")
        forms |= dict.fromkeys(matches, form)
    return forms


def _matching(pattern: str) -> tuple[str, ...]:
    if any(character in pattern for character in "*?["):
        matches = tuple(key for key, info in PARAMETERS.items() if info.calibratable and fnmatchcase(key, pattern))
    else:
        matches = tuple(key for key, info in PARAMETERS.items() if pattern in (key, info.name))
        if matches and not all(PARAMETERS[key].calibratable for key in matches):
            raise InputError(f"config: parameter {pattern!r} is not calibratable: `jlsm parameters` says which are")
        if len(matches) > 1:
            raise InputError(f"config: parameter {pattern!r} is ambiguous: write one of {', '.join(matches)}")
    if not matches:
        raise InputError(f"config: unknown parameter {pattern!r}: `jlsm parameters` lists the names; 'pft' is the set")
    return matches


def search_space(keys: tuple[str, ...], params: Parameters, sites: int, drop: bool = True) -> SearchSpace:
    """The search space of ``keys`` around ``params`` (fields of column shape ``[sites]``).

    ``drop`` leaves out keys that are active at no site.
    """
    (space,) = search_spaces(keys, [(params, sites)], drop)
    return space


def search_spaces(keys: tuple[str, ...], groups: list[tuple[Parameters, int]], drop: bool = True) -> list[SearchSpace]:
    """One search space per group of sites (parameters, number of sites), all with the same keys.

    Raises:
        InputError: only C4 parameters, and no C4 plants at any site.
    """
    defaults, actives = [], []
    for params, sites in groups:
        columns = [np.broadcast_to(np.asarray(get_parameter(params, key), np.float64), (sites,)) for key in keys]
        with_c4 = np.broadcast_to(np.asarray(get_parameter(params, "vegetation.c4_fraction")) > 0, (sites,))
        everywhere = np.ones(sites, bool)
        defaults.append(np.stack(columns, axis=1))
        actives.append(np.stack([with_c4 if key in C4_PARAMETERS else everywhere for key in keys], axis=1))
    keep = np.logical_or(np.concatenate(actives).any(axis=0), np.full(len(keys), not drop))
    active_keys = tuple(key for key, use in zip(keys, keep, strict=True) if use)
    if not active_keys:
        raise InputError("config: parameters: only C4 parameters chosen at sites without C4 plants: add others")
    lower = np.array([PARAMETERS[key].lower for key in active_keys])
    upper = np.array([PARAMETERS[key].upper for key in active_keys])
    return [
        SearchSpace(active_keys, default[:, keep], lower, upper, active[:, keep])
        for default, active in zip(defaults, actives, strict=True)
    ]
