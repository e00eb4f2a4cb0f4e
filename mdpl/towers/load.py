"""Finding towers in a folder, and loading one: forcing, site and observations that belong together."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from pathlib import Path

from jlsm.errors import InputError, RepairWarning
from jlsm.forcing import Forcing, Site
from mdpl.towers.observations import Observations, load_observations
from mdpl.towers.place import check_same_place, place_of
from mdpl.towers.signs import check_signs


@dataclass(frozen=True)
class SiteFiles:
    """A Met/Flux pair."""

    record: str
    """file name without ``_Met.nc``, e.g. ``DE-Geb_2001-2010_FLUXNET2015d``"""
    met: Path
    flux: Path

    @property
    def code(self) -> str:
        """Site code, the record's name up to the first underscore."""
        return self.record.split("_")[0]

    @property
    def site_file(self) -> Path | None:
        """``<record>_Site.toml`` beside the pair, where there is one (``jlsm.io.site_file``)."""
        path = self.met.with_name(f"{self.record}_Site.toml")
        return path if path.is_file() else None


@dataclass(frozen=True)
class Tower:
    """One site, ready to calibrate at."""

    label: str
    """how the site is called in tables and file names: its code, or the record where a code occurs twice"""
    forcing: Forcing
    site: Site
    observations: Observations


def find_site_files(directory: str | Path, wanted: tuple[str, ...] = ()) -> list[SiteFiles]:
    """Met/Flux pairs in a folder.

    Args:
        directory: holds ``<SITE>_*_Met.nc`` and the matching ``_Flux.nc``, each gzipped (``.nc.gz``) or not.
        wanted: site codes, or the start of a record's name (``US-Bo1_1998``) where a site has several
            records; empty takes every pair there is.

    Raises:
        InputError: no folder, no Met file, an unknown site, several records of one, a Met file without
            its Flux file (named sites only).
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder: give --data DIR with <SITE>_*_Met.nc and _Flux.nc files")
    names = [path.name.removesuffix(".gz") for path in directory.glob("*_Met.nc*")]
    records = sorted({name.removesuffix("_Met.nc") for name in names if name.endswith("_Met.nc")})
    if not records:
        raise InputError(f"{directory}: no *_Met.nc file: give --data DIR with PLUMBER2 Met and Flux files")
    if not wanted:
        pairs = [_pair(directory, record) for record in records]
        complete = [pair for pair in pairs if pair.flux.is_file()]
        if not complete:
            raise InputError(f"{directory}: none of {len(records)} Met files has its _Flux.nc beside it")
        return complete
    return [_pair(directory, _one_record(directory, records, name), must_have_flux=True) for name in wanted]


def _one_record(directory: Path, records: list[str], name: str) -> str:
    matches = [record for record in records if record.split("_")[0] == name]
    matches = matches or [record for record in records if record.startswith(name)]
    if not matches:
        codes = ", ".join(dict.fromkeys(record.split("_")[0] for record in records))
        raise InputError(f"{directory}: no Met file of site {name!r}: the folder has {codes}")
    if len(matches) > 1:
        raise InputError(
            f"{directory}: site {name!r} has {len(matches)} records ({', '.join(matches)}): choose with "
            f"--sites {matches[0]}"
        )
    return matches[0]


def _pair(directory: Path, record: str, must_have_flux: bool = False) -> SiteFiles:
    pair = SiteFiles(
        record, _plain_or_gzipped(directory, f"{record}_Met.nc"), _plain_or_gzipped(directory, f"{record}_Flux.nc")
    )
    if must_have_flux and not pair.flux.is_file():
        raise InputError(f"{pair.flux}: no such file: site {pair.code} has forcing but no fluxes to calibrate against")
    return pair


def _plain_or_gzipped(directory: Path, name: str) -> Path:
    """The file of this name, or where there is none the gzipped one."""
    plain, packed = directory / name, directory / f"{name}.gz"
    return packed if packed.is_file() and not plain.is_file() else plain


def site_labels(files: list[SiteFiles]) -> tuple[str, ...]:
    """What each site is called: its code, or its record where a code occurs twice."""
    codes = [pair.code for pair in files]
    return tuple(pair.code if codes.count(pair.code) == 1 else pair.record for pair in files)


def load_towers(
    files: list[SiteFiles], lai: str = "LAI", *, sun_check: bool = True, skip_unusable: bool = False
) -> list[Tower]:
    """Read forcing (with the named leaf area index), site and observations of every pair, in order.

    Args:
        files: from ``find_site_files``.
        lai, sun_check: as in ``jlsm.load_forcing``.
        skip_unusable: go on without towers whose files cannot be used, with a RepairWarning for each.

    Raises:
        InputError: from the readers (file, variable, time, remedy), after all towers were tried; no tower is left.
    """
    towers, left_out = load_usable_towers(files, lai, sun_check=sun_check)
    if left_out and not (skip_unusable and towers):
        reasons = list(left_out.values())
        if len(reasons) == 1:
            raise InputError(reasons[0])
        raise InputError(f"{len(reasons)} of {len(files)} towers cannot be used: {' | '.join(reasons)}")
    for record, reason in left_out.items():
        warnings.warn(f"{record}: left out: {reason}", RepairWarning, stacklevel=2)
    return towers


def load_usable_towers(
    files: list[SiteFiles], lai: str = "LAI", *, sun_check: bool = True
) -> tuple[list[Tower], dict[str, str]]:
    """The towers that can be used, and why the others cannot: one line for each record."""
    from jlsm.io import load_forcing

    towers, left_out = [], {}
    for label, pair in zip(site_labels(files), files, strict=True):
        try:
            forcing, site = load_forcing(pair.met, lai=lai, site_file=pair.site_file, sun_check=sun_check)
            check_same_place(place_of(pair.flux, "Flux"), place_of(pair.met, "Met"))
            observations = load_observations(pair.flux, float(site.utc_offset))
            against = check_signs(observations, forcing) if sun_check else ()
            for line in against:
                warnings.warn(f"{pair.flux}: {line}: kept", RepairWarning, stacklevel=2)
            observations = dataclasses.replace(observations, notes=(*observations.notes, *against))
            towers.append(Tower(label, forcing, site, observations))
        except InputError as error:
            left_out[pair.record] = str(error)
    return towers, left_out
