"""What a calibration is told: one flat, typed table of settings that reads from and writes to TOML.

``SETTINGS`` holds kind, default, choices, bounds, unit and meaning of each, as ``jlsm.PARAMETERS`` does for
parameters; checks, messages and the page docs/configuration.md are made from it.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from jlsm.describe import field_table
from jlsm.errors import InputError
from jlsm.io.toml_file import read_toml
from mdpl.scores.losses import LOSSES
from mdpl.towers.observations import SCORED_FLUXES, TARGETS
from mdpl.unknowns.time_varying import FORMS

LEARNING_RATES = {"network": 0.02, "direct": 0.1}
"""peak step where the config leaves it to the learner: a weight of the network moves every site's parameters"""


class Kind(StrEnum):
    """What a setting's value is; the text says it in messages."""

    TEXT = "a text"
    WHOLE = "a whole number"
    NUMBER = "a number"
    TEXTS = "a list of texts"
    NUMBER_TABLE = "a table of numbers"
    TEXT_TABLE = "a table of texts"


class Setting(NamedTuple):
    """One key of ``config.toml``."""

    name: str
    kind: Kind
    default: Any
    """None: not given"""
    meaning: str
    choices: Collection[str] = ()
    """values of a text, keys of a table of numbers, values of a table of texts; empty: any"""
    lower: float | None = None
    """smallest value"""
    above: float | None = None
    """bound that a value must exceed"""
    unit: str = "-"

    @property
    def optional(self) -> bool:
        """Whether it may be left out, which has a meaning of its own."""
        return self.default is None

    def typed(self, value: Any, where: str = "config") -> Any:
        """A plain value (from TOML, say) in the type of the setting. Raises InputError."""
        kind, number = self.kind, _is_number(value)
        if value is None and self.optional:
            return None
        if kind is Kind.TEXT and isinstance(value, str):
            return value
        if kind is Kind.WHOLE and number and not isinstance(value, float):
            return value
        if kind is Kind.NUMBER and _is_number(value):
            return float(value)
        if kind is Kind.TEXTS and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
            return tuple(value)
        if isinstance(value, dict):
            if kind is Kind.TEXT_TABLE and all(isinstance(v, str) for v in value.values()):
                return dict(value)
            if kind is Kind.NUMBER_TABLE and all(map(_is_number, value.values())):
                return {key: float(weight) for key, weight in value.items()}
        raise InputError(f"{where}: {self.name} = {value!r}: must be {kind}")

    def check(self, value: Any) -> None:
        """Raise InputError where a value of the right type is not one of the choices or out of bounds."""
        if self.kind is Kind.TEXT and self.choices:
            _one_of(self.name, value, self.choices)
        elif self.kind is Kind.TEXT_TABLE and self.choices:
            for key, text in value.items():
                _one_of(f"{self.name}.{key}", text, self.choices)
        elif self.kind is Kind.NUMBER_TABLE:
            for key, weight in value.items():
                _one_of(f"{self.name} key", key, self.choices)
                if not weight >= 0:
                    raise InputError(f"config: {self.name}.{key} = {weight}: a weight must be 0 or more")
            if not sum(value.values()) > 0:
                raise InputError(f"config: {self.name}: no positive weight: give e.g. {next(iter(self.choices))} = 1.0")
        elif self.kind is Kind.TEXTS:
            twice = [text for text in value if value.count(text) > 1]
            if twice:
                raise InputError(f"config: {self.name} names {twice[0]!r} twice: keep one")
        elif value is not None and self.lower is not None and not value >= self.lower:
            raise InputError(f"config: {self.name} = {value}: must be {self.lower:g} or more{self._or_leave_out}")
        elif value is not None and self.above is not None and not value > self.above:
            raise InputError(f"config: {self.name} = {value}: must be above {self.above:g}{self._or_leave_out}")

    @property
    def _or_leave_out(self) -> str:
        return ", or left out" if self.optional else ""


LARGEST_NUMBER = 1e15
"""of a setting: beyond it, as for inf and NaN, it is no number that anybody meant"""


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST_NUMBER


