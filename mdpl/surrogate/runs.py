"""Runs of the land surface model that a surrogate learns from.

Parameters are drawn by a scrambled Sobol sequence, normal around each site's defaults in the unconstrained space
of ``search_space``: dense where a calibration starts, reaching the bounds' neighbourhood. Every run is two passes over
a burn-in year and one recorded year. The last year of a site's record is kept for validation, and so are some draws:

* ``train``: draws for training, recorded years before the last;
* ``draws``: other draws, the same years;
* ``year``: those other draws in the last year (unseen parameters *and* an unseen year).

The first draw of each site is its defaults, where every calibration starts. Beside the fluxes, the end-of-day soil
water, soil temperature and snow are kept: training asks the slow cell for them, running does not (``STORES``).

A run costs what the model costs, so the fluxes are kept in a file named by what they depend on.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.special import ndtri
from scipy.stats import qmc

from jlsm.constants import FREEZING_POINT, SOIL_LAYER_THICKNESS
from jlsm.errors import InputError
from jlsm.forcing import METEOROLOGY, Forcing, stack_sites
from jlsm.outputs import Outputs
from jlsm.parameters import Parameters, default_parameters
from jlsm.state import initial_state
from mdpl.files import alone, read_archive, write_archive
from mdpl.model_paths import ModelPath, at_columns
from mdpl.surrogate.network import MEMORY_ITEMS
from mdpl.towers.intervals import DAY
from mdpl.towers.load import Tower
from mdpl.unknowns.search_space import search_space

SURROGATE_FLUXES = ("Qh", "Qle", "Rnet", "Qg")
STORES = ("SoilMoist", "SoilTemp", "SWE")
"""what the model remembers overnight, as far as the slow cell is asked for it"""
RUNS_FORMAT = 3
RUN_FACTS = ("keys", "seconds", "model_steps")
"""fields of ``Runs`` that are no arrays"""
YEAR_DAYS = 365
SPLITS = ("train", "draws", "year")


@dataclass(frozen=True)
class DataSettings:
    """How many runs, and of which parameters."""

    draws: int = 192
    """training draws per site"""
    unseen_draws: int = 16
    """further draws per site, for validation"""
    spread: float = 1.25
    """standard deviation of the draws in the unconstrained space (the search space's sigmoid)"""
    year_days: int = YEAR_DAYS
    """days of burn-in and of a recorded piece (shorter in tests)"""
    burn_in_passes: int = 2
    """passes over the burn-in piece before the recorded one"""
    batch: int = 160
    """columns run side by side"""
    seed: int = 0


@dataclass(frozen=True)
class Runs:
    """Model runs; run ``r`` is at site ``site[r]`` with ``values[r]`` and recorded from day ``first_day[r]``."""

    keys: tuple[str, ...]
    """``group.name`` of the parameters, ``values``' last axis"""
    values: Float[np.ndarray, "runs parameters"]
    site: Int[np.ndarray, "runs"]
    first_day: Int[np.ndarray, "runs"]
    """day of the site's record at which recording starts; burn-in is the ``year_days`` before"""
    split: Int[np.ndarray, "runs"]
    """index into ``SPLITS``"""
    fluxes: Float[np.ndarray, "steps runs fluxes"]
    """recorded fluxes ``SURROGATE_FLUXES``, float16, W m-2"""
    memory: Float[np.ndarray, "days runs memory"]
    """``STORES`` at the end of each recorded day, float16: mean water content of the layers (kg m-3), their temperature
    (K above freezing), snow (logarithm of 1 + kg m-2)"""
    seconds: float
    """what the runs took"""
    model_steps: int
    """time steps of all runs together, burn-in included"""

    def chosen(self, split: str) -> np.ndarray:
        """Indices of the runs of a split."""
        return np.flatnonzero(self.split == SPLITS.index(split))


def draw_values(
    keys: tuple[str, ...], params: Parameters, sites: int, draws: int, spread: float, seed: int
) -> tuple[tuple[str, ...], Float[np.ndarray, "draws sites parameters"]]:
    """Parameter draws around the defaults ``params [sites]``, inside the bounds; the first is the defaults.

    Returns:
        The keys that are active at a site at least, and values; where a parameter is not active it keeps its default.
    """
    space = search_space(keys, params, sites)
    sobol = qmc.Sobol(len(space.keys) * sites, scramble=True, rng=np.random.default_rng(seed))
    power = int(np.ceil(np.log2(draws)))
    normal = ndtri(np.clip(sobol.random_base2(power)[:draws], 1e-6, 1.0 - 1e-6))
    offsets = spread * normal.reshape(draws, sites, -1)
    offsets[0] = space.start()
    return space.keys, np.asarray(jax.vmap(space.values)(jnp.asarray(offsets)), np.float64)


def make_runs(
    path: ModelPath,
    towers: list[Tower],
    keys: tuple[str, ...],
    settings: DataSettings = DataSettings(),
    cache: Path | None = None,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> Runs:
    """Draw parameters and run the model with them at all sites.

    Args:
        path: the teacher, ``lsm_path()``.
        keys: parameters to vary (``select_parameters`` gives them).
        cache: folder; an earlier result for the same input is read from it, a new one is written there. Where another
            process is making it, this one waits.
        progress: called with what is going on and the share that is done.

    Raises:
        InputError: a record of less than three pieces of ``year_days``; time steps that differ or do not divide a day;
            a cached file that cannot be read; a cache that cannot be written.
    """
    if cache is None:
        return _new_runs(path, towers, keys, settings, progress)
    file = cache / f"runs_{runs_key(towers, keys, settings)}.npz"
    with nullcontext() if file.exists() else alone(file, lambda text: progress(text, 0.0)):
        if file.exists():
            return load_runs(file)
        runs = _new_runs(path, towers, keys, settings, progress)
        _save(file, runs)
        return runs


def _new_runs(
    path: ModelPath,
    towers: list[Tower],
    keys: tuple[str, ...],
    settings: DataSettings,
    progress: Callable[[str, float], None],
) -> Runs:
    steps_per_day = _steps_per_day(towers)
    years = [tower.forcing.steps // (settings.year_days * steps_per_day) for tower in towers]
    for tower, count in zip(towers, years, strict=True):
        if count < 3:
            raise InputError(
                f"{tower.label}: {tower.forcing.steps // steps_per_day} days of forcing: a surrogate needs three "
                f"pieces of {settings.year_days} days (burn-in, training, validation): give a longer record"
            )
    stacked_site = stack_sites([(tower.forcing.window(0, 1), tower.site) for tower in towers])[1]
    defaults = default_parameters(stacked_site)
    total = settings.draws + settings.unseen_draws
    active_keys, values = draw_values(keys, defaults, len(towers), total, settings.spread, settings.seed)
    site, first, split, drawn = [], [], [], []
    for s, count in enumerate(years):
        for d in range(total):
            train = d < settings.draws
            # recorded years go round the record, so that the draws together see its weather
            plan = [("train" if train else "draws", 1 + d % (count - 2))] + ([] if train else [("year", count - 1)])
            for name, year in plan:
                site.append(s)
                first.append(year * settings.year_days)
                split.append(SPLITS.index(name))
                drawn.append(values[d, s])
    site, first, split, drawn = np.array(site), np.array(first), np.array(split), np.array(drawn)
    begin = time.perf_counter()
    fluxes, memory = _run(
        path, towers, defaults, stacked_site, active_keys, drawn, site, first, settings, steps_per_day, progress
    )
    model_steps = fluxes.shape[0] * site.size * (settings.burn_in_passes + 1)
    seconds = time.perf_counter() - begin
    return Runs(active_keys, drawn, site, first, split, fluxes, memory, seconds, model_steps)


def _run(path, towers, defaults, sites, keys, drawn, site, first, settings, steps_per_day, progress):
    length = settings.year_days * steps_per_day
    fluxes = np.empty((length, site.size, len(SURROGATE_FLUXES)), np.float16)
    memory = np.empty((settings.year_days, site.size, MEMORY_ITEMS), np.float16)
    batch = min(settings.batch, site.size)
    space = search_space(keys, defaults, len(towers))
    dtype = np.asarray(towers[0].forcing.Tair).dtype
    simulate = jax.jit(path.simulate, static_argnames="fields")
    for start in range(0, site.size, batch):
        # the last batch is filled up with its own first runs: one shape, one compiled program
        wanted = np.resize(np.arange(start, min(start + batch, site.size)), batch)
        params = space.insert(at_columns(defaults, site[wanted]), jnp.asarray(drawn[wanted], dtype))
        place = at_columns(sites.numeric(), site[wanted])
        burn_in = record_pieces(towers, site[wanted], first[wanted] * steps_per_day - length, length)
        state = initial_state(jnp.mean(burn_in.Tair, axis=0), params.soil.porosity)
        for index in range(settings.burn_in_passes + 1):
            recorded = index == settings.burn_in_passes
            if recorded:
                burn_in = record_pieces(towers, site[wanted], first[wanted] * steps_per_day, length)
            # outputs cost: soil layers of every step take as long to write as the model takes to run
            outputs, state = simulate(
                params, burn_in, place, state, fields=(*SURROGATE_FLUXES, *STORES) if recorded else SURROGATE_FLUXES[:1]
            )
            jax.block_until_ready(state)
            progress("model runs", (start + batch * (index + 1) / (settings.burn_in_passes + 1)) / site.size)
        whole = np.stack([np.asarray(getattr(outputs, flux)) for flux in SURROGATE_FLUXES], axis=-1)
        if not np.isfinite(whole).all():
            bad = int(wanted[np.argmax(~np.isfinite(whole).all(axis=(0, 2)))])
            table = ", ".join(f"{k.split('.')[1]}={v:.4g}" for k, v in zip(keys, drawn[bad], strict=True))
            raise ArithmeticError(f"{towers[site[bad]].label}: the model's fluxes are not finite with {table}")
        fluxes[:, wanted] = whole
        memory[:, wanted] = _end_of_day(outputs, steps_per_day)
    return fluxes, memory


def _end_of_day(outputs: Outputs, steps_per_day: int) -> Float[np.ndarray, "days columns memory"]:
    water, heat, snow = (np.asarray(getattr(outputs, name))[steps_per_day - 1 :: steps_per_day] for name in STORES)
    water = water / np.array(SOIL_LAYER_THICKNESS)[:, None]
    parts = [water, heat - FREEZING_POINT, np.log1p(snow)[:, None]]
    return np.moveaxis(np.concatenate(parts, axis=1), 1, 2)


def record_pieces(towers: list[Tower], site: np.ndarray, first: np.ndarray, steps: int) -> Forcing:
    """Forcing ``[steps, columns]``: column ``c`` is ``steps`` steps of site ``site[c]`` from its step ``first[c]``."""
    series = {}
    optional = ("Snowf",) if any(tower.forcing.Snowf is not None for tower in towers) else ()
    for name in (*METEOROLOGY, "day", "second_of_day", *optional):
        records = [np.asarray(t.forcing.snowfall() if name in optional else getattr(t.forcing, name)) for t in towers]
        columns = [records[s][f : f + steps] for s, f in zip(site, first, strict=True)]
        series[name] = jnp.asarray(np.stack(columns, axis=1))
    return Forcing(**series, dt=jnp.stack([jnp.asarray(towers[s].forcing.dt) for s in site]))


def _steps_per_day(towers: list[Tower]) -> int:
    lengths = {tower.label: float(tower.forcing.dt) for tower in towers}
    if len(set(lengths.values())) != 1:
        table = ", ".join(f"{label} {dt:g} s" for label, dt in lengths.items())
        raise InputError(f"surrogate: time steps differ ({table}): train one surrogate per time step")
    steps = DAY / next(iter(lengths.values()))
    if steps != int(steps):
        raise InputError(f"{towers[0].label}: a step of {float(towers[0].forcing.dt):g} s does not divide a day")
    return int(steps)


def runs_key(towers: list[Tower], keys: tuple[str, ...], settings: DataSettings) -> str:
    """Sixteen hex digits of everything the runs depend on: sites, forcing, defaults, parameters, settings."""
    from jlsm import __version__

    digest = hashlib.sha256(repr((__version__, RUNS_FORMAT, keys, sorted(asdict(settings).items()))).encode())
    for tower in towers:
        digest.update(tower.label.encode())
        leaves = jax.tree.leaves((tower.forcing, tower.site.numeric(), default_parameters(tower.site)))
        for leaf in leaves:
            digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()[:16]


def _save(path: Path, runs: Runs) -> None:
    arrays = {field.name: getattr(runs, field.name) for field in fields(Runs) if field.name not in RUN_FACTS}
    write_archive(path, {name: getattr(runs, name) for name in RUN_FACTS}, arrays)


def load_runs(path: Path) -> Runs:
    """Runs from a file of ``make_runs``. Raises InputError where it cannot be read."""
    facts, arrays = read_archive(path, "delete it and run again")
    try:
        entries: dict[str, Any] = {**arrays, **facts, "keys": tuple(facts["keys"])}
        return Runs(**entries)
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not a complete file of surrogate runs ({error}): delete it and run again") from error
