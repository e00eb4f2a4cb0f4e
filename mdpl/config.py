"""What a calibration is told: one flat, typed table that reads from and writes to TOML."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jlsm.describe import field_table
from jlsm.errors import InputError

PATHS = ("lsm", "surrogate", "surrogate-then-lsm")
TARGETS = ("raw", "corrected")
LEARNERS = ("network", "direct")
OPTIMISERS = ("adam", "gauss-newton")
SCHEDULES = ("cosine", "constant")
SMALLEST = {"epochs": 0, "window_days": 1, "windows_per_step": 0, "refresh_every": 1, "spinup_years": 1,
            "warmup_years": 0, "seed": 0, "hidden": 1, "feature_days": 1, "harmonics": 1, "warmup_epochs": 0,
            "validation_years": 0, "patience": 0}  # fmt: skip
LEARNING_RATES = {"network": 0.02, "direct": 0.1}
"""peak step where the config leaves it to the learner: a weight of the network moves every site's parameters"""


@dataclass(frozen=True)
class Config:
    """A calibration. Every field is a key of ``config.toml``."""

    data: str = ""
    """folder with <SITE>_*_Met.nc and _Flux.nc files; empty: the embedded synthetic data set"""
    sites: tuple[str, ...] = ()
    """site codes or starts of record names; empty: every pair in the folder"""
    output: str = ""
    """run directory; empty: runs/<sites>"""
    path: str = "lsm"
    """what is differentiated: the land surface model (``lsm``), the ``surrogate`` that imitates it, or one after the
    other (``surrogate-then-lsm``); scores always come from the land surface model"""
    parameters: tuple[str, ...] = ("pft",)
    """``pft``, keys, names or globs (``soil.*``)"""
    exclude: tuple[str, ...] = ()
    """keys, names or globs left at their default"""
    lai: str = "LAI"
    """variable of the Met file that gives the leaf area index: ``LAI`` or ``LAI_alternative``"""
    target: str = "raw"
    """observations to fit: ``raw`` or ``corrected`` (for energy-balance closure)"""
    fluxes: dict[str, float] = field(default_factory=lambda: {"Qle": 1.0, "Qh": 1.0})
    """weight of each flux in the loss"""
    loss: dict[str, float] = field(default_factory=lambda: {"mse": 1.0, "correlation": 1.0})
    """weight of each loss: mse, rmse, huber, nse, kge, correlation (1 - R)"""
    prior: float = 0.0
    """weight of the mean squared offset from the default parameters, added to the loss"""
    learner: str = "network"
    """``network``: one generator g_z for all sites; ``direct``: each site's parameters for themselves"""
    optimiser: str = "adam"
    """``adam``, or ``gauss-newton`` for the direct learner through the land surface model: an epoch is then one
    iteration (learning rate, clipping, windows per step and refreshes have no part in it)"""
    encoder: str = "gru"
    """how the generator reads a site's weather: gru, lstm, tcn or transformer"""
    hidden: int = 32
    """width of the generator"""
    feature_days: int = 7
    """days in a period of the weather the generator reads"""
    time_varying: dict[str, str] = field(default_factory=dict)
    """parameter -> ``constant``, ``seasonal`` or ``phenology``; those not named are constant"""
    harmonics: int = 1
    """harmonics of a year in a seasonal parameter"""
    epochs: int = 24
    """passes over the training windows"""
    learning_rate: float = -1.0
    """Adam's peak step; -1: the learner's own (network 0.02, direct 0.1)"""
    schedule: str = "cosine"
    """``cosine``: decays to a twentieth; ``constant``"""
    warmup_epochs: int = 0
    """epochs over which the step rises from a twentieth to its peak"""
    clip_norm: float = 1.0
    """largest norm of the gradient (of a site's unknowns, or of the weights); longer ones are shortened and reported"""
    gradient: str = "auto"
    """``forward``, ``reverse`` or ``auto``: how the derivative is taken"""
    window_days: int = 91
    """length of a training window, days"""
    windows_per_step: int = 4
    """windows per site in one optimiser step, drawn without replacement; 0: all of them"""
    refresh_every: int = 4
    """epochs between forward runs of the record that renew the windows' start states"""
    spinup_years: int = 3
    """passes over the first year before a record starts"""
    warmup_years: int = 1
    """years of the record that run before the first scored step (records of three years or more)"""
    test_years: int = -1
    """whole years held back at the end; -1: 30 % of the record, at least one"""
    validation_years: int = 0
    """whole years before the test that choose the best epoch instead of the training years; not trained on"""
    patience: int = 0
    """stop after this many refreshes without a better loss; 0: run all epochs"""
    seed: int = 0
    """of the draw of windows and of the network's first weights; nothing else is random"""

    def __repr__(self) -> str:
        return field_table(self)

    def check(self) -> Config:
        """This config, after its values were checked. Raises InputError."""
        from mdpl.losses import LOSSES
        from mdpl.observations import FLUXES
        from mdpl.time_varying import FORMS

        _one_of("path", self.path, PATHS)
        _one_of("target", self.target, TARGETS)
        _one_of("lai", self.lai, ("LAI", "LAI_alternative"))
        _one_of("gradient", self.gradient, ("auto", "forward", "reverse"))
        _one_of("learner", self.learner, LEARNERS)
        _one_of("optimiser", self.optimiser, OPTIMISERS)
        if self.optimiser == "gauss-newton" and (self.learner != "direct" or self.path != "lsm"):
            raise InputError(
                f"config: optimiser = 'gauss-newton' with learner = {self.learner!r}, path = {self.path!r}: "
                "it needs learner = 'direct' and path = 'lsm'"
            )
        _one_of("encoder", self.encoder, ("gru", "lstm", "tcn", "transformer"))
        _one_of("schedule", self.schedule, SCHEDULES)
        for name, table, allowed in (("fluxes", self.fluxes, FLUXES), ("loss", self.loss, tuple(LOSSES))):
            for key, weight in table.items():
                _one_of(f"{name} key", key, allowed)
                if not weight >= 0:
                    raise InputError(f"config: {name}.{key} = {weight}: a weight must be 0 or more")
            if not sum(table.values()) > 0:
                raise InputError(f"config: {name}: no positive weight: give e.g. {allowed[0]} = 1.0")
        for name, smallest in SMALLEST.items():
            if getattr(self, name) < smallest:
                raise InputError(f"config: {name} = {getattr(self, name)}: must be {smallest} or more")
        for key, form in self.time_varying.items():
            _one_of(f"time_varying.{key}", form, FORMS)
        if self.encoder == "transformer" and self.hidden % 4:
            raise InputError(f"config: hidden = {self.hidden}: must be a multiple of 4 for a transformer's heads")
        if not (self.learning_rate > 0 or self.learning_rate == -1):
            raise InputError(f"config: learning_rate = {self.learning_rate}: must be above 0, or -1 for the learner's")
        if not self.clip_norm > 0:
            raise InputError(f"config: clip_norm = {self.clip_norm}: must be above 0")
        if not self.prior >= 0:
            raise InputError(f"config: prior = {self.prior}: must be 0 or more")
        if self.epochs and self.warmup_epochs >= self.epochs:
            raise InputError(f"config: warmup_epochs = {self.warmup_epochs}: must be fewer than epochs = {self.epochs}")
        if self.test_years == 0 or self.test_years < -1:
            raise InputError(f"config: test_years = {self.test_years}: must be 1 or more, or -1 for 30 % of the record")
        return self

    @property
    def peak_rate(self) -> float:
        """The peak learning rate in use."""
        return self.learning_rate if self.learning_rate > 0 else LEARNING_RATES[self.learner]

    def to_toml(self) -> str:
        """The config as TOML text."""
        import tomli_w

        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}
        return tomli_w.dumps(plain)


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InputError(f"config: {name} = {value!r}: use one of {', '.join(allowed)}")


