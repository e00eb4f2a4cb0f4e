"""The parameters that are searched, and the unconstrained numbers the optimiser sees in their place.

bounded value = lower + (upper - lower) * sigmoid(u), so that no step can leave the bounds. ``u`` starts at the
default; a default on or next to a bound (``vegetation_cover`` 1) has no finite ``u`` and starts
``EDGE`` of the range inside, where the sigmoid still has a slope. The default *model* that metrics call
epoch 0 keeps the exact default. C4 parameters are left out where a site has no C4 plants, because
nothing there depends on them.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jlsm.errors import InputError
from jlsm.parameters import PARAMETERS, PFT_PARAMETERS, Parameters, get_parameter, replace_parameters

EDGE = 0.01
"""smallest distance of a start value from its bounds, share of the range"""
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
        """The unconstrained start."""
        share = np.clip((self.default - self.lower) / (self.upper - self.lower), EDGE, 1.0 - EDGE)
        return np.log(share) - np.log1p(-share)

    def values(self, unconstrained: Float[Array, "sites parameters"]) -> Float[Array, "sites parameters"]:
        """Bounded values; the default where a parameter is not active at a site."""
        bounded = self.lower + (self.upper - self.lower) * jax.nn.sigmoid(unconstrained)
        dtype = jnp.result_type(unconstrained)
        return jnp.where(self.active, bounded, self.default).astype(dtype)

    def insert(self, params: Parameters, values: Float[Array, "columns parameters"]) -> Parameters:
        """``params`` with the searched values in place (``values[:, i]`` belongs to ``keys[i]``)."""
        return replace_parameters(params, {key: values[:, i] for i, key in enumerate(self.keys)})


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
        found = PFT_PARAMETERS if pattern == "pft" else _matching(pattern)
        chosen.extend(key for key in found if key not in chosen)
    removed = {key for pattern in exclude for key in _matching(pattern)}
    kept = tuple(key for key in chosen if key not in removed)
    if not kept:
        raise InputError("config: parameters: nothing left to calibrate: widen 'parameters' or shorten 'exclude'")
    return kept


def _matching(pattern: str) -> tuple[str, ...]:
    if any(character in pattern for character in "*?["):
        found = tuple(key for key, info in PARAMETERS.items() if info.calibratable and fnmatchcase(key, pattern))
    else:
        found = tuple(key for key, info in PARAMETERS.items() if pattern in (key, info.name))
        if found and not all(PARAMETERS[key].calibratable for key in found):
            raise InputError(f"config: parameter {pattern!r} is not calibratable: `jlsm parameters` says which are")
        if len(found) > 1:
            raise InputError(f"config: parameter {pattern!r} is ambiguous: write one of {', '.join(found)}")
    if not found:
        raise InputError(f"config: unknown parameter {pattern!r}: `jlsm parameters` lists the names; 'pft' is the set")
    return found


def search_space(keys: tuple[str, ...], params: Parameters, sites: int) -> SearchSpace:
    """The search space of ``keys`` around ``params`` (fields of column shape ``[sites]``)."""
    default = np.stack(
        [np.broadcast_to(np.asarray(get_parameter(params, key), np.float64), (sites,)) for key in keys], axis=1
    )
    with_c4 = np.broadcast_to(np.asarray(get_parameter(params, "vegetation.c4_fraction")) > 0, (sites,))
    active = np.ones(default.shape, bool)
    for i, key in enumerate(keys):
        if key in C4_PARAMETERS:
            active[:, i] = with_c4
    keep = active.any(axis=0)
    kept = tuple(key for key, use in zip(keys, keep, strict=True) if use)
    if not kept:
        raise InputError("config: parameters: only C4 parameters chosen at sites without C4 plants: add others")
    return SearchSpace(
        keys=kept,
        default=default[:, keep],
        lower=np.array([PARAMETERS[key].lower for key in kept]),
        upper=np.array([PARAMETERS[key].upper for key in kept]),
        active=active[:, keep],
    )
