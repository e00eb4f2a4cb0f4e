"""Parameters that change through the year: the offset of a parameter as a base plus a few coefficients on a basis.

    value(t) = bounded(base + sum_k coefficient_k * basis_k(t))

``constant`` has no basis. ``seasonal`` has the harmonics cos and sin of (2 pi k day / year), k = 1..harmonics;
``phenology`` has one term, the leaf area index over ``LAI_SCALE``, less ``LAI_CENTRE``. A basis is a function of
the forcing alone, so that training, a run of the whole record and another site share it. With all unknowns zero
a parameter is its default at all times.

The phase of the season counts days of a mean Gregorian year from 1 January 1970: leap years move it by less than a day.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jlsm.constants import DAY
from jlsm.forcing import Forcing
from jlsm.parameters import Parameters, replace_parameters
from mdpl.unknowns.search_space import SearchSpace, bounded

FORMS = ("constant", "seasonal", "phenology")
YEAR = 365.2425
"""mean Gregorian year, days"""
LAI_CENTRE, LAI_SCALE = 1.0, 3.0
"""the phenology basis is LAI / 3 - 1: -1 bare, 0 at LAI 3, 1 at LAI 6 (fixed, so that sites share coefficients)"""


class UnknownsLayout(NamedTuple):
    """Which unknowns belong to which searched parameter."""

    keys: tuple[str, ...]
    forms: tuple[str, ...]
    """form of each parameter"""
    harmonics: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """A name per unknown: the key for a base, ``key.cos1``, ``key.sin1``, ``key.lai`` for coefficients."""
        terms = {"constant": (), "phenology": (".lai",)}
        terms["seasonal"] = tuple(f".{part}{k}" for k in range(1, self.harmonics + 1) for part in ("cos", "sin"))
        return tuple(
            name
            for key, form in zip(self.keys, self.forms, strict=True)
            for name in (key, *(f"{key}{term}" for term in terms[form]))
        )

    @property
    def size(self) -> int:
        """Unknowns per site."""
        return len(self.names)

    @property
    def varies(self) -> bool:
        """True where any parameter changes with time."""
        return any(form != "constant" for form in self.forms)

    def parts(self) -> list[tuple[str, int, int]]:
        """(form, first unknown, one past the last) of each parameter."""
        result, first = [], 0
        for form in self.forms:
            last = first + {"constant": 1, "phenology": 2, "seasonal": 1 + 2 * self.harmonics}[form]
            result.append((form, first, last))
            first = last
        return result

    def active(self, space: SearchSpace) -> np.ndarray:
        """``[sites, unknowns]``: False where an unknown changes nothing at a site."""
        return np.repeat(space.active, [last - first for _, first, last in self.parts()], axis=1)

    def values(
        self, space: SearchSpace, unknowns: Float[Array, "columns unknowns"], sites, forcing: Forcing
    ) -> list[Float[Array, "..."]]:
        """The value of each parameter: ``[columns]`` where constant, ``[time, columns]`` where not.

        Args:
            space: of the sites.
            unknowns: one row per column.
            sites: the site of each column (row of ``space``).
            forcing: gives the basis, ``[time, columns]``.
        """
        default, active = jnp.asarray(space.default)[sites], jnp.asarray(space.active)[sites]
        result = []
        for i, (form, first, last) in enumerate(self.parts()):
            offset = unknowns[:, first]
            if form != "constant":
                terms = basis(form, forcing.day, forcing.LAI, self.harmonics)
                offset = offset + (terms * unknowns[:, first + 1 : last].T[:, None, :]).sum(axis=0)
            result.append(bounded(offset, default[:, i], space.lower[i], space.upper[i], active[:, i]))
        return result

    def directions(
        self, space: SearchSpace, unknowns: Float[Array, "columns unknowns"], sites, forcing: Forcing, lanes: int
    ) -> dict[str, Float[Array, "..."]]:
        """How each parameter changes with each unknown, for ``jlsm.simulate_tangents``; arguments as in ``values``.

        Returns:
            key -> ``[columns, lanes]`` or ``[time, columns, lanes]``; lane ``k`` belongs to unknown ``k``, lanes beyond
            the unknowns are 0.
        """
        basis_vectors = jnp.eye(self.size, lanes, dtype=unknowns.dtype)

        def along(direction):
            whole = jnp.broadcast_to(direction, unknowns.shape)
            return jax.jvp(lambda u: self.values(space, u, sites, forcing), (unknowns,), (whole,))[1]

        return dict(zip(self.keys, jax.vmap(along, in_axes=1, out_axes=-1)(basis_vectors), strict=True))

    def insert(self, params: Parameters, space: SearchSpace, unknowns, sites, forcing: Forcing) -> Parameters:
        """``params`` of the columns with the searched values in place; arguments as in ``values``."""
        values = self.values(space, unknowns, sites, forcing)
        return replace_parameters(params, dict(zip(self.keys, values, strict=True)))


def basis(form: str, day, lai, harmonics: int) -> Float[Array, "terms time columns"]:
    """The basis functions of a form at days (since 1970-01-01) and leaf area indices ``[time, columns]``."""
    if form == "phenology":
        return (lai / LAI_SCALE - LAI_CENTRE)[None]
    phase = 2.0 * jnp.pi * jnp.mod(day.astype(lai.dtype), YEAR) / YEAR
    return jnp.stack([f(k * phase) for k in range(1, harmonics + 1) for f in (jnp.cos, jnp.sin)])


def course(
    layout: UnknownsLayout, space: SearchSpace, unknowns: np.ndarray, lai: np.ndarray
) -> Float[np.ndarray, "days sites parameters"]:
    """Every parameter through a mean year, from its leaf area index ``[365, sites]`` by day of year."""
    days, sites = lai.shape
    day = jnp.broadcast_to(jnp.arange(days, dtype=jnp.int32)[:, None], lai.shape)
    blank = {name: jnp.asarray(lai) for name in ("Tair", "Qair", "Psurf", "SWdown", "LWdown", "Wind", "Precip")}
    forcing = Forcing(**blank, CO2air=jnp.asarray(lai), LAI=jnp.asarray(lai), day=day, second_of_day=day * 0,
                      dt=jnp.full(sites, float(DAY)))  # fmt: skip
    values = layout.values(space, jnp.asarray(unknowns), np.arange(sites), forcing)
    return np.stack([np.broadcast_to(np.asarray(value), (days, sites)) for value in values], axis=-1)


def unknowns_layout(keys: tuple[str, ...], declared: dict[str, str], harmonics: int) -> UnknownsLayout:
    """The layout of searched keys, ``declared`` (full keys) saying which are not constant."""
    return UnknownsLayout(keys, tuple(declared.get(key, "constant") for key in keys), harmonics)