def _one_of(name: str, value: str, allowed: Collection[str]) -> None:
    if value not in allowed:
        raise InputError(f"config: {name} = {value!r}: use one of {', '.join(allowed)}")


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("data", Kind.TEXT, "",
                "folder with `<SITE>_*_Met.nc` and `_Flux.nc` files, relative to the file that names it; empty: the "
                "embedded synthetic data set"),
        Setting("sites", Kind.TEXTS, (),
                "site codes or starts of record names; empty: every pair in the folder"),
        Setting("output", Kind.TEXT, "", "run directory; empty: `runs/<sites>`"),
        Setting("path", Kind.TEXT, "lsm",
                "what is differentiated: the land surface model, the surrogate that imitates it, or one after the "
                "other; scores always come from the land surface model",
                ("lsm", "surrogate", "surrogate-then-lsm")),
        Setting("parameters", Kind.TEXTS, ("pft",), "`pft`, keys, names or globs (`soil.*`)"),
        Setting("exclude", Kind.TEXTS, (), "keys, names or globs left at their default"),
        Setting("lai", Kind.TEXT, "LAI", "variable of the Met file that gives the leaf area index",
                ("LAI", "LAI_alternative")),
        Setting("unusable_towers", Kind.TEXT, "stop",
                "`skip` goes on without towers whose files cannot be used, and names them in the report; all are tried "
                "before either", ("stop", "skip")),
        Setting("sun_check", Kind.TEXT, "refuse",
                "`refuse` a record whose shortwave radiation is hours away from the sun, or `ignore` the sun",
                ("refuse", "ignore")),
        Setting("target", Kind.TEXT, "raw",
                "observations to fit: as measured, or corrected for energy-balance closure", TARGETS),
        Setting("fluxes", Kind.NUMBER_TABLE, {"Qle": 1.0, "Qh": 1.0}, "weight of each flux in the loss", SCORED_FLUXES),
        Setting("loss", Kind.NUMBER_TABLE, {"mse": 1.0, "correlation": 1.0},
                "weight of each loss (`correlation` is 1 - R)", LOSSES),
        Setting("prior", Kind.NUMBER, 0.0,
                "weight of the mean squared offset from the default parameters, added to the loss", lower=0),
        Setting("learner", Kind.TEXT, "network",
                "`network`: one generator g_z for all sites; `direct`: each site's parameters for themselves",
                ("network", "direct")),
        Setting("optimiser", Kind.TEXT, "adam",
                "`gauss-newton` is for the direct learner through the land surface model: an epoch is then one "
                "iteration (learning rate, clipping, windows per step and refreshes have no part in it)",
                ("adam", "gauss-newton")),
        Setting("encoder", Kind.TEXT, "gru", "how the generator reads a site's weather",
                ("gru", "lstm", "tcn", "transformer")),
        Setting("hidden", Kind.WHOLE, 32, "width of the generator", lower=1),
        Setting("feature_days", Kind.WHOLE, 7, "length of a period of the weather that the generator reads",
                lower=1, unit="d"),
        Setting("time_varying", Kind.TEXT_TABLE, {},
                "parameter -> form through the year; those not named are constant", FORMS),
        Setting("harmonics", Kind.WHOLE, 1, "harmonics of a year in a seasonal parameter", lower=1),
        Setting("epochs", Kind.WHOLE, 24, "passes over the training windows", lower=0),
        Setting("learning_rate", Kind.NUMBER, None,
                "Adam's peak step; left out: the learner's own (network 0.02, direct 0.1)", above=0),
        Setting("schedule", Kind.TEXT, "cosine", "`cosine` decays to a twentieth of the peak", ("cosine", "constant")),
        Setting("warmup_epochs", Kind.WHOLE, 0,
                "epochs over which the step rises from a twentieth to its peak; fewer than `epochs`", lower=0),
        Setting("clip_norm", Kind.NUMBER, 1.0,
                "largest norm of the gradient (of a site's unknowns, or of the weights); longer ones are shortened "
                "and reported", above=0),
        Setting("gradient", Kind.TEXT, "auto", "how the derivative is taken", ("auto", "forward", "reverse")),
        Setting("window_days", Kind.WHOLE, 91, "length of a training window", lower=1, unit="d"),
        Setting("windows_per_step", Kind.WHOLE, 4,
                "windows per site in one optimiser step, drawn without replacement; 0: all of them", lower=0),
        Setting("refresh_every", Kind.WHOLE, 4,
                "epochs between forward runs of the record that renew the windows' start states", lower=1),
        Setting("spinup_years", Kind.WHOLE, 3, "passes over the first year before a record starts", lower=1, unit="a"),
        Setting("warmup_years", Kind.WHOLE, 1,
                "years of the record that run before the first scored step (records of three years or more)",
                lower=0, unit="a"),
        Setting("test_years", Kind.WHOLE, None,
                "whole years held back at the end; left out: 30 % of the record, at least one", lower=1, unit="a"),
        Setting("validation_years", Kind.WHOLE, 0,
                "whole years before the test that choose the best epoch instead of the training years; not trained on",
                lower=0, unit="a"),
        Setting("patience", Kind.WHOLE, 0,
                "stop after this many refreshes without a better loss; 0: run all epochs", lower=0),
        Setting("seed", Kind.WHOLE, 0,
                "of the draw of windows and of the network's first weights; nothing else is random", lower=0),
    )
}  # fmt: skip
"""all settings by name, in the order of ``Config``"""


