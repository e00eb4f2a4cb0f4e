"""Compute ``five_crops_climate.toml`` from the towers' record: ``python -m mdpl.data.make_climate --from DIR -o FILE``.

DIR holds the PLUMBER2-style Met files of the five croplands (``$MDPL_DATA/plumber2_daily``, see ``docs/data.md``:
daily means of FLUXNET2015, Pastorello et al. 2020, doi:10.1038/s41597-020-0534-3, put on a half-hourly axis).
Only daily means enter, except the daily temperature range and the vapour pressure's share of saturation, which
rest on that file's disaggregation (its range follows Bristow & Campbell 1984 from the clearness index: no
measured range was available).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from jlsm.constants import DAY
from jlsm.files import check_writable
from jlsm.processes.humidity import saturation_over_water, vapour_pressure
from mdpl.data.climate import (
    FIVE_CROPS,
    MONTHLY,
    SHAPE_PROBABILITIES,
    SHAPES,
    STATES,
    VARIABLES,
    WET_DAY,
    month_and_day,
    yearly_course,
)
from mdpl.data.sky import clear_sky_emissivity, potential_radiation, sky_longwave
from mdpl.files import write_text


def main() -> None:
    """Console entry."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--from", dest="source", type=Path, required=True, help="folder with the five *_Met.nc files")
    parser.add_argument("-o", dest="output", type=Path, default=Path(__file__).with_name("five_crops_climate.toml"))
    arguments = parser.parse_args()
    check_writable(arguments.output, _is_table, "table of this program")
    tables = {}
    for code in FIVE_CROPS:
        (file,) = sorted(arguments.source.glob(f"{code}_*_Met.nc"))
        tables[code] = site_table(file)
    write_text(arguments.output, as_toml(tables))


def _is_table(path: Path) -> bool:
    return path.read_bytes().startswith(b"# Monthly statistics of the five cultivation sites")


def site_table(file: Path) -> dict:
    """Every entry of one site's table from its Met file."""
    import xarray as xr

    with xr.open_dataset(file) as dataset:
        series = {name: dataset[name].values.ravel().astype(float) for name in
                  ("Tair", "Precip", "SWdown", "LWdown", "Wind", "Psurf", "Qair", "RH")}  # fmt: skip
        scalars = {name: float(dataset[name].values.ravel()[0]) for name in
                   ("latitude", "longitude", "elevation", "reference_height", "canopy_height")}  # fmt: skip
        scalars["utc_offset"] = float(dataset.attrs["utc_offset_hours"])
        texts = {
            "name": str(dataset.attrs["site_name"]),
            "igbp": "CRO",
            "vegetation": str(dataset.attrs["vegetation_description"]),
            "source": file.name,
        }
        days = np.unique(dataset["time"].values.astype("datetime64[D]")).astype(int)
    return scalars | texts | daily_statistics(series, scalars, days)


def daily_statistics(series: dict[str, np.ndarray], scalars: dict[str, float], days: np.ndarray) -> dict:
    """The statistics of half-hourly series of whole days."""

    def by_day(values: np.ndarray) -> np.ndarray:
        return values.reshape(days.size, -1)

    potential = by_day(potential_radiation(days, **{k: scalars[k] for k in ("latitude", "longitude", "utc_offset")}))
    daily = {name: by_day(series[name]).mean(axis=1) for name in series}
    vapour = by_day(vapour_pressure(series["Qair"], series["Psurf"])).mean(axis=1)
    values = {
        "tair": daily["Tair"],
        "clearness": daily["SWdown"] / potential.mean(axis=1),
        "saturation": vapour / saturation_over_water(daily["Tair"]),
        "wind": daily["Wind"],
        "psurf": daily["Psurf"],
    }
    rain = daily["Precip"] * DAY
    wet = rain > WET_DAY
    month, _ = month_and_day(days)
    here = [month == m for m in range(12)]
    if min(int((at & state).sum()) for at in here for state in (wet, ~wet)) < 20:
        raise ValueError("fewer than 20 wet or dry days in a calendar month: the record is too short")
    table = {}
    scores = np.empty((days.size, len(VARIABLES)))
    for i, name in enumerate(VARIABLES):
        for state, chosen in zip(STATES, (~wet, wet), strict=True):
            means = np.array([values[name][at & chosen].mean() for at in here])
            anomaly = values[name] - yearly_course(means, days)
            spread = np.array([anomaly[at & chosen].std() for at in here])
            standard = anomaly[chosen] / spread[month[chosen]]
            table[f"{name}_mean_{state}"], table[f"{name}_std_{state}"] = means, spread
            table[f"{name}_shape_{state}"] = _unit_shape(np.quantile(standard, SHAPE_PROBABILITIES))
            scores[chosen, i] = _normal_scores(standard)
    table |= _rain(rain, wet, here)
    table |= _temperature_range(by_day(series["Tair"]), values["clearness"], here)
    table["clear_sky"] = np.array([np.quantile(values["clearness"][at], 0.97) for at in here])
    cloud = np.clip(1.0 - values["clearness"] / table["clear_sky"][month], 0.0, 1.0)
    longwave = sky_longwave(values["tair"], clear_sky_emissivity(vapour, values["tair"]), cloud)
    table["longwave_scale"] = np.array([daily["LWdown"][at].mean() / longwave[at].mean() for at in here])
    plain = {"tair": values["tair"], "swdown": daily["SWdown"], "lwdown": daily["LWdown"], "rh": daily["RH"],
             "wind": values["wind"], "psurf": values["psurf"], "saturation": values["saturation"],
             "clearness": values["clearness"]}  # fmt: skip
    for name, series_of_days in plain.items():
        table |= {f"{name}_{what}": np.array(v) for what, v in _plain(series_of_days, here).items()}
    table["days"] = np.array([int(at.sum()) for at in here])
    centred = (scores - scores.mean(axis=0)) / scores.std(axis=0)
    table["correlation"] = centred.T @ centred / days.size
    table["memory"] = np.array([_memory(values[name], name, table, wet, days) for name in VARIABLES])
    return table


