"""The surrogate beside the model: microseconds per site-step on the same batch (float32), and its skill.

python -m benchmarks.surrogate [--data DIR] [--cache DIR] [--columns 5,64,512] [--steps 960] [-o OUT.json]
python -m benchmarks.surrogate --ablation 600 [--data DIR] [--cache DIR]

Compiler flags are those of ``mdpl calibrate`` for both. Trains the surrogate of all towers in DIR first (or loads it
from the cache): model runs and fitting take minutes.
``--ablation N`` instead fits it, the same without its memory task, and one network each for Qh and Qle, N steps each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import jlsm
from benchmarks.data import data_folder
from benchmarks.results import result_file
from benchmarks.timing import compile_ahead, medians, report, tower_columns
from jlsm.command_line.front_door import prefer_cpu_flags
from jlsm.loop_sizes import GRADIENT_LOOP_BYTES
from mdpl.model_paths import lsm_path
from mdpl.surrogate.fitting import TrainingSettings, ablation, train_or_load_surrogate
from mdpl.surrogate.network import load_surrogate
from mdpl.surrogate.runs import make_runs
from mdpl.surrogate.skill import card_text
from mdpl.towers.load import find_site_files, load_towers
from mdpl.unknowns.search_space import select_parameters

FIELDS = ("Qh", "Qle", "Rnet", "Qg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="", help="folder of Met/Flux pairs; default: $MDPL_DATA/plumber2_daily")
    parser.add_argument("--cache", default="runs/surrogates")
    parser.add_argument("--surrogate", default="", help="a saved surrogate instead of training one")
    parser.add_argument("--columns", default="5,64,512")
    parser.add_argument("--steps", type=int, default=960)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("-o", "--output", type=result_file, default="")
    parser.add_argument("--ablation", type=int, default=0, help="compare networks fitted by so many steps each")
    options = parser.parse_args()
    prefer_cpu_flags(GRADIENT_LOOP_BYTES)
    if options.surrogate:
        surrogate = load_surrogate(options.surrogate)
    else:
        towers = load_towers(find_site_files(options.data or data_folder() / "plumber2_daily"))
        keys = select_parameters(("pft",))
        if options.ablation:
            runs = make_runs(lsm_path(), towers, keys, cache=Path(options.cache))
            rows = ablation(towers, runs, TrainingSettings(steps=options.ablation))
            named = ("network", "flux", "step", "r2", "r2_anomaly", "rmse")
            return report("ablation", [{name: row[name] for name in named} for row in rows], options.output)
        surrogate = train_or_load_surrogate(towers, keys, Path(options.cache), unseen_site=True)
    print(card_text(surrogate))
    rows = []
    for columns in [int(c) for c in options.columns.split(",")]:
        params, forcing, site, state = tower_columns(columns, options.steps)
        start = surrogate.start(columns, forcing.Tair.dtype)
        step = np.asarray(forcing.dt)

        def imitate(params, forcing, site, state, step=step):
            # the step is known before compiling, as it is for whoever runs one group of sites
            forcing = jlsm.Forcing(**{n: getattr(forcing, n) for n in forcing.series()}, dt=step)
            return surrogate.simulate(params, forcing, site, state)

        def model(params, forcing, site, state):
            return jlsm.simulate(params, forcing, site, state, fields=FIELDS)

        lsm, _ = compile_ahead(model, params, forcing, site, state)
        network, _ = compile_ahead(imitate, params, forcing, site, start)
        seconds = medians(
            {
                "lsm": lambda run=lsm, a=(params, forcing, site, state): run(*a),
                "surrogate": lambda run=network, a=(params, forcing, site, start): run(*a),
            },
            options.repeats,
        )
        per = {name: value / options.steps / columns * 1e6 for name, value in seconds.items()}
        rows.append(
            {
                "columns": columns,
                "steps": options.steps,
                "lsm us per site-step": per["lsm"],
                "surrogate us per site-step": per["surrogate"],
                "times faster": per["lsm"] / per["surrogate"],
            }
        )
    report("surrogate", rows, options.output)


if __name__ == "__main__":
    main()
