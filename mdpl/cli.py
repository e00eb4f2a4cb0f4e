"""The command line of mdpl: ``mdpl calibrate``, ``evaluate``, ``report``, ``baselines``.

Heavy imports stand inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Annotated

import typer

from jlsm._version import package_version
from jlsm.errors import InputError
from mdpl.data.cli import data_app
from mdpl.one_line_errors import one_line_errors

app = typer.Typer(
    name="mdpl",
    help="Learn the parameters of the land surface model jlsm from flux towers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")


def main() -> None:
    """Console script entry."""
    app()


def _print_version(value: bool) -> bool:
    if value:
        typer.echo(f"mdpl {package_version()}")
        raise typer.Exit()
    return value


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
@one_line_errors
def calibrate(
    config_file: Annotated[Path | None, typer.Argument(metavar="[CONFIG.toml]", help="Options win over it.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with <SITE>_*_Met.nc and _Flux.nc files.")] = None,
    sites: Annotated[str | None, typer.Option(help="Site codes, or starts of file names, with commas between.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Run directory; default runs/<sites>.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training windows.")] = None,
    path: Annotated[str | None, typer.Option(help="Differentiated: lsm, surrogate or surrogate-then-lsm.")] = None,
    target: Annotated[str | None, typer.Option(help="Observations to fit: raw or corrected.")] = None,
    test_years: Annotated[int | None, typer.Option(help="Whole years held back at the end.")] = None,
    learner: Annotated[str | None, typer.Option(help="network (one g_z for all sites) or direct.")] = None,
    validation_years: Annotated[int | None, typer.Option(help="Years before the test that choose the epoch.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the first weights and of the draw of windows.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over an earlier run.")] = False,
) -> None:
    """Fit parameters to towers through the model's own derivatives; writes a run directory."""
    from mdpl.config import Config, load_config

    if resume and config_file is None and output is not None and (output / "config.toml").is_file():
        config_file = output / "config.toml"  # the run's own settings
    config = load_config(config_file) if config_file else Config()
    given = {
        "data": str(data.resolve()) if data else None,
        "sites": tuple(name.strip() for name in sites.split(",") if name.strip()) if sites else None,
        "output": str(output) if output else None,
        "epochs": epochs,
        "path": path,
        "target": target,
        "test_years": test_years,
        "learner": learner,
        "validation_years": validation_years,
        "seed": seed,
    }
    config = dataclasses.replace(config, **{key: value for key, value in given.items() if value is not None}).check()
    if resume and overwrite:
        raise InputError("--resume goes on with a run and --overwrite starts it again: give one of them")
    prepare_jax()
    from mdpl.stops import NonFiniteError

    try:
        calibration, seconds = _calibrate_with_bar(config, overwrite, resume)
    except NonFiniteError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(1) from error
    _print_calibration(calibration, seconds)


@app.command()
@one_line_errors
def transfer(
    config_file: Annotated[Path | None, typer.Argument(metavar="[CONFIG.toml]", help="Options win over it.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder with <SITE>_*_Met.nc and _Flux.nc files.")] = None,
    sites: Annotated[str | None, typer.Option(help="Two site codes or more, with commas between.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder; default runs/transfer.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training windows.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over an earlier run.")] = False,
) -> None:
    """Leave one site out: train without each site in turn, score it with what the network gives it."""
    from mdpl.config import Config, load_config

    config = load_config(config_file) if config_file else Config()
    given = {"data": str(data.resolve()) if data else None, "output": str(output) if output else None, "epochs": epochs,
             "sites": tuple(name.strip() for name in sites.split(",")) if sites else None}  # fmt: skip
    config = dataclasses.replace(config, **{key: value for key, value in given.items() if value is not None}).check()
    if not config.data:
        raise InputError("transfer needs towers: give --data DIR with <SITE>_*_Met.nc and _Flux.nc files")
    prepare_jax()
    from mdpl.transfer import transfer as run

    found = run(config, stage=lambda text: typer.echo(text, err=True), overwrite=overwrite)
    cells = {}
    for site, stage, row in found:
        if (row.period, row.target) == ("test", "raw") and row.scores.n:
            cells.setdefault((site, row.flux), {})[stage] = row.scores
    names = ("site", "flux", "RMSE default", "transferred", "R default", "transferred")
    rows = [
        (site, flux, f"{s['default'].rmse:.1f}", f"{s['transferred'].rmse:.1f}", f"{s['default'].r:.3f}",
         f"{s['transferred'].r:.3f}")
        for (site, flux), s in cells.items()
    ]  # fmt: skip
    _console().print(_table(names, rows, words=2))


def _calibrate_with_bar(config, overwrite: bool, resume: bool):
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from mdpl.calibrate import Progress as Callbacks
    from mdpl.calibrate import calibrate as run

    started = time.monotonic()
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
               TextColumn("ETA"), TimeRemainingColumn(), TextColumn("{task.fields[loss]}"))  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=config.epochs, loss="")

        def stage(text: str) -> None:
            # the bar counts epochs; the stages around training only show that something happens
            if text.startswith("training"):
                bar.reset(task, description=text, total=config.epochs, loss="compiling")
            else:
                bar.update(task, description=text)

        def epoch(number: int, epochs: int, losses: dict[str, float]) -> None:
            loss = f"loss {sum(losses.values()) / len(losses):.4f}"
            bar.update(task, completed=number, loss=loss)
            if not console.is_terminal and number % config.refresh_every == 0:
                typer.echo(f"epoch {number} of {epochs}, {loss}, {time.monotonic() - started:.0f} s", err=True)

        calibration = run(config, progress=Callbacks(stage, epoch), overwrite=overwrite, resume=resume)
    return calibration, time.monotonic() - started


