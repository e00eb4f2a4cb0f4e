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

from benchmarks.timing import medians, report
from jlsm.command_line.xla_flags import prefer_cpu_flags
from jlsm.loop_sizes import GRADIENT_LOOP_BYTES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="folder of Met/Flux pairs; default: the embedded sites")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", default="")
    options = parser.parse_args()
    prefer_cpu_flags(GRADIENT_LOOP_BYTES)
    from mdpl.config import Config
    from mdpl.data import five_crops_synthetic
    from mdpl.paths import lsm_path
    from mdpl.search_space import select_parameters
    from mdpl.sites import find_site_files, load_towers
    from mdpl.training import Trainer
    from mdpl.windows import group_towers

    config = Config(windows_per_step=0, loss={"mse": 1.0})
    towers, keys = load_towers(find_site_files(options.data or five_crops_synthetic())), select_parameters(("pft",))
    groups = group_towers(towers, config)
    trainer = Trainer(lsm_path(), groups, keys, config)
    newton = Trainer(lsm_path(), groups, keys, dataclasses.replace(config, learner="direct", optimiser="gauss-newton"))
    weights, moments = trainer.learner.initial()
    unknowns = np.zeros((len(towers), newton.layout.size), np.float32)
    starts = [task.runner.spin_up(task.default) for task in trainer.tasks]
    counts = [task.group.last_training_window() + 1 for task in trainer.tasks]

    def record():
        every = zip(trainer.tasks, counts, starts, strict=True)
        return [task.runner.record(task.default, count, start) for task, count, start in every]

    states = [states for states, _ in record()]
    batches = [task.batch(task.columns, own) for task, own in zip(trainer.tasks, states, strict=True)]
    damping = newton.newton.first()
    what = {
        "record": record,
        "adam": lambda: trainer._step(weights, moments, batches),
        "gauss-newton": lambda: (newton.newton.iterate(unknowns, damping, states), record()),
    }
    compiling = {}
    for name, run in what.items():
        begin = time.perf_counter()
        jax.block_until_ready(run())
        compiling[name] = time.perf_counter() - begin
    seconds = medians(what, options.repeats)
    columns = sum(task.columns.site.size for task in trainer.tasks)
    rows = [
        {"what": name, "columns": columns, "first call s": compiling[name], "s": seconds[name],
         "over a record": seconds[name] / seconds["record"]}
        for name in what
    ]  # fmt: skip
    report("step", rows, options.output)


if __name__ == "__main__":
    main()
