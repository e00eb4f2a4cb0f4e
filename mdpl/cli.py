"""The command line of mdpl: ``mdpl calibrate``, ``sweep``, ``transfer``, ``evaluate``, ``report``, ``baselines``, ...

Heavy imports stand inside the commands, so that ``--help`` answers at once.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from jlsm.command_line.front_door import cores, one_line_errors, prepare_jax, version_option
from jlsm.errors import InputError
from jlsm.loop_sizes import GRADIENT_LOOP_BYTES
from mdpl.data.command import data_app
from mdpl.scale.command import sweep_command

app = typer.Typer(
    name="mdpl",
    help="Learn the parameters of the land surface model jlsm from flux towers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.command("sweep")(sweep_command)

ConfigFileOption = Annotated[Path | None, typer.Argument(metavar="[CONFIG.toml]", help="Options win over it.")]
DataOption = Annotated[Path | None, typer.Option(help="Folder with <SITE>_*_Met.nc and _Flux.nc files.")]
SitesOption = Annotated[str | None, typer.Option(help="Site codes, or starts of file names, with commas between.")]
TargetOption = Annotated[str | None, typer.Option(help="Observations to fit: raw or corrected.")]
TestYearsOption = Annotated[
    int | None, typer.Option(help="Whole years held back at the end; left out: 30 % of the record.")
]
SkipOption = Annotated[
    bool, typer.Option("--skip-unusable", help="Go on without towers whose files cannot be used; they are named.")
]
SunOption = Annotated[bool, typer.Option("--no-sun-check", help="Do not ask the sun whether a clock is right.")]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Remove an earlier run there first.")]

RESUME_OR_OVERWRITE = "--resume goes on with a run and --overwrite starts it again: give one of them"


def main() -> None:
    """Console script entry."""
    app()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=version_option("mdpl"), is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command("calibrate")
@one_line_errors("stopped: go on with --resume")
def calibrate_command(
    config_file: ConfigFileOption = None,
    data: DataOption = None,
    sites: SitesOption = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Run directory; default runs/<sites>.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training windows.")] = None,
    path: Annotated[str | None, typer.Option(help="Differentiated: lsm, surrogate or surrogate-then-lsm.")] = None,
    target: TargetOption = None,
    test_years: TestYearsOption = None,
    learner: Annotated[str | None, typer.Option(help="network (one g_z for all sites) or direct.")] = None,
    validation_years: Annotated[int | None, typer.Option(help="Years before the test that choose the epoch.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the first weights and of the draw of windows.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    overwrite: OverwriteOption = False,
    skip_unusable: SkipOption = False,
    no_sun_check: SunOption = False,
    devices: Annotated[
        int, typer.Option(min=0, help="Share the windows out over so many CPU cores, GPUs or TPUs; 0: all.")
    ] = 1,
) -> None:
    """Fit parameters to towers through the model's own derivatives; writes a run directory."""
    if resume and config_file is None and output is not None and (output / "config.toml").is_file():
        config_file = output / "config.toml"  # the run's own settings
    config = _config(
        config_file, data=_text(data and data.resolve()), sites=_names(sites), output=_text(output), epochs=epochs,
        path=path, target=target, test_years=test_years, learner=learner, validation_years=validation_years, seed=seed,
        unusable_towers="skip" if skip_unusable else None, sun_check="ignore" if no_sun_check else None,
    )  # fmt: skip
    if resume and overwrite:
        raise InputError(RESUME_OR_OVERWRITE)
    prepare_jax(loop_bytes=GRADIENT_LOOP_BYTES, devices=devices)
    from mdpl.report.terminal import calibration_table, console

    started = time.monotonic()
    calibration = _calibrate_with_bar(config, overwrite, resume, _mesh(devices))
    terminal = console()
    terminal.print("test period, uncorrected observations (default → calibrated)", highlight=False)
    terminal.print(calibration_table(calibration.metrics))
    for note in calibration.notes:
        terminal.print(note, highlight=False, markup=False, soft_wrap=True)
    seconds = time.monotonic() - started
    terminal.print(f"wrote {calibration.directory} in {seconds:.0f} s", highlight=False, soft_wrap=True)


@app.command("transfer")
@one_line_errors("stopped: go on with --resume")
def transfer_command(
    config_file: ConfigFileOption = None,
    data: DataOption = None,
    sites: Annotated[str | None, typer.Option(help="Two site codes or more, with commas between.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder; default runs/transfer.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training windows.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is not done.")] = False,
    overwrite: OverwriteOption = False,
    skip_unusable: SkipOption = False,
    no_sun_check: SunOption = False,
) -> None:
    """Leave one site out: train without each site in turn, score it with what the network gives it."""
    config = _config(
        config_file, data=_text(data and data.resolve()), sites=_names(sites), output=_text(output), epochs=epochs,
        unusable_towers="skip" if skip_unusable else None, sun_check="ignore" if no_sun_check else None,
    )  # fmt: skip
    if not config.data:
        raise InputError("transfer needs towers: give --data DIR with <SITE>_*_Met.nc and _Flux.nc files")
    if resume and overwrite:
        raise InputError(RESUME_OR_OVERWRITE)
    prepare_jax(loop_bytes=GRADIENT_LOOP_BYTES)
    from mdpl.report.terminal import console, transfer_table
    from mdpl.scale.transfer import transfer

    metrics = transfer(config, stage=lambda text: typer.echo(text, err=True), overwrite=overwrite, resume=resume)
    console().print(transfer_table(metrics))


