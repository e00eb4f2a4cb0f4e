"""Columns shared out over the cores of a CPU, or over GPUs, against one of them and against separate processes.

    python -m benchmarks.devices [--columns 1024] [--steps 480] [--devices 0] [-o OUT.json]

"processes": as many Python processes as devices, each pinned to a core of its own, with its share of the columns, at
the same time: what sharing out can reach at best. The gradient is that of one number by all parameters of all columns.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from functools import partial

import jax

import jlsm
from benchmarks.results import result_file
from benchmarks.timing import compile_ahead, medians, report, tower_columns
from jlsm.command_line.front_door import cores, prefer_cpu_flags
from jlsm.loop_sizes import GRADIENT_LOOP_BYTES

AT_ONCE = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=480)
    parser.add_argument("--devices", type=int, default=0, help="0: one for each core, or all GPUs")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--core", type=int, default=-1, help=argparse.SUPPRESS)  # of a process of "processes"
    parser.add_argument("-o", "--output", type=result_file, default="")
    options = parser.parse_args()
    prefer_cpu_flags(GRADIENT_LOOP_BYTES)
    if options.core >= 0:
        _one_of_many(options)
        return
    jax.config.update("jax_num_cpu_devices", options.devices or cores())
    devices = jax.devices()[: options.devices or None]
    shared = jlsm.over_devices(jlsm.simulate, jlsm.column_mesh(devices))
    seconds = {}
    for kind in ("run", "gradient"):
        ready = {name: _ready(kind, run, options) for name, run in {"one": jlsm.simulate, "devices": shared}.items()}
        seconds[kind] = medians(ready, options.repeats)
    if devices[0].platform == "cpu":
        for kind, value in _processes(options, len(devices)).items():
            seconds[kind]["processes"] = value
    count, steps = options.columns, options.steps
    rows = [
        {"what": kind, "columns": count, "on": name if name == "one" else f"{len(devices)} {name}", "s": value,
         "us per site-step": value / count / steps * 1e6, "times one": of_kind["one"] / value}
        for kind, of_kind in seconds.items() for name, value in of_kind.items()
    ]  # fmt: skip
    report("devices", rows, options.output)


def _ready(kind: str, run, options):
    """A compiled run or gradient with its arguments."""
    params, *rest = tower_columns(options.columns, options.steps)

    def mean(params, *rest):
        adjoint = jlsm.ReverseOnly()
        return run(params, *rest, fields=("Qle",), columns_at_once=AT_ONCE, adjoint=adjoint)[0].Qle.mean()

    whole = partial(run, fields=("Qle", "Qh"), columns_at_once=AT_ONCE)
    compiled, _ = compile_ahead(whole if kind == "run" else jax.grad(mean), params, *rest)
    return lambda: compiled(params, *rest)


def _one_of_many(options) -> None:
    os.sched_setaffinity(0, {options.core})
    for kind in ("run", "gradient"):
        ready = _ready(kind, jlsm.simulate, options)
        jax.block_until_ready(ready())
        print("ready", flush=True)
        sys.stdin.readline()  # until all are
        print(medians({kind: ready}, options.repeats)[kind], flush=True)


def _processes(options, count: int) -> dict[str, float]:
    share = str(-(-options.columns // count))
    available = sorted(os.sched_getaffinity(0))[:count]
    command = [sys.executable, "-m", "benchmarks.devices", "--columns", share, "--steps", str(options.steps),
               "--repeats", str(options.repeats), "--core"]  # fmt: skip
    workers = [
        subprocess.Popen([*command, str(core)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for core in available
    ]
    seconds = {}
    for kind in ("run", "gradient"):
        for worker in workers:
            assert worker.stdout is not None and worker.stdin is not None
            if worker.stdout.readline().strip() != "ready":
                raise SystemExit("a process of the benchmark ended before it was ready: see its message above")
        for worker in workers:
            print("go", file=worker.stdin, flush=True)
        seconds[kind] = max(float(worker.stdout.readline()) for worker in workers if worker.stdout)
    for worker in workers:
        worker.communicate()
    return seconds


if __name__ == "__main__":
    main()
