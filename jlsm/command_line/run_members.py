"""An ensemble of parameter sets at one site: what ``jlsm run --members`` does, in flat memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp

from jlsm import io, simulation
from jlsm.budget import Unsettled, unsettled_steps
from jlsm.command_line.run_file import DEFAULT_SPINUP_YEARS, RunOptions, check_finite, read_site
from jlsm.errors import InputError, UnsettledWarning
from jlsm.forcing import Forcing
from jlsm.io.member_table import read_members
from jlsm.io.site_file import read_site_changes
from jlsm.parameters import check_parameter_values, default_parameters, replace_parameters
from jlsm.simulation.equilibrium import spin_up_passes
from jlsm.state import initial_state

VALUES_AT_ONCE = 2**17
"""steps x members that are in memory"""
LONGEST_PIECE = 4320


def run_members(
    met: Path,
    members: Path,
    result: Path,
    options: RunOptions = RunOptions(),  # noqa: B008
    report: Callable[[str, int, int | None], object] = lambda text, done, total: None,
) -> int:
    """Run the model over a Met file with every parameter set of a table, and write one result.

    Args:
        met: PLUMBER2 Met file.
        members: see ``jlsm.io.member_table``; what it does not name is as in a run without it.
        result: NetCDF file to write, with a dimension ``member``.
        options: without states.
        report: called with (what is going on, steps done, steps in all or None).

    Returns:
        The number of time steps written.

    Raises:
        InputError: bad input, or a path that cannot be written.
        FloatingPointError: the model gave a value that is not finite.
    """
    names, values = read_members(members)
    forcing, site = read_site(met, options)
    base = default_parameters(site)
    if options.parameters is not None:
        base = io.read_parameters(options.parameters, base, steps=forcing.steps)
    if any(leaf.ndim for leaf in jax.tree.leaves(base)):
        raise InputError(f"{options.parameters}: a time series cannot go with --members: leave one of them out")
    if options.site_file and read_site_changes(options.site_file).soil_moisture is not None:
        raise InputError(f"{options.site_file}: soil_moisture cannot go with --members: leave one of them out")
    count = len(names)
    params = replace_parameters(base, {key: jnp.asarray(value) for key, value in values.items()})
    params = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count,)), params)
    check_parameter_values(params, sites=tuple(f"member {name}" for name in names), where=f"{members}: ")
    sites = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count,)), site.numeric())
    piece = min(LONGEST_PIECE, max(1, VALUES_AT_ONCE // (48 * count)) * 48)

    def pieces(steps: int, state) -> Iterator:
        for start in range(0, steps, piece):
            window = forcing.window(start, min(start + piece, steps))
            for _, out, state in simulation.stream(params, _repeated(window, count), sites, state, piece):  # noqa: B020
                yield start, window, out, state

    name = f"{site.code or met.name}, {count} members"
    years = DEFAULT_SPINUP_YEARS if options.spinup_years is None else options.spinup_years
    first, passes = spin_up_passes(years, forcing.steps, float(forcing.dt))
    state = initial_state(jnp.broadcast_to(forcing.Tair.mean(), (count,)), params.soil.porosity)
    report(f"{name}: compile, spin up", 0, None)
    for _ in range(passes):
        reached = state
        for _, _, _, reached in pieces(first, state):  # noqa: B007  the last one counts
            pass
        state = reached
    unsettled = Unsettled()
    history = f"jlsm run {met.name} --members {members.name}, spin-up of {years} years"
    with io.OutputWriter(result, {"history": history}, options.overwrite) as writer:
        for start, window, out, _ in pieces(forcing.steps, state):
            check_finite(name, out, window)
            unsettled = unsettled.joined(unsettled_steps(out, _repeated(window, count)))
            writer.append(io.members_dataset(out, window, site, params, names, tuple(values)))
            report(name, start + window.steps, forcing.steps)
    if unsettled.steps:
        warnings.warn(f"{name}: {unsettled.line()}", UnsettledWarning, stacklevel=2)
    return forcing.steps


def _repeated(forcing: Forcing, count: int) -> Forcing:
    """One record's weather in so many columns."""
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[..., None], (*leaf.shape, count)), forcing)
