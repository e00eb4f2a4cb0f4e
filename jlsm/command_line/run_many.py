"""Many Met files: what ``jlsm run`` does with several, side by side in as few compiled programs as they allow."""

from __future__ import annotations

import dataclasses
import warnings
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jlsm import io, simulation
from jlsm.budget import Unsettled, unsettled_steps
from jlsm.command_line.run_file import DEFAULT_SPINUP_YEARS, RunOptions, check_finite, read_site
from jlsm.errors import InputError, RepairWarning, UnsettledWarning
from jlsm.forcing import Forcing, Site, stack_sites
from jlsm.parameters import Parameters, default_parameters
from jlsm.simulation.equilibrium import spin_up_passes
from jlsm.state import initial_state

COLUMNS = 32
"""so many records at most are in memory, and run, at a time"""


@dataclass(frozen=True)
class Record:
    """A Met file that can be run, where its result goes, and what decides with which others it shares a program."""

    met: Path
    result: Path
    steps: int
    kind: tuple[float, int]
    """time step (s), steps of the first year or of all of a shorter record"""


def usable_records(results: dict[Path, Path], options: RunOptions) -> tuple[list[Record], dict[Path, str]]:
    """Met files (with their results) that can be run, and why the others cannot: all are tried before anything runs."""
    records, reasons = [], {}
    for met, result in results.items():
        try:
            forcing, site = read_site(met, options)
            _parameters(options, site, forcing)
        except InputError as error:
            reasons[met] = str(error)
            continue
        dt = float(forcing.dt)
        records.append(Record(met, result, forcing.steps, (dt, spin_up_passes(1, forcing.steps, dt)[0])))
    return records, reasons


def run_many(
    results: dict[Path, Path],
    options: RunOptions,
    report: Callable[[str, int, int | None], object] = lambda text, done, total: None,
    skip_unusable: bool = False,
) -> dict[Path, int]:
    """Run the model over many Met files, a result for each; each block of results is whole or not there at all.

    Args:
        results: Met file -> NetCDF file to write.
        options: without a state or a site file, which are of one site.
        report: called with (what is going on, steps done, steps in all or None), over all files.
        skip_unusable: go on without files that cannot be used, with a RepairWarning for each.

    Returns:
        Result -> number of its time steps. Numbers are those of each file alone, to rounding.

    Raises:
        InputError: files that cannot be used (all are named, before anything runs); none is left.
        FloatingPointError: the model gave a value that is not finite.
    """
    records, reasons = usable_records(results, options)
    if reasons and not (skip_unusable and records):
        listed = list(reasons.values())
        start = "" if len(listed) == 1 else f"{len(listed)} of {len(results)} Met files cannot be used: "
        raise InputError(start + " | ".join(listed))
    for met, reason in reasons.items():
        warnings.warn(f"{met.name}: left out: {reason}", RepairWarning, stacklevel=2)
    blocks = _blocks(records)
    total, done = sum(max(record.steps for record in block) for block in blocks), 0
    for block in blocks:
        _run_block(block, options, lambda text, steps, done=done: report(text, done + steps, total))
        done += max(record.steps for record in block)
    return {record.result: record.steps for record in records}


def _blocks(records: list[Record]) -> list[list[Record]]:
    """Records that run side by side: of one kind, of similar length, as few blocks of one size as there can be."""
    kinds = defaultdict(list)
    for record in records:
        kinds[record.kind].append(record)
    blocks = []
    for alike in kinds.values():
        alike.sort(key=lambda record: -record.steps)
        size = -(-len(alike) // -(-len(alike) // COLUMNS))
        blocks += [alike[first : first + size] for first in range(0, len(alike), size)]
    return blocks


def _run_block(block: list[Record], options: RunOptions, report: Callable[[str, int], object]) -> None:
    """The records of a block as the columns of one run."""
    name = block[0].met.name if len(block) == 1 else f"{block[0].met.name} and {len(block) - 1} more"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RepairWarning)  # told when the files were tried
        pairs = [read_site(record.met, options) for record in block]
    alone = [_parameters(options, site, forcing) for forcing, site in pairs]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone)
    forcing, site = stack_sites(pairs)
    years = DEFAULT_SPINUP_YEARS if options.spinup_years is None else options.spinup_years
    report(f"{name}: compile, spin up", 0)
    # of each record alone: the columns' padding is no weather
    mean = jnp.stack([single.Tair.mean() for single, _ in pairs])
    state = simulation.spin_up(params, forcing, site, years, initial_state(mean, params.soil.porosity))
    unsettled = [Unsettled() for _ in block]
    with ExitStack() as files:
        writers = [
            files.enter_context(
                io.OutputWriter(
                    record.result,
                    {"history": f"jlsm run {record.met.name}, spin-up of {years} years"},
                    options.overwrite,
                )
            )
            for record in block
        ]
        report(name, 0)
        for steps, out, _ in simulation.stream(params, forcing, site, state):
            out = jax.tree.map(np.asarray, out)
            for i, (single, its_site) in enumerate(pairs):
                window = single.window(steps.start, min(steps.stop, single.steps))
                if not window.steps:
                    continue
                its_out = jax.tree.map(lambda leaf, i=i, n=window.steps: leaf[:n, ..., i], out)
                check_finite(str(its_site.code or block[i].met.name), its_out, window)
                unsettled[i] = unsettled[i].joined(unsettled_steps(its_out, window))
                writers[i].append(io.to_dataset(its_out, window, its_site, alone[i]))
            report(name, steps.stop)
    for record, of_record in zip(block, unsettled, strict=True):
        if of_record.steps:
            warnings.warn(f"{record.met.name}: {of_record.line()}", UnsettledWarning, stacklevel=3)


def _parameters(options: RunOptions, site: Site, forcing: Forcing) -> Parameters:
    """A site's parameters, all constant in time. Raises InputError."""
    params = default_parameters(site)
    if options.parameters is not None:
        params = io.read_parameters(options.parameters, params, steps=forcing.steps)
    if any(leaf.ndim for leaf in jax.tree.leaves(params)):
        raise InputError(f"{options.parameters}: a time series is of one record: run that Met file alone")
    return params


def check_of_many(options: RunOptions) -> None:
    """Raise InputError for options that are of one site."""
    flags = {"state": "--state", "save_state": "--save-state", "site_file": "--site", "utc_offset": "--utc-offset"}
    for field in dataclasses.fields(options):
        if field.name in flags and getattr(options, field.name) is not None:
            raise InputError(f"{flags[field.name]} is of one site: give one Met file with it")
