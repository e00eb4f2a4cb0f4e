"""What drives the model: the weather at a site, and the site itself.

Array convention of the whole package: the layer (or time) axis leads, columns trail.
A single site has column shape ``()``, so its forcing is ``[time]``; five sites side by side
have column shape ``(5,)`` and forcing ``[time, 5]``.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jlsm.describe import field_table, quantity


class Forcing(eqx.Module):
    """Meteorological forcing at the model's time step, ALMA names and units.

    Values are means over the interval that starts at (``day``, ``second_of_day``) in local
    standard time. Source of the convention: PLUMBER2 v1.0 (Ukkola et al. 2022).
    """

    Tair: Float[Array, "time ..."] = quantity("K")
    """air temperature at reference height, K"""
    Qair: Float[Array, "time ..."] = quantity("kg kg-1")
    """specific humidity, kg kg-1"""
    Psurf: Float[Array, "time ..."] = quantity("Pa")
    """surface pressure, Pa"""
    SWdown: Float[Array, "time ..."] = quantity("W m-2")
    """downward shortwave radiation, W m-2"""
    LWdown: Float[Array, "time ..."] = quantity("W m-2")
    """downward longwave radiation, W m-2"""
    Wind: Float[Array, "time ..."] = quantity("m s-1")
    """wind speed at reference height, m s-1"""
    Precip: Float[Array, "time ..."] = quantity("kg m-2 s-1")
    """rain + snow, kg m-2 s-1"""
    CO2air: Float[Array, "time ..."] = quantity("ppm")
    """CO2 mole fraction, ppm"""
    LAI: Float[Array, "time ..."] = quantity("m2 m-2")
    """leaf area index of the grid mean, m2 m-2"""
    day: Int[Array, "time ..."] = quantity("d")
    """days since 1970-01-01 of the interval's start, local standard time"""
    second_of_day: Int[Array, "time ..."] = quantity("s")
    """seconds since local midnight of the interval's start"""
    dt: Float[Array, "..."] = quantity("s")
    """length of the time step, s (one per column)"""
    Snowf: Float[Array, "time ..."] | None = quantity("kg m-2 s-1", default=None)
    """the part of Precip that fell as snow, where it was observed, kg m-2 s-1; NaN, and None for all, where the model
    tells rain from snow by wet-bulb temperature"""
    valid: Bool[Array, "time ..."] | None = None
    """False where a record is padding (see ``stack_sites``); None where nothing is padded"""

    def __repr__(self) -> str:
        return field_table(self)

    @property
    def steps(self) -> int:
        """Number of time steps."""
        return self.Tair.shape[0]

    def window(self, start: int, stop: int) -> Forcing:
        """The steps ``start:stop`` as a new Forcing."""
        return eqx.tree_at(
            lambda f: [getattr(f, name) for name in self.series()],
            self,
            [getattr(self, name)[start:stop] for name in self.series()],
        )

    def series(self) -> list[str]:
        """Names of the fields that have a time axis."""
        optional = [name for name in ("Snowf", "valid") if getattr(self, name) is not None]
        return [*METEOROLOGY, "day", "second_of_day", *optional]

    def snowfall(self) -> Float[Array, "time ..."]:
        """Snowf, NaN where it was not observed."""
        return jnp.full_like(self.Precip, jnp.nan) if self.Snowf is None else self.Snowf


METEOROLOGY = ("Tair", "Qair", "Psurf", "SWdown", "LWdown", "Wind", "Precip", "CO2air", "LAI")


