"""The command line: tables, JSON, exit codes, and errors of one line."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from mdpl.cli import app
from tests.jlsm.builders import DATA
from tests.mdpl.fakes import FAKE_PATH, write_flux

runner = CliRunner()


@pytest.fixture
def files(tmp_path):
    observed = 50 + 40 * np.sin(np.arange(96) / 7)
    flux = write_flux(tmp_path / "XX_Flux.nc", {"Qle": observed, "Qle_cor": observed * 1.1, "Qh": observed / 2})
    model = write_flux(tmp_path / "XX_out.nc", {"Qle": observed + 3, "Qh": observed})
    return str(model), str(flux)


def test_evaluate_prints_a_table(files):
    result = runner.invoke(app, ["evaluate", *files])
    assert result.exit_code == 0, result.output
    lines = {line.split()[0]: line.split() for line in result.output.splitlines() if line.split()}
    assert lines["Qle"][1:4] == ["3.00", "3.00", "1.000"] and "Qle_cor" in lines
    assert all(len(line) <= 80 for line in result.output.splitlines() if line.lstrip().startswith("Q"))


def test_evaluate_prints_json_with_nothing_else(files):
    result = runner.invoke(app, ["evaluate", *files, "--json", "--to", "2001-01-01"])
    found = json.loads(result.stdout)
    row = found["scores"][0]
    assert row["flux"] == "Qle" and row["target"] == "raw" and row["step"] == "half-hourly" and row["n"] == 48
    assert row["rmse"] == pytest.approx(3.0, abs=1e-4) and set(row) >= {"bias", "r", "std_mod", "std_obs", "nme", "kge"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["evaluate", "absent.nc", "{flux}"], "absent.nc: no such file"),
        (["evaluate", "{model}", "absent.nc"], "absent.nc: no such file"),
        (["evaluate", "{model}", "{flux}", "--from", "yesterday"], "not an ISO date"),
        (["evaluate", "{model}", "{flux}", "--from", "2011-01-01"], "no measured step"),
        (["calibrate", "absent.toml"], "absent.toml: no such file"),
        (["calibrate", "--data", ".", "--resume", "--overwrite"], "give one of them"),
        (["calibrate", "--data", ".", "--learner", "forest"], "use one of network, direct"),
        (["transfer"], "transfer needs towers"),
        (["calibrate", "--data", "absent"], "no such folder"),
        (["calibrate", "--data", ".", "--path", "magic"], "use one of lsm, surrogate, surrogate-then-lsm"),
        (["calibrate", "--data", ".", "--target", "bowen"], "use one of raw, corrected"),
    ],
)
def test_mistakes_exit_with_2_and_one_line(files, arguments, words):
    model, flux = files
    result = runner.invoke(app, [part.format(model=model, flux=flux) for part in arguments])
    assert result.exit_code == 2, result.output
    assert words in result.stderr and result.stderr.strip().count("\n") == 0
    assert result.stderr.startswith("error: ")


def test_a_run_with_nan_is_refused(tmp_path, files):
    broken = np.ones(96)
    broken[5] = np.nan
    model = write_flux(tmp_path / "nan.nc", {"Qle": broken})
    result = runner.invoke(app, ["evaluate", str(model), files[1]])
    assert result.exit_code == 2 and "Qle at 2001-01-01T02:30:00: not finite" in result.stderr


def test_version():
    assert runner.invoke(app, ["--version"]).stdout.startswith("mdpl ")


@pytest.mark.parametrize("command", ["calibrate", "evaluate", "transfer", "sweep"])
def test_help(command):
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0 and "--help" in result.output


@pytest.mark.skipif(not (DATA / "plumber2").is_dir(), reason=f"no real towers at {DATA}: set MDPL_DATA")
@pytest.mark.parametrize(
    ("folder", "site", "step"), [("plumber2", "US-Bo1_1998", "half-hourly"), ("plumber2_daily", "DE-Seh", "daily")]
)
def test_calibrate_on_real_files_with_the_fake_model(tmp_path, monkeypatch, folder, site, step):
    """The whole command on real towers; only the physics is a stand-in, so it takes seconds."""
    monkeypatch.setattr("mdpl.calibration.lsm_path", lambda: FAKE_PATH)
    run = tmp_path / "run"
    arguments = ["calibrate", "--data", str(DATA / folder), "--sites", site, "-o", str(run), "--epochs", "2"]
    config = tmp_path / "config.toml"
    config.write_text('parameters = ["vcmax25", "leaf_area_scale"]\n')
    result = runner.invoke(app, [*arguments, str(config)])
    assert result.exit_code == 0, result.output
    assert "RMSE W m-2" in result.stdout and str(run) in result.stdout.replace("\n", "")
    code = site.split("_")[0]
    with (run / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["step"] for row in rows} == {step} and {row["target"] for row in rows} == {"raw", "corrected"}
    assert {row["flux"] for row in rows} >= {"Qle", "Qh", "Rnet"} and (run / f"{code}_calibrated.nc").is_file()
    result = runner.invoke(app, ["calibrate", "-o", str(run), "--resume"])
    assert result.exit_code == 0, "a finished run resumes to its end, with its own settings: " + result.output
    again = runner.invoke(app, [*arguments, str(config)])
    assert again.exit_code == 2 and "holds an earlier run" in again.stderr
    # the file scores as the table says
    flux = next((DATA / folder).glob(f"{site}*_Flux.nc"))
    scored = runner.invoke(app, ["evaluate", str(run / f"{code}_default.nc"), str(flux), "--json"])
    assert json.loads(scored.stdout)["scores"][0]["flux"] == "Qle"


@pytest.mark.skipif(not (DATA / "plumber2").is_dir(), reason=f"no real towers at {DATA}: set MDPL_DATA")
def test_a_tower_that_cannot_be_used_stops_the_others_or_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("mdpl.calibration.lsm_path", lambda: FAKE_PATH)
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    for path in (DATA / "plumber2_daily").glob("DE-Seh*"):
        (data / path.name).symlink_to(path)
    for name in ("AA-Bad_2001_Met.nc", "AA-Bad_2001_Flux.nc"):
        (data / name).write_text("no NetCDF")
    config = tmp_path / "config.toml"
    config.write_text('parameters = ["vcmax25"]\nepochs = 1\n')
    arguments = ["calibrate", str(config), "--data", str(data), "-o", str(run)]
    stopped = runner.invoke(app, arguments)
    assert stopped.exit_code == 2 and "AA-Bad_2001_Met.nc: cannot be read" in stopped.stderr and not run.exists()
    result = runner.invoke(app, [*arguments, "--skip-unusable"])
    assert result.exit_code == 0, result.output
    assert "left out: " in result.stdout and "AA-Bad_2001" in result.stdout.replace("\n", "")
    assert "AA-Bad_2001," in (run / "towers_left_out.csv").read_text()
    assert "Left out, because its files cannot be used" in (run / "report.html").read_text()
    assert runner.invoke(app, ["report", str(run)]).exit_code == 0
