"""Empirical models that know the weather and nothing of plants or soil: what a land surface model must beat.

They are the benchmarks of the PLUMBER papers (Best et al. 2015, doi:10.1175/JHM-D-14-0158.1): ``1lin``, a line in
SWdown; ``3km27``, 27 k-means clusters of SWdown, Tair and relative humidity with a linear model in each; and an
``lstm`` on the forcing, which remembers. Each is fitted to one flux of one site on the measured steps of the train
period, and predicts the whole record at the observations' own step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jlsm.errors import InputError
from jlsm.forcing import Forcing
from jlsm.processes.humidity import relative_humidity
from mdpl.config import Config
from mdpl.scores.evaluation import MetricRow
from mdpl.scores.metrics import scores
from mdpl.towers.intervals import DAY, align, means_at, model_time
from mdpl.towers.load import Tower
from mdpl.towers.observations import CORRECTED
from mdpl.towers.split import Split, split_by_time

CLUSTERS = 27
FEWEST_IN_CLUSTER = 10
"""training steps below which a cluster takes the linear model of all steps: a plane has four coefficients"""
MEMORY_DAYS = (5, 30)
"""trailing means of the weather given to the LSTM besides the weather of the step, days"""


def air_humidity(forcing: Forcing) -> Float[np.ndarray, "time"]:
    """Relative humidity over water, 0 to 1, from Qair, Tair and Psurf."""
    numbers = (np.asarray(series, np.float64) for series in (forcing.Qair, forcing.Tair, forcing.Psurf))
    return np.clip(relative_humidity(*numbers), 0.0, 1.0)


def predictors(tower: Tower, memory: bool = False) -> Float[np.ndarray, "obs_time predictors"]:
    """Predictors at the observed intervals: SWdown, Tair, relative humidity; more with ``memory``.

    Args:
        tower: site with forcing and observations.
        memory: add LWdown, Wind, Precip and LAI, and means over the last ``MEMORY_DAYS`` of SWdown, Tair, RH and
            Precip.
    """
    forcing = tower.forcing
    series = [np.asarray(forcing.SWdown, np.float64), np.asarray(forcing.Tair, np.float64), air_humidity(forcing)]
    if memory:
        more = [np.asarray(getattr(forcing, name), np.float64) for name in ("Precip", "LWdown", "Wind", "LAI")]
        per_day = DAY // model_time(forcing).length
        past = [_trailing_mean(one, days * per_day) for one in (*series, more[0]) for days in MEMORY_DAYS]
        series = [*series, *more, *past]
    alignment = align(forcing, tower.observations.time, where=tower.observations.file)
    return np.asarray(means_at(np.stack(series, axis=1), alignment)[0])


def _trailing_mean(values: np.ndarray, steps: int) -> np.ndarray:
    """Mean over the last ``steps`` steps, this one included; over those there are at the start."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    stop = np.arange(1, values.size + 1)
    start = np.maximum(stop - steps, 0)
    return (total[stop] - total[start]) / (stop - start)


def fit_empirical(
    tower: Tower, split: Split, model: str, flux: str, seed: int = 0, target: str = "raw"
) -> Float[np.ndarray, "obs_time"]:
    """Fit one empirical model on the train period and predict the whole record.

    Args:
        tower: site with forcing and observations.
        split: its train and test masks; only measured steps of ``train`` are looked at.
        model: one of ``EMPIRICAL_MODELS``.
        flux: ALMA name of an observed flux.
        seed: of cluster starts, network weights and batches.
        target: ``raw`` or ``corrected`` observations.

    Returns:
        The flux at every observed interval, W m-2.

    Raises:
        InputError: unknown model; a flux without such observations or with too few measured train steps.
    """
    if model not in EMPIRICAL_MODELS:
        raise InputError(f"empirical model {model!r}: use one of {', '.join(EMPIRICAL_MODELS)}")
    series = tower.observations.target(flux, target)
    if series is None:
        raise InputError(f"{tower.observations.file}: {flux}: no measured {target} values to fit {model} to")
    alignment = align(tower.forcing, tower.observations.time, where=tower.observations.file)
    train = split.train & series.measured & alignment.covered
    if train.sum() < CLUSTERS:
        raise InputError(
            f"{tower.observations.file}: {flux}: {int(train.sum())} measured step(s) to fit {model} to "
            f"({split.words}): another site, target or split is needed"
        )
    return EMPIRICAL_MODELS[model].fit(tower, series.values, train, seed)


def _one_line(tower: Tower, observed: np.ndarray, train: np.ndarray, seed: int) -> np.ndarray:
    return _linear(predictors(tower)[:, :1], observed, train)


