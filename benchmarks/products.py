"""How many products and sums a time step's derivative needs per direction, before and after vertex elimination.

    python -m benchmarks.products

The step is that of US-Bo1 in summer, the directions are the plant parameters and the state; see
``jlsm/numerics/jaxprs/elimination.py``. Nothing is run, so this takes seconds.
"""

from __future__ import annotations

import jax

import jlsm
from benchmarks.timing import tower_columns
from jlsm.numerics.jaxprs.elimination import linear_graph
from jlsm.simulation.layout import atmosphere_of, run_layout
from jlsm.simulation.run import one_step


def main() -> None:
    params, forcing, site, state = tower_columns(5, 48)
    constants, rows = run_layout(params, forcing, site, 48)
    now = jax.tree.map(lambda leaf: leaf[0], atmosphere_of(constants, jax.tree.map(lambda leaf: leaf[0], rows)))

    def step(values, state):
        own = constants._replace(params=jlsm.replace_parameters(constants.params, values))
        return one_step(own, state, now, solver="converged", fields=("Qle", "Qh"))[:2]

    values = {key: jlsm.get_parameter(params, key) for key in jlsm.PFT_PARAMETERS}
    _, _, graph = linear_graph(step, values, state)
    before = graph.size()
    graph.eliminate()
    print(f"products and sums: {before} before, {graph.size()} after")


if __name__ == "__main__":
    main()
