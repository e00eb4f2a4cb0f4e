"""What a run gives back: fluxes, stores and budget residuals under their ALMA names.

Each field carries its unit and long name once, in its metadata; the NetCDF writer and the
documentation read them from here.
"""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from jlsm.constants import SNOW_LAYERS, SOIL_LAYER_THICKNESS
from jlsm.describe import field_table


def _output(
    unit: str, long_name: str, layers: str | None = None, standard_name: str | None = None, value: str = "mean"
):
    """An output field with its attributes.

    Args:
        unit, long_name, standard_name: as in the file; "-" is a pure number.
        layers: a dimension between time and columns, "soil" or "snow".
        value: what of the interval is given: its "mean" or "sum", or (stores) the value at its "start" or "end".
    """
    metadata = {"units": unit, "long_name": long_name, "layers": layers, "standard_name": standard_name, "value": value}
    return eqx.field(metadata=metadata)


class Outputs(eqx.Module):
    """Model output, ``[time, columns...]`` or ``[time, layers, columns...]``.

    Fluxes are means over the interval that starts at the time stamp; stores are values at its end, except the
    water table's depth, which is that at its start (what base flow was computed from). ``value`` in a field's
    metadata says which.
    Rnet, Qg are positive into the surface; Qle, Qh positive up.
    """

    Qle: Float[Array, "..."] | None = _output(
        "W m-2", "latent heat flux", standard_name="surface_upward_latent_heat_flux"
    )
    Qh: Float[Array, "..."] | None = _output(
        "W m-2", "sensible heat flux", standard_name="surface_upward_sensible_heat_flux"
    )
    Qg: Float[Array, "..."] | None = _output("W m-2", "heat flux into the ground or snow, melt included")
    Rnet: Float[Array, "..."] | None = _output(
        "W m-2", "net radiation", standard_name="surface_net_downward_radiative_flux"
    )
    SWnet: Float[Array, "..."] | None = _output(
        "W m-2", "net shortwave radiation", standard_name="surface_net_downward_shortwave_flux"
    )
    LWnet: Float[Array, "..."] | None = _output(
        "W m-2", "net longwave radiation", standard_name="surface_net_downward_longwave_flux"
    )
    SWup: Float[Array, "..."] | None = _output("W m-2", "upward shortwave radiation")
    LWup: Float[Array, "..."] | None = _output("W m-2", "upward longwave radiation")
    Qf: Float[Array, "..."] | None = _output("W m-2", "energy used for fusion (melt positive) in snow, soil and canopy")
    Qa: Float[Array, "..."] | None = _output(
        "W m-2", "heat advected by snowfall and sublimating snow, relative to 0 degC"
    )
    Evap: Float[Array, "..."] | None = _output(
        "kg m-2 s-1", "total evapotranspiration", standard_name="water_evapotranspiration_flux"
    )
    TVeg: Float[Array, "..."] | None = _output("kg m-2 s-1", "transpiration", standard_name="transpiration_flux")
    ESoil: Float[Array, "..."] | None = _output("kg m-2 s-1", "evaporation from bare soil and ponded water")
    ECanop: Float[Array, "..."] | None = _output("kg m-2 s-1", "evaporation of water on leaves")
    SubSnow: Float[Array, "..."] | None = _output("kg m-2 s-1", "sublimation of snow")
    Rainf: Float[Array, "..."] | None = _output("kg m-2 s-1", "rainfall", standard_name="rainfall_flux")
    Snowf: Float[Array, "..."] | None = _output("kg m-2 s-1", "snowfall", standard_name="snowfall_flux")
    Qs: Float[Array, "..."] | None = _output("kg m-2 s-1", "surface runoff", standard_name="surface_runoff_flux")
    Qsb: Float[Array, "..."] | None = _output("kg m-2 s-1", "subsurface runoff (base flow)")
    Qsm: Float[Array, "..."] | None = _output("kg m-2 s-1", "snowmelt", standard_name="surface_snow_melt_flux")
    Irrig: Float[Array, "..."] | None = _output("kg m-2 s-1", "irrigation and ponding water added (field management)")
    WaterTableFlux: Float[Array, "..."] | None = _output(
        "kg m-2 s-1", "water gained from the prescribed water table (field management)"
    )
    GPP: Float[Array, "..."] | None = _output("umol m-2 s-1", "gross primary production")
    AvgSurfT: Float[Array, "..."] | None = _output(
        "K", "radiative surface temperature", standard_name="surface_temperature"
    )
    VegT: Float[Array, "..."] | None = _output("K", "canopy temperature", standard_name="canopy_temperature")
    BaresoilT: Float[Array, "..."] | None = _output("K", "ground surface temperature, both portions averaged")
    Albedo: Float[Array, "..."] | None = _output("-", "shortwave albedo", standard_name="surface_albedo")
    LAI: Float[Array, "..."] | None = _output("m2 m-2", "leaf area index in use", standard_name="leaf_area_index")
    Ustar: Float[Array, "..."] | None = _output("m s-1", "friction velocity")
    SoilTemp: Float[Array, "..."] | None = _output("K", "soil temperature", "soil", "soil_temperature", value="end")
    SoilMoist: Float[Array, "..."] | None = _output(
        "kg m-2", "soil water, liquid and frozen", "soil", "mass_content_of_water_in_soil_layer", value="end"
    )
    SoilIce: Float[Array, "..."] | None = _output("kg m-2", "frozen soil water", "soil", value="end")
    SWE: Float[Array, "..."] | None = _output(
        "kg m-2", "snow water equivalent", standard_name="surface_snow_amount", value="end"
    )
    SnowDepth: Float[Array, "..."] | None = _output(
        "m", "snow depth, grid mean", standard_name="surface_snow_thickness", value="end"
    )
    SnowFrac: Float[Array, "..."] | None = _output(
        "-", "snow cover fraction", standard_name="surface_snow_area_fraction", value="end"
    )
    SnowT: Float[Array, "..."] | None = _output("K", "snow temperature", "snow", value="end")
    CanopInt: Float[Array, "..."] | None = _output("kg m-2", "water on leaves", value="end")
    Pond: Float[Array, "..."] | None = _output("kg m-2", "water standing on the field", value="end")
    WaterTableD: Float[Array, "..."] | None = _output("m", "water table depth", value="start")
    """at the START of the interval: base flow and runoff of the step follow from it"""
    EnergyResidual: Float[Array, "..."] | None = _output("W m-2", "energy budget residual of the step")
    WaterResidual: Float[Array, "..."] | None = _output("kg m-2", "water budget residual of the step", value="sum")
    SolverResidual: Float[Array, "..."] | None = _output(
        "W m-2", "what the iteration of the surface energy balance left (handed to the ground)"
    )

    def __repr__(self) -> str:
        return field_table(self)


