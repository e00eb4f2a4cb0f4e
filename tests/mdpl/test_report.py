"""The report: complete, self-contained, honest about what it shows, clear about what is broken."""

from __future__ import annotations

import base64
import csv
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from typer.testing import CliRunner

from jlsm.errors import InputError
from mdpl.calibration import calibrate
from mdpl.cli import app
from mdpl.config import Config
from mdpl.files.mark import MARK_FILE
from mdpl.report.figures import closure
from mdpl.report.page import percent, tone, write_report
from mdpl.report.tables import changes, surrogate_gaps
from mdpl.runs.directory import read_metrics, read_run
from mdpl.scores.evaluation import MetricRow
from mdpl.scores.metrics import Scores
from tests.mdpl.fakes import FAKE_PATH, make_tower, write_flux

TRUTH = {"vegetation.vcmax25": 60.0, "vegetation.leaf_reflectance_nir": 0.4}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A small run of three sites, one of them hourly and one synthetic by name."""
    towers = [
        make_tower(TRUTH, days=365, noise=10.0),
        make_tower({**TRUTH, "vegetation.vcmax25": 150.0}, days=365, code="XX-Two", interval=3600, noise=10.0, seed=3),
        make_tower(TRUTH, days=365, code="XX-Tri-syn", noise=10.0, seed=4),
    ]
    output = tmp_path_factory.mktemp("report") / "run"
    config = Config(parameters=tuple(TRUTH), epochs=6, learning_rate=0.3, window_days=120, output=str(output))
    calibrate(config, path=FAKE_PATH, towers=towers)
    (output / "report.html").unlink()  # each test writes its own
    return output


@pytest.fixture
def run(finished, tmp_path):
    """A copy that a test may break."""
    return shutil.copytree(finished, tmp_path / "run")


class Page(HTMLParser):
    """Tags still open, addresses and visible text of a page."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.addresses, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(directory) -> Page:
    return Page(write_report(directory).read_text(encoding="utf-8"))


def append(path, rows):
    with path.open("a", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def test_page_is_whole_and_needs_nothing_else(run):
    page = page_of(run)
    assert page.open == [], "every tag is closed"
    assert page.addresses and all(address.startswith("data:image/") for address in page.addresses)
    raw = (run / "report.html").read_text(encoding="utf-8")
    assert "@import" not in raw and "url(" not in raw
    assert 'name="viewport"' in raw and "prefers-color-scheme: dark" in raw and "@media print" in raw
    assert not list(run.glob(".report*")), "no temporary file stays"


def test_page_holds_every_figure(run):
    page = page_of(run)
    for address in page.addresses:
        kind, data = address.split(";base64,")
        assert base64.b64decode(data)[:5] == {"data:image/svg+xml": b"<?xml", "data:image/png": b"\x89PNG\r"}[kind]
    # two Taylor diagrams, three sites' cycles (left by the calibration: these towers have no files), parameters, loss
    assert len(page.addresses) == 2 + 3 + 1 + 1
    assert "observations not found when this page was made" in page.text


def test_page_says_what_it_shows(run):
    text = page_of(run).text
    for words in ("XX-Toy", "Synthetic observations at XX-Tri-syn", "jlsm 0.", "Test period, uncorrected observations",
                  "Step of the comparison: daily at XX-Toy, XX-Tri-syn; hourly at XX-Two", "do not close the energy",
                  "one run with one seed (0)", "mdpl calibrate", "vcmax25", "RMSE fell at"):  # fmt: skip
        assert words in text, words


def test_every_score_on_the_page_is_that_of_the_table(run):
    text = page_of(run).text
    for row in read_metrics(run / "metrics.csv"):
        assert f"{row.scores.rmse:.2f}" in text and f"{row.scores.kge:.3f}".replace("-", "−") in text


def test_same_run_same_page(run):
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


def test_headline_is_the_mean_of_relative_changes():
    def row(site, stage, rmse, r, std):
        numbers = Scores(float(rmse), 0.0, float(r), float(std), 40.0, 0.5, 0.5, 0.5, 100)
        return MetricRow.of_scores(numbers, site=site, stage=stage, flux="Qle", period="test", step="daily")

    metrics = [row("A", "default", 20, 0.8, 20), row("A", "calibrated", 10, 0.6, 30), row("A", "1lin", 1, 1, 1),
               row("B", "default", 40, 0.5, 40), row("B", "calibrated", 44, 0.6, 40),
               row("C", "default", 40, 0.5, 40)]  # fmt: skip
    (change,) = changes(metrics, "test", "raw")
    assert change.rmse == pytest.approx((-0.5 + 0.1) / 2)
    assert change.r == pytest.approx((-0.25 + 0.2) / 2)
    assert change.std == pytest.approx((0.5 + 0.0) / 2)
    assert change.spread == pytest.approx((0.75, 0.875))
    assert (change.improved, change.sites, change.doubtful) == (1, 2, ())


def test_surrogate_rows_give_the_gap(run):
    rows = list(csv.reader((run / "metrics.csv").open()))
    claims = [
        [*r[:2], "surrogate", "test", str(0.5 * float(r[4])), *r[5:]] for r in rows if r[2:4] == ["calibrated", "test"]
    ]
    append(run / "metrics.csv", claims)
    gaps = surrogate_gaps(read_run(run).metrics)
    assert len(gaps) == 6
    for gap in gaps:
        assert gap.claimed == pytest.approx(0.5 * gap.reached)
        assert gap.kept == pytest.approx((gap.default - gap.reached) / (gap.default - gap.claimed))
    page = page_of(run)
    assert "Surrogate against land surface model" in page.text
    assert len(page.addresses) == 7, "more stages do not cost the Taylor diagrams"


def test_seasonal_parameters_are_drawn(run):
    lines = [["XX-Toy", "vegetation.vcmax25", day, 80 + 20 * np.sin(day / 58)] for day in range(1, 366, 7)]
    (run / "parameters_seasonal.csv").write_text("site,name,day,value\n")
    append(run / "parameters_seasonal.csv", lines)
    (run / MARK_FILE).unlink()  # it does not name the table: in a marked directory that is another run's
    assert len(page_of(run).addresses) == 8


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("config.toml", None, r"config\.toml: no such file"),
        ("config.toml", "epochs = ", r"config\.toml: is not valid TOML"),
        ("metrics.csv", None, r"metrics\.csv: no such file: the calibration did not finish"),
        ("metrics.csv", "site,flux\n", r"metrics\.csv: no column stage"),
        ("loss.csv", "", r"loss\.csv: no column epoch"),
        ("parameters.csv", "site,name,default,calibrated,unit,lower,upper\n", r"parameters\.csv: no line under"),
        ("parameters.csv", "site,name,default,calibrated,unit,lower,upper\nA,b,x,1,m,0,1\n", r"line 2: default = 'x'"),
        ("parameters.csv", "site,name,default,calibrated,unit,lower,upper\nA,b,1\n", r"line 2: not 7 cells"),
        ("XX-Toy_default.nc", None, r"XX-Toy_default\.nc: no such file"),
        ("XX-Toy_calibrated.nc", "not NetCDF", r"XX-Toy_calibrated\.nc: not a readable NetCDF file"),
    ],
)
def test_broken_run_directory_names_the_file(run, name, text, words):
    if text is None:
        (run / name).unlink()
    else:
        (run / name).write_text(text)
    with pytest.raises(InputError, match=words):
        write_report(run)
    assert not (run / "report.html").exists()


