"""Hybrid physics: a small network in place of the stomatal slope, trained through the land surface model."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import jlsm
from mdpl.data import five_crops_synthetic
from mdpl.towers.load import find_site_files
from mdpl.towers.observations import load_observations, to_observed_interval
from mdpl.unknowns.search_space import bounded

# One tower, 16 May to 14 June 2001, and what was measured there.
(files,) = find_site_files(five_crops_synthetic(), ("DE-Geb-syn",))
forcing, site = jlsm.load_forcing(files.met, start="2001-05-16", stop="2001-06-15")
observations = load_observations(files.flux)
params = jlsm.default_parameters(site)

# Two passes with the default parameters: a settled state, and a course of soil water for the network to read.
state = jlsm.initial_state(forcing.Tair.mean(), params.soil.porosity)
for _ in range(2):
    out, state = jlsm.simulate(params, forcing, site, state)

# What the network sees at each half hour: leaf area, air temperature, water in the root zone; all of order one.
water = out.SoilMoist[:, :3].sum(axis=1)
inputs = jnp.stack([forcing.LAI / 3.0 - 1.0, (forcing.Tair - 288.0) / 10.0, (water - water.mean()) / 20.0], axis=1)

# Three numbers in, one out. The last layer starts at zero, so that the untrained hybrid *is* the default model.
network = eqx.nn.MLP(3, "scalar", width_size=8, depth=1, activation=jnp.tanh, key=jax.random.key(0))
network = eqx.tree_at(lambda n: n.layers[-1], network, replace_fn=lambda layer: jax.tree.map(jnp.zeros_like, layer))
info = jlsm.PARAMETERS["vegetation.ball_berry_slope"]


def slope_of(network):
    """Ball-Berry slope at each time step, between its bounds; the default where the network says 0."""
    return bounded(jax.vmap(network)(inputs), params.vegetation.ball_berry_slope, info.lower, info.upper)


def loss(network):
    """Mean squared error of latent and sensible heat over the variance of the measurements."""
    hybrid = jlsm.replace_parameters(params, {"ball_berry_slope": slope_of(network)})  # a time series
    out, _ = jlsm.simulate(hybrid, forcing, site, state, fields=("Qle", "Qh"))
    total = 0.0
    for flux in ("Qle", "Qh"):
        measured = observations.target(flux, "raw")
        model, covered = to_observed_interval(getattr(out, flux), forcing, observations)
        used = covered & measured.measured
        error = jnp.where(used, model - measured.values, 0.0)
        total = total + (error**2).sum() / used.sum() / measured.values[used].var()
    return total / 2.0


# The gradient goes through the model into the weights. Compiling it takes most of the time.
gradient = eqx.filter_jit(eqx.filter_value_and_grad(loss))
optimiser = optax.adam(0.02)
moments = optimiser.init(eqx.filter(network, eqx.is_array))
losses = []
for step in range(7):
    value, slopes = gradient(network)
    losses.append(float(value))
    print(f"step {step}: loss {value:.4f}")
    updates, moments = optimiser.update(slopes, moments)
    network = eqx.apply_updates(network, updates)

learned = slope_of(network)
print(
    f"Ball-Berry slope: {params.vegetation.ball_berry_slope:.1f} before, {learned.min():.1f} to {learned.max():.1f} now"
)
