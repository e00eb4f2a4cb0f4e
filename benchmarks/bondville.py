"""Bondville (US-Bo1) 1998, half-hourly: surface and soil temperature, soil water and fluxes, jlsm beside Noah-MP.

    python -m benchmarks.bondville [--data DIR] [--precision float32|float64] [--spinup-years 5] \\
        [--figure docs/figures/bondville.png] [-o OUT.json]

The tower measured soil temperature at six depths and soil water at three. The year is repeated for spin-up (Noah-MP's
reference run repeated it four times), then scored whole and by season, at measured steps (qc 0) only.

Models have layers, probes have depths: layer-midpoint temperatures are interpolated linearly in depth, with the ground
surface at 0 (Noah-MP's file has only the radiative temperature of canopy and ground together; under snow the first
layer stands for the surface). Soil water is interpolated between midpoints, and holds above the first. Stores, which
are values at the end of the half-hour, are averaged to its middle. Soil water counts only where the soil at that depth
was observed above 0 degC: probes miss ice, the models' water includes it.

The thermometers changed on the afternoon of 14 July (inferred from the record): in the month before, those at 2, 4 and
8 cm went through one and the same daily range, 8 cm as if at the surface; afterwards the range falls with depth as
conduction has it, and 64 cm is 5 K lower from one hour to the next, with jumps later on. So soil temperature is also
scored before and after that day, the daily range beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from benchmarks.data import data_folder
from benchmarks.results import result_file, write_json
from jlsm.constants import FREEZING_POINT
from mdpl.scores.metrics import scores

TOWER = "US-Bo1_1998-1998"
FLUXES = ("Qle", "Qh", "Rnet", "Qg")
TEMPERATURE_DEPTHS = (2, 4, 8, 16, 32, 64)
"""cm"""
MOISTURE_DEPTHS = {5: 4, 20: 16, 60: 64}
"""depth of the soil water probe, cm -> of the thermometer that tells whether it is frozen"""
SEASONS = {"DJF": (12, 1, 2), "MAM": (3, 4, 5), "JJA": (6, 7, 8), "SON": (9, 10, 11)}
CHANGE = np.datetime64("1998-07-14")
"""the day on which the thermometers changed"""
Series = dict[str, np.ndarray]


def observed(path: Path) -> tuple[np.ndarray, Series, Series]:
    """Times (interval start, local standard time), values and which of them count, by variable.

    Fluxes W m-2, temperatures K, soil water m3 m-3.
    """
    import xarray as xr

    names = [*FLUXES, "AvgSurfT", *(f"SoilTemp_{d}cm" for d in TEMPERATURE_DEPTHS)]
    names += [f"SoilMoist_{d}cm" for d in MOISTURE_DEPTHS]
    with xr.open_dataset(path) as dataset:
        times = dataset["time"].values.astype("datetime64[s]")
        values = {name: dataset[name].values.ravel().astype(np.float64) for name in names}
        measured = {
            name: (dataset[f"{name}_qc"].values.ravel() == 0) & np.isfinite(series) for name, series in values.items()
        }
    for depth, thermometer in MOISTURE_DEPTHS.items():
        name = f"SoilTemp_{thermometer}cm"
        measured[f"SoilMoist_{depth}cm"] &= measured[name] & (values[name] > FREEZING_POINT)
    return times, values, measured


def run_jlsm(met: Path, years: int) -> Series:
    """A year of jlsm at default parameters after ``years`` of spin-up, at the probes' depths."""
    import jax

    import jlsm
    from jlsm.constants import SOIL_LAYER_THICKNESS

    forcing, site = jlsm.load_forcing(met)
    params = jlsm.default_parameters(site)
    state = jlsm.spin_up(params, forcing, site, years=years)
    out, _ = jlsm.simulate(params, forcing, site, state)
    out = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), out)
    surface = out.BaresoilT + out.SnowFrac * (out.SoilTemp[:, 0] - out.BaresoilT)
    fluxes = {name: getattr(out, name) for name in (*FLUXES, "AvgSurfT")}
    return fluxes | at_probes(np.array(SOIL_LAYER_THICKNESS), out.SoilTemp, out.SoilMoist, surface)


