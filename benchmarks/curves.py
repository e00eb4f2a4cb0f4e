"""How the cost of a run and of its derivatives grows: with columns, with years, with parameters.

    python -m benchmarks.curves [--columns 5,20,64,256] [--years 0.25,1,4] [--parameters 1,8,29] [-o OUT.json]

One curve varies, the others stand at five columns (twenty for parameters), forty days, all plant parameters. "gradient"
is reverse mode (``simulate(adjoint=ReverseOnly())``) of a scalar, "jacobian" is ``sensitivities``: the derivatives of
every step's Qle and Qh. Each shape compiles anew, so this takes a quarter of an hour. Flags as for ``mdpl calibrate``.
With ``-o`` a figure and a Markdown table are written beside the JSON.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jlsm
from benchmarks.results import pictured_result_file
from benchmarks.timing import compile_ahead, markdown, medians, plain_ticks, report, tower_columns
from jlsm.command_line.front_door import prefer_cpu_flags
from jlsm.loop_sizes import GRADIENT_LOOP_BYTES

DAYS, STEPS_PER_DAY, YEAR = 40, 48, 365
FIELDS = ("Qle", "Qh")


def mean_flux(values, params, forcing, site, state, adjoint=None):
    """What is differentiated."""
    params = jlsm.replace_parameters(params, values)
    out, _ = jlsm.simulate(params, forcing, site, state, fields=FIELDS, adjoint=adjoint or jlsm.Checkpointed())
    return jnp.mean(out.Qle + out.Qh)


def gradient(values, *given):
    """All derivatives of one number."""
    return jax.grad(lambda v: mean_flux(v, *given, adjoint=jlsm.ReverseOnly()))(values)


def jacobian(values, params, forcing, site, state):
    """All derivatives of every step's fluxes."""
    params = jlsm.replace_parameters(params, values)
    return jlsm.sensitivities(params, tuple(values), forcing, site, state, fields=FIELDS)[2]


def measure(columns: int, steps: int, parameters: int, what: dict, repeats: int) -> list[dict]:
    """One row per function of ``what``."""
    given = tower_columns(columns, steps)
    values = {key: jlsm.get_parameter(given[0], key) for key in jlsm.PFT_PARAMETERS[:parameters]}
    compiled = {name: compile_ahead(function, values, *given) for name, function in what.items()}
    seconds = medians({name: (lambda c=c: c(values, *given)) for name, (c, _) in compiled.items()}, repeats)
    return [
        {
            "what": name,
            "columns": columns,
            "years": steps / STEPS_PER_DAY / YEAR,
            "parameters": parameters,
            "compile s": compiled[name][1],
            "s": seconds[name],
            "us per site-step": seconds[name] / steps / columns * 1e6,
            "temporary MiB": compiled[name][0].memory_analysis().temp_size_in_bytes / 2**20,
        }
        for name in what
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", default="5,20,64,256")
    parser.add_argument("--years", default="0.25,1,4")
    parser.add_argument("--parameters", default="1,8,29")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=pictured_result_file, default="")
    options = parser.parse_args()
    prefer_cpu_flags(GRADIENT_LOOP_BYTES)
    every, count = DAYS * STEPS_PER_DAY, len(jlsm.PFT_PARAMETERS)
    all_of = {"run": mean_flux, "gradient": gradient, "jacobian": jacobian}
    two = {"run": mean_flux, "gradient": gradient}
    rows = []
    for columns in map(int, filter(None, options.columns.split(","))):
        rows += [{"curve": "columns"} | r for r in measure(columns, every, count, all_of, options.repeats)]
    for years in map(float, filter(None, options.years.split(","))):
        steps = round(years * YEAR) * STEPS_PER_DAY
        rows += [{"curve": "years"} | r for r in measure(5, steps, count, two, options.repeats)]
    for parameters in map(int, filter(None, options.parameters.split(","))):
        rows += [{"curve": "parameters"} | r for r in measure(20, every, parameters, all_of, options.repeats)]
    report("curves", rows, options.output)
    if options.output:
        Path(options.output).with_suffix(".md").write_text(markdown(rows) + "\n")
        draw(rows, Path(options.output).with_suffix(".png"))


def draw(rows: list[dict], path: Path) -> None:
    """Three panels: cost against columns, years, parameters."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    units = {"columns": "us per site-step", "years": "s", "parameters": "us per site-step"}
    for panel, (curve, unit) in zip(panels, units.items(), strict=True):
        for i, what in enumerate(("run", "gradient", "jacobian")):
            own = [r for r in rows if r["curve"] == curve and r["what"] == what]
            if own:
                x, y = np.array([(r[curve], r[unit]) for r in own]).T
                panel.plot(x, y, "o-", color=f"C{i}", label=what)
        panel.set(xlabel=curve, ylabel=unit.replace("us", "µs"), xscale="log", yscale="log")
        plain_ticks(panel.xaxis)
        plain_ticks(panel.yaxis)
        panel.grid(alpha=0.3)
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
