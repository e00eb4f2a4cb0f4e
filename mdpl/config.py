"""What a calibration is told: one flat, typed table that reads from and writes to TOML."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jlsm.errors import InputError

PATHS = ("lsm", "surrogate")
TARGETS = ("raw", "corrected")


@dataclass(frozen=True)
class Config:
    """A calibration. Every field is a key of ``config.toml``."""

    data: str = ""
    """folder with <SITE>_*_Met.nc and _Flux.nc files"""
    sites: tuple[str, ...] = ()
    """site codes or starts of record names; empty: every pair in the folder"""
    output: str = ""
    """run directory; empty: runs/<sites>"""
    path: str = "lsm"
    """what is differentiated: the land surface model (``lsm``)"""
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
    loss: dict[str, float] = field(default_factory=lambda: {"mse": 1.0})
    """weight of each loss: mse, huber, correlation"""
    epochs: int = 15
    """passes over the training windows"""
    learning_rate: float = 0.1
    """Adam's peak step in the unconstrained space; decays to a twentieth by a cosine"""
    clip_norm: float = 1.0
    """largest norm of a site's gradient; longer ones are shortened and reported"""
    gradient: str = "auto"
    """``forward``, ``reverse`` or ``auto``: how the derivative is taken"""
    window_days: int = 365
    """length of a training window, days"""
    windows_per_step: int = 0
    """windows per site in one optimiser step, drawn without replacement; 0: all of them"""
    refresh_every: int = 5
    """epochs between forward runs of the record that renew the windows' start states"""
    spinup_years: int = 3
    """passes over the first year before a record starts"""
    warmup_years: int = 1
    """years of the record that run before the first scored step (records of three years or more)"""
    test_years: int = -1
    """whole years held back at the end; -1: 30 % of the record, at least one"""
    seed: int = 0
    """of the draw of windows; nothing else is random"""

    def check(self) -> Config:
        """This config, after its values were checked. Raises InputError."""
        from mdpl.losses import LOSSES
        from mdpl.observations import FLUXES

        _one_of("path", self.path, PATHS)
        _one_of("target", self.target, TARGETS)
        _one_of("lai", self.lai, ("LAI", "LAI_alternative"))
        _one_of("gradient", self.gradient, ("auto", "forward", "reverse"))
        for name, table, allowed in (("fluxes", self.fluxes, FLUXES), ("loss", self.loss, tuple(LOSSES))):
            for key, weight in table.items():
                _one_of(f"{name} key", key, allowed)
                if not weight >= 0:
                    raise InputError(f"config: {name}.{key} = {weight}: a weight must be 0 or more")
            if not sum(table.values()) > 0:
                raise InputError(f"config: {name}: no positive weight: give e.g. {allowed[0]} = 1.0")
        for name, smallest in (("epochs", 0), ("window_days", 1), ("windows_per_step", 0), ("refresh_every", 1),
                               ("spinup_years", 1), ("warmup_years", 0), ("seed", 0)):  # fmt: skip
            if getattr(self, name) < smallest:
                raise InputError(f"config: {name} = {getattr(self, name)}: must be {smallest} or more")
        for name in ("learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise InputError(f"config: {name} = {getattr(self, name)}: must be above 0")
        if self.test_years == 0 or self.test_years < -1:
            raise InputError(f"config: test_years = {self.test_years}: must be 1 or more, or -1 for 30 % of the record")
        if self.path == "surrogate":
            raise InputError("config: path 'surrogate' comes with issue 3: use --path lsm")
        return self

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
        given[key] = _typed(where, key, value, getattr(standard, key))
    return Config(**given)


def _typed(where: str, key: str, value: Any, example: Any) -> Any:
    if isinstance(example, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(example, tuple) and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return tuple(value)
    if isinstance(example, dict) and isinstance(value, dict):
        if all(isinstance(v, int | float) and not isinstance(v, bool) for v in value.values()):
            return {name: float(weight) for name, weight in value.items()}
    elif type(value) is type(example):
        return value
    kind = {tuple: "a list of texts", dict: "a table of numbers", str: "a text", int: "a whole number"}
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
