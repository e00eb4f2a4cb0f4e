"""What the speed benchmarks share: columns made from a real tower, and medians of compiled runs."""

from __future__ import annotations

import os
import platform
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import jlsm
from benchmarks.data import data_folder
from benchmarks.results import write_json

TOWER = "plumber2/US-Bo1_1998-1998_NOAA_Met.nc"


def tower_columns(columns: int, steps: int, data: str = ""):
    """(params, forcing, site, state) of ``columns`` variants of US-Bo1, air up to 2 K warmer or colder.

    Args:
        steps: length of the record, from the middle of the year; beyond 17,520, the whole year, it repeats.
    """
    forcing, site = jlsm.load_forcing(data_folder(data) / TOWER)
    if steps > forcing.steps:
        again = np.arange(steps) % forcing.steps
        series = {name: jnp.asarray(getattr(forcing, name))[again] for name in forcing.series()}
        forcing = jlsm.Forcing(**series, dt=forcing.dt)
    start = max(0, min(9600 - steps // 2, forcing.steps - steps))
    forcing = forcing.window(start, start + steps)

    def spread(leaf):
        return jnp.broadcast_to(leaf[..., None], (*leaf.shape, columns))

    params = jax.tree.map(spread, jlsm.default_parameters(site))
    forcing, site = jax.tree.map(spread, forcing), jax.tree.map(spread, site)
    forcing = eqx.tree_at(lambda f: f.Tair, forcing, forcing.Tair + jnp.linspace(-2.0, 2.0, columns))
    state = jlsm.initial_state(jnp.mean(forcing.Tair, axis=0), params.soil.porosity)
    return params, forcing, site.numeric(), state


def compile_ahead(function, *arguments):
    """(compiled function, seconds it took), from a cold compiler."""
    begin = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    return compiled, time.perf_counter() - begin


def medians(functions: dict, repeats: int = 7) -> dict[str, float]:
    """Median seconds of each ready-to-run function, measured in turn so that noise falls on all alike."""
    for run in functions.values():
        jax.block_until_ready(run())
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, run in functions.items():
            begin = time.perf_counter()
            jax.block_until_ready(run())
            times[name].append(time.perf_counter() - begin)
    return {name: float(np.median(values)) for name, values in times.items()}


def machine() -> dict:
    """What the numbers were measured on."""
    return {
        "jax": jax.__version__,
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "device": str(jax.devices()[0]),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def plain_ticks(axis) -> None:
    """Numbers instead of powers on a logarithmic axis: decades, and two and five times these."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def markdown(rows: list[dict]) -> str:
    """Rows as a Markdown table."""

    def cells(values) -> str:
        return "| " + " | ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in values) + " |"

    return "\n".join([cells(rows[0]), "|" + "---|" * len(rows[0]), *(cells(row.values()) for row in rows)])


def report(name: str, rows: list[dict], output: str) -> None:
    """Print rows as a Markdown table; write them as JSON where ``output`` is given."""
    print(markdown(rows))
    if output:
        write_json(output, {"benchmark": name, "machine": machine(), "rows": rows})
