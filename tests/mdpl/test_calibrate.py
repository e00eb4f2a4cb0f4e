"""Calibration end to end with a fake model whose truth is known."""

from __future__ import annotations

import csv
import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from jlsm.errors import InputError
from jlsm.parameters import PARAMETERS
from mdpl.calibration import calibrate
from mdpl.config import Config, load_config
from mdpl.towers.intervals import DAY
from mdpl.training.gradient import losses_and_gradient
from mdpl.training.problem import Problem
from mdpl.training.runner import Runner
from mdpl.training.stops import NonFiniteError
from mdpl.training.trainer import Trainer
from mdpl.training.windows import group_towers
from mdpl.unknowns.search_space import search_space
from tests.mdpl.fakes import FAKE_PATH, fake_simulate, make_tower

TRUTH = {"vegetation.vcmax25": 60.0, "vegetation.leaf_reflectance_nir": 0.4, "vegetation.leaf_area_scale": 1.5}
QUICK = Config(
    parameters=tuple(TRUTH),
    epochs=150,
    learner="direct",
    learning_rate=0.2,
    window_days=120,
    refresh_every=10,
    windows_per_step=0,
    loss={"mse": 1.0},
)


def quick(tmp_path, **changes) -> Config:
    return dataclasses.replace(QUICK, output=str(tmp_path / "run"), **changes)


def table(path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    towers = [
        make_tower(TRUTH),
        make_tower({**TRUTH, "vegetation.vcmax25": 150.0}, days=3 * 365, code="XX-Two", seed=3),
    ]
    config = quick(tmp_path_factory.mktemp("calibration"))
    return calibrate(config, path=FAKE_PATH, towers=towers), config


def test_recovers_the_truth_at_every_site(finished):
    calibration, _ = finished
    found = {(row["site"], row["name"]): row for row in table(calibration.directory / "parameters.csv")}
    for site, vcmax in (("XX-Toy", 60.0), ("XX-Two", 150.0)):
        for name, truth in {**TRUTH, "vegetation.vcmax25": vcmax}.items():
            row = found[site, name]
            width = PARAMETERS[name].upper - PARAMETERS[name].lower
            assert abs(float(row["calibrated"]) - truth) < 0.02 * width, (site, name, row)
            assert float(row["lower"]) <= float(row["calibrated"]) <= float(row["upper"])


def test_run_directory_is_complete(finished):
    calibration, config = finished
    names = {path.name for path in calibration.directory.iterdir()}
    expected = {
        "config.toml",
        "parameters.csv",
        "metrics.csv",
        "loss.csv",
        "loss.png",
        "taylor_Qh.png",
        "taylor_Qle.png",
        "report.html",
    }
    expected |= {f"{site}_{stage}.nc" for site in ("XX-Toy", "XX-Two") for stage in ("default", "calibrated")}
    expected |= {"checkpoints", "cycles_XX-Toy.png", "cycles_XX-Two.png", "run.toml"}
    assert names == expected, "no temporary file may stay"
    assert sorted(p.name for p in (calibration.directory / "checkpoints").iterdir()) == ["130", "140", "150"]
    written = load_config(calibration.directory / "config.toml")
    assert written.sites == ("XX-Toy", "XX-Two") and written.epochs == config.epochs


def test_metrics_table(finished):
    calibration, _ = finished
    rows = table(calibration.directory / "metrics.csv")
    header = "site,flux,stage,period,rmse,bias,r,std_mod,std_obs,nme,kge,n,target,step,crmse"
    assert list(rows[0]) == header.split(",")
    keyed = {(r["site"], r["flux"], r["stage"], r["period"]): r for r in rows}
    for site in ("XX-Toy", "XX-Two"):
        for flux in ("Qle", "Qh"):
            for period in ("train", "test"):
                before, after = (keyed[site, flux, stage, period] for stage in ("default", "calibrated"))
                assert float(after["rmse"]) < 0.2 * float(before["rmse"])
                assert before["n"] == after["n"] and before["step"] == "daily"


def test_epoch_zero_is_the_exact_default_model(finished):
    """The loss of epoch 0 is that of the default run's own file, scored by hand."""
    calibration, _ = finished
    rows = [
        r for r in table(calibration.directory / "metrics.csv") if r["stage"] == "default" and r["period"] == "train"
    ]
    first = {r["site"]: float(r["loss"]) for r in table(calibration.directory / "loss.csv") if r["epoch"] == "0"}
    for site, loss in first.items():
        own = {r["flux"]: r for r in rows if r["site"] == site}
        by_hand = np.mean([(float(own[f]["rmse"]) / float(own[f]["std_obs"])) ** 2 for f in ("Qle", "Qh")])
        assert loss == pytest.approx(by_hand, rel=1e-3)


def test_model_files_hold_the_whole_record(finished):
    calibration, _ = finished
    with xr.open_dataset(calibration.directory / "XX-Two_calibrated.nc") as dataset:
        assert dataset.sizes["time"] == 3 * 365 * 24
        assert dataset.attrs["parameter_vegetation_vcmax25"] == pytest.approx(150.0, rel=0.05)


def test_sites_do_not_disturb_each_other(tmp_path):
    """A site beside another gets what it gets alone."""
    towers = [make_tower(TRUTH), make_tower(TRUTH, days=3 * 365, code="XX-Two", seed=3)]
    both = calibrate(quick(tmp_path / "both", epochs=5), path=FAKE_PATH, towers=towers)
    alone = calibrate(quick(tmp_path / "alone", epochs=5), path=FAKE_PATH, towers=towers[1:])
    np.testing.assert_allclose(both.trained.values[1], alone.trained.values[0], rtol=1e-4)


def test_a_seed_repeats_a_run_and_nothing_recompiles(tmp_path):
    towers = [make_tower(TRUTH)]
    config = quick(tmp_path, epochs=4, windows_per_step=2)
    runs = [calibrate(config, path=FAKE_PATH, towers=towers, overwrite=True) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].trained.values, runs[1].trained.values)
    assert [run.trained.traces for run in runs] == [1, 1]
    other = calibrate(dataclasses.replace(config, seed=1), path=FAKE_PATH, towers=towers, overwrite=True)
    assert (other.trained.values != runs[0].trained.values).any()