def _print_calibration(calibration, seconds: float) -> None:
    console = _console()
    console.print("test period, uncorrected observations (default → calibrated)", highlight=False)
    rows = {
        (site, row.flux, stage): row.scores
        for site, stage, row in calibration.metrics
        if row.period == "test" and row.target == "raw" and row.scores.n
    }
    cells = []
    for site, flux, stage in rows:
        if stage == "default" and (site, flux, "calibrated") in rows:
            before, after = rows[site, flux, "default"], rows[site, flux, "calibrated"]
            changes = (("rmse", 1), ("bias", 1), ("r", 3), ("nme", 3))
            changed = (f"{getattr(before, k):.{d}f} → {getattr(after, k):.{d}f}" for k, d in changes)
            cells.append((site, flux, *changed, str(after.n)))
    console.print(_table(("site", "flux", "RMSE W m-2", "bias W m-2", "R", "NME", "n"), cells, words=2))
    for note in calibration.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)
    console.print(f"wrote {calibration.directory} in {seconds:.0f} s", highlight=False, soft_wrap=True)


@app.command()
@one_line_errors
def evaluate(
    model_file: Annotated[Path, typer.Argument(metavar="OUT.nc", help="ALMA output of jlsm or another model.")],
    flux_file: Annotated[Path, typer.Argument(metavar="FLUX.nc", help="PLUMBER2-style Flux file.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout instead of a table.")] = False,
    first: Annotated[str, typer.Option("--from", help="First date compared, e.g. 2005-01-01.")] = "",
    last: Annotated[str, typer.Option("--to", help="Last date compared.")] = "",
) -> None:
    """Scores per flux (Qle, Qh, Rnet, Qg; raw and corrected) at the observations' own step, measured steps only."""
    from mdpl.evaluate import evaluate_file

    rows, notes = evaluate_file(model_file, flux_file, first, last)
    if as_json:
        flat = [
            {"flux": row.flux, "target": row.target, "step": row.step}
            | {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.scores._asdict().items()}
            for row in rows
        ]
        result = {"model": str(model_file), "observed": str(flux_file), "notes": list(notes), "scores": flat}
        typer.echo(json.dumps(result, indent=2))
        return
    console = _console()
    title = f"{model_file.name} against {flux_file.name}: {rows[0].step}, measured steps, W m-2"
    names = ("flux", "RMSE", "bias", "R", "STD mod", "STD obs", "cRMSE/σ", "NME", "KGE", "n")
    cells = []
    for row in rows:
        s = row.scores
        numbers = (f"{s.rmse:.2f}", f"{s.bias:.2f}", f"{s.r:.3f}", f"{s.std_mod:.2f}", f"{s.std_obs:.2f}")
        numbers += (f"{s.crmse:.3f}", f"{s.nme:.3f}", f"{s.kge:.3f}", str(s.n))
        cells.append((row.flux if row.target == "raw" else f"{row.flux}_cor", *numbers))
    console.print(title, highlight=False, soft_wrap=True)
    console.print(_table(names, cells, words=1))
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


@app.command()
@one_line_errors
def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Run directory of `mdpl calibrate`.")],
) -> None:
    """Write RUN_DIR/report.html: scores, Taylor diagrams, cycles, parameters; one file, no network."""
    from mdpl.report import write_report

    typer.echo(f"wrote {write_report(run_dir)}")


@app.command()
@one_line_errors
def baselines(
    data: Annotated[Path, typer.Option(help="Folder with <SITE>_*_Met.nc and _Flux.nc files.")],
    sites: Annotated[str | None, typer.Option(help="Site codes, or starts of file names, with commas between.")] = None,
    models: Annotated[str, typer.Option(help="Empirical models, with commas between.")] = "1lin,3km27,lstm",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds of the models that have one.")] = 1,
    target: Annotated[str, typer.Option(help="Observations to fit: raw or corrected.")] = "raw",
    test_years: Annotated[int, typer.Option(help="Whole years held back; -1: 30 % of the record.")] = -1,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV file in the form of metrics.csv.")] = None,
) -> None:
    """Empirical models (1lin, 3km27, lstm) fitted on the train period, scored with mdpl's split and masks."""
    from mdpl.config import Config
    from mdpl.empirical import fit_sites, summary
    from mdpl.run_directory import write_scores
    from mdpl.sites import find_site_files, load_towers

    config = Config(target=target, test_years=test_years).check()
    prepare_jax()
    wanted = tuple(name.strip() for name in (sites or "").split(",") if name.strip())
    towers = load_towers(find_site_files(data, wanted))
    chosen = tuple(name.strip() for name in models.split(",") if name.strip())
    rows = fit_sites(towers, config, chosen, seeds, lambda text: typer.echo(text, err=True))
    if output is not None:
        write_scores(output, rows)
    console = _console()
    console.print(f"test period, {target} observations, median over seeds (range)", highlight=False)
    console.print(_table(("site", "flux", "model", "RMSE W m-2", "bias", "R", "NME", "n"), summary(rows), words=3))
    if output is not None:
        console.print(f"wrote {output}", highlight=False, soft_wrap=True)


def _console():
    """Standard output; in a pipe or a file wide enough that no number is cut."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=140)


def _table(names: tuple[str, ...], rows: list[tuple[str, ...]], words: int):
    """A narrow table that fits 80 columns; the first ``words`` columns hold text."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for i, name in enumerate(names):
        table.add_column(name, justify="left" if i < words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def prepare_jax() -> None:
    """As ``jlsm run`` does, with the compiler's settings for gradients."""
    from jlsm._xla import GRADIENT_LOOP_BYTES
    from jlsm.cli import Precision
    from jlsm.cli import prepare_jax as prepare

    prepare(Precision.float32, GRADIENT_LOOP_BYTES)


if __name__ == "__main__":
    main()