class Site(eqx.Module):
    """Where a column is and what grows there.

    ``code``, ``name``, ``igbp``, ``soil_texture`` and ``c4_fraction`` are static: they never enter compiled code.
    For a stack of sites they are tuples.
    """

    latitude: Float[Array, "..."] = quantity("degrees_north")
    """degrees north"""
    longitude: Float[Array, "..."] = quantity("degrees_east")
    """degrees east"""
    elevation: Float[Array, "..."] = quantity("m")
    """m above sea level"""
    reference_height: Float[Array, "..."] = quantity("m")
    """height of wind, temperature and humidity above ground, m"""
    canopy_height: Float[Array, "..."] = quantity("m")
    """height of the vegetation, m (NaN where the file has none: the class default is used)"""
    utc_offset: Float[Array, "..."] = quantity("h")
    """local standard time minus UTC, hours"""
    code: str | tuple[str, ...] = eqx.field(static=True, default="")
    """site code, e.g. ``DE-Geb``"""
    name: str | tuple[str, ...] = eqx.field(static=True, default="")
    """site name, e.g. ``Gebesee``"""
    igbp: str | tuple[str, ...] = eqx.field(static=True, default="CRO")
    """IGBP class, short form: one of the keys of ``jlsm.parameters.IGBP_CLASSES``"""
    soil_texture: str | tuple[str, ...] = eqx.field(static=True, default="loam")
    """USDA texture class: one of the keys of ``jlsm.parameters.SOIL_CLASSES``"""
    c4_fraction: float | None | tuple[float | None, ...] = eqx.field(static=True, default=None)
    """share of C4 plants where it is known of the site (a site file); None takes the class's"""

    def __repr__(self) -> str:
        return field_table(self)

    def numeric(self) -> Site:
        """The same site without its texts, so that compiled code is shared between sites."""
        return Site(
            self.latitude, self.longitude, self.elevation, self.reference_height, self.canopy_height, self.utc_offset
        )


def stack_sites(pairs: list[tuple[Forcing, Site]]) -> tuple[Forcing, Site]:
    """Put sites side by side as columns; shorter records are padded at their end and masked.

    Args:
        pairs: ``[(forcing, site), ...]`` of single sites, as ``load_forcing`` returns them.

    Returns:
        Forcing ``[time, sites]`` with ``valid`` False on padding (``valid`` is None when no record
        needed padding), and Site with ``[sites]`` fields. Each site keeps its own ``dt``.

    Raises:
        ValueError: no sites, or an element that is already a stack.
    """
    if not pairs:
        raise ValueError("stack_sites needs at least one (forcing, site) pair")
    for forcing, site in pairs:
        if np.ndim(forcing.Tair) != 1:
            raise ValueError(f"stack_sites takes single sites; {site.code!r} has column shape {forcing.Tair.shape[1:]}")
    length = max(forcing.steps for forcing, _ in pairs)
    padded = any(forcing.steps < length or forcing.valid is not None for forcing, _ in pairs)

    def column(values: Array | np.ndarray, fill_last: bool = True) -> np.ndarray:
        values = np.asarray(values)
        fill = values[-1] if fill_last else False
        return np.concatenate([values, np.full(length - values.shape[0], fill, values.dtype)])

    series = {
        name: jnp.asarray(np.stack([column(getattr(f, name)) for f, _ in pairs], axis=1))
        for name in (*METEOROLOGY, "day", "second_of_day")
    }
    if any(forcing.Snowf is not None for forcing, _ in pairs):
        series["Snowf"] = jnp.asarray(np.stack([column(f.snowfall()) for f, _ in pairs], axis=1))
    valid = None
    if padded:
        masks = [np.ones(f.steps, bool) if f.valid is None else f.valid for f, _ in pairs]
        valid = jnp.asarray(np.stack([column(m, fill_last=False) for m in masks], axis=1))
    forcing = Forcing(**series, dt=jnp.stack([jnp.asarray(f.dt) for f, _ in pairs]), valid=valid)
    sites = [site for _, site in pairs]
    numbers = {
        name: jnp.stack([jnp.asarray(getattr(s, name)) for s in sites])
        for name in ("latitude", "longitude", "elevation", "reference_height", "canopy_height", "utc_offset")
    }
    texts: dict[str, Any] = {
        name: tuple(getattr(s, name) for s in sites) for name in ("code", "name", "igbp", "soil_texture", "c4_fraction")
    }
    return forcing, Site(**numbers, **texts)
