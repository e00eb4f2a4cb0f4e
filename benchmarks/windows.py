"""What a gradient loses where windows start from given states: against the gradient through the whole record.

    python -m benchmarks.windows [--data DIR] [--months 1,3,6,12] [-o OUT.json]

Training cuts a record into windows that run side by side; the derivative of what happened before a window's start is
left out. Here the derivatives run through the record of each site (``simulate_tangents``, state and all) and are set
to zero every so many months. The loss is the mean squared error of Qle and Qh over sigma squared, the parameters the
defaults of the plants, measured in shares of their range. Per site: the angle between both gradients, the length of the
cut one over that of the whole one, and the parameter with the largest difference, in shares of the whole length.
"""

from __future__ import annotations

import argparse

import jax
import jax.numpy as jnp
import numpy as np

import jlsm
from benchmarks.results import result_file
from benchmarks.timing import report
from jlsm.command_line.front_door import prefer_cpu_flags
from jlsm.loop_sizes import GRADIENT_LOOP_BYTES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="folder of Met/Flux pairs; default: the embedded sites")
    parser.add_argument("--months", default="1,3,6,12", help="lengths of windows")
    parser.add_argument("-o", "--output", type=result_file, default="")
    options = parser.parse_args()
    prefer_cpu_flags(GRADIENT_LOOP_BYTES)
    months = [int(m) for m in options.months.split(",")]
    labels, keys, gradients = gradients_by_reset(options.data, months)
    rows = []
    for length in months:
        for s, label in enumerate(labels):
            whole, cut = gradients[None][s], gradients[length][s]
            size = np.linalg.norm(whole)
            worst = int(np.argmax(np.abs(cut - whole)))
            rows.append(
                {
                    "months": length,
                    "site": label,
                    "angle, degrees": float(np.degrees(np.arccos(cut @ whole / size / np.linalg.norm(cut)))),
                    "length": float(np.linalg.norm(cut) / size),
                    "largest difference": float((cut - whole)[worst] / size),
                    "of": keys[worst].split(".")[1],
                }
            )
    report("windows", rows, options.output)


def gradients_by_reset(data: str, months: list[int]) -> tuple[tuple[str, ...], tuple[str, ...], dict]:
    """(sites, parameters, gradients ``[sites, parameters]`` by months between resets, None for no reset)."""
    from mdpl.config import Config
    from mdpl.data import five_crops_synthetic
    from mdpl.model_paths import lsm_path
    from mdpl.towers.intervals import interval_means
    from mdpl.towers.load import find_site_files, load_towers
    from mdpl.training.problem import Problem
    from mdpl.training.windows import group_towers
    from mdpl.unknowns.search_space import select_parameters

    config = Config(learner="direct", loss={"mse": 1.0}, window_days=30)
    groups = group_towers(load_towers(find_site_files(data or five_crops_synthetic())), config)
    (task,) = Problem(lsm_path(), groups[:1], select_parameters(("pft",)), config).tasks
    group, space, default = task.group, task.space, task.default
    lanes = -(-len(space.keys) // 8) * 8
    spans = jnp.asarray(space.upper - space.lower, jnp.float32)
    directions = {
        key: jnp.broadcast_to(spans[i] * jnp.eye(1, lanes, i)[0], (len(group.towers), lanes))
        for i, key in enumerate(space.keys)
    }

    @jax.jit
    def one_window(forcing, state, of_state):
        out, end, slopes, of_end = jlsm.simulate_tangents(
            default, directions, forcing, task.runner.site, state, of_state=of_state, fields=tuple(config.fluxes)
        )

        def means(series):
            return {f: interval_means(getattr(series, f), group.ratio, group.offset) for f in config.fluxes}

        return means(out), end, means(slopes), of_end

    start = task.runner.spin_up(default)
    still = jax.tree.map(lambda leaf: jnp.zeros((*leaf.shape, lanes), leaf.dtype), start)
    gradients = {}
    for length in (None, *months):
        state, of_state, total = start, still, np.zeros((len(group.towers), len(space.keys)))
        for window in range(group.last_training_window() + 1):
            if length is not None and window % length == 0:
                of_state = still
            forcing = group.forcing(window * group.steps, (window + 1) * group.steps)
            means, state, slopes, of_state = one_window(forcing, state, of_state)
            for flux in config.fluxes:
                weight = group.weight[flux][:, :, window]
                scored = group.weight[flux].sum(axis=(0, 2))
                error = weight * (np.asarray(means[flux], float) - group.observed[flux][:, :, window])
                own = np.asarray(slopes[flux], float)[..., : len(space.keys)]
                total += np.einsum("is,isp->sp", 2.0 * error / (scored * group.sigma[flux] ** 2), own) / 2.0
        gradients[length] = np.where(space.active, total, 0.0)
    return group.labels, space.keys, gradients


if __name__ == "__main__":
    main()