def test_half_hourly_short_record_splits_by_months(tmp_path):
    tower = make_tower(TRUTH, days=365, interval=3600, noise=5.0)
    calibration = calibrate(quick(tmp_path, epochs=20), path=FAKE_PATH, towers=[tower])
    assert any("months" in note for note in calibration.notes)
    assert {row.step for row in calibration.metrics} == {"hourly"}
    keyed = {(row.flux, row.stage, row.period): row for row in calibration.metrics}
    assert keyed["Qle", "calibrated", "test"].rmse < 0.7 * keyed["Qle", "default", "test"].rmse


def test_different_clocks_train_in_groups(tmp_path):
    towers = [make_tower(TRUTH, days=365), make_tower(TRUTH, days=365, interval=3600, code="XX-Two")]
    calibration = calibrate(quick(tmp_path, epochs=2), path=FAKE_PATH, towers=towers)
    assert calibration.trained.traces == 1 and calibration.trained.values.shape == (2, 3)
    assert {row.site for row in calibration.metrics} == {"XX-Toy", "XX-Two"}


def test_clipping_is_reported(tmp_path):
    calibration = calibrate(
        quick(tmp_path, epochs=3, clip_norm=1e-4), path=FAKE_PATH, towers=[make_tower(TRUTH, days=365)]
    )
    assert any("gradient clipped in 3 of 3 epochs" in note for note in calibration.notes)
    assert [row["clipped"] for row in table(calibration.directory / "loss.csv")] == ["0", "1", "1", "1"]


def test_the_default_stays_where_nothing_beats_it(tmp_path):
    tower = make_tower({}, days=365)
    calibration = calibrate(quick(tmp_path, epochs=2), path=FAKE_PATH, towers=[tower])
    assert any("the default is kept" in note for note in calibration.notes)
    assert all(row.default == row.calibrated for row in calibration.parameters)