def output_fields() -> dict[str, dict[str, str | None]]:
    """``{name: {units, long_name, layers, standard_name, value}}`` of every output, in order."""
    return {field.name: dict(field.metadata) for field in dataclasses.fields(Outputs)}


_LAYERS = {"soil": len(SOIL_LAYER_THICKNESS), "snow": SNOW_LAYERS}


def pack(out: Outputs, fields: tuple[str, ...] | None) -> Array:
    """One array ``[rows, ...]`` of the chosen outputs of a step.

    A time loop stores each output with its own copy operation; one packed array makes that one.

    Raises:
        ValueError: a name in ``fields`` is no output.
    """
    table = output_fields()
    unknown = [name for name in fields or () if name not in table]
    if unknown:
        raise ValueError(f"no such output: {', '.join(unknown)}; outputs are {', '.join(table)}")
    rows = []
    for name, attributes in table.items():
        if fields is None or name in fields:
            value = getattr(out, name)
            rows.append(value if attributes["layers"] else value[None])
    columns = jnp.broadcast_shapes(*(row.shape[1:] for row in rows))
    return jnp.concatenate([jnp.broadcast_to(row, (row.shape[0], *columns)) for row in rows])


def unpack(packed: Array, fields: tuple[str, ...] | None) -> Outputs:
    """Outputs from ``[time, rows, ...]``; outputs that were not chosen are None."""
    values, row = {}, 0
    for name, attributes in output_fields().items():
        if fields is not None and name not in fields:
            values[name] = None
            continue
        count = _LAYERS[attributes["layers"]] if attributes["layers"] else 1
        part = packed[:, row : row + count]
        values[name] = part if attributes["layers"] else part[:, 0]
        row += count
    return Outputs(**values)
