"""The command ``jlsm``: run a tower file, convert a network's table, list the parameters.

Only light modules are imported here; jax and NetCDF come in with the command that needs them, so that ``--help``
answers at once and the precision is chosen before any array exists.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from jlsm._version import package_version
from jlsm.command_line.front_door import Precision, one_line_errors, prepare_jax, progress_bar, version_option
from jlsm.errors import InputError

app = typer.Typer(
    name="jlsm",
    help="A differentiable land surface model: MATSIRO6 in JAX.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class LeafArea(StrEnum):
    """Which leaf area index of the Met file to use."""

    LAI = "LAI"
    LAI_alternative = "LAI_alternative"


def main() -> None:
    """Console script entry."""
    app()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=version_option("jlsm"), is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    mets: Annotated[
        list[Path], typer.Argument(metavar="MET.nc ...", help="PLUMBER2 Met files, or folders of *_Met.nc files.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Result file; of several, their folder.", show_default="<MET>_jlsm.nc in this folder"
        ),
    ] = None,
    parameters: Annotated[Path | None, typer.Option(help="TOML file whose values replace the defaults.")] = None,
    members: Annotated[
        Path | None, typer.Option(metavar="P.csv", help="Run each parameter set of this table: a line per member.")
    ] = None,
    spinup_years: Annotated[
        int | None,
        typer.Option(min=0, help="Years run before the record.", show_default="3, or 0 with --state"),
    ] = None,
    precision: Annotated[Precision, typer.Option(help="Floating-point precision.")] = Precision.float32,
    state: Annotated[Path | None, typer.Option(help="Start from this saved state.")] = None,
    save_state: Annotated[Path | None, typer.Option(help="Save the state at the end here.")] = None,
    lai: Annotated[LeafArea, typer.Option(help="Leaf area index of the Met file.")] = LeafArea.LAI,
    start: Annotated[str | None, typer.Option(help="First time to run, such as 2005 or 2005-06-01T12:00.")] = None,
    stop: Annotated[str | None, typer.Option(help="First time not to run.")] = None,
    site: Annotated[
        Path | None,
        typer.Option(metavar="SITE.toml", help="Soil texture, LAI, clock and more of the site, before the Met file's."),
    ] = None,
    utc_offset: Annotated[
        float | None, typer.Option(help="Hours by which the record's clock is ahead of UTC.", show_default="the file's")
    ] = None,
    sun_check: Annotated[
        bool, typer.Option("--sun-check/--no-sun-check", help="Refuse a record whose sun shines at night.")
    ] = True,
    skip_unusable: Annotated[
        bool,
        typer.Option("--skip-unusable", help="Of several: go on without those that cannot be used."),
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that jlsm did not write, too.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar, no summary.")] = False,
) -> None:
    """Run the model over the forcing of a tower, or of many side by side, and write ALMA/CF NetCDF."""
    with one_line_errors():
        results = _results(mets, output)
        for met, result in results.items():
            inputs = {"met": met, "parameters": parameters, "members": members, "state": state, "site": site}
            _check_outputs(result, save_state, inputs, overwrite)
        if members and (len(results) > 1 or state or save_state):
            raise InputError("--members is of one Met file, without --state and --save-state: leave these out")
        prepare_jax(precision, columns=64 if members else min(len(results), 32))
        from jlsm.command_line.run_file import RunOptions, run_file
        from jlsm.command_line.run_many import check_of_many, run_many
        from jlsm.command_line.run_members import run_members

        options = RunOptions(
            parameters,
            spinup_years,
            state,
            save_state,
            lai.value,
            start,
            stop,
            site_file=site,
            utc_offset=utc_offset,
            sun_check=sun_check,
            overwrite=overwrite,
        )
        console = Console(stderr=True, quiet=quiet)
        with progress_bar(console) as progress:
            task = progress.add_task("reading", total=None)

            def report(text: str, done: int, total: int | None) -> None:
                progress.update(task, description=text, completed=done, total=total)

            if len(results) > 1:
                check_of_many(options)
                written = run_many(results, options, report, skip_unusable)
            elif members:
                written = {res: run_members(met, members, res, options, report) for met, res in results.items()}
            else:
                written = {result: run_file(met, result, options, report) for met, result in results.items()}
        for result, steps in written.items():
            console.print(f"{result}: {steps} steps", highlight=False, soft_wrap=True)


@app.command("convert")
def convert_files(
    tables: Annotated[
        list[Path], typer.Argument(metavar="TABLE...", help="ONEFlux tables: .csv, .csv.gz, or the zip they came in.")
    ],
    site: Annotated[
        Path | None, typer.Option(metavar="SITE.toml", help="What is known of the site, before what BIF tells.")
    ] = None,
    bif: Annotated[
        list[Path] | None,
        typer.Option(metavar="BIF.csv", help="The network's BIF file, if not in the zip; may be given several times."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for the files.", show_default="this folder")
    ] = Path("."),
    utc_offset: Annotated[
        float | None, typer.Option(help="Hours by which the table's clock is ahead of UTC.", show_default="BIF's")
    ] = None,
    sun_check: Annotated[
        bool, typer.Option("--sun-check/--no-sun-check", help="Refuse a record whose sun shines at night.")
    ] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of the same name.")] = False,
) -> None:
    """Make Met and Flux files of FLUXNET, AmeriFlux or ICOS tables (a daily table: Flux only)."""
    with one_line_errors():
        from jlsm.command_line.convert import ConvertOptions, convert_tables

        options = ConvertOptions(site, tuple(bif or ()), output, utc_offset, sun_check, overwrite)
        convert_tables(tables, options, lambda file, words: typer.echo(f"{file}: {words}"))


@app.command("parameters")
def list_parameters(
    site: Annotated[
        Path | None, typer.Option("--site", metavar="MET.nc", help="Defaults of this site's vegetation and soil.")
    ] = None,
    tsv: Annotated[bool, typer.Option("--tsv", help="Tab-separated text (as when piped).")] = False,
) -> None:
    """List every parameter: name, value, unit, bounds, source."""
    with one_line_errors():
        rows = _parameter_rows(site)
        if tsv or not sys.stdout.isatty():
            for row in [_TABLE_COLUMNS, *rows]:
                typer.echo("\t".join(row))
            return
        table = Table(
            title=f"jlsm {package_version()} parameters", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
        )
        for column in ("name", "value", "unit", "bounds", "source"):
            side = "right" if column == "value" else "left"
            # a name or a number is read in one piece; sources give way on a narrow terminal
            table.add_column(column, justify=side, overflow="fold", no_wrap=column in ("name", "value"))
        for name, value, unit, lower, upper, _, source, _ in rows:
            table.add_row(name, value, unit, f"{lower} to {upper}", source)
        Console().print(table)


_TABLE_COLUMNS = ("name", "value", "unit", "lower", "upper", "calibratable", "source", "description")


def _parameter_rows(met: Path | None) -> list[tuple[str, ...]]:
    """The parameter table as text, with the defaults of a site's classes where a Met file is given."""
    from jlsm import io
    from jlsm.parameters import PARAMETERS, default_parameters, get_parameter, source_of

    site = io.load_site(met) if met is not None else None
    params = default_parameters(site) if site is not None else None
    rows = []
    for key, info in PARAMETERS.items():
        value = info.default if params is None else float(get_parameter(params, key))
        numbers = [f"{number:.6g}" for number in (value, info.lower, info.upper)]
        calibratable = "yes" if info.calibratable else "no"
        rows.append((key, numbers[0], info.unit, *numbers[1:], calibratable, source_of(key, site), info.description))
    return rows


