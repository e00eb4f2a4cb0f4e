"""Swap the path: the same training loop through the land surface model, and through a surrogate of it."""

import dataclasses
from pathlib import Path

from mdpl.config import Config
from mdpl.data import five_crops_synthetic
from mdpl.model_paths import lsm_path
from mdpl.surrogate.fitting import TrainingSettings, train_or_load_surrogate
from mdpl.surrogate.network import surrogate_path
from mdpl.surrogate.runs import DataSettings
from mdpl.towers.load import find_site_files, load_towers
from mdpl.training.problem import Problem
from mdpl.training.trainer import Trainer
from mdpl.training.windows import group_towers
from mdpl.unknowns.search_space import select_parameters

# One tower, 16 May to 14 June 2001.
(tower,) = load_towers(find_site_files(five_crops_synthetic(), ("DE-Geb-syn",)))
FIRST, DAYS = 135, 30
tower = dataclasses.replace(tower, forcing=tower.forcing.window(48 * FIRST, 48 * (FIRST + DAYS)))
keys = select_parameters(("vcmax25", "ball_berry_slope"))

# The surrogate learns from runs of the model with other parameters, never from observations. The sizes are tiny:
# pieces of 10 days in place of years, 12 draws of the parameters in place of 192.
surrogate = train_or_load_surrogate(
    [tower],
    keys,
    Path("runs/surrogates"),
    data=DataSettings(draws=12, unseen_draws=4, year_days=10),
    settings=TrainingSettings(steps=200),
)
skill = {(row["split"], row["flux"], row["step"]): row["r2"] for row in surrogate.card["scores"]}
print(f"R2 of the surrogate's Qle on unseen parameters and unseen days: {skill['year', 'Qle', 'half-hourly']:.2f}")

# A path is a table of functions: simulate, spin_up, default_parameters. Everything below is the same for both.
paths = {"land surface model": lsm_path(), "surrogate": surrogate_path(surrogate)}
config = Config(parameters=keys, learner="direct", window_days=DAYS, epochs=5, spinup_years=1)
groups = group_towers([tower], config)
trained = {name: Trainer(Problem(path, groups, keys, config)).train() for name, path in paths.items()}

# Whatever path found the parameters, the model judges them: no epochs, started from the trained weights.
judge = Trainer(Problem(lsm_path(), groups, keys, dataclasses.replace(config, epochs=0)))
default = judge.train().rows[0].record_loss
print(f"loss of the model with its default parameters: {default:.4f}")
judged = {name: judge.train(start=result.weights).rows[0].record_loss for name, result in trained.items()}
for name, result in trained.items():
    values = ", ".join(f"{key} {value:.2f}" for key, value in zip(keys, result.values[0], strict=True))
    claim = min(row.record_loss for row in result.rows if row.record_loss is not None)
    print(f"through the {name}: {values}; its own loss {claim:.4f}, judged by the model {judged[name]:.4f}")