def read_noahmp(path: Path, times: np.ndarray) -> Series:
    """The Noah-MP 5.2 reference run at the probes' depths.

    Raises:
        ValueError: its time steps are not ``times``.
    """
    import xarray as xr

    with xr.open_dataset(path) as dataset:
        if not np.array_equal(dataset["time"].values.astype("datetime64[s]"), times):
            raise ValueError(f"{path}: its time steps are not those of the observations")
        run = {name: dataset[name].values.squeeze().astype(np.float64) for name in dataset.data_vars}
    surface = np.where(run["SWE"] > 0, run["SoilTemp"][:, 0], run["AvgSurfT"])
    fluxes = {name: run[name] for name in (*FLUXES, "AvgSurfT")}
    return fluxes | at_probes(run["soil_layer_thickness"], run["SoilTemp"], run["SoilMoist"], surface)


def at_probes(thickness: np.ndarray, temperature: np.ndarray, water: np.ndarray, surface: np.ndarray) -> Series:
    """Layer values of a run at the probes' depths.

    Args:
        thickness: of the layers, m.
        temperature, water: ``[time, layer]`` at the end of each step, K and kg m-2.
        surface: ``[time]``, temperature of the ground surface, K.

    Returns:
        SoilTemp_<d>cm in K and SoilMoist_<d>cm in m3 m-3.
    """
    middle = np.cumsum(thickness) - 0.5 * thickness
    temperature = np.column_stack([surface, mid_step(temperature)])
    water = mid_step(water) / (1000.0 * thickness)
    probes = {
        f"SoilTemp_{depth}cm": at_depth(depth / 100, np.concatenate([[0.0], middle]), temperature)
        for depth in TEMPERATURE_DEPTHS
    }
    return probes | {f"SoilMoist_{depth}cm": at_depth(depth / 100, middle, water) for depth in MOISTURE_DEPTHS}


def mid_step(ends: np.ndarray) -> np.ndarray:
    """Values at the middle of the steps from those at their ends; the first step has its end only."""
    return np.concatenate([ends[:1], 0.5 * (ends[:-1] + ends[1:])])


