"""Random parameters at every tower: are all outputs and all reverse-mode gradients finite?

    python -m benchmarks.random_draws [--draws 1000] [--days 60] [--batch 250] [--data DIR] [-o OUT.json]

Draws are uniform between the bounds of all calibratable parameters (management included), seed 0. Each tower
starts its window on the first day of its second January (or of the record) from a column at the mean air temperature.
"""

from __future__ import annotations

import argparse

import jax
import jax.numpy as jnp
import numpy as np

import jlsm
from benchmarks.data import data_folder, met_files
from benchmarks.results import result_file
from benchmarks.timing import report
from jlsm.budget import UNSETTLED
from jlsm.command_line.front_door import prefer_cpu_flags
from jlsm.loop_sizes import GRADIENT_LOOP_BYTES


def drawn_parameters(site: jlsm.Site, count: int, rng: np.random.Generator) -> jlsm.Parameters:
    """Default parameters with every calibratable one drawn uniformly within its bounds, ``[count]`` columns."""
    params = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count,)), jlsm.default_parameters(site))
    values = {
        key: jnp.asarray(rng.uniform(info.lower, info.upper, count), dtype=float)
        for key, info in jlsm.PARAMETERS.items()
        if info.calibratable
    }
    return jlsm.replace_parameters(params, values)


def run_and_differentiate(params, forcing, site, state):
    """(all outputs and end state, gradient of the mean fluxes with respect to parameters and initial state)."""

    def loss(arguments):
        out, end = jlsm.simulate(arguments[0], forcing, site, arguments[1])
        return jnp.mean(out.Qle + out.Qh + out.GPP) + jnp.mean(out.SoilMoist[-1]), (out, end)

    gradient, made = jax.grad(loss, has_aux=True)((params, state))
    return made, gradient


def columns_not_finite(tree, columns: int) -> int:
    """In how many columns some leaf of a pytree holds a value that is not finite."""
    leaves = [np.isfinite(np.asarray(leaf)).reshape(-1, columns).all(axis=0) for leaf in jax.tree.leaves(tree)]
    return int((~np.all(leaves, axis=0)).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="folder of real towers; default: $MDPL_DATA")
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--batch", type=int, default=250)
    parser.add_argument("-o", "--output", type=result_file, default="")
    options = parser.parse_args()
    prefer_cpu_flags(GRADIENT_LOOP_BYTES)
    rng = np.random.default_rng(0)
    work = jax.jit(run_and_differentiate)
    rows = []
    data = data_folder(options.data)
    for met in met_files(data):
        forcing, site = jlsm.load_forcing(met)
        steps = round(options.days * 86400 / float(forcing.dt))
        start = 17520 if forcing.steps >= 17520 + steps else 0
        window = forcing.window(start, start + steps)
        window = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[..., None], (*leaf.shape, options.batch)), window)
        place = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (options.batch,)), site.numeric())
        bad_outputs = bad_gradients = done = unsettled = 0
        worst = {"EnergyResidual": 0.0, "WaterResidual": 0.0, "SolverResidual": 0.0}
        while done < options.draws:
            params = drawn_parameters(site, options.batch, rng)
            state = jlsm.initial_state(jnp.mean(window.Tair, axis=0), params.soil.porosity)
            (out, end), gradient = work(params, window, place, state)
            bad_outputs += columns_not_finite((out, end), options.batch)
            bad_gradients += columns_not_finite(gradient, options.batch)
            unsettled += int((np.asarray(out.SolverResidual) > UNSETTLED).sum())
            for name in worst:
                worst[name] = max(worst[name], float(np.nanmax(np.abs(np.asarray(getattr(out, name))))))
            done += options.batch
        counts = {"draws": done, "outputs not finite": bad_outputs, "gradients not finite": bad_gradients}
        rows.append({"file": met.name, **counts, **worst, "% unsettled": 100.0 * unsettled / (done * steps)})
        print(rows[-1], flush=True)
    report("random draws", rows, options.output)


if __name__ == "__main__":
    main()
