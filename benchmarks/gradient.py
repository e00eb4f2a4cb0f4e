"""Cost of a gradient of a year's loss with respect to all PFT parameters, relative to the run itself.

    python -m benchmarks.gradient [--columns 5] [--steps 17520] [--modes reverse,any,forward] [-o OUT.json]

The loss is the mean of Qle and Qh. "reverse" is ``simulate(reverse=True)``, "any" the same without it (reverse mode as
JAX derives it), "forward" carries one lane per parameter (minutes of compilation).
Compiler flags are those of ``mdpl calibrate``; ``XLA_FLAGS= python -m ...`` takes none, or give your own.
"""

from __future__ import annotations

import argparse
import resource

import jax
import jax.numpy as jnp

import jlsm
from benchmarks.timing import compile_ahead, medians, report, tower_columns
from jlsm._xla import GRADIENT_LOOP_BYTES, prefer_cpu_flags


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", default="5")
    parser.add_argument("--steps", type=int, default=17520)
    parser.add_argument("--modes", default="reverse,any")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("-o", "--output", default="")
    options = parser.parse_args()
    prefer_cpu_flags(GRADIENT_LOOP_BYTES)
    rows = []
    for count in (int(c) for c in options.columns.split(",")):
        params, forcing, site, state = tower_columns(count, options.steps)
        values = {key: jlsm.get_parameter(params, key) for key in jlsm.PFT_PARAMETERS}

        def losses(values, params=params, forcing=forcing, site=site, state=state, by_hand=False):
            given = jlsm.replace_parameters(params, values)
            out, _ = jlsm.simulate(given, forcing, site, state, fields=("Qle", "Qh"), reverse=by_hand)
            return jnp.mean(out.Qle + out.Qh, axis=0)

        def reverse(values, losses=losses):
            return jax.grad(lambda v: jnp.sum(losses(v, by_hand=True)))(values)

        def any_mode(values, losses=losses):
            return jax.grad(lambda v: jnp.sum(losses(v)))(values)

        def forward(values, losses=losses):  # sites are independent: one lane per parameter serves all of them
            def along(lane):
                seed = {
                    key: jnp.where(lane == index, jnp.ones_like(value), jnp.zeros_like(value))
                    for index, (key, value) in enumerate(values.items())
                }
                return jax.jvp(losses, (values,), (seed,))[1]

            return jax.vmap(along)(jnp.arange(len(values)))

        functions = {
            "run": losses,
            **{m: {"reverse": reverse, "any": any_mode, "forward": forward}[m] for m in options.modes.split(",")},
        }
        compiled = {name: compile_ahead(function, values) for name, function in functions.items()}
        ready = {name: (lambda c=c, v=values: c(v)) for name, (c, _) in compiled.items()}
        seconds = medians(ready, options.repeats)
        rows += [
            {
                "columns": count,
                "steps": options.steps,
                "what": name,
                "parameters": len(values),
                "compile s": compiled[name][1],
                "s": seconds[name],
                "over forward": seconds[name] / seconds["run"],
                # of all so far, compiler included
                "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
            for name in functions
        ]
    report("gradient", rows, options.output)


if __name__ == "__main__":
    main()
