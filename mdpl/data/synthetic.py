"""The embedded data set: five synthetic cultivation sites, made on first use and kept in a cache folder.

Weather from ``mdpl.data.weather`` (climate of the real towers), leaf area from ``mdpl.data.crops``, fluxes from the
land surface model with the hidden parameters of ``mdpl.data.truth``, error and gaps from ``mdpl.data.flux_tower``.
The fluxes are computed, not shipped: they follow the model's physics, and the folder's name carries the version.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jlsm.errors import InputError
from jlsm.files import check_writable, discard, part_of
from mdpl.data.climate import FIVE_CROPS, site_climate
from mdpl.data.flux_tower import observe
from mdpl.data.pairs import FLUX_LONG_NAMES, synthetic_forcing, synthetic_site, write_flux, write_met, write_truth
from mdpl.data.truth import SEED, hidden_truth
from mdpl.data.weather import Weather, generate_weather
from mdpl.files import ProgressReport, alone, locked, write_whole

FIRST_YEAR, LAST_YEAR = 2001, 2004
"""one year to settle, two to train on, one to test"""
KINDS = ("Met", "Truth", "Flux")
"""files of a site"""
SPINUP_YEARS = 3
FluxModel = Callable[..., dict[str, np.ndarray]]
"""``model(params, forcing, site, report) -> {flux: [time, sites]}`` on stacked sites"""


def five_crops_synthetic(progress: ProgressReport | None = None) -> Path:
    """The folder with the five synthetic Met/Flux pairs, made now if it is not complete.

    The folder is in the cache directory of the system, or in ``MDPL_CACHE``; a changed version of the package, seed or
    physics (the model's sources) makes a new one. Takes about a minute the first time.

    Args:
        progress: told what is going on.

    Raises:
        InputError: the cache folder cannot be written.
        FloatingPointError: the model gave a value that is not finite.
    """
    folder = cache_folder() / f"five_crops_synthetic-{content_key()}"
    if is_complete(folder):
        return folder
    report = progress or (lambda text, done, total: None)
    with alone(folder, lambda text: report(text, 0, None)):
        if not is_complete(folder):
            _make_complete(folder, report)
    return folder


def _make_complete(folder: Path, report: ProgressReport) -> None:
    """Make the set in a folder of this process alone; it gets its name when it is complete."""
    making = part_of(folder)
    discard(making)
    try:
        write_synthetic(making, progress=report)
        try:
            making.rename(folder)
        except OSError:  # it is there and incomplete
            for file in making.glob("*.nc"):
                file.replace(folder / file.name)
    finally:
        discard(making)


def cache_folder() -> Path:
    """``MDPL_CACHE``, or the system's cache folder for this package."""
    import pooch

    return Path(os.environ.get("MDPL_CACHE") or pooch.os_cache("mdpl"))


def content_key() -> str:
    """What the data follow from, as a short text: version, seed, and a digest of the sources that compute them."""
    import jlsm

    digest = hashlib.sha256()
    here = Path(__file__).parent
    model = Path(jlsm.__file__).parent
    for file in sorted([*model.rglob("*.py"), *here.glob("*.py"), *here.glob("*.toml")]):
        if file.name not in ("command.py", "fetch.py", "make_climate.py"):
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return f"{jlsm.__version__}-{SEED}-{digest.hexdigest()[:8]}"


def record_names() -> tuple[str, ...]:
    """``<SITE>-syn_2001-2004_synthetic`` of the five sites."""
    return tuple(_file_name(code, (FIRST_YEAR, LAST_YEAR), "").removesuffix("_.nc") for code in FIVE_CROPS)


def is_complete(folder: Path) -> bool:
    """Whether the folder holds every file (each was renamed into place when whole)."""
    years = (FIRST_YEAR, LAST_YEAR)
    return all((folder / _file_name(code, years, kind)).is_file() for code in FIVE_CROPS for kind in KINDS)


def write_synthetic(
    folder: Path,
    *,
    years: tuple[int, int] = (FIRST_YEAR, LAST_YEAR),
    model: FluxModel | None = None,
    progress: ProgressReport | None = None,
) -> list[Path]:
    """Make the data set in ``folder``; each file appears when it is whole.

    Args:
        folder: made if it is not there.
        years: first and last calendar year.
        model: computes the fluxes; None is the land surface model.
        progress: as in ``five_crops_synthetic``.

    Returns:
        The files written.

    Raises:
        InputError: the folder cannot be written, or a file of one of these names lies there that is not of this set.
    """
    report = progress or (lambda text, done, total: None)
    _make(folder)
    _check_targets(folder / _file_name(code, years, kind) for code in FIVE_CROPS for kind in KINDS)
    weather = {}
    for i, code in enumerate(FIVE_CROPS):
        report("synthetic weather", i, len(FIVE_CROPS))
        weather[code] = generate_weather(site_climate(code), *years, seed=SEED)
    truth = hidden_truth()
    fluxes = _true_fluxes(weather, truth, model or lsm_fluxes, report)
    written = []
    for i, code in enumerate(FIVE_CROPS):
        report("writing synthetic sites", i, len(FIVE_CROPS))
        mine = {name: fluxes[name][:, i] for name in FLUX_LONG_NAMES}
        written += _write_site(folder, code, years, weather[code], mine, truth[f"{code}-syn"])
    return written


def _true_fluxes(
    weather: dict[str, Weather], truth: dict, model: FluxModel, report: ProgressReport
) -> dict[str, np.ndarray]:
    """The model's fluxes ``[time, sites]`` with the hidden parameters."""
    import jax.numpy as jnp

    from jlsm.forcing import stack_sites
    from jlsm.parameters import default_parameters, replace_parameters

    forcing, site = stack_sites([(synthetic_forcing(code, weather[code]), synthetic_site(code)) for code in FIVE_CROPS])
    keys = next(iter(truth.values()))
    values: dict[str, Any] = {
        key: jnp.asarray([truth[f"{code}-syn"][key] for code in FIVE_CROPS], float) for key in keys
    }
    params = replace_parameters(default_parameters(site), values)
    fluxes = model(params, forcing, site, report)
    for name in FLUX_LONG_NAMES:
        bad = ~np.isfinite(fluxes[name])
        if bad.any():
            step, column = np.argwhere(bad)[0]
            raise FloatingPointError(f"{FIVE_CROPS[column]}-syn: {name} is not finite at step {step}: please report it")
    return fluxes


def lsm_fluxes(params, forcing, site, report: ProgressReport) -> dict[str, np.ndarray]:
    """Fluxes of jlsm after ``SPINUP_YEARS`` passes over the first year; one compiled program serves all of it."""
    import jax.numpy as jnp

    from jlsm.simulation import stream
    from jlsm.state import initial_state

    columns = forcing.Tair.shape[1:]
    state = initial_state(jnp.mean(forcing.Tair, axis=0), jnp.broadcast_to(params.soil.porosity, columns))
    first = forcing.window(0, min(365 * 48, forcing.steps))
    total = SPINUP_YEARS * first.steps + forcing.steps
    report("synthetic fluxes: compile", 0, None)
    done = 0

    def run(record, state, text: str, keep: Callable[[object], object]):
        nonlocal done
        now = state
        for steps, out, after in stream(params, record, site, state):
            keep(out)
            now = after
            done += steps.stop - steps.start
            report(text, done, total)
        return now

    for _ in range(SPINUP_YEARS):
        state = run(first, state, "synthetic fluxes: spin up", lambda out: None)
    pieces: list[dict[str, np.ndarray]] = []

    def keep_fluxes(out) -> None:
        pieces.append({name: np.asarray(getattr(out, name)) for name in FLUX_LONG_NAMES})

    run(forcing, state, "synthetic fluxes", keep_fluxes)
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in FLUX_LONG_NAMES}