def config_from_dict(values: dict[str, Any], where: str = "config") -> Config:
    """A config from plain values (``check`` it before use). Raises InputError: unknown key, wrong type."""
    fields = {f.name: f for f in dataclasses.fields(Config)}
    standard = Config()
    given = {}
    for key, value in values.items():
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(fields)}"
            raise InputError(f"{where}: unknown key {key!r}: {hint}")
        given[key] = _typed(where, key, value, getattr(standard, key), texts=key == "time_varying")
    return Config(**given)


def _typed(where: str, key: str, value: Any, example: Any, texts: bool) -> Any:
    if isinstance(example, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(example, tuple) and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if texts and isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        return dict(value)
    if isinstance(example, dict) and isinstance(value, dict) and not texts:
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in value.values()):
            return {name: float(weight) for name, weight in value.items()}
    elif type(value) is type(example) and not texts:
        return value
    kind = {
        tuple: "a list of texts",
        dict: "a table of texts" if texts else "a table of numbers",
        str: "a text",
        int: "a whole number",
    }
    raise InputError(f"{where}: {key} = {value!r}: must be {kind.get(type(example), 'a number')}")


def load_config(path: str | Path) -> Config:
    """Read ``config.toml``; a relative ``data`` is relative to the file. Raises InputError."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file: give a config.toml")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid TOML: {error}") from error
    config = config_from_dict(values, str(path))
    if config.data:
        config = dataclasses.replace(config, data=str((path.parent / config.data).resolve()))
    return config