def _clusters(tower: Tower, observed: np.ndarray, train: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    inputs = predictors(tower)
    scaled = (inputs - inputs[train].mean(axis=0)) / inputs[train].std(axis=0)
    clusters = KMeans(
        CLUSTERS,
        n_init=5,  # pyright: ignore[reportArgumentType] (guessed from the default)
        random_state=seed,
    ).fit(scaled[train])
    cluster = clusters.predict(scaled)
    predicted = _linear(inputs, observed, train)
    for index in range(CLUSTERS):
        members = cluster == index
        if (members & train).sum() >= FEWEST_IN_CLUSTER:
            predicted[members] = _linear(inputs, observed, members & train)[members]
    return predicted


def _linear(inputs: np.ndarray, observed: np.ndarray, train: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(inputs[train], observed[train]).predict(inputs)


def _lstm(tower: Tower, observed: np.ndarray, train: np.ndarray, seed: int) -> np.ndarray:
    from mdpl.baselines.lstm import fit_lstm

    return fit_lstm(predictors(tower, memory=True), observed, train, tower.observations.time.length, seed)


class EmpiricalModel(NamedTuple):
    """How a model is fitted and predicts."""

    fit: Callable[[Tower, np.ndarray, np.ndarray, int], np.ndarray]
    """``fit(tower, observed, train, seed) -> flux``, all ``[obs_time]``: only steps of ``train`` may be looked at"""
    random: bool = False
    """True where the result depends on the seed"""


EMPIRICAL_MODELS: dict[str, EmpiricalModel] = {
    "1lin": EmpiricalModel(_one_line),
    "3km27": EmpiricalModel(_clusters, random=True),
    "lstm": EmpiricalModel(_lstm, random=True),
}
"""by the name that ``mdpl baselines --models`` knows"""


def stage_name(model: str, seed: int) -> str:
    """What a model is called in the column ``stage``: the seed is named from the second on."""
    return model if seed == 0 else f"{model}_seed{seed}"


def empirical_rows(
    tower: Tower, split: Split, model: str, fluxes: tuple[str, ...], seed: int = 0, target: str = "raw"
) -> list[MetricRow]:
    """Scores of one model at one site, per flux and period.

    Each flux is scored against the observations it was fitted to.
    """
    observations = tower.observations
    alignment = align(tower.forcing, observations.time, where=observations.file)
    rows = []
    for flux in fluxes:
        predicted = fit_empirical(tower, split, model, flux, seed, target)
        series = observations.target(flux, target)
        assert series is not None  # fit_empirical refuses a flux without observations
        flux_target = target if flux in CORRECTED else "raw"
        periods: dict[str, Bool[np.ndarray, "obs_time"]] = {"train": split.train, "test": split.test}
        for period, mask in periods.items():
            compared = scores(predicted, series.values, mask & series.measured & alignment.covered)
            labels = dict(flux=flux, target=flux_target, period=period, step=observations.step)
            rows.append(MetricRow.of_scores(compared, site=tower.label, stage=stage_name(model, seed), **labels))
    return rows


def fit_sites(
    towers: list[Tower],
    config: Config,
    models: tuple[str, ...] = tuple(EMPIRICAL_MODELS),
    seeds: int = 1,
    say: Callable[[str], None] = lambda text: None,
) -> list[MetricRow]:
    """Scores of all models at all sites with the split and target of ``config``.

    A flux of ``config.fluxes`` without such observations at a site is left out and ``say`` is told.

    Raises:
        InputError: from ``fit_empirical`` and ``split_by_time``; no model named.
    """
    unknown = [model for model in models if model not in EMPIRICAL_MODELS]
    if unknown or not models:
        raise InputError(f"empirical model {', '.join(unknown) or 'none'}: use some of {', '.join(EMPIRICAL_MODELS)}")
    rows = []
    for tower in towers:
        split = split_by_time(
            tower.observations.time,
            model_time(tower.forcing),
            **config.split_years,
            where=tower.observations.file,
        )
        say(f"{tower.label}: {split.words}")
        fluxes = tuple(flux for flux in config.fluxes if tower.observations.target(flux, config.target) is not None)
        for flux in config.fluxes:
            if flux not in fluxes:
                say(f"{tower.label}: {flux}: no measured {config.target} values, left out")
        for model in models:
            for seed in range(seeds if EMPIRICAL_MODELS[model].random else 1):
                rows += empirical_rows(tower, split, model, fluxes, seed, config.target)
    return rows


def summary_cells(rows: list[MetricRow], period: str = "test") -> list[tuple[str, ...]]:
    """Cells of a table, one line per site, flux and model: median over seeds, and range where there are several."""
    models: dict[tuple[str, str, str], list[MetricRow]] = {}
    for row in rows:
        if row.period == period:
            models.setdefault((row.site, row.flux, row.stage.split("_seed")[0]), []).append(row)
    names = (("rmse", 2), ("bias", 1), ("r", 3), ("nme", 3))
    return [
        (*key, *(_median([getattr(row, n) for row in seeds], d) for n, d in names), str(seeds[0].n))
        for key, seeds in models.items()
    ]


def _median(values: list[float], digits: int) -> str:
    middle = f"{np.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"
