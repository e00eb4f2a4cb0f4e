"""Builders shared by the tests of files: a tiny PLUMBER2-like Met file, and a model stand-in that needs no compile."""

from __future__ import annotations

import dataclasses
import os
import types
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import netCDF4
import numpy as np

from jlsm.constants import SNOW_LAYERS, SOIL_LAYER_THICKNESS
from jlsm.forcing import Forcing
from jlsm.outputs import Outputs, output_fields
from jlsm.state import State, initial_state

DATA = Path(os.environ.get("MDPL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))
"""Where the real towers are; tests that need them skip with a reason where the folder is absent."""

UNITS = {
    "Tair": "K",
    "Qair": "kg/kg",
    "Psurf": "Pa",
    "SWdown": "W/m2",
    "LWdown": "W/m2",
    "Wind": "m/s",
    "Precip": "kg/m2/s",
    "CO2air": "ppm",
    "VPD": "hPa",
    "RH": "%",
    "LAI": "m2/m2",
}


def real_met_files() -> list[Path]:
    """Every Met file of the real towers, or an empty list."""
    return sorted(DATA.glob("plumber2*/*_Met.nc"))


def met_series(steps: int, dt: float) -> dict[str, np.ndarray]:
    """Plausible weather of a mid-latitude site, from midnight."""
    hour = (np.arange(steps) * dt / 3600.0) % 24.0
    sun = np.maximum(np.cos((hour - 12.0) / 12.0 * np.pi), 0.0)
    rain = np.zeros(steps)
    rain[5 : 5 + steps // 20] = 2e-4
    return {
        "Tair": 283.0 + 6.0 * np.cos((hour - 14.0) / 12.0 * np.pi),
        "Qair": np.full(steps, 0.005),
        "Psurf": np.full(steps, 99000.0),
        "SWdown": 650.0 * sun,
        "LWdown": np.full(steps, 310.0),
        "Wind": 2.0 + np.sin(np.arange(steps)),
        "Precip": rain,
        "CO2air": np.full(steps, 385.0),
        "VPD": np.full(steps, 4.0),
        "RH": np.full(steps, 75.0),
        "LAI": np.full(steps, 2.5),
    }


def write_met(
    path: Path,
    *,
    steps: int = 96,
    dt: float = 1800.0,
    origin: str = "2004-02-28 00:00:00",
    replace: dict[str, np.ndarray | None] | None = None,
    units: dict[str, str] | None = None,
    time: np.ndarray | None = None,
    time_units: str | None = None,
    calendar: str = "standard",
    scalars: dict[str, float | None] | None = None,
    attributes: dict[str, object] | None = None,
    igbp: str | None = "CRO",
    cells: bool = True,
    width: int = 1,
    form: str = "NETCDF4",
) -> Path:
    """Write a Met file laid out as PLUMBER2's; every argument changes one thing about it.

    Args:
        replace: series that differ from ``met_series``; None leaves the variable out.
        scalars: site variables that differ; None leaves the variable out.
        attributes: global attributes that differ; None leaves the attribute out.
        cells: with y and x of length ``width`` (True) or with a bare time dimension.
    """
    series = met_series(steps, dt) | (replace or {})
    names = UNITS | (units or {})
    site = {
        "latitude": 51.1,
        "longitude": 10.9,
        "elevation": 160.0,
        "reference_height": 6.0,
        "canopy_height": 1.0,
    } | (scalars or {})
    texts = {
        "site_code": "XX-Tst",
        "site_name": "Testfield",
        "utc_offset_hours": np.float32(1.0),
        "soil_texture": "loam",
    } | (attributes or {})
    with netCDF4.Dataset(path, "w", format=form) as dataset:
        dataset.setncatts({name: value for name, value in texts.items() if value is not None})
        dataset.createDimension("time", steps)
        dataset.createDimension("y", width)
        dataset.createDimension("x", 1)
        dataset.createDimension("nchar", 20)
        clock = dataset.createVariable("time", "f8", ("time",))
        clock.setncatts({"units": time_units or f"seconds since {origin}", "calendar": calendar})
        clock[:] = np.arange(steps) * dt if time is None else time
        for name, values in series.items():
            if values is None:
                continue
            dimensions = ("time", "y", "x") if cells else ("time",)
            variable = dataset.createVariable(name, "f4", dimensions, fill_value=np.float32(-9999.0))
            variable.units = names.get(name, "1")
            values = np.asarray(values, np.float32)
            variable[:] = np.repeat(values[:, None], width, axis=1)[:, :, None] if cells else values
        for name, value in site.items():
            if value is not None:
                dataset.createVariable(name, "f4", ("y", "x") if cells else ())[...] = value
        if igbp is not None:
            text = dataset.createVariable("IGBP_veg_short", "S1", ("nchar",))
            text[:] = np.frombuffer(igbp.ljust(20).encode(), "S1")
    return path


def fake_outputs(forcing: Forcing, offset: float = 0.0) -> Outputs:
    """Outputs of the right shapes, made from the forcing, for columns ``()`` or ``(n,)``."""
    layers = {"soil": len(SOIL_LAYER_THICKNESS), "snow": SNOW_LAYERS}
    fields = {}
    for number, (name, field) in enumerate(output_fields().items()):
        # settled, or a run would say that it is not
        values = jnp.zeros_like(forcing.Tair) if name == "SolverResidual" else forcing.Tair + number + offset
        if field["layers"]:
            count = jnp.arange(layers[field["layers"]], dtype=values.dtype)
            values = values[:, None] + count.reshape(-1, *[1] * (values.ndim - 1))
        fields[name] = values
    return Outputs(**fields)


def fake_state(temperature: float = 281.25) -> State:
    """A column's state."""
    return initial_state(jnp.asarray(temperature), jnp.asarray(0.45))


def fake_model(chunk: int = 40) -> types.ModuleType:
    """A stand-in for ``jlsm.simulation`` with the same doors; its state counts the steps it has seen."""
    module = types.ModuleType("jlsm.simulation")

    def spin_up(params, forcing, site, years=3, state=None) -> State:
        return fake_state() if state is None else state

    def stream(params, forcing, site, state, chunk_steps=chunk) -> Iterator[tuple[slice, Outputs, State]]:
        for first in range(0, forcing.steps, chunk_steps):
            steps = slice(first, min(first + chunk_steps, forcing.steps))
            state = dataclasses.replace(state, snow_mass=state.snow_mass + steps.stop - steps.start)
            yield steps, fake_outputs(forcing.window(steps.start, steps.stop)), state

    module.spin_up, module.stream = spin_up, stream
    return module
