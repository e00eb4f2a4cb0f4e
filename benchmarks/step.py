"""Seconds of one optimisation step of all sites, all training windows side by side.

    python -m benchmarks.step [--data DIR] [--repeats 3] [-o OUT.json]

"adam" is the compiled training step (network g_z, model, loss, gradient, optimiser) over every training window of every
site; "gauss-newton" one iteration of the direct learner: the Jacobian, the normal equations and the run of the record
that judges the step. "record" is one forward run of the training record, sites side by side, window by window. Without
``--data`` at the embedded sites (five, three years).
"""

from __future__ import annotations

import argparse
import dataclasses
import time

import jax
import numpy as np

from benchmarks.results import result_file
from benchmarks.timing import medians, report
from jlsm.command_line.front_door import prefer_cpu_flags
from jlsm.loop_sizes import GRADIENT_LOOP_BYTES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="folder of Met/Flux pairs; default: the embedded sites")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", type=result_file, default="")
    options = parser.parse_args()
    prefer_cpu_flags(GRADIENT_LOOP_BYTES)
    from mdpl.config import Config
    from mdpl.data import five_crops_synthetic
    from mdpl.model_paths import lsm_path
    from mdpl.towers.load import find_site_files, load_towers
    from mdpl.training.problem import Problem
    from mdpl.training.trainer import Trainer
    from mdpl.training.windows import group_towers
    from mdpl.unknowns.search_space import select_parameters

    config = Config(windows_per_step=0, loss={"mse": 1.0})
    towers, keys = load_towers(find_site_files(options.data or five_crops_synthetic())), select_parameters(("pft",))
    groups = group_towers(towers, config)
    problem = Problem(lsm_path(), groups, keys, config)
    single = dataclasses.replace(config, learner="direct", optimiser="gauss-newton")
    adam, newton = Trainer(problem).optimiser, Trainer(Problem(lsm_path(), groups, keys, single)).optimiser
    weights, moments = adam.initial()
    unknowns, damping = (np.asarray(part) for part in newton.initial())
    tasks = problem.tasks
    starts = [task.runner.spin_up(task.default) for task in tasks]
    counts = [task.group.last_training_window() + 1 for task in tasks]

    def record():
        every = zip(tasks, counts, starts, strict=True)
        return [task.runner.record(task.default, count, start) for task, count, start in every]

    states = [states for states, _ in record()]
    batches = [task.batch(task.columns, of_group) for task, of_group in zip(tasks, states, strict=True)]
    what = {
        "record": record,
        "adam": lambda: adam.step(weights, moments, batches),
        "gauss-newton": lambda: (newton.trial(unknowns, damping, states), record()),
    }
    compiling = {}
    for name, run in what.items():
        begin = time.perf_counter()
        jax.block_until_ready(run())
        compiling[name] = time.perf_counter() - begin
    seconds = medians(what, options.repeats)
    columns = sum(task.columns.site.size for task in tasks)
    rows = [
        {"what": name, "columns": columns, "first call s": compiling[name], "s": seconds[name],
         "over a record": seconds[name] / seconds["record"]}
        for name in what
    ]  # fmt: skip
    report("step", rows, options.output)


if __name__ == "__main__":
    main()
