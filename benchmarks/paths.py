"""The same sites, the same loss: what each way to calibrate costs, and what the land surface model then keeps of it.

    python -m benchmarks.paths [--data DIR] [--seeds 0] [--methods gauss-newton,adam,cma] [--budget 400] [-o OUT.json]

Every method searches the same parameters of each site by itself (mean squared error over sigma squared, Qle and Qh)
and is judged by the same two numbers: the loss of the continuous training record, and the RMSE of the test period,
both from the land surface model. Each runs in a process of its own, so that peak memory is its own; without ``--data``
at the embedded sites, with it at those of a folder.

| method | what it is |
|---|---|
| gauss-newton | second order, exact Jacobian of the model (``mdpl.training.gauss_newton``) |
| adam | first order, exact gradient of the model |
| surrogate | the same through a surrogate; training it counts |
| surrogate-then-lsm | the surrogate's result, then ``adam`` |
| cma, de | without derivatives (``mdpl.baselines.gradient_free``), ``--budget`` model runs of each site |

``runs`` is the cost in model runs: the seconds it took, first compilation left out, over the seconds of one run of
all sites' training records side by side, measured in the same process.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.results import pictured_result_file, write_json
from jlsm.command_line.front_door import prefer_cpu_flags
from jlsm.loop_sizes import GRADIENT_LOOP_BYTES

METHODS = ("gauss-newton", "adam", "surrogate", "surrogate-then-lsm", "cma", "de")
EPOCHS = {"gauss-newton": 12, "adam": 24, "surrogate": 24, "surrogate-then-lsm": 12}


def run_one(method: str, seed: int, data: str, budget: int) -> dict:
    """One calibration: costs, scores and the course of the loss."""
    import jax

    from mdpl.baselines.gradient_free import METHODS as GRADIENT_FREE
    from mdpl.baselines.gradient_free import RecordLoss, gradient_free
    from mdpl.config import Config
    from mdpl.data import five_crops_synthetic
    from mdpl.model_paths import lsm_path
    from mdpl.towers.load import find_site_files, load_towers
    from mdpl.training.judging import Judgement
    from mdpl.training.problem import Problem
    from mdpl.training.windows import group_towers
    from mdpl.unknowns.search_space import select_parameters

    # what an earlier process compiled must not make this one look faster
    jax.config.update("jax_enable_compilation_cache", False)
    towers = load_towers(find_site_files(data or five_crops_synthetic()))
    config = Config(learner="direct", loss={"mse": 1.0}, seed=seed)
    keys, path = select_parameters(("pft",)), lsm_path()
    groups = group_towers(towers, config)
    if len(groups) > 1:
        raise SystemExit("benchmarks.paths: sites whose clocks differ: give a folder with one kind of record")
    (group,), history = groups, []
    problem = Problem(path, groups, keys, config)
    (task,) = problem.tasks
    space, default = task.space, task.default
    # what one model run of all sites costs here, and the loss every method is judged by
    judge = RecordLoss(problem, task, members=1)
    judge(space.default[None])
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        judge(space.default[None])
        times.append(time.perf_counter() - begin)
    one_run = float(np.median(times)) * judge.windows / (judge.windows + group.year)
    begin = time.perf_counter()

    def tell(losses) -> None:
        history.append((time.perf_counter() - begin, float(np.mean(list(losses.values())))))

    if method in GRADIENT_FREE:
        values = gradient_free(problem, task, method, budget, seed, lambda runs, losses: tell(losses)).values
        stages = history[1][0] if len(history) > 1 else 0.0  # the first generation holds the compilation
    else:
        values, stages = _by_gradient(method, config, group, keys, path, towers, tell)
    total = time.perf_counter() - begin
    judgement = Judgement()
    for stage, chosen in (("default", space.default), ("calibrated", values)):
        judgement.add(task.runner, stage, space.insert(default, np.asarray(chosen, np.float32)))

    def test_rmse(stage: str, flux: str) -> float:
        wanted = (stage, flux, "test", "raw")
        rows = [r for r in judgement.metrics if (r.stage, r.flux, r.period, r.target) == wanted]
        return float(np.mean([row.rmse for row in rows]))

    return {
        "method": method,
        "seed": seed,
        "loss": float(judge(np.asarray(values)[None]).mean()),
        "default loss": float(judge(space.default[None], exact_start=True).mean()),
        "test RMSE Qle": test_rmse("calibrated", "Qle"),
        "test RMSE Qh": test_rmse("calibrated", "Qh"),
        "seconds": total,
        "seconds compiling": stages,
        "seconds of one run": one_run,
        "runs": (total - stages) / one_run,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "history": history,
    }


def _by_gradient(method, config, group, keys, path, towers, tell) -> tuple[np.ndarray, float]:
    """(parameter values, seconds until everything was compiled that a second run would not compile again)."""
    from mdpl.surrogate.fitting import TrainingSettings, train_or_load_surrogate
    from mdpl.surrogate.network import surrogate_path
    from mdpl.training.problem import Problem
    from mdpl.training.trainer import Trainer

    compiling, weights, result = 0.0, None, None
    phases = ("surrogate", "adam") if method == "surrogate-then-lsm" else (method,)
    for phase in phases:
        own, through = dataclasses.replace(config, epochs=EPOCHS.get(method, EPOCHS[phase])), path
        if phase == "surrogate":
            fitting = TrainingSettings(seed=config.seed)
            with tempfile.TemporaryDirectory() as folder:
                surrogate = train_or_load_surrogate(towers, keys, Path(folder), teacher=path, settings=fitting)
            through = surrogate_path(surrogate)
        if phase == "gauss-newton":
            own = dataclasses.replace(own, optimiser=phase)
        trainer = Trainer(Problem(through, [group], keys, own))
        compiling += _warm(trainer, weights)
        result = trainer.train(lambda epoch, losses: tell(losses), start=weights)
        weights = result.weights
    return result.values, compiling


def _warm(trainer, weights) -> float:
    """Seconds of a first epoch that is thrown away: mostly compilation."""
    begin = time.perf_counter()
    config = trainer.problem.config
    trainer.problem.config = dataclasses.replace(config, epochs=1)
    trainer.train(start=weights)
    trainer.problem.config = config
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="folder of Met/Flux pairs; default: the embedded sites")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--budget", type=int, default=400, help="model runs of each site without derivatives")
    parser.add_argument("-o", "--output", type=pictured_result_file, default="")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    prefer_cpu_flags(GRADIENT_LOOP_BYTES)
    if options.one:
        print(json.dumps(run_one(options.one, int(options.seeds), options.data, options.budget)))
        return
    rows = []
    for seed in options.seeds.split(","):
        for method in options.methods.split(","):
            command = [sys.executable, "-m", "benchmarks.paths", "--one", method, "--seeds", seed]
            command += ["--data", options.data, "--budget", str(options.budget)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(_line(rows[-1]), file=sys.stderr, flush=True)
            if options.output:  # what is done stays
                _write(rows, Path(options.output))
    print("\n".join(_table(rows)))


def _line(row: dict) -> str:
    return (
        f"{row['method']}, seed {row['seed']}: loss {row['loss']:.4f}, {row['seconds']:.0f} s, {row['runs']:.0f} runs"
    )


def _table(rows: list[dict]) -> list[str]:
    shown = ("loss", "test RMSE Qle", "test RMSE Qh", "seconds", "seconds compiling", "runs", "peak MiB")
    lines = ["| method | " + " | ".join(shown) + " |", "|---|" + "---:|" * len(shown)]
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        cells = []
        for name in shown:
            numbers = [row[name] for row in own]
            cell = f"{np.median(numbers):.4g}"
            cells.append(cell if len(own) == 1 else f"{cell} ({min(numbers):.4g} to {max(numbers):.4g})")
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    best = min((row for row in rows if row["method"] in ("cma", "de")), key=lambda row: row["loss"], default=None)
    for row in rows if best else ():
        reached = [seconds for seconds, loss in row["history"] if loss <= best["loss"]]
        if row["method"] not in ("cma", "de") and reached:
            share = max(reached[0] - row["seconds compiling"], 0.0)
            whole = best["seconds"] - best["seconds compiling"]
            lines.append(
                f"\n{row['method']} (seed {row['seed']}) reaches the loss of {best['method']}, {best['loss']:.4f}, "
                f"after {share:.1f} s or {share / row['seconds of one run']:.1f} runs; {best['method']} took "
                f"{whole:.0f} s or {best['runs']:.0f} runs."
            )
    return lines


def _write(rows: list[dict], output: Path) -> None:
    """JSON, Markdown and a figure beside each other."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from benchmarks.timing import machine, plain_ticks

    write_json(output, {"benchmark": "paths", "machine": machine(), "rows": rows})
    output.with_suffix(".md").write_text("\n".join(_table(rows)) + "\n")
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    colours = {method: f"C{i}" for i, method in enumerate(METHODS)}
    for row in rows:
        seconds, losses = np.array(row["history"]).T
        runs = np.maximum(seconds - row["seconds compiling"], 0.0) / row["seconds of one run"]
        first = row["seed"] == rows[0]["seed"]
        axes.step(np.maximum(runs, 0.5), np.minimum.accumulate(losses), where="post", color=colours[row["method"]],
                  label=row["method"] if first else None)  # fmt: skip
        axes.plot(max(runs[-1], 0.5), row["loss"], "o", color=colours[row["method"]])
    axes.set(xscale="log", xlabel="cost, model runs of all sites' training records", ylabel="mean loss of the sites")
    plain_ticks(axes.xaxis)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.65, 1.0))
    figure.savefig(output.with_suffix(".png"), dpi=130)
    plt.close(figure)


if __name__ == "__main__":
    main()
