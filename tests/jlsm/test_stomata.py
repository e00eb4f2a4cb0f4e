"""Photosynthesis and stomata against a brute-force root of the same physics written out again, and their responses."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from jlsm.numerics import decay_mean
from jlsm.processes import stomata
from jlsm.processes.humidity import saturation_vapour_pressure
from jlsm.processes.soil_water import root_fractions
from tests.jlsm.columns import make_parameters, single

VEGETATION = single(make_parameters().vegetation)
PATHWAYS = {"C3": (False, stomata.c3_pathway(VEGETATION)), "C4": (True, stomata.c4_pathway(VEGETATION))}
JOINS = (VEGETATION.light_coupling, VEGETATION.sink_coupling)
BASE = dict(light=800.0, temperature=296.0, relative=0.65, co2=400.0, stress=1.0, conductance=1.5, pressure=98000.0)


def environment(light, temperature, relative, co2, stress, conductance, pressure):
    """(LeafEnvironment, leaf temperature, leaf surface conductance, saturation vapour pressure)."""
    saturation = saturation_vapour_pressure(jnp.asarray(temperature))
    leaf = stomata.LeafEnvironment(
        light=jnp.asarray(light),
        canopy_mean=jnp.asarray(0.6),
        stress=jnp.asarray(stress),
        co2=jnp.asarray(co2),
        vapour_pressure=relative * saturation,
        pressure=jnp.asarray(pressure),
    )
    return leaf, jnp.asarray(temperature), jnp.asarray(conductance), saturation


def by_bisection(pathway, **weather):
    """Assimilation, conductance and c_i at which supply meets demand, from the model's functions."""
    c4, path = PATHWAYS[pathway]
    leaf, temperature, boundary, saturation = environment(**(BASE | weather))

    limits = stomata.limits(path, *JOINS, leaf)

    def at(share):
        gross, dark = stomata.gross_assimilation(c4, limits, temperature, share * limits.co2_pressure)
        net = leaf.canopy_mean * (gross - dark)
        conductance, surface_co2 = stomata.stomatal_conductance(limits, net, boundary, saturation)
        surplus = stomata.carbon_surplus(limits, share, net, conductance, surface_co2)
        return surplus, net, conductance, share * limits.co2_pressure

    shape = jnp.broadcast_shapes(*(jnp.shape(v) for v in (BASE | weather).values()))
    low, high = jnp.full(shape, -1.0), jnp.full(shape, 200.0)
    for _ in range(70):
        middle = 0.5 * (low + high)
        more = at(middle)[0] > 0.0
        low, high = jnp.where(more, middle, low), jnp.where(more, high, middle)
    return at(0.5 * (low + high))[1:]


def collatz(pathway, light, temperature, relative, co2, stress, conductance, pressure):
    """The same leaf written out from Collatz et al. (1991, 1992) and SiB2, with scipy instead of closed forms."""
    c4, path = PATHWAYS[pathway]
    p = {name: float(value) for name, value in path._asdict().items()}
    tens = (temperature - 298.0) / 10.0
    mean = 0.6
    vmax = p["vcmax"] * stress
    hot = 1.0 / (1.0 + np.exp(0.3 * (temperature - p["heat_limit"])))
    cold = 1.0 / (1.0 + np.exp(0.2 * (p["cold_limit"] - temperature)))
    dark = p["respiration"] * vmax * 2.0**tens / (1.0 + np.exp(1.3 * (temperature - 328.0)))

    def smaller_root(a, b, beta):
        return np.roots([beta, -(a + b), a * b]).real.min()

    def demand(ci):
        if c4:
            w_c, w_e = vmax * 2.1**tens * hot * cold, p["quantum_efficiency"] * light
            w_s = vmax * 1.8**tens * 2e4 * ci / pressure
        else:
            gamma = 0.5 * 20900.0 / (2600.0 * 0.57**tens)
            kc, ko = 30.0 * 2.1**tens, 30000.0 * 1.2**tens
            w_c = vmax * 2.1**tens * hot * (ci - gamma) / (ci + kc * (1.0 + 20900.0 / ko))
            w_e = p["quantum_efficiency"] * light * (ci - gamma) / (ci + 2.0 * gamma)
            w_s = 0.5 * vmax * 1.8**tens * cold
        w_p = smaller_root(w_c, w_e, float(JOINS[0]))
        return mean * (smaller_root(w_p, w_s, float(JOINS[1])) - dark)

    inside = float(saturation_vapour_pressure(jnp.asarray(temperature)))

    def supply(net):  # stomatal conductance by Ball-Berry with the humidity at the leaf surface, then c_i
        at_surface = co2 - 1.4 * net / conductance

        def excess(gs):
            humidity = (relative * conductance + gs) / (conductance + gs)  # of the vapour balance at the surface
            return p["slope"] * net / at_surface * humidity + p["intercept"] * stress - gs

        gs = brentq(excess, 1e-9, 50.0, xtol=1e-14)
        return gs, (at_surface - 1.6 * net / gs) * 1e-6 * pressure

    net = brentq(lambda a: demand(supply(a)[1]) - a, 1e-3, 70.0, xtol=1e-13)
    assert inside > 0.0
    return net, *supply(net)


