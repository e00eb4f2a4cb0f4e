"""g_z: features that know no test years, a start at the default, one set of weights, chain rule, storage."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jlsm.errors import InputError
from jlsm.parameters import PARAMETERS, default_parameters, get_parameter
from jlsm.simulation.sensitivity import FORWARD_LANES
from mdpl.calibration import calibrate
from mdpl.config import Config
from mdpl.towers.features import SERIES_SCALES, site_features
from mdpl.towers.intervals import model_time
from mdpl.towers.split import split_by_time
from mdpl.training.gradient import losses_and_gradient
from mdpl.training.learners import NetworkLearner, schedule_of
from mdpl.training.problem import Problem
from mdpl.training.trainer import Trainer
from mdpl.training.windows import group_towers
from mdpl.unknowns.generator import ENCODERS, GeneratorShape, PureGenerator, load_generator, save_generator
from mdpl.unknowns.time_varying import UnknownsLayout
from tests.mdpl.fakes import FAKE_PATH, make_tower

TRUTH = {"vegetation.vcmax25": 60.0, "vegetation.leaf_reflectance_nir": 0.4, "vegetation.leaf_area_scale": 1.5}
OTHER = {**TRUTH, "vegetation.vcmax25": 150.0}
LAYOUT = UnknownsLayout(tuple(TRUTH), ("constant",) * 3)
QUICK = Config(parameters=tuple(TRUTH), epochs=60, learning_rate=0.02, window_days=120, refresh_every=20,
               windows_per_step=0, loss={"mse": 1.0})  # fmt: skip


def two_towers(days=365):
    return [make_tower(TRUTH, days=days), make_tower(OTHER, days=days, code="XX-Two", seed=3)]


# ---- features --------------------------------------------------------------------------------------


def test_features_do_not_depend_on_other_sites_or_on_test_years():
    tower, other = make_tower(TRUTH), make_tower(TRUTH, days=2 * 365, code="XX-Two", seed=3)
    split = split_by_time(tower.observations.time, model_time(tower.forcing))
    both = site_features([tower, other], [split, None])
    alone = site_features([tower], [split])
    length = int(alone.mask.sum())
    np.testing.assert_array_equal(both.series[0, :length], alone.series[0])
    np.testing.assert_array_equal(both.attributes[0], alone.attributes[0])
    assert both.mask[1].sum() == -(-2 * 365 // 7) and not both.series[0, length:].any()
    hot = np.asarray(tower.forcing.Tair) + 50.0 * (
        model_time(tower.forcing).datetimes() >= split.first_test.astype("datetime64[s]")
    )
    changed = dataclasses.replace(tower, forcing=dataclasses.replace(tower.forcing, Tair=jnp.asarray(hot)))
    for a, b in zip(site_features([changed], [split]), alone, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (site_features([changed], [None]).series != site_features([tower], [None]).series).any()


def test_held_back_months_of_a_short_record_are_not_seen():
    tower = make_tower(TRUTH, days=365)
    split = split_by_time(tower.observations.time, model_time(tower.forcing))
    month = model_time(tower.forcing).datetimes().astype("datetime64[M]").astype(int) % 12 + 1
    hot = np.asarray(tower.forcing.Tair) + 50.0 * np.isin(month, (3, 6, 9, 12))
    changed = dataclasses.replace(tower, forcing=dataclasses.replace(tower.forcing, Tair=jnp.asarray(hot)))
    for a, b in zip(site_features([changed], [split]), site_features([tower], [split]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_features_are_physical_and_of_order_one():
    found = site_features([make_tower(TRUTH)], [None])
    names = list(SERIES_SCALES)
    sun = found.series[0, :, names.index("shortwave")] * 100.0 + 150.0
    assert 0 < sun.min() and sun.max() < 400 and np.isfinite(found.series).all() and np.isfinite(found.attributes).all()


# ---- the network -----------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_starts_at_zero_and_ignores_padding(encoder):
    network = PureGenerator(GeneratorShape(encoder, 8, LAYOUT, 7))
    seen = site_features(two_towers(), [None, None])
    weights = network.initial()
    assert (network(weights, seen) == 0).all()
    moved = weights | {"head.kernel": jnp.ones_like(weights["head.kernel"])}
    found = network(moved, seen)
    assert (found[0] != found[1]).any()
    padded = seen._replace(
        series=np.pad(seen.series, ((0, 0), (0, 9), (0, 0)), constant_values=7.0),
        mask=np.pad(seen.mask, ((0, 0), (0, 9))),
    )
    np.testing.assert_allclose(network(moved, padded), found, rtol=1e-5)


def test_the_first_model_is_the_default_to_the_last_bit():
    problem = Problem(FAKE_PATH, group_towers(two_towers(), QUICK), tuple(TRUTH), QUICK)
    optimiser = Trainer(problem).optimiser
    weights, _ = optimiser.initial()
    (task,) = problem.tasks
    params = problem.parameters(task, np.asarray(optimiser.unknowns(weights)))
    for key in PARAMETERS:
        np.testing.assert_array_equal(get_parameter(params, key), get_parameter(task.default, key))


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_chain_rule_through_network_and_model(mode):
    """The learner's gradient of the mean loss by its weights against central differences, float64."""
    network = PureGenerator(GeneratorShape("gru", 4, LAYOUT, 30))
    learner = NetworkLearner(network, site_features(two_towers(), [None, None], 30), optax.sgd(1.0), jnp.float64)
    weights, moments = learner.initial()
    weights = {k: w + 0.1 * jax.random.normal(jax.random.key(i), w.shape) for i, (k, w) in enumerate(weights.items())}
    scale = jnp.array([[1.0], [2.0]])

    def losses_of(u):
        return (jnp.sin(u * scale) ** 2).sum(axis=1)

    unknowns, pullback = jax.vjp(learner.unknowns, weights)
    _, gradient = losses_and_gradient(losses_of, unknowns, mode)
    stepped, _, norms = learner.update(weights, moments, gradient, pullback)
    slope = jax.tree.map(lambda a, b: a - b, weights, stepped)  # plain descent with rate 1
    assert norms.shape == (2,) and norms[0] == pytest.approx(
        float(jnp.sqrt(sum((s**2).sum() for s in slope.values()))), rel=1e-9
    )
    direction = {k: jax.random.normal(jax.random.key(i + 99), w.shape) for i, (k, w) in enumerate(weights.items())}

    def mean_loss(h):
        return losses_of(learner.unknowns(jax.tree.map(lambda w, d: w + h * d, weights, direction))).mean()

    central = (mean_loss(1e-5) - mean_loss(-1e-5)) / 2e-5
    along = sum((slope[k] * direction[k]).sum() for k in weights)
    assert along == pytest.approx(float(central), rel=1e-6)


