"""Forward speed: microseconds per site and step, float32, compiled ahead of time.

python -m benchmarks.forward [--columns 5,512] [--steps 960] [--at-once 128] [-o OUT.json]

Compiler flags are those of ``jlsm run`` for so many columns as the smallest number asked for (64 or more are best
measured by themselves); ``XLA_FLAGS= python -m ...`` takes none, or give your own.
"""

from __future__ import annotations

import argparse
from functools import partial

import jlsm
from benchmarks.results import result_file
from benchmarks.timing import compile_ahead, medians, report, tower_columns
from jlsm.command_line.front_door import prefer_cpu_flags
from jlsm.loop_sizes import FORWARD_LOOP_BYTES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", default="5,512")
    parser.add_argument("--steps", type=int, default=960)
    parser.add_argument("--at-once", type=int, default=128, help="columns of a block; 0: all of them")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("-o", "--output", type=result_file, default="")
    options = parser.parse_args()
    counts = [int(c) for c in options.columns.split(",")]
    prefer_cpu_flags(FORWARD_LOOP_BYTES, min(counts))
    runs, compile_seconds = {}, {}
    for count in counts:
        arguments = tower_columns(count, options.steps)
        compiled, compile_seconds[count] = compile_ahead(
            partial(jlsm.simulate, columns_at_once=options.at_once or None), *arguments
        )
        runs[str(count)] = lambda compiled=compiled, arguments=arguments: compiled(*arguments)
    seconds = medians(runs, options.repeats)
    rows = [
        {
            "columns": count,
            "steps": options.steps,
            "compile s": compile_seconds[count],
            "us per site-step": seconds[str(count)] / options.steps / count * 1e6,
            "us per step": seconds[str(count)] / options.steps * 1e6,
        }
        for count in counts
    ]
    report("forward", rows, options.output)


if __name__ == "__main__":
    main()