@pytest.mark.parametrize("pathway", ["C3", "C4"])
@pytest.mark.parametrize(
    "weather",
    [{}, {"light": 100.0}, {"temperature": 285.0}, {"temperature": 308.0}, {"relative": 0.2}, {"co2": 800.0},
     {"stress": 0.4}, {"conductance": 0.3}],
    ids=str,
)  # fmt: skip
def test_coupled_leaf_against_brute_force(pathway, weather):
    net, conductance, ci = by_bisection(pathway, **weather)
    expected = collatz(pathway, **(BASE | weather))
    # the model's cuticle (1e-6 mol m-2 s-1) and rounded co-limitation (1e-3 umol) are the difference
    np.testing.assert_allclose((net, conductance, ci), expected, rtol=5e-4)


@pytest.mark.parametrize("pathway", ["C3", "C4"])
def test_response_to_light(pathway):
    light = np.linspace(0.0, 2500.0, 60)
    net, conductance, _ = by_bisection(pathway, light=light)
    assert net[0] < 0.0 and (np.diff(net) > 0.0).all()  # respiration in the dark
    assert np.diff(net)[-1] < 0.2 * np.diff(net)[1]  # saturates
    assert (np.diff(conductance) >= 0.0).all() and conductance[0] > 0.0


def test_c4_saturates_with_co2_before_c3():
    co2 = np.linspace(50.0, 1200.0, 60)
    gain = {}
    for pathway in PATHWAYS:
        net, _, ci = by_bisection(pathway, co2=co2, light=2000.0)
        assert (np.diff(net) > -1e-6).all()
        gain[pathway] = np.interp(800.0, co2, net) / np.interp(400.0, co2, net)
        assert (np.asarray(ci)[1:] < co2[1:] * 1e-6 * BASE["pressure"]).all()
    assert gain["C3"] > 1.1 > gain["C4"] >= 1.0


@pytest.mark.parametrize("pathway", ["C3", "C4"])
def test_dry_air_and_dry_soil_close_stomata(pathway):
    _, conductance, _ = by_bisection(pathway, relative=np.linspace(0.05, 0.99, 40))
    assert (np.diff(conductance) > 0.0).all()
    net, conductance, _ = by_bisection(pathway, stress=np.linspace(1e-6, 1.0, 40))
    assert (np.diff(net) > 0.0).all() and (np.diff(conductance) > 0.0).all()
    assert abs(net[0]) < 1e-3 and 0.0 < conductance[0] < 1e-4


@pytest.mark.parametrize("pathway, low, high", [("C3", 285.0, 308.0), ("C4", 293.0, 315.0)])
def test_temperature_has_an_optimum(pathway, low, high):
    temperature = np.linspace(265.0, 328.0, 127)
    net, _, _ = by_bisection(pathway, temperature=temperature)
    best = int(np.argmax(net))
    assert low < temperature[best] < high
    assert net[0] < 0.35 * net[best] and net[-1] < 0.1 * net[best]


def test_derivatives_in_darkness_and_drought_are_finite():
    """No light, no stress margin, saturated air: where roots and quotients of the textbook form are 0/0."""

    def residual(light, stress, relative, net, c4, path):
        leaf, temperature, boundary, saturation = environment(
            **(BASE | dict(light=light, stress=stress, relative=relative))
        )
        limits = stomata.limits(path, *JOINS, leaf)
        conductance, ci = stomata.stomatal_conductance(limits, net, boundary, saturation)
        gross, dark = stomata.gross_assimilation(c4, limits, temperature, ci)
        return gross - dark + conductance

    for c4, path in PATHWAYS.values():
        for case in ((0.0, 1.0, 1.0), (0.0, 0.0, 0.3), (800.0, 0.0, 0.3), (800.0, 1.0, 1.2)):
            slopes = jax.grad(residual, argnums=(0, 1, 2, 3))(*map(jnp.asarray, (*case, 0.0)), c4, path)
            assert np.isfinite(slopes).all(), case


def test_soil_moisture_stress():
    thickness = jnp.asarray([0.05, 0.2, 0.75, 1.0, 2.0, 10.0])[:, None]
    roots = root_fractions(jnp.full((3,), 0.3), thickness)
    np.testing.assert_allclose(roots.sum(axis=0), 1.0, rtol=1e-14)
    # wet, half closed (every layer at psi_cr), bone dry
    potential = jnp.broadcast_to(jnp.asarray([-0.5, -200.0, -1e6]), roots.shape)
    stress, uptake = stomata.moisture_stress(potential, roots, jnp.full((3,), -200.0))
    np.testing.assert_allclose(stress, [1.0, 0.5, 0.0], atol=0.02)
    np.testing.assert_allclose(uptake.sum(axis=0), 1.0, rtol=1e-14)  # also where nothing is left: no 0/0
    dry_top = potential.at[0].set(-1e5)
    assert (stomata.moisture_stress(dry_top, roots, jnp.full((3,), -200.0))[1][0, 0]) < 1e-6  # drawn from below


def test_canopy_mean_of_an_exponential_profile():
    depth = np.linspace(0.0, 5.0, 200_001)
    expected = np.trapezoid(np.exp(-0.7 * depth), depth) / 5.0
    np.testing.assert_allclose(stomata.canopy_mean_factor(jnp.asarray(0.7), jnp.asarray(5.0)), expected, rtol=1e-9)
    np.testing.assert_allclose(decay_mean(jnp.asarray(3.5)), expected, rtol=1e-9)
