"""What test_cache.py starts and kills: products of the cache asked for in a process of its own, made by stand-ins.

``python -m tests.mdpl.cache_jobs surrogate|runs|embedded FOLDER``. Prints "making" when it makes the product, whatever
it is told of others, and "has it" at the end; making takes until there is a file FOLDER/go.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

from mdpl.data import synthetic
from mdpl.surrogate import fitting, runs
from mdpl.surrogate.network import Sizes, Surrogate, SurrogateNetwork
from mdpl.surrogate.runs import SURROGATE_FLUXES, Runs

KEYS = ("vegetation.vcmax25",)
SMALL = Sizes(hidden=4, embedding=4, context=4, trunk=(4, 4), head=2)
CARD = {"sites": [], "training_runs": 1, "model_steps": 1, "model_seconds": 1.0, "steps": 1, "training_seconds": 1.0}


def say(*words: object) -> None:
    """A line, at once."""
    print(*words, flush=True)


def make(folder: Path) -> None:
    """Take until there is a file ``go``."""
    say("making")
    while not (folder / "go").exists():
        time.sleep(0.02)


def main() -> None:
    """Ask for the product named on the command line."""
    job, folder = sys.argv[1], Path(sys.argv[2])
    cache = folder / "cache"
    os.environ["MDPL_CACHE"] = str(cache)

    def new_runs(*arguments: object) -> Runs:
        if job == "runs":
            make(folder)
        none = np.zeros(0)
        return Runs(KEYS, none, none, none, none, none, none, 1.0, 1)

    def surrogate(*arguments: object) -> Surrogate:
        make(folder)
        network = SurrogateNetwork(KEYS, SURROGATE_FLUXES, SMALL)
        return Surrogate(network, KEYS, SURROGATE_FLUXES, (0.0,) * 4, (1.0,) * 4, SMALL, CARD)

    def five_sites(target: Path, **options: object) -> None:
        target.mkdir()
        make(folder)
        for name in synthetic.record_names():
            for kind in synthetic.KINDS:
                (target / f"{name}_{kind}.nc").touch()

    runs._new_runs, fitting._judged_surrogate, synthetic.write_synthetic = new_runs, surrogate, five_sites
    jobs = {
        "surrogate": lambda: fitting.train_or_load_surrogate([], KEYS, cache, progress=say),
        "runs": lambda: runs.make_runs(None, [], KEYS, cache=cache, progress=say),
        "embedded": lambda: synthetic.five_crops_synthetic(say),
    }
    jobs[job]()
    say("has it")


if __name__ == "__main__":
    main()
