"""Cost of a gradient of a year's loss with respect to all PFT parameters, relative to the run itself.

    python -m benchmarks.gradient [--columns 5] [--steps 17520] [--modes reverse,any,jacobian,forward] [-o OUT.json]

The loss is the mean of Qle and Qh. "reverse" is ``simulate(adjoint=ReverseOnly())``, "any" the same without it
(reverse mode as JAX derives it); "jacobian" is ``sensitivities``, the derivatives of every step's fluxes, and
"forward" the same by ``jax.vmap`` of ``jax.jvp`` (minutes of compilation).
Compiler flags are those of ``mdpl calibrate``; ``XLA_FLAGS= python -m ...`` takes none, or give your own. Peak memory
holds the compiler's: a second run with ``JAX_COMPILATION_CACHE_DIR`` set to a folder shows it without.
``--check`` also compares the gradient of "reverse" with the same in double precision, each parameter for itself.
"""

from __future__ import annotations

import argparse
import resource

import jax
import jax.numpy as jnp
import numpy as np

import jlsm
from benchmarks.results import result_file
from benchmarks.timing import compile_ahead, medians, report, tower_columns
from jlsm.command_line.front_door import prefer_cpu_flags
from jlsm.loop_sizes import GRADIENT_LOOP_BYTES


def largest_differences(function, *arguments) -> dict[str, float]:
    """Parameter -> largest difference from double precision among the columns, over its largest derivative."""
    single = jax.jit(function)(*arguments)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda x: np.asarray(x, np.float64) if x.dtype == jnp.float32 else x, arguments)
        double = jax.tree.map(np.asarray, jax.jit(function)(*wide))
    found = {}
    for key, exact in double.items():
        difference, largest = np.abs(single[key] - exact).max(), np.abs(exact).max()
        found[key] = float(difference / largest) if largest else float("inf" if difference else 0.0)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", default="5")
    parser.add_argument("--steps", type=int, default=17520)
    parser.add_argument("--modes", default="reverse,any")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without the run beside it: memory of the derivative")
    parser.add_argument("--check", action="store_true", help="compare with double precision (compiles once more)")
    parser.add_argument("-o", "--output", type=result_file, default="")
    options = parser.parse_args()
    prefer_cpu_flags(GRADIENT_LOOP_BYTES)
    rows = []
    for count in (int(c) for c in options.columns.split(",")):
        params, forcing, site, state = tower_columns(count, options.steps)
        values = {key: jlsm.get_parameter(params, key) for key in jlsm.PFT_PARAMETERS}

        given = (params, forcing, site, state)

        def losses(values, params, forcing, site, state, adjoint=None):
            params = jlsm.replace_parameters(params, values)
            adjoint = adjoint or jlsm.Checkpointed()
            out, _ = jlsm.simulate(params, forcing, site, state, fields=("Qle", "Qh"), adjoint=adjoint)
            return jnp.mean(out.Qle + out.Qh, axis=0)

        def reverse(values, *given, losses=losses):
            return jax.grad(lambda v: jnp.sum(losses(v, *given, adjoint=jlsm.ReverseOnly())))(values)

        def any_mode(values, *given, losses=losses):
            return jax.grad(lambda v: jnp.sum(losses(v, *given)))(values)

        def forward(values, *given, losses=losses):  # sites are independent: one lane per parameter serves all of them
            def along(lane):
                seed = {
                    key: jnp.where(lane == index, jnp.ones_like(value), jnp.zeros_like(value))
                    for index, (key, value) in enumerate(values.items())
                }
                return jax.jvp(lambda v: losses(v, *given), (values,), (seed,))[1]

            return jax.vmap(along)(jnp.arange(len(values)))

        def jacobian(values, params, forcing, site, state):
            params = jlsm.replace_parameters(params, values)
            _, _, slopes = jlsm.sensitivities(params, jlsm.PFT_PARAMETERS, forcing, site, state)
            return jnp.mean(slopes.Qle + slopes.Qh, axis=0)

        modes = {"reverse": reverse, "any": any_mode, "jacobian": jacobian, "forward": forward}
        functions = ({} if options.alone else {"run": losses}) | {
            mode: modes[mode] for mode in options.modes.split(",")
        }
        if options.check:
            found = sorted(largest_differences(reverse, values, *given).items(), key=lambda item: -item[1])
            print(f"{count} columns, from double precision:", ", ".join(f"{key} {value:.1e}" for key, value in found))
        compiled = {name: compile_ahead(function, values, *given) for name, function in functions.items()}
        ready = {name: (lambda c=c, a=(values, *given): c(*a)) for name, (c, _) in compiled.items()}
        seconds = medians(ready, options.repeats)
        rows += [
            {
                "columns": count,
                "steps": options.steps,
                "what": name,
                "parameters": len(values),
                "compile s": compiled[name][1],
                "s": seconds[name],
                **({} if options.alone else {"over forward": seconds[name] / seconds["run"]}),
                "temporary MiB": compiled[name][0].memory_analysis().temp_size_in_bytes / 2**20,
                # of all so far, compiler included
                "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
            for name in functions
        ]
    report("gradient", rows, options.output)


if __name__ == "__main__":
    main()