@app.command()
@one_line_errors()
def evaluate(
    model_file: Annotated[Path, typer.Argument(metavar="OUT.nc", help="ALMA output of jlsm or another model.")],
    flux_file: Annotated[Path, typer.Argument(metavar="FLUX.nc", help="PLUMBER2-style Flux file.")],
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout instead of a table.")] = False,
    first: Annotated[str, typer.Option("--from", help="First date compared, e.g. 2005-01-01.")] = "",
    last: Annotated[str, typer.Option("--to", help="Last date compared.")] = "",
) -> None:
    """Scores per flux (Qle, Qh, Rnet, Qg; raw and corrected) at the observations' own step, measured steps only."""
    from mdpl.report.terminal import console, plain_scores, score_table
    from mdpl.scores.evaluation import evaluate_file

    rows, notes = evaluate_file(model_file, flux_file, first, last)
    if as_json:
        result = {"model": str(model_file), "observed": str(flux_file), "notes": list(notes),
                  "scores": [plain_scores(row) for row in rows]}  # fmt: skip
        typer.echo(json.dumps(result, indent=2))
        return
    terminal = console()
    title = f"{model_file.name} against {flux_file.name}: {rows[0].step}, measured steps, W m-2"
    terminal.print(title, highlight=False, soft_wrap=True)
    terminal.print(score_table(rows))
    for note in notes:
        terminal.print(note, highlight=False, markup=False, soft_wrap=True)


@app.command()
@one_line_errors()
def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="Run directory of `mdpl calibrate`.")],
) -> None:
    """Write RUN_DIR/report.html: scores, Taylor diagrams, cycles, parameters; one file, no network."""
    from mdpl.report.page import write_report

    typer.echo(f"wrote {write_report(run_dir)}")


@app.command()
@one_line_errors()
def baselines(
    data: Annotated[Path, typer.Option(help="Folder with <SITE>_*_Met.nc and _Flux.nc files.")],
    sites: SitesOption = None,
    models: Annotated[str, typer.Option(help="Empirical models, with commas between.")] = "1lin,3km27,lstm",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds of the models that have one.")] = 1,
    target: TargetOption = None,
    test_years: TestYearsOption = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="CSV file in the form of metrics.csv.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write over the CSV file.")] = False,
) -> None:
    """Empirical models (1lin, 3km27, lstm) fitted on the train period, scored with mdpl's split and masks."""
    config = _config(None, target=target, test_years=test_years)
    if output is not None:
        from jlsm.files import OVERWRITE, check_writable

        check_writable(output, None if overwrite else lambda path: False, "table that may be replaced", OVERWRITE)
    prepare_jax(loop_bytes=GRADIENT_LOOP_BYTES)
    from mdpl.baselines.empirical import fit_sites, summary_cells
    from mdpl.files import write_rows
    from mdpl.report.terminal import console, table
    from mdpl.scores.evaluation import MetricRow
    from mdpl.towers.load import find_site_files, load_towers

    towers = load_towers(find_site_files(data, _names(sites) or ()))
    rows = fit_sites(towers, config, _names(models) or (), seeds, lambda text: typer.echo(text, err=True))
    if output is not None:
        write_rows(output, MetricRow, rows)
    terminal = console()
    terminal.print(f"test period, {config.target} observations, median over seeds (range)", highlight=False)
    terminal.print(
        table(("site", "flux", "model", "RMSE W m-2", "bias", "R", "NME", "n"), summary_cells(rows), words=3)
    )
    if output is not None:
        terminal.print(f"wrote {output}", highlight=False, soft_wrap=True)


# ---- from options to settings, and progress -------------------------------------------------------


def _config(file: Path | None, **options: Any):
    """The checked config of a file (the defaults without one) with the options that are given in place."""
    from mdpl.config import Config, load_config

    config = load_config(file) if file else Config()
    return dataclasses.replace(config, **{key: v for key, v in options.items() if v is not None}).check()


def _text(value: Path | None) -> str | None:
    return None if value is None else str(value)


def _names(text: str | None) -> tuple[str, ...] | None:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else None


def _mesh(devices: int):
    """The mesh over so many devices (0: all); None for one. Raises InputError: there are not so many."""
    if devices == 1:
        return None
    import jax

    from jlsm.simulation import column_mesh

    present = jax.devices()
    platform = present[0].platform
    count = min(len(present), cores()) if platform == "cpu" else len(present)  # a CPU divides into any number
    if devices > count:
        raise InputError(f"--devices {devices}: there are {count} ({platform}): give a smaller number, or 0 for all")
    return column_mesh(present[: devices or count])


def _calibrate_with_bar(config, overwrite: bool, resume: bool, mesh):
    """The calibration, with a bar on a terminal and some lines elsewhere."""
    from rich import progress
    from rich.console import Console

    from mdpl.calibration import CalibrationProgress, calibrate

    started = time.monotonic()
    console = Console(stderr=True)
    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), progress.MofNCompleteColumn(),
               progress.TimeElapsedColumn(), progress.TextColumn("ETA"), progress.TimeRemainingColumn(),
               progress.TextColumn("{task.fields[loss]}"))  # fmt: skip
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
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

        return calibrate(
            config, progress=CalibrationProgress(stage, epoch), overwrite=overwrite, resume=resume, mesh=mesh
        )


if __name__ == "__main__":
    main()
