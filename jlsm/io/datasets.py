"""Outputs and parameters of one site or of many as one xarray Dataset each, with names, units and site labels.

For looking at and working with; ``jlsm.io.result`` has the layout of result files.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from jlsm.forcing import Forcing, Site
from jlsm.io.result import to_dataset
from jlsm.outputs import Outputs
from jlsm.parameters import PARAMETERS, Parameters, get_parameter

_OF_ALL = ["soil_layer_bnds", "soil_layer_thickness"]


def site_codes(site: Site) -> np.ndarray:
    """The codes of a stack of sites, or their numbers where they have none."""
    columns = np.shape(site.latitude)[0]
    codes = (site.code,) * columns if isinstance(site.code, str) else site.code
    return np.asarray(codes) if all(codes) else np.arange(columns)


def outputs_dataset(out: Outputs, forcing: Forcing, site: Site) -> xr.Dataset:
    """Model output with ALMA names and CF attributes: of one site as ``to_dataset`` has it, of a stack by ``site``.

    Args:
        out: from ``simulate``; fields that are None are left out.
        forcing, site: of the same run.

    Returns:
        Dataset ``time, (soil_layer | snow_layer,) y, x``; of a stack, one whose variables begin with ``site``. Records
        of different years share one time axis (local standard time) with NaN where a site has none.

    Raises:
        ValueError: lengths that differ.
    """
    if np.ndim(forcing.dt) == 0:
        return to_dataset(out, forcing, site)
    parts = [to_dataset(out, forcing, site, column=i) for i in range(np.shape(forcing.dt)[0])]
    common = parts[0][_OF_ALL]
    parts = [
        part.drop_vars(("time_bnds", *_OF_ALL)).reset_coords(("latitude", "longitude")).squeeze(("y", "x"), drop=True)
        for part in parts
    ]
    sites = xr.DataArray(site_codes(site), dims="site", name="site", attrs={"long_name": "site code"})
    whole = xr.concat(parts, dim=sites, data_vars="all", join="outer", combine_attrs="drop_conflicts")
    del whole.time.attrs["bounds"]
    return whole.assign({name: common[name] for name in _OF_ALL}).set_coords(("latitude", "longitude"))


def parameters_dataset(params: Parameters, site: Site, forcing: Forcing | None = None) -> xr.Dataset:
    """Every parameter under its key (``vegetation.vcmax25``), with unit, description, bounds and source.

    Args:
        params: of one site, or of a stack.
        site: says which.
        forcing: gives the time of parameters that are time series; without it steps are only counted.

    Returns:
        Dataset whose variables have the dimensions ``(time,) (site)``: ``time`` where they are time series, ``site`` in
        a stack. Where sites of a stack have clocks of their own, these are the coordinate ``local_time`` (time, site).
    """
    columns = np.shape(site.latitude)
    names = ("site",) * len(columns)
    dataset = xr.Dataset(coords={"site": ("site", site_codes(site), {"long_name": "site code"})} if columns else {})
    for key, info in PARAMETERS.items():
        value = np.asarray(get_parameter(params, key))
        value = np.broadcast_to(value, (*value.shape[: max(value.ndim - len(columns), 0)], *columns))
        dimensions = ("time", *names) if value.ndim > len(columns) else names
        attributes = {
            "long_name": info.description,
            "units": "1" if info.unit == "-" else info.unit,
            "valid_min": info.lower,
            "valid_max": info.upper,
            "source": info.source,
        }
        dataset[key] = (dimensions, value, attributes)
    if forcing is not None and "time" in dataset.sizes:
        days, seconds = np.asarray(forcing.day), np.asarray(forcing.second_of_day)
        clock = days.astype("datetime64[D]").astype("datetime64[ns]") + seconds.astype("timedelta64[s]")
        attributes = {"long_name": "start of the interval, local standard time"}
        if not columns or (clock == clock[:, :1]).all():
            dataset = dataset.assign_coords(time=("time", clock if not columns else clock[:, 0], attributes))
        else:
            dataset = dataset.assign_coords(local_time=(("time", "site"), clock, attributes))
    if not columns and site.code:
        dataset.attrs["site_code"] = site.code
    return dataset