# ---- derivatives -----------------------------------------------------------------------------------


def test_forward_and_reverse_agree_with_differences():
    tower = make_tower(TRUTH, days=365)
    config = dataclasses.replace(QUICK, epochs=1)
    (group,) = group_towers([tower, make_tower(TRUTH, days=365, code="XX-Two", seed=5)], config)
    params = FAKE_PATH.default_parameters(group.site)
    space = search_space(tuple(TRUTH), params, 2)

    def losses_of(u):
        forcing = group.forcing(0, group.steps)
        state = FAKE_PATH.spin_up(params, forcing, group.site)
        outputs, _ = fake_simulate(space.insert(params, space.values(u)), forcing, group.site, state)
        return ((outputs.Qle - 50.0) ** 2).mean(axis=0) / 1e3 + (outputs.Qh**2).mean(axis=0) / 1e4

    start = jnp.asarray(space.start(), jnp.float32)
    reverse = losses_and_gradient(losses_of, start, "reverse")
    forward = losses_and_gradient(losses_of, start, "forward")
    np.testing.assert_allclose(reverse[0], forward[0], rtol=1e-5)
    np.testing.assert_allclose(reverse[1], forward[1], rtol=1e-3, atol=1e-5)
    step = 0.05
    for i in range(start.shape[1]):
        shift = jnp.zeros_like(start).at[:, i].set(step)
        central = (losses_of(start + shift) - losses_of(start - shift)) / (2 * step)
        np.testing.assert_allclose(forward[1][:, i], central, rtol=0.02, atol=1e-3)


# ---- when it goes wrong ----------------------------------------------------------------------------


