"""Named towers of the public PLUMBER2 v1.0 release (Ukkola et al. 2022, doi:10.25914/5fdb0902607e1), by pooch.

The release publishes no checksums. The SHA-256 of each file is recorded at its first download in ``checksums.txt``
beside the data (trust on first use) and every later use of the file is checked against it; two people who compare
that file know whether they have the same data.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from jlsm.errors import InputError
from jlsm.files import remove_leftovers
from mdpl.data.climate import FIVE_CROPS
from mdpl.data.download import NotOnServer, ResumingDownloader
from mdpl.files import ProgressReport, locked, write_text

BASE_URL = "https://thredds.nci.org.au/thredds/fileServer/ks32/CLEX_Data/PLUMBER2/v1-0"
"""file server of the release, without registration; ``Met/`` and ``Flux/`` below it hold ``<record>_Met.nc``,
``<record>_Flux.nc`` with ``<record>`` = ``<site>_<first year>-<last year>_<origin>``"""
ORIGINS = ("FLUXNET2015", "LaThuile", "OzFlux")
"""collections the release draws on, part of each file's name; the site table does not say which, so they are tried"""
CHECKSUMS = "checksums.txt"
GROUPS = {"five_crops": FIVE_CROPS}
"""names that stand for several sites"""


class Plumber2Site(NamedTuple):
    """One tower of the release."""

    code: str
    latitude: float
    longitude: float
    igbp: str
    first_year: int
    last_year: int


@cache
def plumber2_sites() -> dict[str, Plumber2Site]:
    """The 170 towers of the release by code (Ukkola et al. 2022, ESSD 14, 449)."""
    text = files("mdpl.data").joinpath("plumber2_sites.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(io.StringIO(text))
    return {
        row["site"]: Plumber2Site(
            row["site"], float(row["latitude"]), float(row["longitude"]), row["igbp"],
            int(row["first_year"]), int(row["last_year"]),
        )
        for row in rows
    }  # fmt: skip


def default_folder() -> Path:
    """Where towers go: ``plumber2`` in the cache folder."""
    from mdpl.data.synthetic import cache_folder

    return cache_folder() / "plumber2"


def fetch_sites(
    codes: Iterable[str],
    folder: Path | None = None,
    *,
    url: str | None = None,
    attempts: int = 5,
    pause: float = 1.0,
    progress: ProgressReport | None = None,
) -> list[Path]:
    """Met and Flux files of named towers, downloaded unless they are there.

    Args:
        codes: site codes, or ``five_crops``.
        folder: where the files and ``checksums.txt`` go; None is ``default_folder()``.
        url: another server with the same layout; None is ``MDPL_PLUMBER2_URL`` or NCI's.
        attempts, pause: as in ``ResumingDownloader``.
        progress: told (file name, bytes so far, bytes in all or None).

    Returns:
        The files, Met before Flux, in the order of the codes.

    Raises:
        InputError: an unknown site, no network, a file the server lacks or that is not what its checksum says, a folder
            that cannot be written or where another process is at work.
    """
    sites = _wanted_sites(codes)
    folder = folder or default_folder()
    url = (url or os.environ.get("MDPL_PLUMBER2_URL") or BASE_URL).rstrip("/")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}): choose another folder") from error
    downloader = ResumingDownloader(attempts, pause, progress=progress)
    with locked(folder):
        remove_leftovers(folder)
        return [path for site in sites for path in _fetch_site(site, folder, url, downloader)]


def _wanted_sites(codes: Iterable[str]) -> list[Plumber2Site]:
    wanted = [code for name in codes for code in GROUPS.get(name, (name,))]
    table = plumber2_sites()
    for code in wanted:
        if code not in table:
            alike = [other for other in table if other.lower() == code.lower() or other[:2] == code[:2].upper()]
            hint = f"sites of that country: {', '.join(alike)}" if alike else "`mdpl data list` names all 170"
            raise InputError(f"unknown PLUMBER2 site {code!r}: {hint}")
    if not wanted:
        raise InputError("no site named: give codes such as DE-Geb, or five_crops; `mdpl data list` names all")
    return [table[code] for code in dict.fromkeys(wanted)]


def _fetch_site(site: Plumber2Site, folder: Path, url: str, downloader: ResumingDownloader) -> list[Path]:
    years = f"{site.code}_{site.first_year}-{site.last_year}"
    here = sorted(folder.glob(f"{years}_*_Met.nc"))
    likely = ("OzFlux",) if site.code.startswith("AU-") else ORIGINS
    origins = (here[0].name.removesuffix("_Met.nc").split("_")[-1],) if here else likely
    for origin in origins:
        try:
            met = _fetch_file(f"{years}_{origin}_Met.nc", "Met", folder, url, downloader)
            break
        except NotOnServer as missing:
            if origin == origins[-1]:
                tried = ", ".join(f"{years}_{name}_Met.nc" for name in origins)
                raise InputError(f"{missing}: not on the server (tried {tried}): check the URL") from missing
    try:
        return [met, _fetch_file(f"{years}_{origin}_Flux.nc", "Flux", folder, url, downloader)]
    except NotOnServer as missing:
        raise InputError(f"{missing}: not on the server, though {met.name} is: check the URL") from missing


def _fetch_file(name: str, kind: str, folder: Path, url: str, downloader: ResumingDownloader) -> Path:
    import pooch

    pooch.get_logger().setLevel("WARNING")
    recorded = _read_checksums(folder)
    path = folder / name
    if path.is_file():
        actual = f"sha256:{pooch.file_hash(str(path))}"
        if recorded.get(name, actual) != actual:
            raise InputError(
                f"{path}: differs from its checksum in {CHECKSUMS} (damaged or changed): delete it and fetch again"
            )
    else:
        try:
            pooch.retrieve(
                f"{url}/{kind}/{name}",
                recorded.get(name),
                fname=name,
                path=folder,
                downloader=downloader,  # pyright: ignore[reportArgumentType] (pooch calls it, and needs no more)
            )
        except InputError:
            raise
        except ValueError as error:  # pooch's word for a wrong checksum; nothing was written
            raise InputError(
                f"{url}/{kind}/{name}: differs from the checksum of an earlier download in {folder / CHECKSUMS}: "
                f"if the release has changed on purpose, delete its line there"
            ) from error
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error}): free space") from error
        actual = f"sha256:{pooch.file_hash(str(path))}"
    if name not in recorded:
        _write_checksums(folder, recorded | {name: actual})
    return path


def _read_checksums(folder: Path) -> dict[str, str]:
    """``checksums.txt``: a line per file, name and ``sha256:<digest>``, as pooch's registry files."""
    path = folder / CHECKSUMS
    if not path.is_file():
        return {}
    try:
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error}): correct or delete it") from error
    bad = [line for line in lines if len(line) != 2 or not line[1].startswith("sha256:")]
    if bad:
        raise InputError(f"{path}: line {' '.join(bad[0])!r}: expected 'NAME sha256:DIGEST': correct or delete it")
    return dict(lines)


def _write_checksums(folder: Path, checksums: dict[str, str]) -> None:
    write_text(folder / CHECKSUMS, "".join(f"{name} {checksums[name]}\n" for name in sorted(checksums)))
