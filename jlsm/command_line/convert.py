"""From a network's table to a pair of PLUMBER2 files: what ``jlsm convert`` does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jlsm.errors import InputError, RepairWarning
from jlsm.io.bif import SiteFacts, is_bif
from jlsm.io.oneflux import choose_table, read_table, site_code
from jlsm.io.site_file import SiteChanges, read_site_changes
from jlsm.io.table_file import Sheet, list_sheets, spreadsheets
from jlsm.io.time_axis import timestamp
from jlsm.io.tower_pair import TowerContents, describe_place, flux_contents, met_contents
from jlsm.io.tower_writer import write_pair


@dataclass(frozen=True)
class ConvertOptions:
    """How ``convert_tables`` converts.

    Attributes:
        site: site file, which goes before BIF.
        bif: BIF tables, beside those in the table's own zip.
        folder: where the files shall be.
        utc_offset: hours by which the table's clock is ahead of UTC, before all else that tells.
        sun_check: whether SWdown must be where the sun is (see ``jlsm.io.sun``).
        overwrite: whether files of the same name may be replaced.
    """

    site: Path | None = None
    bif: tuple[Path, ...] = ()
    folder: Path = Path(".")
    utc_offset: float | None = None
    sun_check: bool = True
    overwrite: bool = False


def convert_tables(
    paths: Sequence[Path],
    options: ConvertOptions = ConvertOptions(),
    report: Callable[[Path, str], object] = lambda file, words: None,
) -> list[Path]:
    """Write ``<SITE>_<YEARS>_<PRODUCT>_Met.nc`` and ``_Flux.nc`` of tables of ONEFlux (``jlsm.io.oneflux``).

    Args:
        paths: tables (.csv, .csv.gz), or the zips that they came in. A daily table gives a Flux file only.
        report: called with each file when it is written, and what it holds in words.

    Returns:
        The files written.

    Raises:
        InputError: after all were tried: why some could not be converted. Of a table nothing is written, or all.
    """
    written: list[Path] = []
    reasons = []
    _check_one_site(paths, options)
    for path in paths:
        try:
            files = tower_contents(path, options)
            twice = [file for file in files if file in written]
            if twice:
                raise InputError(f"{path}: gives {twice[0]} once more: convert it into another folder (-o)")
            write_pair(files, overwrite=options.overwrite)
        except InputError as error:
            reasons.append(str(error))
            continue
        written += files
        for file, contents in files.items():
            report(file, _summary(contents))
    if len(reasons) == 1:
        raise InputError(reasons[0])
    if reasons:
        raise InputError(f"{len(reasons)} of {len(paths)} tables cannot be converted: {' | '.join(reasons)}")
    return written


def tower_contents(path: Path, options: ConvertOptions = ConvertOptions()) -> dict[Path, TowerContents]:
    """What the files of one table shall hold, read and checked, nothing written.

    Raises:
        InputError: anything that cannot be converted.
    """
    changes = read_site_changes(options.site) if options.site is not None else SiteChanges()
    if options.utc_offset is not None:
        changes = changes.with_utc_offset(options.utc_offset)
    sheet, descriptions = choose_table(path)
    descriptions += [other for file in options.bif for other in _bif_sheets(file)]
    facts = SiteFacts(descriptions, site_code(sheet))
    table = read_table(sheet, facts.code or path.name.split("_")[0].split(".")[0])
    place = describe_place(facts, changes, table.code)
    if place.missing() and not descriptions and (names := spreadsheets(path)):
        shown = " ".join(names[0].split())
        warnings.warn(
            f"{path}: {shown} is a spreadsheet and was not read: save it as CSV, and give it as --bif",
            RepairWarning,
            stacklevel=2,
        )
    contents = {} if table.daily else {"Met": met_contents(table, place, sun_check=options.sun_check)}
    flux = flux_contents(table, place)
    if flux is not None:
        contents["Flux"] = flux
    else:
        message = f"{table.name}: LE_F_MDS, H_F_MDS, G_F_MDS and NETRAD have no value"
        if table.daily:
            raise InputError(f"{message}: there is nothing to write")
        warnings.warn(f"{message}: no Flux file", RepairWarning, stacklevel=2)
    first, last = (str(time.astype("datetime64[Y]")) for time in (table.times[0], table.times[-1]))
    record = f"{table.code}_{first}-{last}_{table.product}"
    return {options.folder / f"{record}_{kind}.nc": content for kind, content in contents.items()}


def _check_one_site(paths: Sequence[Path], options: ConvertOptions) -> None:
    """Raise InputError where one site file would describe several sites."""
    if options.site is None or len(paths) == 1:
        return
    codes = sorted({site_code(choose_table(path)[0]) for path in paths})
    if len(codes) > 1:
        raise InputError(f"{options.site}: is of one site, the tables of {', '.join(codes)}: convert them one by one")


def _bif_sheets(path: Path) -> list[Sheet]:
    sheets = [sheet for sheet in list_sheets(path) if is_bif(sheet)]
    if not sheets:
        raise InputError(f"{path}: has no columns SITE_ID, GROUP_ID, VARIABLE, DATAVALUE: give a BIF file, as CSV")
    return sheets


def _summary(contents: TowerContents) -> str:
    """``17520 steps of 30 min from 2001-01-01T00:00; measured: Qle 71 %, Qh 74 %``."""
    table = contents.table
    shares = []
    for name, series in contents.series.items():
        if series.flags is None:
            continue
        flags = series.flags[np.isfinite(series.values)]
        share = np.nansum(flags) if table.daily else (flags == 0.0).sum()
        shares.append(f"{name} {100.0 * share / table.times.size:.0f} %")
    step = "days" if table.daily else f"steps of {table.dt / 60:g} min"
    words = "mean share measured" if table.daily else "measured"
    text = f"{table.times.size} {step} from {timestamp(table.times[0])}; {words}: {', '.join(shares) or 'not told'}"
    return f"{text}; no Met file: a daily table holds no forcing" if table.daily else text