def at_depth(depth: float, depths: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``values [time, depths]`` interpolated linearly to ``depth`` (m); above the first depth its value holds."""
    below = int(np.searchsorted(depths, depth))
    if below == 0:
        return values[:, 0]
    weight = (depth - depths[below - 1]) / (depths[below] - depths[below - 1])
    return (1 - weight) * values[:, below - 1] + weight * values[:, below]


def compare(times: np.ndarray, values: Series, measured: Series, runs: dict[str, Series]) -> list[dict]:
    """Bias, RMSE and R of every run, variable and period (the year, four seasons)."""
    month = times.astype("datetime64[M]").astype(int) % 12 + 1
    periods = {"year": np.ones(times.size, bool)} | {name: np.isin(month, months) for name, months in SEASONS.items()}
    periods |= parts(times)
    table = []
    for name, target in values.items():
        for period, within in periods.items():
            used = measured[name] & within
            row = {"variable": name, "period": period, "n": int(used.sum())}
            row["observed_mean"] = float(target[used].mean()) if used.any() else float("nan")
            row["observed_daily_range"] = daily_range(times, target, used)
            for model, run in runs.items():
                score = scores(run[name], target, used)
                row[model] = {"bias": score.bias, "rmse": score.rmse, "r": score.r}
                row[model]["daily_range"] = daily_range(times, run[name], used)
            table.append(row)
    return table


def parts(times: np.ndarray) -> dict[str, np.ndarray]:
    """The year before and after the thermometers changed."""
    day = times.astype("datetime64[D]")
    return {f"before {CHANGE}": day < CHANGE, f"after {CHANGE}": day > CHANGE}


def daily_range(times: np.ndarray, series: np.ndarray, used: np.ndarray) -> float:
    """Mean over days of the highest less the lowest value, on the days that count at every step; NaN without such."""
    day, where = np.unique(times.astype("datetime64[D]"), return_inverse=True)
    per_day = np.bincount(where)
    whole = np.bincount(where, weights=used) == per_day.max()
    ranges = [np.ptp(series[where == number]) for number in np.flatnonzero(whole)]
    return float(np.mean(ranges)) if ranges else float("nan")


def unit_of(name: str) -> str:
    """The unit of a variable, as text."""
    return "W m-2" if name in FLUXES else "m3 m-3" if name.startswith("SoilMoist") else "K"


def markdown(table: list[dict], models: list[str]) -> str:
    """Three tables: the year; bias / RMSE / R by season; soil temperature before and after the change."""

    def number(name: str, value: float) -> str:
        return f"{value:.3f}" if name.startswith("SoilMoist") else f"{value:.1f}" if name in FLUXES else f"{value:.2f}"

    heads = "".join(f" {model} bias | RMSE | R |" for model in models)
    lines = [f"| 1998 | unit | n | observed |{heads}", "|---|---|---:|---:|" + "---:|---:|---:|" * len(models)]
    for row in (row for row in table if row["period"] == "year"):
        name = row["variable"]
        line = f"| {name} | {unit_of(name)} | {row['n']} | {number(name, row['observed_mean'])} |"
        for model in models:
            own = row[model]
            line += f" {number(name, own['bias'])} | {number(name, own['rmse'])} | {own['r']:.2f} |"
        lines.append(line)
    found = {(row["variable"], row["period"]): row for row in table}
    lines += ["", "| bias / RMSE / R | model |" + "".join(f" {season} |" for season in SEASONS)]
    lines.append("|---|---|" + "---:|" * len(SEASONS))

    def three(name: str, period: str, model: str) -> str:
        own = found[name, period][model]
        return f"{number(name, own['bias'])} / {number(name, own['rmse'])} / {own['r']:.2f}"

    for name in dict.fromkeys(row["variable"] for row in table):
        for model in models:
            cells = "".join(f" {three(name, season, model)} |" for season in SEASONS)
            lines.append(f"| {name}, {unit_of(name)} | {model} |{cells}")
    halves = [f"before {CHANGE}", f"after {CHANGE}"]
    lines += ["", "| bias / RMSE / R; daily range (observed), K | model |" + "".join(f" {half} |" for half in halves)]
    lines.append("|---|---|" + "---:|" * len(halves))
    for name in (f"SoilTemp_{depth}cm" for depth in TEMPERATURE_DEPTHS):
        for model in models:
            line = f"| {name} | {model} |"
            for half in halves:
                row = found[name, half]
                span = f"{row[model]['daily_range']:.1f} ({row['observed_daily_range']:.1f})"
                line += f" {three(name, half, model)}; {span} |"
            lines.append(line)
    return "\n".join(lines)


def means_by(key: np.ndarray, bins: np.ndarray, series: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Mean of ``series`` over the used steps of each bin; NaN where there is none."""
    return np.array([series[used & (key == b)].mean() if (used & (key == b)).any() else np.nan for b in bins])


def draw(path: Path, times: np.ndarray, values: Series, measured: Series, runs: dict[str, Series]) -> None:
    """One picture: monthly fluxes, summer days, soil temperature, soil water; all at the measured steps."""
    import matplotlib
    from matplotlib.dates import DateFormatter, MonthLocator
    from matplotlib.figure import Figure

    from mdpl.report.style import DEFAULT, FLUX_NAMES, FONT, OBSERVED, SITE_COLOURS, save

    lines = {"observed": (values, {"color": OBSERVED, "lw": 1.8})}
    for (name, run), (colour, dash) in zip(runs.items(), ((DEFAULT, "-"), (SITE_COLOURS[2], "--")), strict=True):
        lines[name] = (run, {"color": colour, "lw": 1.5, "ls": dash})
    month = times.astype("datetime64[M]").astype(int) % 12
    hour = (times - times.astype("datetime64[D]")).astype(int) / 3600.0
    day = times.astype("datetime64[D]")
    days = np.unique(day)
    summer = np.isin(month + 1, SEASONS["JJA"])
    with matplotlib.rc_context(FONT | {"axes.titlelocation": "left"}):
        figure = Figure(figsize=(13.0, 13.5), layout="constrained")
        panels = figure.subplot_mosaic(
            "\n".join(a * 3 + b * 3 + c * 3 + d * 3 for a, b, c, d in ("ABCD", "EFGH"))
            + "\n"
            + "\n".join(["IIIIIIJJJJJJ", "KKKKLLLLMMMM"])
        )

        def curves(
            panel: str, name: str, key: np.ndarray, bins: np.ndarray, x: np.ndarray, within: np.ndarray, **style
        ):
            for label, (series, look) in lines.items():
                mean = means_by(key, bins, series[name], measured[name] & within)
                panels[panel].plot(x, mean, label=label, **look, **style)

        for panel, name in zip("ABCD", FLUXES, strict=True):
            curves(panel, name, month, np.arange(12), np.arange(12), np.ones(times.size, bool), marker="o", ms=4)
            panels[panel].set(title=f"{FLUX_NAMES[name]}, monthly mean", xlabel="Month, 1998")
            panels[panel].set_xticks(range(12), list("JFMAMJJASOND"))
        for panel, name in zip("EFGH", FLUXES, strict=True):
            curves(panel, name, hour, np.unique(hour), np.unique(hour) + 0.25, summer)
            panels[panel].set(title=f"{FLUX_NAMES[name]}, June–August", xlabel="Hour (local standard time)")
            panels[panel].set_xticks(range(0, 25, 6))
        for panel, name in zip("ABCDEFGH", FLUXES * 2, strict=True):
            panels[panel].axhline(0, color="0.7", lw=0.8, zorder=0)
            panels[panel].set_ylabel(f"{name}, W m$^{{-2}}$")
        for panel, depth in zip("IJ", (4, 32), strict=True):
            curves(panel, f"SoilTemp_{depth}cm", day, days, days, np.ones(times.size, bool))
            panels[panel].set(title=f"Soil temperature at {depth} cm, daily mean", ylabel="SoilTemp, K")
            panels[panel].axhline(FREEZING_POINT, color="0.7", lw=0.8, zorder=0)
            panels[panel].axvline(CHANGE, color="0.5", lw=1.0, ls=":", zorder=0)
            note = {"xycoords": ("data", "axes fraction"), "ha": "left", "fontsize": 9, "color": "0.35"}
            panels[panel].annotate(" thermometers changed", (CHANGE, 0.03), **note)
        for panel, depth in zip("KLM", MOISTURE_DEPTHS, strict=True):
            curves(panel, f"SoilMoist_{depth}cm", day, days, days, np.ones(times.size, bool))
            panels[panel].set(title=f"Soil water at {depth} cm, daily mean", ylabel="SoilMoist, m$^3$ m$^{-3}$")
        water = [panels[panel].get_ylim() for panel in "KLM"]
        for panel in "KLM":
            panels[panel].set_ylim(min(low for low, _ in water), max(high for _, high in water))
        for panel in "IJKLM":
            panels[panel].set_xlim(days[0], days[-1])
            panels[panel].xaxis.set_major_locator(MonthLocator())
            panels[panel].xaxis.set_major_formatter(DateFormatter("%b") if panel in "IJ" else _initial)
        for axes in panels.values():
            axes.grid(color="0.92")
            axes.spines[["top", "right"]].set_visible(False)
        title = "Bondville (US-Bo1) 1998, default parameters, at measured half-hours (soil water: where unfrozen)"
        figure.suptitle(title, fontsize=13)
        handles, labels = panels["A"].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=11)
    save(figure, path)


