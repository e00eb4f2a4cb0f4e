"""Empirical models: known answers, nothing seen of the test period, scores in the form of metrics.csv."""

from __future__ import annotations

import csv
import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from typer.testing import CliRunner

from jlsm.errors import InputError
from mdpl.baselines import lstm
from mdpl.baselines.empirical import (
    EMPIRICAL_MODELS,
    air_humidity,
    empirical_rows,
    fit_empirical,
    fit_sites,
    predictors,
    summary_cells,
)
from mdpl.cli import app
from mdpl.config import Config
from mdpl.files import write_rows
from mdpl.runs.directory import read_metrics
from mdpl.scores.evaluation import MetricRow
from mdpl.towers.intervals import DAY, model_time
from mdpl.towers.load import Tower
from mdpl.towers.observations import FluxSeries
from mdpl.towers.split import Split, split_by_time
from tests.mdpl.fakes import make_tower

DAYS = 3 * 365


def lively_tower(interval: int = DAY, days: int = DAYS, seed: int = 0) -> Tower:
    """A tower whose temperature and humidity change from day to day."""
    tower = make_tower({}, days=days, interval=interval, gaps=0.0, seed=seed)
    rng = np.random.default_rng(seed)
    per_day = tower.forcing.steps // days
    warm = np.repeat(np.cumsum(rng.normal(size=days)) * 0.5, per_day)
    season = 283.0 + 10.0 * np.sin(2 * np.pi * np.arange(tower.forcing.steps) / (365 * per_day) - 1.5)
    forcing = dataclasses.replace(
        tower.forcing,
        Tair=jnp.asarray(season + np.clip(warm, -8, 8), jnp.float32),
        Qair=jnp.asarray(np.repeat(rng.uniform(0.002, 0.006, days), per_day), jnp.float32),
        Psurf=jnp.full(tower.forcing.steps, 1e5, jnp.float32),
    )
    return dataclasses.replace(tower, forcing=forcing)


def with_flux(tower: Tower, flux: str, values: np.ndarray, measured: np.ndarray | None = None) -> Tower:
    measured = np.ones(values.shape, bool) if measured is None else measured
    fluxes = tower.observations.fluxes | {flux: FluxSeries(values, measured)}
    return dataclasses.replace(tower, observations=dataclasses.replace(tower.observations, fluxes=fluxes))


def split_of(tower: Tower) -> Split:
    return split_by_time(tower.observations.time, model_time(tower.forcing))


@pytest.fixture
def quick(monkeypatch):
    """A network trained for a few steps only: enough for what is said about shapes and seeds."""
    monkeypatch.setattr(lstm, "STEPS", 50)
    lstm._functions.cache_clear()
    yield
    lstm._functions.cache_clear()


def test_weather_is_the_mean_of_the_interval():
    tower = lively_tower(days=40)
    found = predictors(tower)
    assert found.shape == (40, 3)
    sun = np.asarray(tower.forcing.SWdown, np.float64).reshape(40, -1).mean(axis=1)
    np.testing.assert_allclose(found[:, 0], sun, rtol=1e-6)


def test_trailing_means_look_back_only():
    tower = lively_tower(days=60)
    before = predictors(tower, memory=True)
    later = np.asarray(tower.forcing.Precip).copy()
    later[45 * 24 :] += 1.0
    changed = dataclasses.replace(tower, forcing=dataclasses.replace(tower.forcing, Precip=jnp.asarray(later)))
    after = predictors(changed, memory=True)
    np.testing.assert_array_equal(before[:45], after[:45])
    assert (before[45:] != after[45:]).any()


def test_relative_humidity_of_saturated_and_dry_air():
    """At 20 degC and 1000 hPa saturation is 14.5 g kg-1 within 1 % (23.4 hPa, any textbook)."""
    forcing = lively_tower(days=2).forcing
    steps = forcing.steps
    full = dict(Tair=jnp.full(steps, 293.15), Psurf=jnp.full(steps, 1e5))
    for humidity, expected in ((0.01467, 1.0), (0.00730, 0.5), (0.0, 0.0), (0.03, 1.0)):
        found = air_humidity(dataclasses.replace(forcing, **full, Qair=jnp.full(steps, humidity)))
        np.testing.assert_allclose(found, expected, atol=0.01)


def test_one_line_finds_the_line():
    tower = lively_tower()
    sun = predictors(tower)[:, 0]
    tower = with_flux(tower, "Qle", 3.0 + 0.4 * sun)
    np.testing.assert_allclose(fit_empirical(tower, split_of(tower), "1lin", "Qle"), 3.0 + 0.4 * sun, atol=1e-6)