def _write_site(folder: Path, code: str, years, weather: Weather, fluxes: dict, truth: dict) -> list[Path]:
    """Met, Truth and Flux file of one site."""
    rng = np.random.default_rng([SEED, 1, zlib.crc32(code.encode())])
    values, flags = observe(fluxes, weather.Wind, weather.Precip, weather.SWdown, rng)
    origin = {"generator": f"mdpl.data, {content_key()}"}
    hidden = {f"truth_{key.replace('.', '_')}": value for key, value in truth.items()}
    writers = {
        "Met": lambda part: write_met(part, code, weather, origin),
        "Truth": lambda part: write_truth(part, code, weather.days, fluxes, origin | hidden),
        "Flux": lambda part: write_flux(part, code, weather.days, values, flags, origin | hidden),
    }
    paths = {kind: folder / _file_name(code, years, kind) for kind in writers}
    for kind, write in writers.items():
        write_whole(paths[kind], write)
    return list(paths.values())


def _file_name(code: str, years: tuple[int, int], kind: str) -> str:
    return f"{code}-syn_{years[0]}-{years[1]}_synthetic_{kind}.nc"


def copy_synthetic(source: Path, folder: Path) -> list[Path]:
    """The files of ``source`` copied to ``folder``, each appearing when it is whole.

    Raises:
        InputError: the folder cannot be written, or a file of one of these names lies there that is not of this set.
    """
    _make(folder)
    files = sorted(source.glob("*.nc"))
    _check_targets(folder / file.name for file in files)
    with locked(folder):
        for file in files:
            write_whole(folder / file.name, lambda part, file=file: shutil.copyfile(file, part))
    return [folder / file.name for file in files]


def _check_targets(paths: Iterable[Path]) -> None:
    """Raise InputError where a file of somebody else's lies at one of these paths, or it cannot be written."""
    from jlsm.io.result import global_attributes

    def ours(path: Path) -> bool:
        return str(global_attributes(path).get("generator", "")).startswith("mdpl.data")

    for path in paths:
        check_writable(path, ours, "file of the embedded set")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}): choose another folder") from error