def test_command(run):
    runner = CliRunner()
    result = runner.invoke(app, ["report", str(run)])
    assert result.exit_code == 0 and (run / "report.html").is_file()
    result = runner.invoke(app, ["report", str(run / "nothing")])
    assert result.exit_code == 2 and result.stderr.count("\n") == 1 and "no such directory" in result.stderr


def test_closure_is_the_ratio_of_sums():
    observations = make_tower({}, days=30, gaps=0.0).observations
    ratio, steps = closure(observations)
    assert steps == 30 and ratio == pytest.approx(1.0, abs=1e-5), "the fake tower's Qg is what is left"
    del observations.fluxes["Qg"]
    assert closure(observations) is None


@pytest.mark.parametrize(
    ("value", "text", "colour"),
    [
        (-0.1234, "−12.3 %", "better"),
        (0.02, "+2.0 %", "worse"),
        (-0.0001, "0.0 %", ""),
        (float("nan"), "undefined", ""),
    ],
)
def test_changes_in_words(value, text, colour):
    assert percent(value) == text
    assert tone(value, better=-1) == colour


def test_observations_where_config_says_are_drawn(run, tmp_path):
    """Observed cycles, split and closure where the data folder is at hand; the others keep their pictures."""
    tower = make_tower(TRUTH, days=365, noise=10.0)
    series = {name: one.values for name, one in tower.observations.fluxes.items()}
    (tmp_path / "XX-Toy_2001_Met.nc").touch()
    write_flux(tmp_path / "XX-Toy_2001_Flux.nc", series, step=86400, time_step="daily mean")
    config = (run / "config.toml").read_text().replace('data = ""', f'data = "{tmp_path}"')
    (run / "config.toml").write_text(re.sub(r"sites = \[.*?\]", 'sites = ["XX-Toy"]', config, flags=re.S))
    page = page_of(run)
    assert "no record of XX-Two" in page.text and "no record of XX-Toy" not in page.text
    assert re.search(r"four measured is XX-Toy \d\.\d\d \(365 steps\)", page.text)
    assert "XX-Toy: record of 1 whole year(s)" in page.text and "Qle: no Qle_qc" in page.text
    assert sum(address.startswith("data:image/svg") for address in page.addresses) == 2 + 1 + 1 + 1
