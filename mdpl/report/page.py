"""One self-contained page about a calibration: ``report.html`` from a run directory."""

from __future__ import annotations

import base64
import math
import shlex
from pathlib import Path

import xarray as xr

import jlsm
from jlsm.files import check_writable
from mdpl.files import locked, write_text
from mdpl.files.mark import record
from mdpl.report.figures import (
    Observed,
    Picture,
    closure,
    loss_picture,
    observed_sites,
    parameter_pictures,
    picture,
    taylor_pictures,
)
from mdpl.report.style import FLUX_NAMES
from mdpl.report.tables import changes, score_lines, surrogate_gaps
from mdpl.runs.claim import REPORT_FILE, STAGES, cycles_file
from mdpl.runs.directory import Run, read_run
from mdpl.towers.observations import TARGETS

SYNTHETIC_SUFFIX = "-syn"
"""ending of the names of sites whose observations were made by the model"""
BOUND_SHARE = 0.01
"""share of the allowed range within which a learned value counts as lying on its bound"""
PERIODS = ("test", "train")
TARGET_WORDS = {"raw": "uncorrected observations", "corrected": "observations corrected for energy-balance closure"}


def write_report(run_dir: str | Path) -> Path:
    """Make ``report.html`` in a run directory.

    Args:
        run_dir: holds config.toml, parameters.csv, metrics.csv, loss.csv, ``<SITE>_default.nc`` and
            ``<SITE>_calibrated.nc``; parameters_seasonal.csv and rows of other stages in metrics.csv are shown too.

    Returns:
        The path of the page. It needs no other file and no network.

    Raises:
        InputError: one of these files is missing, or not what the run of this directory left; another process is at
            work there; a ``report.html`` that is none of ours lies there.
    """
    run = read_run(run_dir)
    with locked(run.directory):
        path = run.directory / REPORT_FILE
        check_writable(path, _is_report, "report of mdpl")
        page = render(run)
        run.check_model_files()
        write_text(path, page)
        record(run.directory, [REPORT_FILE])
    return path


def _is_report(path: Path) -> bool:
    """Whether a page is one of these."""
    with path.open("rb") as stream:
        return b"<title>Calibration at " in stream.read(1000)


