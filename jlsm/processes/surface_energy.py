"""Row 7: energy balance of canopy and ground, with stability, stomata and melt solved together.

Solves, for the snow-free and the snow-covered portion at once, five coupled equations: energy
balance of the ground, of the leaves, the Obukhov length, and supply of CO2 to both photosynthetic
pathways (``surface_fluxes.py`` has the fluxes). Source: MATSIRO6, chapter "Surface energy balance".
Departure: the balance is converged (MATSIRO6 takes one linearised step).
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jlsm.constants import GAS_CONSTANT_VAPOUR, GRAVITY, WATER_DENSITY
from jlsm.numerics import implicit_solve, total
from jlsm.numerics.implicit import implicit_solution
from jlsm.numerics.newton import NewtonOptions, Point, newton_step
from jlsm.parameters import Soil
from jlsm.processes.snow import SnowCover
from jlsm.processes.soil_heat import SoilLayers
from jlsm.processes.surface_fluxes import (
    Conditions,
    Ground,
    SurfaceFluxes,
    SurfaceInputs,
    VapourFluxes,
    conditions,
    surface_fluxes,
)
from jlsm.processes.turbulence import bulk_coefficients

# Unknowns, fastest first: c_i of C3 and of C4 (share of the air's CO2), leaf and ground departure from air (K),
# and, last because it is the one to be bracketed, the stability parameter as a share of its limit
_OPTIONS = NewtonOptions(
    depends=((0, 2, 4), (1, 2, 4), (0, 1, 2, 3, 4), (2, 3, 4), (2, 3, 4)),
    lower=(-1.0, -1.0, -80.0, -80.0, -5e3),
    upper=(2e3, 2e3, 150.0, 1e3, 5e3),
    largest_step=(2e3, 2e3, 8.0, 12.0, 50.0),
    scale=(0.1, 0.1, 0.5, 0.5, 0.5),
    weight=(1.0, 1.0, 1.0, 1.0, 3.0),
    unit=(0.1, 0.1, 1.0, 1.0, 1.0),
    signs=(-1, -1, -1, -1, 1),
)


def ground_surface(soil: Soil, layers: SoilLayers, potential, snow_mass, pond_cover, dt) -> Ground:
    """What bare, partly frozen, partly flooded ground (portion 0) and snow (1) offer to evaporation.

    Args:
        layers: the soil; the uppermost layer counts.
        potential: matric potential of the layers, m.
        snow_mass: kg m-2 where there is snow.
        pond_cover: share of the ground under water.
        dt: s.
    """
    thickness, temperature, moisture, ice = (layer[0] for layer in layers[:4])
    saturation = jnp.clip(moisture / soil.porosity, 0.0, 1.0)
    resistance = soil.soil_evaporation_a1 * (1.0 - saturation) / (soil.soil_evaporation_a2 + saturation)
    # Philip (1957): the gas constant is that of water vapour
    humidity = jnp.exp(potential[0] * GRAVITY / (GAS_CONSTANT_VAPOUR * temperature))
    frozen = jnp.clip(ice / jnp.maximum(moisture, 1e-6), 0.0, 1.0)
    # the vapour over the frozen part of the pore water is that over ice, whatever suction the rest is under
    humidity = humidity + frozen * (1.0 - humidity)
    dry = 1.0 - pond_cover
    return Ground(
        emissivity=soil.emissivity,
        humidity=portions(1.0 - dry * (1.0 - humidity), 1.0),
        resistance=portions(dry * resistance, 0.0),
        frozen=portions(dry * frozen, 1.0),
        available=portions(WATER_DENSITY * thickness * moisture, snow_mass) / dt,
        snow_covered=portions(jnp.zeros_like(humidity), 1.0),
    )


def portions(bare, snow_covered):
    """Stack a value of the snow-free and of the snow-covered portion."""
    return jnp.stack(jnp.broadcast_arrays(bare, snow_covered))


def _residual(unknowns, c: Conditions):
    return surface_fluxes(unknowns, c).residual


def first_guess(c: Conditions, ground_temperature, canopy_temperature) -> tuple[Float[Array, "2 ..."], ...]:
    """Start of the iteration from the last step's temperatures, near-neutral air and open stomata."""
    leaves_warmer = jnp.clip(canopy_temperature - c.reference, -10.0, 10.0)
    floor_warmer = jnp.clip(ground_temperature - c.reference, -20.0, 30.0)
    # the buoyancy of neutral coefficients: half of it is a fair guess on both sides
    neutral = jnp.zeros_like(ground_temperature)
    stability = -0.5 * bulk_coefficients(c.rough, neutral, floor_warmer, leaves_warmer, c.per_buoyancy).stability
    return (
        neutral + 0.7,
        neutral + 0.4,
        leaves_warmer,
        floor_warmer,
        stability,
    )


def solve_surface(
    inputs: SurfaceInputs,
    ground_temperature,
    canopy_temperature,
    solver: str,
    solution: Point | None = None,
    wanted: Array | int = 2,
) -> SurfaceFluxes:
    """Fluxes of both portions at the solution of the coupled balance.

    Args:
        inputs: what the balance depends on.
        ground_temperature, canopy_temperature: ``[2, ...]`` of the last step (only the start of the
            iteration when ``solver`` is "converged").
        solver: "converged", or "linearised": one Newton step from the last step's temperatures, as
            MATSIRO6 does; what it leaves unbalanced is handed to the ground like any remainder.
        solution: the ``unknowns`` of an earlier solution with the same inputs, which is then only differentiated.
        wanted: number of portions to solve for ("converged"): 1 leaves the snow-covered one at its first guess, which
            is good enough where no column has snow.

    Returns:
        SurfaceFluxes; ``balance_ground`` and ``balance_canopy`` are what the iteration left.
    """
    fixed = conditions(inputs)
    if solution is not None and solver == "converged":
        return surface_fluxes(implicit_solution(_residual, _OPTIONS, solution, fixed), fixed)
    start = first_guess(fixed, ground_temperature, canopy_temperature)
    if solver == "converged":
        end = implicit_solve(_residual, _OPTIONS, start, fixed, wanted)
    elif solver == "linearised":
        end = newton_step(_residual, _OPTIONS, start, fixed)
    else:
        raise ValueError(f"solver must be 'converged' or 'linearised', not {solver!r}")
    return surface_fluxes(end, fixed)


def occupied_portions(cover: SnowCover) -> Int[Array, ""]:
    """How many portions to solve for: 2 where any column has snow, else 1."""
    return 1 + jnp.any(cover.fraction > 0.0).astype(int)


def where_covered(cover: SnowCover, temperature: Float[Array, "2 ..."]) -> Float[Array, "2 ..."]:
    """Temperatures of both portions; without snow both are the bare one's, whether or not snow was solved for."""
    return portions(temperature[0], jnp.where(cover.fraction > 0.0, temperature[1], temperature[0]))


def vapour_fluxes(surface: SurfaceFluxes, ground: Ground, area: Float[Array, "2 ..."]) -> VapourFluxes:
    """Evaporation of soil and leaves on average over the portions, whose shares are ``area``."""
    soil = area[0] * surface.evaporation_ground[0]
    return VapourFluxes(
        soil=soil,
        soil_ice=ground.frozen[0] * soil,
        transpiration=total(area * surface.transpiration),
        canopy=total(area * surface.evaporation_canopy),
        canopy_ice=total(area * surface.canopy_frozen * surface.evaporation_canopy),
    )