def _initial(number: float, _position: int) -> str:
    """The first letter of the month of a matplotlib date: narrow panels hold no more."""
    from matplotlib.dates import num2date

    return f"{num2date(number):%b}"[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="folder of real towers; default: $MDPL_DATA")
    parser.add_argument("--precision", choices=("float32", "float64"), default="float32")
    parser.add_argument("--spinup-years", type=int, default=5, help="times the year is run before the scored one")
    parser.add_argument("--figure", default="docs/figures/bondville.png", help="'' draws none")
    parser.add_argument("-o", "--output", type=result_file, default="")
    options = parser.parse_args()
    if options.figure and not Path(options.figure).parent.is_dir():
        parser.error(f"no folder for {options.figure}")
    import jax

    jax.config.update("jax_enable_x64", options.precision == "float64")
    data = data_folder(options.data)
    times, values, measured = observed(data / "plumber2" / f"{TOWER}_NOAA_Flux.nc")
    runs = {
        "jlsm": run_jlsm(data / "plumber2" / f"{TOWER}_NOAA_Met.nc", options.spinup_years),
        "Noah-MP": read_noahmp(data / "reference" / "noahmp" / f"{TOWER}_NoahMP52.nc", times),
    }
    table = compare(times, values, measured, runs)
    print(markdown(table, list(runs)))
    if options.figure:
        draw(Path(options.figure), times, values, measured, runs)
    if options.output:
        content = {"benchmark": "bondville", "spinup_years": options.spinup_years, "scores": table}
        write_json(options.output, content)


if __name__ == "__main__":
    main()
