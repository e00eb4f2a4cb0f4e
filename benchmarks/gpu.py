"""What a device can do: column-steps per second, compile time, memory, the training step. Ten minutes at most.

    python -m benchmarks.gpu [--seconds 600] [-o gpu.json]
    python -m benchmarks.gpu --columns 16,32 --float64-columns 16 --members 1,2 --steps 4 --window 4   # small

Runs on any device of jax (``JAX_PLATFORMS`` chooses) and needs no file: the weather is a formula. jax, equinox, numpy
and this package are enough; the training step also needs what mdpl needs (flax, optax) and is left out without it.
Each row is printed when it is measured, and ``--output`` is written anew with it. Small programs come first, the most
columns last. A row that does not fit the device's memory says so, and more columns of its kind are not tried; one that
fails otherwise says how, and the exit code is 1. When ``--seconds`` are over, or would be by the speed of the row
before, the remaining rows are left out and named.

- ``run`` and ``gradient``: the model over ``--steps`` half-hours; mean Qle and Qh, and its derivatives by all plant
  parameters of each column. All columns at once on a GPU, in blocks of 128 on a CPU. Where there are several devices,
  also on all of them (``shard_map`` over columns).
- ``training step``: five sites times so many members, each member a generator g_z with weights and an Adam of its own:
  parameters from the generator, the model over ``--window`` steps, squared error, its gradient, an update.
- ``losses``: the first losses of that training with one member, on the device and on a CPU.

``program MiB`` is what the compiler plans for arguments, results and intermediates; ``peak MiB`` the most the device
has held since the start (only where jax tells). Products of matrices (only the generator has any) take
``--matrix-precision``.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from benchmarks.results import result_file, write_json

try:
    import jax
    import jax.numpy as jnp
    import numpy as np
    from jax.sharding import NamedSharding, PartitionSpec

    import jlsm
except ImportError as missing:
    sys.exit(f"error: this benchmark needs {missing.name}: pip install {missing.name}")

DT, DAY = 1800, 86400
FIELDS = ("Qle", "Qh")
SITES = 5
CPU_BLOCK = 128
"""columns that a CPU takes at once (docs/speed.md)"""
MANY = 100_000
"""more columns than these come at the very end"""
PRINTED = {"what": 14, "columns": 9, "members": 7, "precision": 9, "devices": 7, "compile s": 9, "s": 9,
           "column-steps/s": 14, "program MiB": 11, "peak MiB": 9, "note": 0}  # fmt: skip


class Work(NamedTuple):
    """One row to measure."""

    what: str
    columns: int
    steps: int
    precision: str
    devices: int = 1
    members: int | None = None

    @property
    def kind(self) -> tuple:
        """What rows of other numbers of columns share."""
        return self.what, self.precision, self.devices


# ---- inputs, made on the device ---------------------------------------------------------------------


def inputs(columns: int, steps: int):
    """(params, forcing, site, state) of crops in June between 40 and 55 degrees north, each column a little different.

    The sun follows latitude and hour, rain falls in the afternoons of every other column.
    """
    share = jnp.linspace(0.0, 1.0, columns)
    seconds = jnp.arange(steps) * DT
    hour = (seconds % DAY / 3600.0)[:, None]
    latitude = 40.0 + 15.0 * share
    phi, declination = jnp.deg2rad(latitude), math.radians(23.4)
    height = jnp.sin(phi) * math.sin(declination)
    height = height + jnp.cos(phi) * math.cos(declination) * jnp.cos((hour - 11.75) * math.pi / 12)
    air = 288.0 + 6.0 * share + 6.0 * jnp.cos((hour - 15.0) * math.pi / 12)
    shape = (steps, columns)
    series = {
        "Tair": air,
        "Qair": jnp.full(shape, 0.008),
        "Psurf": jnp.full(shape, 98_000.0),
        "SWdown": 900.0 * jnp.maximum(height, 0.0),
        "LWdown": 0.8 * 5.67e-8 * air**4,
        "Wind": 3.0 + jnp.sin(hour + 6.0 * share),
        "Precip": jnp.where((hour >= 14.0) & (jnp.arange(columns) % 2 == 0), 1e-4, 0.0),
        "CO2air": jnp.full(shape, 400.0),
        "LAI": jnp.full(shape, 3.0),
    }
    forcing = jlsm.Forcing(
        **{name: jnp.asarray(values, float) for name, values in series.items()},
        day=jnp.broadcast_to(10760 + (seconds // DAY)[:, None], shape).astype(jnp.int32),
        second_of_day=jnp.broadcast_to((seconds % DAY)[:, None], shape).astype(jnp.int32),
        dt=jnp.full((columns,), float(DT)),
    )
    place = {"longitude": 0.0, "elevation": 100.0, "reference_height": 10.0, "canopy_height": math.nan, "utc_offset": 0}
    site = jlsm.Site(latitude=latitude, **{name: jnp.full((columns,), float(v)) for name, v in place.items()})
    default = jlsm.default_parameters(jlsm.Site(jnp.asarray(47.0), *[jnp.asarray(float(v)) for v in place.values()]))
    params = jax.tree.map(lambda leaf: jnp.broadcast_to(jnp.asarray(leaf, float), (columns,)), default)
    return params, forcing, site, jlsm.initial_state(jnp.mean(air, axis=0), params.soil.porosity)


def mean_flux(values, params, forcing, site, state, at_once: int | None, adjoint: Any):
    """Mean of Qle and Qh over time, summed over columns."""
    params = jlsm.replace_parameters(params, values)
    out, _ = jlsm.simulate(params, forcing, site, state, fields=FIELDS, columns_at_once=at_once, adjoint=adjoint)
    return jnp.sum(jnp.mean(out.Qle + out.Qh, axis=0))


def throughput(work: Work) -> tuple[Callable, tuple]:
    """(function, its arguments) of a run or a gradient, over as many devices as asked for."""
    params, forcing, site, state = inputs(work.columns, work.steps)
    values = {key: jlsm.get_parameter(params, key) for key in jlsm.PFT_PARAMETERS}
    arguments = (values, params, forcing, site, state)
    share = work.columns // work.devices
    at_once = min(CPU_BLOCK, share) if jax.default_backend() == "cpu" else None

    def run(values, *rest):
        return mean_flux(values, *rest, at_once=at_once, adjoint=jlsm.Checkpointed())[None]

    def gradient(values, *rest):
        return jax.grad(lambda v: mean_flux(v, *rest, at_once=at_once, adjoint=jlsm.ReverseOnly()))(values)

    function = {"run": run, "gradient": gradient}[work.what]
    if work.devices == 1:
        return function, arguments
    mesh = jlsm.column_mesh(jax.devices()[: work.devices])
    specs = jax.tree.map(lambda leaf: PartitionSpec(*[None] * (leaf.ndim - 1), "columns"), arguments)
    arguments = jax.tree.map(lambda leaf, spec: jax.device_put(leaf, NamedSharding(mesh, spec)), arguments, specs)
    split = jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=PartitionSpec("columns"))
    return split, arguments


# ---- the training step ------------------------------------------------------------------------------


def training(work: Work, rate: float = 0.01) -> tuple[Callable, tuple]:
    """(step, (weights, moments, ...)): one training step of ``work.members`` generators at five sites each.

    Raises:
        ImportError: mdpl or something it needs is not installed.
    """
    import optax

    from mdpl.towers.features import ATTRIBUTE_SCALES, IGBP, SERIES_SCALES, TEXTURES, Features
    from mdpl.unknowns.generator import GeneratorShape, PureGenerator
    from mdpl.unknowns.search_space import search_space
    from mdpl.unknowns.time_varying import unknowns_layout

    params, forcing, site, state = inputs(SITES, work.steps)
    space = search_space(jlsm.PFT_PARAMETERS, params, SITES)
    network = PureGenerator(GeneratorShape("gru", 32, unknowns_layout(space.keys, {}, 1), 7))
    rng = np.random.default_rng(0)
    series = rng.standard_normal((SITES, 104, len(SERIES_SCALES)), np.float32)
    attributes = rng.standard_normal((SITES, len(ATTRIBUTE_SCALES) + len(IGBP) + len(TEXTURES)), np.float32)
    seen = Features(series, np.ones(series.shape[:2], bool), attributes)
    optimiser = optax.adam(rate)
    first = network.initial()
    # the generator starts at the default parameters; members differ in the noise on their weights
    noise = {name: 0.01 * rng.standard_normal((work.members, *leaf.shape)) for name, leaf in first.items()}
    weights = {name: jnp.asarray(leaf + noise[name], leaf.dtype) for name, leaf in first.items()}
    columns = SITES * work.members
    everywhere = jax.tree.map(
        lambda leaf: jnp.tile(leaf, (*[1] * (leaf.ndim - 1), work.members)), (params, forcing, site, state)
    )
    at_once = min(CPU_BLOCK, columns) if jax.default_backend() == "cpu" else None

    def losses(weights, params, forcing, site, state):
        offsets = jax.vmap(lambda w: network(w, seen))(weights)
        values = jax.vmap(space.values)(offsets).reshape(columns, len(space.keys))
        out, _ = jlsm.simulate(
            space.insert(params, values),
            forcing,
            site,
            state,
            fields=FIELDS,
            columns_at_once=at_once,
            adjoint=jlsm.ReverseOnly(),
        )
        # what is aimed at: two thirds of the sun's energy evaporate water, a tenth warms the air
        error = (out.Qle - 0.66 * forcing.SWdown) ** 2 + (out.Qh - 0.1 * forcing.SWdown) ** 2
        member = jnp.mean(error, axis=0).reshape(work.members, SITES).mean(axis=1) / 1e4
        return jnp.sum(member), member

    def step(weights, moments, *rest):
        gradient, member = jax.grad(losses, has_aux=True)(weights, *rest)
        updates, moments = jax.vmap(optimiser.update)(gradient, moments)
        return optax.apply_updates(weights, updates), moments, member

    return step, (weights, jax.vmap(optimiser.init)(weights), *everywhere)


def first_losses(work: Work, count: int, platform: str) -> list[float]:
    """Losses of the first steps of a training with one member, on a device of that platform."""
    with jax.default_device(jax.devices(platform)[0]):
        step, (weights, moments, *rest) = training(work)
        step, losses = jax.jit(step), []
        for _ in range(count):
            weights, moments, loss = step(weights, moments, *rest)
            losses.append(float(loss[0]))
    return losses


# ---- measuring --------------------------------------------------------------------------------------


def measure(work: Work, deadline: float) -> dict[str, Any]:
    """Compile and time one row; the best of up to three runs within the time left."""
    if work.what == "losses":
        begin = time.perf_counter()
        platforms = dict.fromkeys((jax.default_backend(), "cpu"))
        told = [f"{name}: {', '.join(f'{x:.6f}' for x in first_losses(work, 5, name))}" for name in platforms]
        return {"s": time.perf_counter() - begin, "note": "; ".join(told)}
    function, arguments = training(work) if work.what == "training step" else throughput(work)
    jax.block_until_ready(arguments)
    begin = time.perf_counter()
    compiled = jax.jit(function).lower(*arguments).compile()
    compile_seconds = time.perf_counter() - begin
    times: list[float] = []
    # the first run is not counted where there is time for a second
    while len(times) < 4 and (not times or time.monotonic() + times[-1] < deadline):
        begin = time.perf_counter()
        result = jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - begin)
    seconds = min(times[1:] or times)
    sizes = compiled.memory_analysis()
    planned = sum(getattr(sizes, f"{part}_size_in_bytes", 0) for part in ("argument", "output", "temp"))
    finite = all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(result))
    return {
        "compile s": compile_seconds,
        "s": seconds,
        "column-steps/s": work.columns * work.steps / seconds,
        "program MiB": planned / 2**20,
        "peak MiB": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", math.nan) / 2**20,
        "note": "" if finite else "NOT FINITE",
    }


def planned(options: argparse.Namespace) -> list[Work]:
    """All rows, in the order in which they are measured."""

    def numbers(text: str) -> list[int]:
        return sorted(int(part) for part in text.split(",") if part)

    both = ("run", "gradient")
    counts = numbers(options.columns)
    rows = [Work(what, n, options.steps, "float32") for what in both for n in counts if n <= MANY]
    rows += [Work("training step", SITES * m, options.window, "float32", members=m) for m in numbers(options.members)]
    rows += [Work(what, n, options.steps, "float64") for n in numbers(options.float64_columns) for what in both]
    devices = jax.device_count()
    if devices > 1:
        shared = [n for n in counts if n % devices == 0 and n <= MANY]
        rows += [Work(what, n, options.steps, "float32", devices) for what in both for n in shared[-1:]]
    rows += [Work("losses", SITES, options.window, "float32", members=1)] if options.members else []
    rows += [Work(what, n, options.steps, "float32") for n in counts if n > MANY for what in both]
    if devices > 1:
        shared = [n for n in counts if n % devices == 0 and n > MANY]
        rows += [Work(what, n, options.steps, "float32", devices) for n in shared for what in both]
    return rows


def measured(rows: list[Work], seconds: float) -> Iterator[dict[str, Any]]:
    """The table's rows one by one; what goes wrong in one is said in its ``note`` and ends no other."""
    deadline = time.monotonic() + seconds
    speeds: dict[tuple, dict] = {}
    full: set[tuple] = set()
    for work in rows:
        row = {"what": work.what, "columns": work.columns, "members": work.members, "steps": work.steps,
               "precision": work.precision, "devices": work.devices}  # fmt: skip
        before = speeds.get(work.kind)
        expected = before["compile s"] + 2 * work.columns * work.steps / before["column-steps/s"] if before else 0.0
        left = deadline - time.monotonic()
        if work.kind in full:
            row["note"] = "not tried: fewer columns did not fit"
        elif left <= expected:
            row["note"] = f"left out: {max(left, 0.0):.0f} s left" + (f", {expected:.0f} expected" if expected else "")
        else:
            try:
                with jax.enable_x64(work.precision == "float64"):
                    row |= measure(work, deadline)
                if "column-steps/s" in row:
                    speeds[work.kind] = row
            except ImportError as error:
                row["note"] = f"left out: {error.name or error} is not installed"
            except Exception as error:
                text = " ".join(str(error).split())
                if "RESOURCE_EXHAUSTED" in text or "out of memory" in text.lower():
                    full.add(work.kind)
                    row["note"] = "out of memory"
                else:
                    row |= {"failed": True, "note": f"{type(error).__name__}: {text[:200]}"}
        yield row