def test_clusters_find_what_a_line_cannot():
    tower = lively_tower()
    sun, warm, _ = predictors(tower).T
    split = split_of(tower)
    tower = with_flux(tower, "Qle", sun * np.maximum(warm - 270.0, 0.0) / 30.0)
    rows = {m: empirical_rows(tower, split, m, ("Qle",))[1].rmse for m in ("1lin", "3km27")}
    assert rows["3km27"] < 0.5 * rows["1lin"]


@pytest.mark.parametrize("model", EMPIRICAL_MODELS)
def test_test_period_is_never_looked_at(model, quick):
    tower = lively_tower()
    split = split_of(tower)
    values = predictors(tower)[:, 0] * 0.4
    honest = fit_empirical(with_flux(tower, "Qle", values), split, model, "Qle")
    spoiled = fit_empirical(with_flux(tower, "Qle", np.where(split.train, values, 1e3)), split, model, "Qle")
    np.testing.assert_array_equal(honest, spoiled)


def test_network_learns_memory():
    """A flux that answers to the sun of the ten days before: today's weather does not hold it, the network does."""
    tower = lively_tower(days=4 * 365)
    sun = predictors(tower)[:, 0]
    slow = np.convolve(sun, np.exp(-np.arange(40) / 10.0) / 10.0)[: sun.size]
    tower = with_flux(tower, "Qle", slow - slow.mean())
    split = split_of(tower)
    rmse = {m: empirical_rows(tower, split, m, ("Qle",))[1].rmse for m in ("1lin", "lstm")}
    assert rmse["lstm"] < 0.5 * rmse["1lin"]


def test_a_seed_repeats_and_another_differs(quick):
    tower = lively_tower()
    split = split_of(tower)
    tower = with_flux(tower, "Qle", predictors(tower)[:, 0])
    first, again, other = (fit_empirical(tower, split, "lstm", "Qle", seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_hourly_record_is_predicted_at_every_step(quick):
    tower = lively_tower(interval=3600, days=365)
    tower = with_flux(tower, "Qle", predictors(tower)[:, 0])
    predicted = fit_empirical(tower, split_of(tower), "lstm", "Qle")
    assert predicted.shape == (365 * 24,) and np.isfinite(predicted).all()


def test_rows_go_into_the_table_of_a_run(tmp_path, quick):
    rows = fit_sites([lively_tower()], Config(), tuple(EMPIRICAL_MODELS), seeds=2)
    stages = ["1lin", "3km27", "3km27_seed1", "lstm", "lstm_seed1"]
    assert list(dict.fromkeys(row.stage for row in rows)) == stages
    write_rows(tmp_path / "baselines.csv", MetricRow, rows)
    read = read_metrics(tmp_path / "baselines.csv")
    assert [(row.site, row.stage, row.flux) for row in read] == [(row.site, row.stage, row.flux) for row in rows]
    lines = {(line[1], line[2]): line for line in summary_cells(rows)}
    assert len(lines) == 6 and " to " in lines["Qle", "3km27"][3] and " to " not in lines["Qle", "1lin"][3]


def test_mistakes():
    tower = lively_tower(days=365)
    split = split_of(tower)
    with pytest.raises(InputError, match="'2lin': use one of"):
        fit_empirical(tower, split, "2lin", "Qle")
    with pytest.raises(InputError, match="2lin: use some of"):
        fit_sites([tower], Config(), ("2lin",))
    with pytest.raises(InputError, match="no measured corrected values"):
        fit_empirical(tower, split, "1lin", "Qle", target="corrected")
    none = with_flux(tower, "Qle", np.zeros(365), np.zeros(365, bool))
    with pytest.raises(InputError, match=r"Qle: 0 measured step\(s\) to fit 1lin"):
        fit_empirical(none, split, "1lin", "Qle")


def test_agrees_with_the_reference_table(shared_data, tmp_path):
    """DE-Geb, same test years as the reference; it trained on 2001 too, which here warms up: within 2 %."""
    output = tmp_path / "baselines.csv"
    arguments = ["baselines", "--data", str(shared_data / "plumber2_daily"), "--sites", "DE-Geb", "--test-years", "2"]
    result = CliRunner().invoke(app, [*arguments, "--models", "1lin", "-o", str(output)])
    assert result.exit_code == 0, result.output
    found = {row.flux: row for row in read_metrics(output) if row.period == "test"}
    with (shared_data / "reference" / "empirical_daily_metrics.csv").open(newline="") as stream:
        lines = [row for row in csv.DictReader(stream) if (row["site"], row["model"]) == ("DE-Geb", "1lin")]
    reference = {row["flux"]: row for row in lines if row["flux"] in found}
    assert set(reference) == {"Qle", "Qh"}
    for flux, row in reference.items():
        assert found[flux].rmse == pytest.approx(float(row["rmse"]), rel=0.02)
        assert found[flux].n == int(row["n"])
