"""``mdpl data``: list and fetch real towers, write the synthetic ones."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from jlsm.command_line.front_door import one_line_errors, prepare_jax
from jlsm.errors import InputError
from jlsm.loop_sizes import GRADIENT_LOOP_BYTES

data_app = typer.Typer(help="Flux-tower data: the PLUMBER2 release, the embedded synthetic set.", no_args_is_help=True)


@data_app.command("list")
@one_line_errors()
def list_sites(
    igbp: Annotated[str | None, typer.Option(help="Only this vegetation class, e.g. CRO.")] = None,
    folder: Annotated[Path | None, typer.Option("-o", "--output", help="Folder of fetched towers.")] = None,
) -> None:
    """The 170 towers of PLUMBER2 v1.0: code, class, place, years; * marks those already fetched. Needs no network."""
    from mdpl.data.fetch import default_folder, plumber2_sites

    folder = folder or default_folder()
    chosen = [site for site in plumber2_sites().values() if igbp is None or site.igbp == igbp.upper()]
    if not chosen:
        classes = ", ".join(sorted({site.igbp for site in plumber2_sites().values()}))
        raise InputError(f"no PLUMBER2 site of class {igbp!r}: use one of {classes}")
    typer.echo("  site    class  latitude  longitude  years")
    for site in chosen:
        mark = "*" if any(folder.glob(f"{site.code}_*_Met.nc")) else " "
        place = f"{site.latitude:8.3f}  {site.longitude:9.3f}"
        typer.echo(f"{mark} {site.code:7s} {site.igbp:5s}  {place}  {site.first_year}-{site.last_year}")


@data_app.command()
@one_line_errors("stopped: fetch again and the download goes on where it was")
def fetch(
    sites: Annotated[list[str], typer.Argument(metavar="SITE ...", help="Codes such as DE-Geb, or five_crops.")],
    folder: Annotated[Path | None, typer.Option("-o", "--output", help="Where the files go; default: cache.")] = None,
    url: Annotated[str | None, typer.Option(help="Another server with the release's layout.")] = None,
) -> None:
    """Download Met and Flux files of named towers (PLUMBER2 v1.0, NCI); interrupted downloads go on."""
    from mdpl.data.fetch import default_folder, fetch_sites

    with _bar(is_bytes=True) as progress:
        paths = fetch_sites(sites, folder, url=url, progress=progress)
    for path in paths:
        typer.echo(str(path))
    typer.echo(f"{len(paths)} files in {folder or default_folder()}; checksums in checksums.txt there", err=True)


@data_app.command()
@one_line_errors()
def synthetic(
    folder: Annotated[Path | None, typer.Option("-o", "--output", help="Copy them here; default: cache.")] = None,
) -> None:
    """Make the embedded five synthetic sites (about a minute the first time) and print their folder."""
    from mdpl.data.synthetic import copy_synthetic, five_crops_synthetic

    prepare_jax(loop_bytes=GRADIENT_LOOP_BYTES)
    with _bar() as progress:
        source = five_crops_synthetic(progress)
        if folder is not None:
            copy_synthetic(source, folder)
    typer.echo(str(folder or source))


@contextmanager
def _bar(is_bytes: bool = False):
    """A progress bar on a terminal, nothing elsewhere; yields ``progress(text, done, total)``."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    amount = DownloadColumn() if is_bytes else TaskProgressColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=None)

        def progress(text: str, done: int, total: int | None) -> None:
            bar.update(task, description=text, completed=done, total=total)

        report: Callable[[str, int, int | None], None] = progress
        yield report