def line(row: dict[str, Any] | None = None) -> str:
    """One line of the printed table; the head without a row."""
    cells = []
    for name, width in PRINTED.items():
        value = name if row is None else row.get(name)
        if isinstance(value, float):
            value = "" if math.isnan(value) else f"{value:.3g}" if abs(value) < 1e4 else f"{value:.3e}"
        cells.append(f"{'' if value is None else value:>{width}}" if width else str(value or ""))
    return "  ".join(cells).rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", default="1000,10000,100000,1000000")
    parser.add_argument("--float64-columns", default="10000")
    parser.add_argument("--members", default="1,64,1024", help="of the training step; '' leaves it out")
    parser.add_argument("--steps", type=int, default=48, help="of a run and a gradient, half-hours")
    parser.add_argument("--window", type=int, default=480, help="of the training step, half-hours")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--matrix-precision", default="highest", help="of jax (jax_default_matmul_precision)")
    parser.add_argument("-o", "--output", type=result_file, default="")
    options = parser.parse_args()
    jax.config.update("jax_default_matmul_precision", options.matrix_precision)
    device = jax.devices()[0]
    about = {
        "device": device.device_kind,
        "platform": device.platform,
        "devices": jax.device_count(),
        "jax": jax.__version__,
        "matrix precision": options.matrix_precision,
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }
    print(", ".join(f"{name}: {value}" for name, value in about.items()))
    print(line(), flush=True)
    rows: list[dict[str, Any]] = []
    for row in measured(planned(options), options.seconds):
        rows.append(row)
        print(line(row), flush=True)
        if options.output:
            # JSON knows no NaN: what is not known is null
            plain = [{k: None if isinstance(v, float) and math.isnan(v) else v for k, v in r.items()} for r in rows]
            write_json(options.output, {"benchmark": "gpu", "machine": about, "rows": plain})
    if any(row.get("failed") for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
