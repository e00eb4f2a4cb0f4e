"""Every parameter of the model in one table: unit, default, bounds and source.

The table is the class definitions below: each field carries its own metadata, and
``PARAMETERS`` collects them. Documentation, calibration, the command line and the checks of
user input all read that one dictionary. What differs by vegetation or soil class stands in
``jlsm.parameter_tables``.

A parameter is a scalar per column or, with one more leading axis, a time series.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jlsm.describe import field_table
from jlsm.errors import InputError
from jlsm.forcing import Site
from jlsm.parameter_tables import IGBP_CLASSES, IGBP_SOURCES, SOIL_CLASSES, SOIL_SOURCES

Value = Float[Array, "..."]


class ParameterInfo(NamedTuple):
    """One row of the parameter table."""

    name: str
    group: str
    unit: str
    default: float
    lower: float
    upper: float
    calibratable: bool
    description: str
    source: str


def _parameter(unit, default, lower, upper, description, source, *, calibratable=False):
    metadata = dict(
        unit=unit,
        default=default,
        lower=lower,
        upper=upper,
        calibratable=calibratable,
        description=description,
        source=source,
    )
    return eqx.field(metadata=metadata)


def _calibratable(unit, default, lower, upper, description, source):
    return _parameter(unit, default, lower, upper, description, source, calibratable=True)


SIB2 = "Sellers et al. (1996) SiB2 part II"
SIB2_I = "Sellers et al. (1996) SiB2 part I"
MATSIRO = "MATSIRO6, CCSR Report 66 (2021)"


class _Group(eqx.Module):
    def __repr__(self) -> str:
        return field_table(self)


class Vegetation(_Group):
    """What grows: photosynthesis, leaf optics, canopy structure, roots."""

    vcmax25: Value = _calibratable(
        "umol m-2 s-1", 100.0, 10.0, 200.0, "C3 Rubisco capacity at the canopy top, 298 K", SIB2
    )
    ball_berry_slope: Value = _calibratable("-", 9.0, 2.0, 18.0, "C3 slope m of A_n against stomatal conductance", SIB2)
    ball_berry_intercept: Value = _calibratable(
        "mol m-2 s-1", 0.01, 0.0005, 0.08, "C3 stomatal conductance without photosynthesis", SIB2
    )
    quantum_efficiency: Value = _calibratable(
        "mol mol-1", 0.08, 0.03, 0.12, "C3 CO2 fixed per absorbed photon in the limit of low light", SIB2
    )
    dark_respiration_fraction: Value = _calibratable("-", 0.015, 0.003, 0.05, "C3 leaf respiration over vcmax", SIB2)
    high_temperature_limit: Value = _calibratable("K", 308.0, 296.0, 325.0, "s2: half inhibition by heat, C3", SIB2)
    low_temperature_limit: Value = _calibratable("K", 281.0, 265.0, 294.0, "s4: half inhibition by cold, C3", SIB2)
    c4_fraction: Value = _calibratable("-", 0.0, 0.0, 1.0, "share of leaf area with the C4 pathway", "site knowledge")
    vcmax25_c4: Value = _calibratable(
        "umol m-2 s-1", 30.0, 5.0, 100.0, "C4 Rubisco capacity at the canopy top, 298 K", SIB2
    )
    ball_berry_slope_c4: Value = _calibratable("-", 4.0, 1.0, 10.0, "C4 slope m", SIB2)
    ball_berry_intercept_c4: Value = _calibratable("mol m-2 s-1", 0.04, 0.001, 0.1, "C4 intercept b", SIB2)
    quantum_efficiency_c4: Value = _calibratable("mol mol-1", 0.05, 0.02, 0.08, "C4 quantum efficiency", SIB2)
    dark_respiration_fraction_c4: Value = _calibratable("-", 0.025, 0.005, 0.06, "C4 leaf respiration over vcmax", SIB2)
    high_temperature_limit_c4: Value = _calibratable("K", 313.0, 300.0, 325.0, "s2, C4", SIB2)
    low_temperature_limit_c4: Value = _calibratable("K", 288.0, 270.0, 298.0, "s4, C4", SIB2)
    light_coupling: Value = _parameter("-", 0.98, 0.7, 0.999, "beta_ce: how sharply w_c and w_e are joined", SIB2_I)
    sink_coupling: Value = _parameter("-", 0.95, 0.7, 0.999, "beta_ps: how sharply w_p and w_s are joined", SIB2_I)
    leaf_reflectance_vis: Value = _calibratable("-", 0.105, 0.02, 0.2, "leaf reflectance, visible", SIB2)
    leaf_reflectance_nir: Value = _calibratable("-", 0.58, 0.2, 0.65, "leaf reflectance, near infrared", SIB2)
    leaf_transmittance_vis: Value = _calibratable("-", 0.07, 0.005, 0.15, "leaf transmittance, visible", SIB2)
    leaf_transmittance_nir: Value = _calibratable("-", 0.25, 0.05, 0.3, "leaf transmittance, near infrared", SIB2)
    leaf_drag_coefficient: Value = _calibratable(
        "-",
        0.2,
        0.02,
        0.6,
        "c_d: momentum exchange between a leaf and the air",
        "Watanabe (1994); Kondo & Watanabe (1992)",
    )
    leaf_heat_coefficient: Value = _calibratable(
        "-",
        0.06,
        0.005,
        0.2,
        "c_h: heat exchange between a leaf and the air",
        "Watanabe (1994); Kondo & Watanabe (1992)",
    )
    canopy_height: Value = _calibratable("m", 1.0, 0.05, 50.0, "height of the canopy top", SIB2)
    vegetation_cover: Value = _calibratable("-", 1.0, 0.05, 1.0, "f_V: covered share of the ground", SIB2)
    leaf_area_scale: Value = _calibratable("-", 1.0, 0.3, 3.0, "factor on the LAI of the forcing", "1 by definition")
    canopy_water_capacity: Value = _calibratable(
        "kg m-2", 0.2, 0.02, 1.0, "w_cmax: water held per unit leaf area", MATSIRO
    )
    root_depth_scale: Value = _calibratable(
        "m", 0.3, 0.03, 3.0, "e-folding depth of the root distribution", "Jackson et al. (1996)"
    )
    critical_water_potential: Value = _calibratable(
        "m", -200.0, -500.0, -20.0, "psi_cr: soil water potential of half stomatal closure", SIB2
    )


class Soil(_Group):
    """Hydraulic, thermal and optical properties of the ground, uniform with depth."""

    porosity: Value = _calibratable("m3 m-3", 0.451, 0.25, 0.75, "w_sat", "Clapp & Hornberger (1978)")
    saturated_conductivity: Value = _calibratable(
        "m s-1", 6.95e-6, 1e-8, 5e-4, "K_s at the surface", "Clapp & Hornberger (1978)"
    )
    saturated_potential: Value = _calibratable("m", -0.478, -1.5, -0.01, "psi_s", "Clapp & Hornberger (1978)")
    clapp_hornberger_b: Value = _calibratable("-", 5.39, 2.0, 15.0, "b", "Clapp & Hornberger (1978)")
    soil_evaporation_a1: Value = _calibratable(
        "s m-1", 800.0, 10.0, 5000.0, "a_1 of the soil's evaporation resistance", MATSIRO
    )
    soil_evaporation_a2: Value = _calibratable("-", 0.2, 0.02, 1.0, "a_2 of the soil's evaporation resistance", MATSIRO)
    heat_capacity: Value = _parameter(
        "J m-3 K-1", 1.3e6, 0.5e6, 2.5e6, "c_g: heat capacity without water", "see soil table"
    )
    heat_conductivity: Value = _parameter(
        "W m-1 K-1", 0.25, 0.03, 1.0, "k_g0: heat conductivity without water", "see soil table"
    )
    albedo_vis: Value = _calibratable("-", 0.11, 0.02, 0.5, "ground albedo, visible", "Bonan (1996), medium wet soil")
    albedo_nir: Value = _calibratable(
        "-", 0.225, 0.05, 0.6, "ground albedo, near infrared", "Bonan (1996), medium wet soil"
    )
    emissivity: Value = _parameter("-", 0.97, 0.9, 1.0, "longwave emissivity of surface and leaves", "Bonan (1996)")
    roughness_momentum: Value = _calibratable("m", 0.05, 0.0005, 0.2, "z_0s of the ground", MATSIRO)
    roughness_heat: Value = _calibratable("m", 0.005, 0.00001, 0.02, "z_Ts of the ground", MATSIRO)


class Snow(_Group):
    """Snow cover, layers, ageing, and the split of precipitation."""

    cover_mass: Value = _parameter(
        "kg m-2", 40.0, 2.0, 200.0, "Sn_c: snow mass of full cover",
        "Ek et al. (2003), 0.04 m for low vegetation; MATSIRO6 uses 100 for its grid cells",
    )  # fmt: skip
    density: Value = _parameter("kg m-3", 300.0, 80.0, 500.0, "snow density", MATSIRO)
    heat_conductivity: Value = _parameter("W m-1 K-1", 0.3, 0.05, 0.8, "snow heat conductivity", MATSIRO)
    fresh_albedo_vis: Value = _parameter("-", 0.9, 0.7, 0.98, "albedo of fresh snow, visible", MATSIRO)
    fresh_albedo_nir: Value = _parameter("-", 0.7, 0.4, 0.85, "albedo of fresh snow, near infrared", MATSIRO)
    old_albedo_vis: Value = _parameter("-", 0.65, 0.3, 0.8, "albedo of old snow, visible", MATSIRO)
    old_albedo_nir: Value = _parameter("-", 0.2, 0.1, 0.5, "albedo of old snow, near infrared", MATSIRO)
    ageing_time: Value = _parameter("s", 1e6, 1e5, 1e7, "tau_age", "Yang et al. (1997), MATSIRO6")
    dirt_ageing: Value = _parameter("-", 0.3, 0.0, 1.0, "r_dirt: share of ageing by soot and dust", MATSIRO)
    renewal_mass: Value = _parameter("kg m-2", 10.0, 1.0, 30.0, "snowfall that renews the albedo", "Yang et al. (1997)")
    refreeze_limit: Value = _parameter(
        "-", 0.1, 0.0, 1.0, "f_Fmax: most water frozen in half an hour per snow mass", MATSIRO
    )
    roughness_momentum: Value = _parameter("m", 0.01, 0.0001, 0.05, "z_0Sn", "assumed, as MIROC's snow")
    roughness_heat: Value = _parameter("m", 0.001, 0.00001, 0.005, "z_TSn", "assumed, a tenth of z_0Sn as z_Ts of z_0s")
    wet_bulb_offset: Value = _parameter(
        "K", 3.97, 2.0, 6.0, "offset in the snow share of precipitation", "Wang et al. (2019) GRL 46, eq. 1"
    )


class Topography(_Group):
    """What TOPMODEL needs to know of the land around the tower (group ``site``)."""

    slope: Value = _parameter("-", 0.01, 0.0005, 0.5, "tan(beta_s): mean slope", "assumed: gently rolling cropland")
    slope_length: Value = _parameter("m", 100.0, 10.0, 1000.0, "L_s: ridge to valley", "assumed: field scale")
    conductivity_decay: Value = _parameter("m-1", 3.0, 0.5, 10.0, "f: decay of K_s with depth (1/f = 0.333 m)", MATSIRO)


class Management(_Group):
    """Field management; off by default. Its water is a named term of the budget."""

    irrigation_rate: Value = _calibratable("kg m-2 s-1", 0.0, 0.0, 5e-3, "largest irrigation rate; 0 is off", "user")
    irrigation_start: Value = _parameter("day", 121.0, 1.0, 366.0, "first day of year of the season", "user")
    irrigation_end: Value = _parameter("day", 273.0, 1.0, 366.0, "last day of year of the season", "user")
    irrigation_trigger: Value = _calibratable("-", 0.5, 0.0, 1.0, "root zone saturation that starts irrigation", "user")
    irrigation_target: Value = _calibratable("-", 0.8, 0.0, 1.0, "root zone saturation irrigated to", "user")
    pond_depth: Value = _calibratable(
        "kg m-2", 0.0, 0.0, 300.0, "depth of standing water kept in season; 0 is off", "user"
    )
    pond_start: Value = _parameter("day", 121.0, 1.0, 366.0, "first day of year of flooding", "user")
    pond_end: Value = _parameter("day", 258.0, 1.0, 366.0, "last day of year of flooding", "user")
    percolation_rate: Value = _calibratable(
        "kg m-2 s-1",
        3e-5,
        0.0,
        2e-4,
        "most water a flooded field loses to the soil",
        "Bouman et al. (2001), paddies 1-5 mm d-1",
    )
    water_table_depth: Value = _calibratable("m", 2.0, 0.2, 14.0, "prescribed water table", "user")
    water_table_conductance: Value = _calibratable(
        "s-1", 0.0, 0.0, 1e-5, "rate at which layers below the prescribed table are kept wet; 0 is off", "user"
    )


class Parameters(_Group):
    """All parameters of the model, in groups."""

    vegetation: Vegetation
    soil: Soil
    snow: Snow
    site: Topography
    management: Management


_GROUPS = {"vegetation": Vegetation, "soil": Soil, "snow": Snow, "site": Topography, "management": Management}

PARAMETERS: dict[str, ParameterInfo] = {
    f"{group}.{field.name}": ParameterInfo(name=field.name, group=group, **field.metadata)
    for group, cls in _GROUPS.items()
    for field in dataclasses.fields(cls)
}
"""The parameter table: ``"group.name" -> ParameterInfo``."""


class Relation(NamedTuple):
    """Two parameters of which one must not be larger than the other."""

    smaller: str
    larger: str
    reason: str


RELATIONS = (
    Relation("soil.roughness_heat", "soil.roughness_momentum", "heat reaches deeper between obstacles than momentum"),
    Relation("snow.roughness_heat", "snow.roughness_momentum", "heat reaches deeper between obstacles than momentum"),
    Relation("snow.old_albedo_vis", "snow.fresh_albedo_vis", "snow darkens as it ages"),
    Relation("snow.old_albedo_nir", "snow.fresh_albedo_nir", "snow darkens as it ages"),
    Relation("management.irrigation_trigger", "management.irrigation_target", "it starts below what it aims at"),
)
"""The table of relations: within its bounds each parameter may still contradict another."""

PFT_PARAMETERS = tuple(key for key, info in PARAMETERS.items() if info.group == "vegetation" and info.calibratable) + (
    "soil.soil_evaporation_a1",
    "soil.soil_evaporation_a2",
)
"""Keys of the plant-functional-type parameters that MdPL calibrates."""


def parameter_key(name: str) -> str:
    """The key ``group.name`` for a key or for a name that is unique without its group.

    Raises:
        InputError: no such parameter, or a name that two groups share.
    """
    if name in PARAMETERS:
        return name
    keys = [key for key, info in PARAMETERS.items() if info.name == name]
    if len(keys) == 1:
        return keys[0]
    if keys:
        raise InputError(f"parameter {name!r} is ambiguous: write one of {', '.join(keys)}")
    raise InputError(f"unknown parameter {name!r}: `jlsm parameters` lists the names")


def get_parameter(params: Parameters, name: str) -> Value:
    """The value of one parameter by ``group.name`` or unique name."""
    group, field = parameter_key(name).split(".")
    return getattr(getattr(params, group), field)


def replace_parameters(params: Parameters, values: dict[str, Value | float]) -> Parameters:
    """Parameters with some values replaced (names or ``group.name`` keys); the rest is shared.

    Differentiable: values may be traced. Shapes and bounds are not checked here
    (``check_parameters`` does that for user input).
    """
    for name, value in values.items():
        group, field = parameter_key(name).split(".")
        value = jnp.asarray(value, dtype=jnp.result_type(getattr(getattr(params, group), field)))
        params = eqx.tree_at(lambda p, g=group, f=field: getattr(getattr(p, g), f), params, value)
    return params


def check_parameters(
    params: Parameters, *, columns: tuple[int, ...] = (), steps: int | None = None, file: str = ""
) -> None:
    """Raise InputError for a parameter of the wrong shape, outside its bounds, not finite, or at odds with another.

    Args:
        columns: column shape of the run (``()`` for one site).
        steps: number of time steps, the length a time series must have.
        file: named in the message when the values came from a file.
    """
    where = f"{file}: " if file else ""
    shapes = {(), columns} if steps is None else {(), columns, (steps, *columns), (steps, *(1 for _ in columns))}
    for key in PARAMETERS:
        value = np.asarray(get_parameter(params, key))
        if value.shape not in shapes:
            expected = " or ".join(str(s) for s in sorted(shapes, key=len))
            raise InputError(f"{where}parameter {key} has shape {value.shape}: expected {expected}")
    check_parameter_values(params, where=where)


BOUND_ROUNDING = 1e-6
"""of a bound itself: so far beyond it is a value that was rounded to single precision; nothing is below a bound of 0"""


def check_parameter_values(params: Parameters, *, sites: tuple[str, ...] = (), where: str = "") -> None:
    """Raise InputError for a value outside its bounds (``PARAMETERS``), not finite, or at odds with another
    (``RELATIONS``). Values that are being traced are left alone.

    Args:
        sites: what the columns are called, for the message.
        where: begins the message.
    """
    values = {}
    for key in PARAMETERS:
        try:
            values[key] = np.asarray(get_parameter(params, key))
        except jax.errors.TracerArrayConversionError:
            continue

    def column(bad) -> str:
        if bad.ndim == 0 or bad.shape[-1] == 1:
            return f"{sites[0]}: " if len(sites) == 1 and sites[0] else ""
        number = int(np.argwhere(bad)[0, -1])
        return f"{sites[number]}: " if len(sites) == bad.shape[-1] and sites[number] else f"column {number}: "

    for key, value in values.items():
        info = PARAMETERS[key]
        low, high = info.lower - BOUND_ROUNDING * abs(info.lower), info.upper + BOUND_ROUNDING * abs(info.upper)
        bad = ~((value >= low) & (value <= high))
        if bad.any():
            raise InputError(
                f"{where}{column(bad)}parameter {key} = {value[bad].flat[0]:g} {info.unit} is outside its bounds "
                f"[{info.lower:g}, {info.upper:g}]: give a value inside them"
            )
    for relation in RELATIONS:
        if relation.smaller in values and relation.larger in values:
            smaller, larger = np.broadcast_arrays(values[relation.smaller], values[relation.larger])
            bad = smaller > larger * (1.0 + 1e-6)
            if bad.any():
                raise InputError(
                    f"{where}{column(bad)}parameter {relation.smaller} = {smaller[bad].flat[0]:g} is larger than "
                    f"{relation.larger} = {larger[bad].flat[0]:g} ({relation.reason}): lower the one or raise the other"
                )


def _class_values(table: dict[str, dict[str, float]], names: str | tuple[str, ...], kind: str, site: Site):
    single = isinstance(names, str)
    rows = []
    for name in [names] if single else names:
        if name not in table:
            raise InputError(f"site {site.code}: unknown {kind} {name!r}: use one of {', '.join(table)}")
        rows.append(table[name])
    return rows[0] if single else rows


def default_parameters(site: Site, *, c4_fraction: float | None = None, soil_texture: str | None = None) -> Parameters:
    """Parameters from the IGBP class and soil texture of a site (or of a stack of sites).

    Args:
        site: from ``load_forcing`` or ``stack_sites``; its ``canopy_height`` and ``c4_fraction`` replace the class
            values where given.
        c4_fraction: overrides the class's share of C4 plants (a maize year is 1).
        soil_texture: overrides the site's USDA texture class.

    Returns:
        Parameters with fields of the site's column shape.

    Raises:
        InputError: an unknown vegetation or texture class.
    """
    vegetation = _class_values(IGBP_CLASSES, site.igbp, "IGBP class", site)
    texture = site.soil_texture
    if soil_texture is not None:
        texture = soil_texture if isinstance(site.igbp, str) else (soil_texture,) * len(site.igbp)
    soil = _class_values(SOIL_CLASSES, texture, "USDA soil texture", site)

    def value(name: str, info: ParameterInfo, table) -> Array:
        if isinstance(table, dict):
            return jnp.asarray(table.get(name, info.default), dtype=float)
        return jnp.asarray([row.get(name, info.default) for row in table], dtype=float)

    columns = jnp.shape(site.latitude)
    groups = {}
    for group, cls in _GROUPS.items():
        table = {"vegetation": vegetation, "soil": soil}.get(group, {})
        groups[group] = cls(
            **{
                field.name: jnp.broadcast_to(value(field.name, PARAMETERS[f"{group}.{field.name}"], table), columns)
                for field in dataclasses.fields(cls)
            }
        )
    params = Parameters(**groups)
    info = PARAMETERS["vegetation.canopy_height"]
    height = jnp.asarray(site.canopy_height, dtype=float)
    height = jnp.where(jnp.isfinite(height), jnp.clip(height, info.lower, info.upper), params.vegetation.canopy_height)
    params = replace_parameters(params, {"vegetation.canopy_height": height})
    share = site.c4_fraction if c4_fraction is None else c4_fraction
    if share is not None:
        shares = [np.nan if one is None else one for one in (share if isinstance(share, tuple) else (share,))]
        wanted = jnp.broadcast_to(jnp.asarray(shares if columns else shares[0], float), columns)
        wanted = jnp.where(jnp.isnan(wanted), params.vegetation.c4_fraction, wanted)
        params = replace_parameters(params, {"vegetation.c4_fraction": wanted})
    return params


def source_of(key: str, site: Site | None = None) -> str:
    """Where the default of a parameter comes from, for the site's classes if one is given."""
    info = PARAMETERS[key]
    if site is not None and isinstance(site.igbp, str) and isinstance(site.soil_texture, str):
        if info.group == "vegetation" and info.name in IGBP_CLASSES.get(site.igbp, {}):
            return IGBP_SOURCES.get(info.name, info.source)
        if info.group == "soil" and info.name in SOIL_CLASSES.get(site.soil_texture, {}):
            return SOIL_SOURCES.get(info.name, info.source)
    return info.source