def _result_name(met: Path) -> str:
    return met.name.removesuffix(".gz").removesuffix(".nc").removesuffix("_Met") + "_jlsm.nc"


def _results(mets: list[Path], output: Path | None) -> dict[Path, Path]:
    """Met file -> its result. Raises InputError: a folder without Met files, two with one result."""
    files = []
    for met in mets:
        inside = sorted([*met.glob("*_Met.nc"), *met.glob("*_Met.nc.gz")]) if met.is_dir() else [met]
        if not inside:
            raise InputError(f"{met}: no *_Met.nc file in this folder: give Met files or a folder of them")
        files += inside
    if len(files) == 1 and files == mets:
        return {files[0]: output or Path(_result_name(files[0]))}
    folder = output or Path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: is no folder for {len(files)} results ({error.strerror}): change -o") from error
    results, places = {}, {}
    for file in files:
        results[file] = folder / _result_name(file)
        other = places.setdefault(results[file], file)
        if other is not file:
            raise InputError(f"{other} and {file} have one result, {results[file]}: run them one after the other")
    return results


def _check_outputs(result: Path, saved: Path | None, inputs: dict[str, Path | None], overwrite: bool) -> None:
    """Refuse, before anything is computed, outputs that cannot be written, or are inputs or files of somebody else's.

    A state may take the place of the one that the run began with.
    """
    from jlsm.files import OVERWRITE, check_writable
    from jlsm.io.result import is_result
    from jlsm.io.state_file import is_state

    for output, allowed in ((result, ()), (saved, ("state",))):
        for name, path in inputs.items():
            if output and path and name not in allowed and _same_file(output, path):
                raise InputError(f"{path}: the result would overwrite this input: choose another path for it")
    targets = [check_writable(result, None if overwrite else is_result, "result of jlsm", OVERWRITE)]
    if saved is not None:
        targets.append(check_writable(saved, None if overwrite else is_state, "saved state of jlsm", OVERWRITE))
    if len(set(targets)) < len(targets):
        raise InputError(f"{result}: result and saved state need different files: change -o or --save-state")


def _same_file(one: Path, two: Path) -> bool:
    """Whether both are there and one, under whatever names."""
    try:
        return one.samefile(two)
    except OSError:  # one is not there, or cannot be
        return False