def render(run: Run) -> str:
    """The page as text."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    observed, missing = observed_sites(run)
    environment = Environment(
        loader=PackageLoader("mdpl.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "fixed": fixed, "figure": significant, "short": _short, "tone": tone}
    return environment.get_template("report.html.j2").render(
        sites=run.sites,
        synthetic=[site for site in run.sites if site.endswith(SYNTHETIC_SUFFIX)],
        config=run.config,
        versions=_versions(run),
        command=reproduce_command(run),
        toml=run.config.to_toml(),
        headline=[change for target in TARGETS for p in PERIODS for change in changes(run.metrics, p, target)],
        verdict=verdict(run),
        tables=_tables(run),
        flux_names=FLUX_NAMES,
        target_words=TARGET_WORDS,
        taylor=taylor_pictures(run),
        cycles=_cycles(run, observed),
        missing=_missing(missing),
        parameters=run.parameters,
        parameter_pictures=parameter_pictures(run),
        loss=loss_picture(run),
        gaps=surrogate_gaps(run.metrics),
        notes=notes(run, observed),
    )


def verdict(run: Run) -> list[str]:
    """What happened on the test period, one sentence a flux."""
    sentences = []
    for change in changes(run.metrics, "test", "raw"):
        where = "at the one site" if change.sites == 1 else f"in the mean over {change.sites} sites"
        sentences.append(
            f"{FLUX_NAMES[change.flux]}: RMSE {percent(change.rmse)}, R {percent(change.r)} {where}; RMSE fell at "
            f"{change.improved} of {change.sites}."
        )
    return sentences


def reproduce_command(run: Run) -> str:
    """The command line that repeats the run into a new directory."""
    directory = run.directory.resolve()
    return f"mdpl calibrate {shlex.quote(str(directory / 'config.toml'))} -o {shlex.quote(f'{directory}-again')}"


def notes(run: Run, observed: dict[str, Observed]) -> list[str]:
    """Limits and circumstances in plain words, one paragraph each."""
    config = run.config
    steps: dict[str, list[str]] = {}
    for row in run.metrics:
        if row.site not in steps.setdefault(row.step or "unknown", []):
            steps[row.step or "unknown"].append(row.site)
    compared = "; ".join(f"{step} at {', '.join(s)}" for step, s in steps.items())
    paragraphs = [
        f"Step of the comparison: {compared}. "
        "Only steps flagged as measured count; a file without flags counts every finite step."
    ]
    paragraphs += [f"Left out, because its files cannot be used: {row.reason}." for row in run.left_out]
    paragraphs += [f"{site}: {one.split.words}." for site, one in observed.items()]
    paragraphs += [f"{site}: {note}." for site, one in observed.items() for note in one.observations.notes]
    paragraphs.append(
        f"Fitted: {', '.join(config.fluxes)} against the {TARGET_WORDS.get(config.target, config.target)}, on the "
        "train period only. All scores of 'default' and 'calibrated' are from the land surface model run over the "
        "whole record with those parameters, whichever path found them."
    )
    paragraphs.append(_closure_note(observed))
    paragraphs += _result_notes(run)
    paragraphs.append(
        f"This is one run with one seed ({config.seed}). How much a result depends on the seed only several runs show."
    )
    return paragraphs


def _closure_note(observed: dict[str, Observed]) -> str:
    ratios = {site: closure(one.observations) for site, one in observed.items()}
    closures = ", ".join(f"{site} {r[0]:.2f} ({r[1]} steps)" for site, r in ratios.items() if r)
    return (
        "Towers do not close the energy balance: (Qle + Qh) / (Rnet - Qg) of the sums over steps with all four "
        "measured "
        + (f"is {closures}. " if closures else "is not known here (a flux is missing). ")
        + "The model conserves energy, so it cannot match both uncorrected fluxes and net radiation; read R, NME and "
        "the scores against the corrected fluxes beside the uncorrected RMSE."
    )


def _result_notes(run: Run) -> list[str]:
    paragraphs = []
    for change in changes(run.metrics, "test", "raw"):
        if change.r < 0:
            paragraphs.append(
                f"{FLUX_NAMES[change.flux]}: the correlation fell on the test period ({percent(change.r)})."
            )
        if change.doubtful:
            paragraphs.append(
                f"{FLUX_NAMES[change.flux]}: the default R of {', '.join(change.doubtful)} is near or below 0, so its "
                "relative change means little."
            )
    on_bound = [
        f"{row.name.split('.')[-1]} ({row.site})"
        for row in run.parameters
        if not BOUND_SHARE <= row.share(row.calibrated) <= 1.0 - BOUND_SHARE and row.calibrated != row.default
    ]
    if on_bound:
        paragraphs.append(
            f"On a bound, or within 1 % of the range of it: {', '.join(on_bound)}. A value on a bound stands for "
            "something the model or the data lack, not for the plant."
        )
    unchanged = [site for site in run.sites if all(r.calibrated == r.default for r in run.parameters if r.site == site)]
    if unchanged:
        paragraphs.append(
            f"{', '.join(unchanged)}: nothing beat the default on the training record, so the default is kept."
        )
    steps = [row for row in run.losses if row.epoch > 0]
    clipped = [row for row in steps if row.clipped]
    if clipped:
        paragraphs.append(f"The gradient was shortened to clip_norm in {len(clipped)} of {len(steps)} site-epochs.")
    return paragraphs


def _versions(run: Run) -> dict[str, str]:
    """Who wrote what: the version of the run (from its model file) and of this page."""
    with xr.open_dataset(run.model_file(run.sites[0], STAGES[1])) as dataset:
        made_by = str(dataset.attrs.get("jlsm_version", "unknown"))
    return {"run": made_by, "page": jlsm.__version__}


def _tables(run: Run) -> list[tuple[str, str, list]]:
    tables = [(period, target, score_lines(run.metrics, period, target)) for period in PERIODS for target in TARGETS]
    return [(period, target, _with_change(lines)) for period, target, lines in tables if lines]


def _with_change(lines: list) -> list[tuple]:
    """Each line of scores with its RMSE relative to the default's."""
    default = {(line.site, line.flux): line.scores.rmse for line in lines if line.stage == "default"}
    pairs = []
    for line in lines:
        base = default.get((line.site, line.flux), 0.0)
        change = line.scores.rmse / base - 1.0 if base and line.stage != "default" else None
        pairs.append((line, change))
    return pairs


def _cycles(run: Run, observed: dict[str, Observed]) -> list[tuple[str, Picture]]:
    """Mean cycles by site: drawn anew, or the picture the run left where the observations are out of reach."""
    pictures = []
    for site in run.sites:
        alt = f"Mean seasonal and diurnal cycles at {site}"
        left = run.directory / cycles_file(site)
        if site in observed:
            pictures.append((site, picture(observed[site].figure, alt)))
        elif left.is_file():
            data = base64.b64encode(left.read_bytes()).decode("ascii")
            pictures.append((site, Picture(f"data:image/png;base64,{data}", alt)))
    return pictures


def _missing(why: dict[str, str]) -> list[tuple[str, str]]:
    """Sites without observations, those with the same reason together."""
    return [(", ".join(site for site in why if why[site] == reason), reason) for reason in dict.fromkeys(why.values())]


def tone(change: float, better: int) -> str:
    """Class of a table cell: ``better`` is the sign of an improvement; a change that prints as zero has no tone."""
    if not abs(change) >= 0.0005:
        return ""
    return "better" if change * better > 0 else "worse"


def percent(value: float) -> str:
    """A relative change with its sign, e.g. ``−12.3 %``."""
    if not math.isfinite(value):
        return "undefined"
    text = f"{100 * value:+.1f} %"
    return "0.0 %" if text[1:] == "0.0 %" else text.replace("-", "−")


def fixed(value: float, digits: int) -> str:
    """A number with fixed decimals; a dash where it is undefined."""
    return f"{value:.{digits}f}".replace("-", "−") if math.isfinite(value) else "–"


def significant(value: float) -> str:
    """Four significant digits."""
    return f"{value:.4g}".replace("-", "−") if math.isfinite(value) else "–"


def _short(name: str) -> str:
    return name.split(".")[-1]