def _memory(values: np.ndarray, name: str, table: dict, wet: np.ndarray, days: np.ndarray) -> float:
    """Autocorrelation that a score needs so that the variable itself remembers one day as the record does.

    A generated score knows nothing of rain, so that the mean, which changes with every first wet or dry day, makes
    the variable forget faster than its score: r = c + (1 - b) r_score, with the mean's share b of the variance and
    c of the covariance with the next day.
    """
    month, _ = month_and_day(days)
    means = np.array([values[month == m].mean() for m in range(12)])
    spread = np.array([(values - yearly_course(means, days))[month == m].std() for m in range(12)])[month]
    whole = _normal_scores((values - yearly_course(means, days)) / spread)
    of_state = [yearly_course(table[f"{name}_mean_{state}"], days) - yearly_course(means, days) for state in STATES]
    part = np.where(wet, of_state[1], of_state[0]) / spread
    wanted = np.corrcoef(whole[1:], whole[:-1])[0, 1]
    return float((wanted - (part[1:] * part[:-1]).mean()) / (1.0 - (part**2).mean()))


def _rain(rain: np.ndarray, wet: np.ndarray, here: list[np.ndarray]) -> dict[str, np.ndarray]:
    before = np.concatenate([[False], wet[:-1]])
    after_first = np.arange(wet.size) > 0
    return {
        "wet_frequency": np.array([wet[at].mean() for at in here]),
        "wet_after_dry": np.array([wet[at & after_first & ~before].mean() for at in here]),
        "wet_after_wet": np.array([wet[at & after_first & before].mean() for at in here]),
        "amount_mean": np.array([rain[at & wet].mean() for at in here]),
        "amount_std": np.array([rain[at & wet].std() for at in here]),
    }


def _temperature_range(tair: np.ndarray, clearness: np.ndarray, here: list[np.ndarray]) -> dict[str, np.ndarray]:
    spread = tair.max(axis=1) - tair.min(axis=1)
    slopes = [np.polyfit(clearness[at], spread[at], 1)[0] for at in here]
    return {"range_mean": np.array([spread[at].mean() for at in here]), "range_per_clearness": np.array(slopes)}


def _plain(values: np.ndarray, here: list[np.ndarray]) -> dict[str, list[float]]:
    """Mean, standard deviation and autocorrelation of one day with the next, per calendar month."""
    result: dict[str, list[float]] = {"mean": [], "std": [], "lag1": []}
    for at in here:
        pairs = at[1:] & at[:-1]
        anomaly = values - values[at].mean()
        result["mean"].append(float(values[at].mean()))
        result["std"].append(float(values[at].std()))
        result["lag1"].append(float((anomaly[1:] * anomaly[:-1])[pairs].mean() / values[at].var()))
    return result


def _normal_scores(values: np.ndarray) -> np.ndarray:
    from scipy.special import ndtri

    ranks = np.argsort(np.argsort(values)) + 1.0
    return ndtri(ranks / (values.size + 1.0))


def _unit_shape(quantiles: np.ndarray) -> np.ndarray:
    """The quantiles shifted and scaled so that interpolation between them has zero mean and unit variance."""
    fine = np.interp((np.arange(20000) + 0.5) / 20000.0, SHAPE_PROBABILITIES, quantiles)
    return (quantiles - fine.mean()) / fine.std()


def as_toml(tables: dict[str, dict]) -> str:
    """The table as TOML, one statistic a line."""
    lines = [
        "# Monthly statistics of the five cultivation sites; written by `python -m mdpl.data.make_climate`.",
        "# Lists of twelve run from January to December. Meaning and units: mdpl/data/climate.py.",
    ]
    for code, table in tables.items():
        lines += ["", f"[{code}]"]
        for name in table:
            lines.append(f"{name} = {_toml(table[name])}")
    unknown = [name for name in (*MONTHLY, *SHAPES) if any(name not in table for table in tables.values())]
    if unknown:
        raise ValueError(f"statistics not computed: {', '.join(unknown)}")
    return "\n".join(lines) + "\n"


def _toml(value) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if np.ndim(value):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    number = float(value)
    return f"{number:.0f}" if number == int(number) and abs(number) < 1e6 else f"{number:.6g}"


if __name__ == "__main__":
    main()
