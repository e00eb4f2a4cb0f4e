"""The surrogate: continuation, causality, derivatives, files; and that it learns a teacher."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jlsm.errors import InputError
from jlsm.forcing import stack_sites
from jlsm.parameters import default_parameters, get_parameter, replace_parameters
from jlsm.processes.solar import mean_cos_zenith
from mdpl.files import write_archive
from mdpl.surrogate.fitting import TrainingSettings, ablation, fit, train_or_load_surrogate
from mdpl.surrogate.network import Sizes, Surrogate, SurrogateNetwork, inputs, load_surrogate, surrogate_path
from mdpl.surrogate.runs import SURROGATE_FLUXES, DataSettings, make_runs
from mdpl.surrogate.skill import _anomaly_r2, skill
from mdpl.towers.intervals import DAY
from tests.mdpl.fakes import FAKE_PATH, make_forcing, make_site, make_tower

KEYS = ("vegetation.vcmax25", "vegetation.leaf_reflectance_nir", "vegetation.leaf_area_scale")
SMALL = Sizes(hidden=12, embedding=8, context=16, trunk=(16, 12), head=4)


@pytest.fixture(scope="module")
def untrained() -> Surrogate:
    network = SurrogateNetwork(KEYS, SURROGATE_FLUXES, SMALL, seed=3)
    return Surrogate(network, KEYS, SURROGATE_FLUXES, (10.0, 20.0, 50.0, 0.0), (50.0, 60.0, 120.0, 40.0), SMALL, {})


def double(tree):
    return jax.tree.map(lambda v: v.astype(float) if jnp.issubdtype(v.dtype, jnp.floating) else v, tree)


def two_sites(days=6, dt=1800):
    pairs = [(make_forcing(days, dt=dt, seed=s), make_site(f"XX-{s}")) for s in (1, 2)]
    forcing, site = stack_sites(pairs)
    return default_parameters(site), double(forcing), site.numeric()


@pytest.mark.parametrize("dt", [1800, 3600])
def test_two_halves_are_the_whole(untrained, dt):
    path = surrogate_path(untrained)
    params, forcing, site = two_sites(dt=dt)
    start = path.spin_up(params, forcing, site, years=1)
    whole, end = path.simulate(params, forcing, site, start)
    half = forcing.steps // 3
    first, middle = path.simulate(params, forcing.window(0, half), site, start)
    second, last = path.simulate(params, forcing.window(half, forcing.steps), site, middle)
    for flux in SURROGATE_FLUXES:
        parts = np.concatenate([getattr(first, flux), getattr(second, flux)])
        np.testing.assert_allclose(parts, getattr(whole, flux), rtol=1e-12, atol=1e-9)  # rounding of other products
    for a, b in zip(last, end, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)
    assert whole.SoilMoist is None and whole.Qle.shape == (forcing.steps, 2)


def test_nothing_is_known_before_it_happens(untrained):
    params, forcing, site = two_sites()
    state = untrained.start(2, float)
    when = 3 * 48 + 20
    later = dataclasses.replace(
        forcing, SWdown=forcing.SWdown.at[when:].add(100.0), Precip=forcing.Precip.at[when:].add(1e-4)
    )
    before, _ = untrained.simulate(params, forcing, site, state)
    after, _ = untrained.simulate(params, later, site, state)
    np.testing.assert_array_equal(before.Qle[:when], after.Qle[:when])
    assert (before.Qle[when:] != after.Qle[when:]).all()


def test_exponential_means_are_those_of_stepping():
    rng = np.random.default_rng(0)
    now = jnp.asarray(rng.normal(size=(3, inputs.WEATHER, 24, 2)))
    start = jnp.asarray(rng.normal(size=(len(inputs.MEMORY) * inputs.REMEMBERED, 2)))
    midnight, end = inputs.past_at_midnight(now, start)
    found = inputs.decoder_inputs(now, midnight, now[:, :0])[:, inputs.WEATHER :]
    found = jnp.moveaxis(found, 1, 2).reshape(72, -1, 2)
    decay = np.tile(np.exp(-3600.0 / np.array(inputs.MEMORY)), inputs.REMEMBERED)[:, None]
    past = np.asarray(start)
    by_steps = np.moveaxis(np.asarray(now), 1, 2).reshape(72, -1, 2)[:, : inputs.REMEMBERED]
    for step, values in enumerate(by_steps):
        past = decay * past + (1 - decay) * np.repeat(values, len(inputs.MEMORY), axis=0)
        np.testing.assert_allclose(found[step], past, rtol=1e-10)
    np.testing.assert_allclose(end, past, rtol=1e-10)


def test_sun_is_that_of_the_model():
    """Half-hourly against the model's mean over the sunlit part of each step, and hourly from another hour."""
    for dt, shift in ((1800, 0), (3600, 5)):
        forcing = make_forcing(365, dt=dt).window(shift, shift + 360 * DAY // dt)
        site = make_site()
        found = 0.5 * inputs.scaled_weather(forcing, site, DAY // dt)[:, -1, :, 0].ravel()
        clock = (forcing.day, forcing.second_of_day, forcing.dt)
        cosine, sunlit, _ = mean_cos_zenith(*clock, site.latitude, site.longitude, site.utc_offset)
        # they differ in the steps of sunrise and sunset, by less than the sun climbs in one
        np.testing.assert_allclose(found, cosine * sunlit, atol=0.25 * dt / 3600.0 * 2 * np.pi / 24.0)
        # declination is the day's, and moves by 0.007 in one at the equinoxes
        np.testing.assert_allclose(found[sunlit == 1.0], cosine[sunlit == 1.0], atol=4e-3)


def test_wet_leaves_are_those_of_stepping():
    """The bucket by days side by side against half hours one after the other, cut in two as well."""
    rng = np.random.default_rng(1)
    shape = (4, 24, 2)
    rain = rng.exponential(1e-4, shape) * (rng.random(shape) < 0.2)
    air = np.stack([rain, *(rng.uniform(0, top, shape) for top in (1e-4, 4e-3, 6.0, 3.0))], axis=1)
    traits = jnp.asarray([[0.2, 0.02], [0.05, 0.1], [1.0, 2.0]])[:, None, None]
    leaves = inputs.leaves(jnp.asarray(air), traits)
    start = jnp.asarray([0.1, 0.0])
    found, end = inputs.wet_leaves(leaves, start)
    share = jnp.moveaxis(found, 1, 2).reshape(-1, 2, 2)[:, 0]
    water, (caught, capacity, _, drying) = np.asarray(start), (np.asarray(v).reshape(-1, 2) for v in leaves)
    for step in range(len(caught)):
        mean = -np.expm1(-drying[step]) / np.maximum(drying[step], 1e-30)
        wet = np.minimum(water / capacity[step], 1.0) * np.where(drying[step] > 1e-6, mean, 1.0)
        np.testing.assert_allclose(share[step], wet, rtol=1e-6, atol=1e-12)
        water = np.minimum(water * np.exp(-drying[step]) + caught[step], capacity[step])
    np.testing.assert_allclose(end, water, rtol=1e-10)
    assert 0.0 < share.mean() < 1.0 and share.max() <= 1.0 + 1e-12
    half = [jax.tree.map(lambda v, s=s: v[s], leaves) for s in (slice(0, 2), slice(2, 4))]
    first, middle = inputs.wet_leaves(half[0], start)
    second, last = inputs.wet_leaves(half[1], middle)
    np.testing.assert_allclose(jnp.concatenate([first, second]), found, rtol=1e-12)
    np.testing.assert_allclose(last, end, rtol=1e-12)


@pytest.mark.parametrize("steps", [False, True])
def test_derivative_by_parameters(untrained, steps):
    """Reverse mode under jit against central differences, scalar parameters and daily series."""
    params, forcing, site = two_sites()
    state = untrained.start(2, float)

    @jax.jit
    def loss(value):
        value = value * jnp.ones((forcing.steps, 2)) if steps else value
        outputs, _ = untrained.simulate(replace_parameters(params, {KEYS[0]: value}), forcing, site, state)
        return (outputs.Qle**2).mean() + outputs.Qh.mean()

    value = get_parameter(params, KEYS[0])
    gradient = jax.grad(loss)(value)
    for column in range(2):
        shift = jnp.zeros(2).at[column].set(1e-3)
        difference = (loss(value + shift) - loss(value - shift)) / 2e-3
        np.testing.assert_allclose(gradient[column], difference, rtol=1e-6)  # h^2 times third derivatives
        assert gradient[column] != 0.0


def test_series_that_is_constant_is_the_constant(untrained):
    params, forcing, site = two_sites()
    state = untrained.start(2, float)
    series = replace_parameters(params, {KEYS[1]: jnp.full((forcing.steps, 2), 0.4)})
    constant = replace_parameters(params, {KEYS[1]: jnp.full(2, 0.4)})
    a, _ = untrained.simulate(series, forcing, site, state)
    b, _ = untrained.simulate(constant, forcing, site, state)
    np.testing.assert_allclose(a.Qh, b.Qh, rtol=1e-10)


def test_one_column_vmap_and_traced_forcing(untrained):
    params, forcing, site = two_sites()
    state = untrained.start(2, float)
    both, _ = untrained.simulate(params, forcing, site, state, fields=("Qle",))
    assert both.Qh is None
    for c in range(2):
        p, f, s, st = jax.tree.map(lambda v, c=c: v[..., c], (params, forcing, site, state))
        alone, end = untrained.simulate(p, f, s, st)
        np.testing.assert_allclose(alone.Qle, both.Qle[:, c], rtol=1e-10)
        assert end.hidden.shape == (SMALL.hidden,)
    traced, _ = jax.jit(untrained.simulate)(params, forcing, site, state)
    np.testing.assert_allclose(traced.Qle, both.Qle, rtol=1e-10)
    run = lambda p: untrained.simulate(p, forcing, site, state)[0].Qle  # noqa: E731
    stacked = jax.vmap(run)(jax.tree.map(lambda v: jnp.stack([v, v * 0.9]), params))
    np.testing.assert_allclose(stacked[0], both.Qle, rtol=1e-10)


def test_bad_windows_are_refused(untrained):
    params, forcing, site = two_sites()
    state = untrained.start(2, float)
    with pytest.raises(InputError, match="whole days"):
        untrained.simulate(params, forcing.window(0, 50), site, state)
    with pytest.raises(InputError, match="1800 s or at 3600 s"):
        untrained.simulate(params, dataclasses.replace(forcing, dt=jnp.full(2, 900.0)), site, state)


def test_file_round_trip_and_damage(untrained, tmp_path):
    file = tmp_path / "surrogate.npz"
    untrained.save(file)
    back = load_surrogate(file)
    params, forcing, site = two_sites()
    state = untrained.start(2, float)
    a, b = (s.simulate(params, forcing, site, state)[0].Qle for s in (untrained, back))
    np.testing.assert_array_equal(a, b)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable file .*delete it and train again"):
        load_surrogate(file)
    file.write_bytes(b"no archive")
    with pytest.raises(InputError, match="not a readable file .*delete it and train again"):
        load_surrogate(file)
    write_archive(file, {"format": 1}, {})
    with pytest.raises(InputError, match="not a usable surrogate .*format 1.*delete it and train again"):
        load_surrogate(file)
    with pytest.raises(InputError, match="no such file"):
        load_surrogate(tmp_path / "other.npz")


@pytest.fixture(scope="module")
def lesson():
    """Runs of the fake model at two towers with pieces of 60 days."""
    towers = [make_tower({}, days=240, code=f"XX-{s}", seed=s) for s in (1, 2)]
    settings = DataSettings(draws=24, unseen_draws=4, year_days=60, burn_in_passes=1, batch=32)
    return towers, settings, make_runs(FAKE_PATH, towers, KEYS, settings)


def test_learns_the_teacher_on_unseen_parameters_and_year(lesson):
    towers, _, runs = lesson
    settings = TrainingSettings(steps=300, columns=16, days=12, learning_rate=1e-2, sizes=SMALL, check_every=100)
    surrogate = fit(towers, runs, settings)
    r2 = {(row["flux"], row["step"]): row["r2"] for row in skill(surrogate, towers, runs, "year")}
    # a mean (R2 0) or a fixed climatology cannot reach this: draws move the fluxes by a third
    assert r2["Qle", "hourly"] > 0.9 and r2["Qh", "hourly"] > 0.9, r2


def test_anomaly_is_what_parameters_do():
    """An answer that knows the weather and nothing of parameters has none; an error common to all runs costs none."""
    rng = np.random.default_rng(0)
    weather, draws = rng.normal(size=(50, 1)), np.array([[-1.0, 1.0, 0.0, 3.0]])
    truth = 10.0 * weather + draws * weather**2
    together = np.array([0, 0, 1, 2])
    assert _anomaly_r2(truth, truth, together) == 1.0
    assert _anomaly_r2(10.0 * weather + 0.0 * draws, truth, together) == 0.0
    assert _anomaly_r2(truth + 5.0 * weather, truth, together) == pytest.approx(1.0, abs=1e-12)
    assert _anomaly_r2(truth, truth, np.arange(4)) is None


def test_memory_of_the_runs_is_recalled_in_training_only(lesson):
    """Without the memory task nothing is asked of that layer: its weights stay as they began."""
    towers, _, runs = lesson
    rng = np.random.default_rng(0)
    runs = dataclasses.replace(runs, memory=rng.normal(size=runs.memory.shape).astype(np.float16))
    moved = {}
    for weight in (0.0, 1.0):
        settings = TrainingSettings(steps=2, columns=4, days=4, sizes=SMALL, check_every=1, memory_weight=weight)
        kernel = fit(towers, runs, settings).network.memory_out.kernel[...]
        moved[weight] = float(
            jnp.abs(kernel - SurrogateNetwork(KEYS, SURROGATE_FLUXES, SMALL).memory_out.kernel[...]).max()
        )
    assert moved[0.0] == 0.0 < moved[1.0]


def test_ablation_names_its_networks(lesson):
    towers, _, runs = lesson
    settings = TrainingSettings(steps=2, columns=4, days=4, sizes=SMALL, check_every=2)
    rows = ablation(towers, runs, settings, alone=("Qle",))
    assert [row["network"] for row in rows if (row["flux"], row["step"]) == ("Qle", "daily")] == [
        "multi-task", "without memory", "single-task Qle"
    ]  # fmt: skip
    assert {row["flux"] for row in rows if row["network"] == "single-task Qle"} == {"Qle"}


def test_trained_once_then_loaded(lesson, tmp_path):
    towers, data, _ = lesson
    data = dataclasses.replace(data, draws=4, unseen_draws=2)
    settings = TrainingSettings(steps=4, columns=4, days=4, sizes=SMALL, check_every=2, task_loss="equal")
    arguments = (towers, KEYS, tmp_path, FAKE_PATH, data, settings)
    first = train_or_load_surrogate(*arguments, unseen_site=True)
    second = train_or_load_surrogate(*arguments, unseen_site=True)
    assert first.card["scores"] == second.card["scores"]
    assert {row["split"] for row in first.card["scores"]} == {"draws", "year", "site XX-2"}
    card = next(tmp_path.glob("surrogate_*.md")).read_text()
    assert "| year | Qle | daily |" in card and "R2 anomaly" in card
    with pytest.raises(InputError, match="task_loss"):
        dataclasses.replace(settings, task_loss="other").check()