def test_auto_takes_forward_mode_by_lanes():
    """Unknowns times columns decide, with the limit of jlsm.simulation; a custom_vjp has no forward mode."""

    @jax.custom_vjp
    def losses_of(u):
        return (u**2).sum(axis=1)

    losses_of.defvjp(lambda u: (losses_of(u), u), lambda u, bar: (2 * u * bar[:, None],))
    u = jnp.ones((2, 3))
    assert 3 * 2 <= FORWARD_LANES < 3 * 3
    with pytest.raises(TypeError, match="forward-mode"):
        losses_and_gradient(losses_of, u)
    np.testing.assert_array_equal(losses_and_gradient(losses_of, u, columns=3)[1], 2 * u)
    with pytest.raises(ValueError, match="mode must be"):
        losses_and_gradient(losses_of, u, "backward")


# ---- training --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = tmp_path_factory.mktemp("network") / "run"
    # different clocks: two groups, one set of weights
    low, high = make_tower(TRUTH, days=365), make_tower(OTHER, days=365, interval=3600, code="XX-Two", seed=3)
    place = dataclasses.replace(high.site, elevation=jnp.asarray(1500.0), latitude=jnp.asarray(30.0))
    towers = [low, dataclasses.replace(high, site=place)]
    return calibrate(dataclasses.replace(QUICK, output=str(run)), path=FAKE_PATH, towers=towers), towers


def test_one_network_learns_sites_apart_and_compiles_once(trained):
    calibration, _ = trained
    assert calibration.trained.traces == 1
    vcmax = calibration.trained.values[:, 0]
    assert vcmax[0] < 90 and vcmax[1] > 110, "both started at 100 and have their truth at 60 and 150"
    assert len(set(calibration.trained.best_epoch.tolist())) == 1, "one network, one best epoch"


def test_a_stored_generator_gives_the_parameters_again_and_new_ones_elsewhere(trained):
    calibration, towers = trained
    generator = load_generator(calibration.directory)
    splits = [split_by_time(t.observations.time, model_time(t.forcing)) for t in towers]
    unknowns = generator.unknowns(towers, splits)
    np.testing.assert_allclose(unknowns, calibration.trained.unknowns, rtol=1e-4, atol=1e-6)
    unseen = make_tower(TRUTH, days=200, code="XX-New", seed=9)
    offsets = generator.unknowns([unseen], [None])
    params = generator.parameters(default_parameters(unseen.site), offsets, unseen.forcing)
    value = float(get_parameter(params, "vegetation.vcmax25")[0])
    assert 10 < value < 200 and value != 100.0


def test_broken_generators(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_generator(tmp_path)
    (tmp_path / "generator.npz").write_bytes(b"PK nonsense")
    with pytest.raises(InputError, match="not a readable file .*train again"):
        load_generator(tmp_path)
    network = PureGenerator(GeneratorShape("tcn", 8, LAYOUT, 7))
    weights = network.initial()
    save_generator(tmp_path / "generator.npz", network, weights | {"head.bias": jnp.zeros(7)})
    with pytest.raises(InputError, match="another version"):
        load_generator(tmp_path)


def test_schedules():
    config = Config(epochs=10, learning_rate=1.0, warmup_epochs=2)
    cosine = schedule_of(config, steps_per_epoch=3)
    assert cosine(0) == pytest.approx(0.05) and cosine(6) == pytest.approx(1.0) and cosine(30) == pytest.approx(0.05)
    constant = schedule_of(dataclasses.replace(config, schedule="constant"), steps_per_epoch=3)
    assert constant(0) == pytest.approx(0.05) and constant(6) == constant(29) == 1.0
    assert Config().peak_rate == 0.02 and Config(learner="direct").peak_rate == 0.1