def poisoned(params, forcing, site, state, fields=None):
    """Breaks from noon of 2001-02-03 on, at sites that have another vcmax25 than the default's rounding."""
    outputs, state = fake_simulate(params, forcing, site, state)
    late = (forcing.day > 11356) | ((forcing.day == 11356) & (forcing.second_of_day >= DAY // 2))
    moved = params.vegetation.leaf_area_scale > 1.05
    return dataclasses.replace(outputs, Qle=jnp.where(late & moved, jnp.nan, outputs.Qle)), state


def test_nan_stops_at_once_and_says_where(tmp_path):
    config = quick(tmp_path, window_days=365)
    path = FAKE_PATH._replace(simulate=poisoned)
    with pytest.raises(NonFiniteError) as error:
        calibrate(config, path=path, towers=[make_tower(TRUTH, days=365)])
    message = str(error.value)
    assert "site XX-Toy" in message and "Qle is not finite from 2001-02-03T12:00:00" in message
    assert "leaf_area_scale=" in message and "\n" not in message
    assert (tmp_path / "run" / "stopped.json").is_file()
    assert not (tmp_path / "run" / "metrics.csv").exists()


def test_nan_gradient_of_a_finite_run_is_found(tmp_path):
    def kinked(params, forcing, site, state, fields=None):
        outputs, state = fake_simulate(params, forcing, site, state)
        zero = 0.0 * params.vegetation.vcmax25
        return dataclasses.replace(outputs, Qh=outputs.Qh + jnp.sqrt(zero)), state

    with pytest.raises(NonFiniteError, match=r"the run is finite, the gradient is not .*vegetation.vcmax25"):
        calibrate(quick(tmp_path), path=FAKE_PATH._replace(simulate=kinked), towers=[make_tower(TRUTH, days=365)])


def test_a_target_that_does_not_exist(tmp_path):
    with pytest.raises(InputError, match="no measured corrected values"):
        calibrate(quick(tmp_path, target="corrected"), path=FAKE_PATH, towers=[make_tower(TRUTH, days=365)])


def test_all_training_steps_masked(tmp_path):
    tower = make_tower(TRUTH, days=365)
    tower.observations.fluxes["Qle"].measured[:] = False
    with pytest.raises(InputError, match=r"XX-Toy_Flux.nc: Qle: 0 measured step\(s\) to train on"):
        calibrate(quick(tmp_path), path=FAKE_PATH, towers=[tower])
    assert not (tmp_path / "run").exists(), "bad input leaves no run directory"


def test_an_earlier_run_is_not_overwritten(tmp_path):
    towers = [make_tower(TRUTH, days=365)]
    calibrate(quick(tmp_path, epochs=1), path=FAKE_PATH, towers=towers)
    with pytest.raises(InputError, match="holds an earlier run"):
        calibrate(quick(tmp_path, epochs=1), path=FAKE_PATH, towers=towers)


def test_without_data_the_embedded_set_is_taken(tmp_path, monkeypatch):
    """Its folder is read like any other: an empty one is told by name."""
    import mdpl.data

    monkeypatch.setattr(mdpl.data, "five_crops_synthetic", lambda progress: tmp_path, raising=False)
    with pytest.raises(InputError, match=str(tmp_path)):
        calibrate(quick(tmp_path))


def test_zero_epochs_only_compare(tmp_path):
    calibration = calibrate(quick(tmp_path, epochs=0), path=FAKE_PATH, towers=[make_tower(TRUTH, days=365)])
    assert all(row.default == row.calibrated for row in calibration.parameters)


def test_trainer_is_usable_by_itself():
    groups = group_towers([make_tower(TRUTH, days=365)], QUICK)
    trainer = Trainer(Problem(FAKE_PATH, groups, tuple(TRUTH), dataclasses.replace(QUICK, epochs=2)))
    assert [row.epoch for row in trainer.train().rows] == [0, 1, 2]


@pytest.mark.parametrize("path", ["surrogate", "surrogate-then-lsm"])
def test_paths_through_a_surrogate_are_judged_by_the_model(tmp_path, monkeypatch, path):
    """The trainer gets another model with the surrogate's signature; every score but its own claim is the judge's."""
    import mdpl.calibration as module

    def brighter(params, *rest, **kwargs):
        outputs, state = FAKE_PATH.simulate(params, *rest, **kwargs)
        return dataclasses.replace(outputs, Qle=1.5 * outputs.Qle), state

    imitation = FAKE_PATH._replace(simulate=brighter)
    monkeypatch.setattr(module, "_surrogate", lambda *_: imitation)
    config = Config(parameters=tuple(TRUTH), window_days=120, epochs=4, refresh_every=2, output=str(tmp_path / "run"),
                    path=path)  # fmt: skip
    found = module.calibrate(config, path=FAKE_PATH, towers=[make_tower(TRUTH, days=4 * 365, noise=2.0)])
    stages = {row.stage for row in found.metrics}
    assert stages == ({"default", "calibrated", "surrogate"} if path == "surrogate" else {"default", "calibrated"})
    by_stage = {row.stage: row for row in found.metrics if row.flux == "Qle" and row.period == "test"
                and row.target == "raw"}  # fmt: skip
    if path == "surrogate":  # its Qle is half as much again as the model's with the same parameters
        observed = by_stage["calibrated"].std_mod
        np.testing.assert_allclose(by_stage["surrogate"].std_mod, 1.5 * observed, rtol=1e-5)
    assert (tmp_path / "run" / "checkpoints_surrogate").is_dir()
    assert (tmp_path / "run" / "checkpoints").is_dir()


@pytest.mark.parametrize(
    ("window_days", "days", "windows"), [(91, 3 * 365, 4), (120, 3 * 365, 3), (365, 1200, 1), (91, 200, 3)]
)
def test_a_refresh_passes_over_the_whole_first_year(window_days, days, windows):
    """What the soil follows the parameters in: whole windows, about a year; all of a shorter record."""
    config = dataclasses.replace(QUICK, window_days=window_days)
    (group,) = group_towers([make_tower(TRUTH, days=days)], config)
    assert group.year == windows
    runner = Runner(FAKE_PATH, group, config.spinup_years)
    params = FAKE_PATH.default_parameters(group.site)
    start = runner.spin_up(params)
    _, direct = fake_simulate(params, group.forcing(0, windows * group.steps), group.site, start)
    np.testing.assert_allclose(runner.year(params, start).soil_moisture, direct.soil_moisture, rtol=1e-6)