def _default(name: str) -> Any:
    setting = SETTINGS[name]
    value, metadata = setting.default, {"units": "" if setting.unit == "-" else setting.unit}
    if isinstance(value, dict):
        return dataclasses.field(default_factory=lambda: dict(value), metadata=metadata)
    return dataclasses.field(default=value, metadata=metadata)


@dataclass(frozen=True)
class Config:
    """A calibration. Every field is a key of ``config.toml``; ``SETTINGS`` says what each means."""

    data: str = _default("data")
    sites: tuple[str, ...] = _default("sites")
    output: str = _default("output")
    path: str = _default("path")
    parameters: tuple[str, ...] = _default("parameters")
    exclude: tuple[str, ...] = _default("exclude")
    lai: str = _default("lai")
    unusable_towers: str = _default("unusable_towers")
    sun_check: str = _default("sun_check")
    target: str = _default("target")
    fluxes: dict[str, float] = _default("fluxes")
    loss: dict[str, float] = _default("loss")
    prior: float = _default("prior")
    learner: str = _default("learner")
    optimiser: str = _default("optimiser")
    encoder: str = _default("encoder")
    hidden: int = _default("hidden")
    feature_days: int = _default("feature_days")
    time_varying: dict[str, str] = _default("time_varying")
    harmonics: int = _default("harmonics")
    epochs: int = _default("epochs")
    learning_rate: float | None = _default("learning_rate")
    schedule: str = _default("schedule")
    warmup_epochs: int = _default("warmup_epochs")
    clip_norm: float = _default("clip_norm")
    gradient: str = _default("gradient")
    window_days: int = _default("window_days")
    windows_per_step: int = _default("windows_per_step")
    refresh_every: int = _default("refresh_every")
    spinup_years: int = _default("spinup_years")
    warmup_years: int = _default("warmup_years")
    test_years: int | None = _default("test_years")
    validation_years: int = _default("validation_years")
    patience: int = _default("patience")
    seed: int = _default("seed")

    def __repr__(self) -> str:
        return field_table(self)

    def check(self) -> Config:
        """This config, after its values were checked. Raises InputError."""
        for name, setting in SETTINGS.items():
            setting.check(getattr(self, name))
        if self.optimiser == "gauss-newton" and (self.learner != "direct" or self.path != "lsm"):
            raise InputError(
                f"config: optimiser = 'gauss-newton' with learner = {self.learner!r}, path = {self.path!r}: "
                "it needs learner = 'direct' and path = 'lsm'"
            )
        if self.encoder == "transformer" and self.hidden % 4:
            raise InputError(f"config: hidden = {self.hidden}: must be a multiple of 4 for a transformer's heads")
        if self.epochs and self.warmup_epochs >= self.epochs:
            raise InputError(f"config: warmup_epochs = {self.warmup_epochs}: must be fewer than epochs = {self.epochs}")
        return self

    @property
    def peak_rate(self) -> float:
        """The peak learning rate in use."""
        return LEARNING_RATES[self.learner] if self.learning_rate is None else self.learning_rate

    @property
    def split_years(self) -> dict[str, Any]:
        """The arguments of ``mdpl.towers.split.split_by_time`` that are settings."""
        names = ("warmup_years", "test_years", "validation_years")
        return {name: getattr(self, name) for name in names}

    def to_toml(self) -> str:
        """The config as TOML text; what is not given is left out."""
        import tomli_w

        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(self).items()}
        return tomli_w.dumps({key: value for key, value in plain.items() if value is not None})


def modern_settings(values: dict[str, Any]) -> dict[str, Any]:
    """Settings as earlier versions wrote them, in today's words: -1 stood for "not given"."""
    return {key: None if key in ("learning_rate", "test_years") and value == -1 else value
            for key, value in values.items()}  # fmt: skip


def config_from_dict(values: dict[str, Any], where: str = "config") -> Config:
    """A config from plain values (``check`` it before use). Raises InputError: unknown key, wrong type."""
    typed = {}
    for key, value in modern_settings(values).items():
        if key not in SETTINGS:
            close = difflib.get_close_matches(key, SETTINGS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(SETTINGS)}"
            raise InputError(f"{where}: unknown key {key!r}: {hint}")
        typed[key] = SETTINGS[key].typed(value, where)
    return Config(**typed)


def load_config(path: str | Path) -> Config:
    """Read ``config.toml``; a relative ``data`` is relative to the file. Raises InputError."""
    path = Path(path)
    config = config_from_dict(read_toml(path, "configuration", "epochs = 10"), str(path))
    if config.data:
        config = dataclasses.replace(config, data=str((path.parent / config.data).resolve()))
    return config
