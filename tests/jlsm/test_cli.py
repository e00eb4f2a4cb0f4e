"""The command ``jlsm``: exit codes, one-line errors, files whole or not at all. The model is a stand-in here."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import netCDF4
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

from jlsm import io
from jlsm.command_line.app import app
from jlsm.parameters import PARAMETERS
from tests.jlsm.builders import fake_model, fake_outputs, fake_state, met_series, write_met

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def model(monkeypatch):
    """The stand-in in place of ``jlsm.simulation``; the precision and cache settings of jax are put back afterwards."""
    fake = fake_model()
    for door in ("jlsm.command_line.run_file", "jlsm.command_line.run_many"):
        monkeypatch.setattr(f"{door}.simulation", fake)
    before = {name: getattr(jax.config, name) for name in ("jax_enable_x64", "jax_compilation_cache_dir")}
    yield fake
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder with its own compilation cache."""
    monkeypatch.setenv("JLSM_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def jlsm_command(*arguments: object):
    """Run the command in this process."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run_unwatched(*arguments: object):
    """``jlsm run`` on a record of two days, of which the sun cannot tell anything."""
    return jlsm_command("run", *arguments, "--no-sun-check")


def refused(result) -> str:
    """The one line with which a command ended."""
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def test_a_run(model, folder, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)  # the user's choice would come first
    write_met(folder / "XX-Tst_2004_Met.nc")
    result = jlsm_command("run", "XX-Tst_2004_Met.nc")
    assert result.exit_code == 0, result.output
    assert "96 steps" in result.stderr and result.stdout == ""
    with xr.open_dataset(folder / "XX-Tst_2004_jlsm.nc") as dataset:
        forcing, _ = io.load_forcing(folder / "XX-Tst_2004_Met.nc")
        np.testing.assert_array_equal(dataset.Qh.values.reshape(-1), fake_outputs(forcing).Qh)
        assert "spin-up of 3 years" in dataset.attrs["history"]
    assert sorted(path.name for path in folder.iterdir()) == ["XX-Tst_2004_Met.nc", "XX-Tst_2004_jlsm.nc"]
    assert (folder.parent / "cache").is_dir()


def test_options(model, folder):
    write_met(folder / "m.nc", replace={"LAI_alternative": np.full(96, 4.0)})
    scale = np.linspace(0.5, 1, 48)
    (folder / "p.toml").write_text(f"vcmax25 = 66.0\n[vegetation]\nleaf_area_scale = {scale.tolist()}\n")
    result = jlsm_command(
        "run", "m.nc", "-o", "o.nc", "--parameters", "p.toml", "--precision", "float64", "--save-state", "s.nc",
        "--lai", "LAI_alternative", "--start", "2004-02-29", "--spinup-years", "0", "--quiet", "--no-sun-check",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    with xr.open_dataset(folder / "o.nc") as dataset:
        assert dataset.sizes["time"] == 48 and dataset.Qle.dtype == np.float64
        assert dataset.attrs["parameter_vegetation_vcmax25"] == 66.0
        np.testing.assert_allclose(dataset.parameter_vegetation_leaf_area_scale.values.reshape(-1), scale)
    assert result.stderr == ""


def test_a_run_goes_on_from_a_saved_state(model, folder):
    write_met(folder / "m.nc")
    assert jlsm_command("run", "m.nc", "--stop", "2004-02-29", "-o", "a.nc", "--save-state", "s.nc").exit_code == 0
    done = jlsm_command("run", "m.nc", "--start", "2004-02-29", "-o", "b.nc", "--state", "s.nc", "--save-state", "s.nc")
    assert done.exit_code == 0, done.output
    assert float(io.load_state(folder / "s.nc").snow_mass) == 96.0  # the stand-in counts steps there


def test_a_state_beyond_belief_costs_no_result(model, folder):
    write_met(folder / "m.nc")
    stream = model.stream

    def cold(*arguments):
        for steps, out, state in stream(*arguments):
            yield steps, out, dataclasses.replace(state, ground_temperature=0.0 * state.ground_temperature)

    model.stream = cold
    done = run_unwatched("m.nc", "-o", "a.nc", "--save-state", "s.nc")
    assert done.exit_code == 2 and "s.nc: state field ground_temperature = 0 K, believed from 150 to 400" in done.stderr
    assert (folder / "a.nc").is_file() and not (folder / "s.nc").exists()


def test_a_state_with_more_water_than_the_soil_holds_is_announced(model, folder):
    """A state of another soil would pour metres of runoff in its first hours."""
    write_met(folder / "m.nc")
    state = fake_state()
    wet = dataclasses.replace(state, soil_moisture=0.0 * state.soil_moisture + 0.6)
    io.save_state(wet, folder / "s.nc")
    options = ("--state", "s.nc", "--precision", "float64")
    done = run_unwatched("m.nc", "-o", "a.nc", *options)
    assert done.exit_code == 0
    assert "soil moisture of up to 0.600 m3 m-3 is more than the pores of this soil hold (0.451)" in done.stderr
    assert "2086 kg m-2 will run off" in done.stderr
    io.save_state(state, folder / "s.nc")
    assert "pores" not in run_unwatched("m.nc", "-o", "b.nc", *options).stderr


def test_a_state_of_another_site_or_time_is_announced(model, folder):
    write_met(folder / "m.nc")
    write_met(folder / "other.nc", attributes={"site_code": "XX-Two"})
    assert run_unwatched("m.nc", "--stop", "2004-02-29", "-o", "a.nc", "--save-state", "s.nc").exit_code == 0
    matching = run_unwatched("m.nc", "--start", "2004-02-29", "--state", "s.nc", "-o", "b.nc")
    assert matching.exit_code == 0 and "warning" not in matching.stderr
    early = run_unwatched("m.nc", "--state", "s.nc", "-o", "b.nc")
    assert early.exit_code == 0
    assert early.stderr.splitlines()[0] == (
        "warning: s.nc: the state belongs to 2004-02-29T00:00, the run starts at 2004-02-28T00:00: kept; "
        "start the run there, or spin up"
    )
    spun_up = run_unwatched("m.nc", "--state", "s.nc", "--spinup-years", "1", "-o", "b.nc")
    assert spun_up.exit_code == 0 and "warning" not in spun_up.stderr
    elsewhere = run_unwatched("other.nc", "--start", "2004-02-29", "--state", "s.nc", "-o", "c.nc")
    assert elsewhere.exit_code == 0
    assert elsewhere.stderr.startswith("warning: s.nc: is a state of site XX-Tst, the run is at XX-Two: kept;")
    assert elsewhere.stderr.count("warning") == 1


def test_repairs_are_said(model, folder):
    write_met(folder / "m.nc", replace={"CO2air": None})
    result = run_unwatched("m.nc")
    assert result.exit_code == 0 and result.stderr.startswith("warning: m.nc: CO2air is missing at 96 of 96")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.nc"], "none.nc: no such file"),
        (["bad.nc"], "bad.nc: Tair = 4.65385 at 2004-02-28T00:00 looks like degrees Celsius"),
        (["m.nc", "-o", "no/folder/o.nc"], "no/folder/o.nc: cannot be written"),
        (["m.nc", "-o", "."], "cannot be written"),
        (["m.nc", "-o", "m.nc"], "m.nc: the result would overwrite this input"),
        (["m.nc", "--save-state", "m_jlsm.nc"], "different files"),
        (["m.nc", "--parameters", "none.toml"], "none.toml: no such file"),
        (["m.nc", "--parameters", "p.toml"], "p.toml: parameter vegetation.vcmax25 = -1"),
        (["m.nc", "--state", "m.nc"], "m.nc: is not a jlsm state"),
        (["m.nc", "--start", "noon"], "start 'noon' is not a date"),
        (["m.nc", "--lai", "LAI_alternative"], "LAI_alternative is missing"),
    ],
)
def test_bad_input_ends_in_one_line(model, folder, arguments, words):
    write_met(folder / "m.nc")
    write_met(folder / "bad.nc", replace={"Tair": met_series(96, 1800.0)["Tair"] - 273.15})
    (folder / "p.toml").write_text("vcmax25 = -1")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    line = refused(jlsm_command("run", *arguments))
    assert words in line
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_output_path_is_tried_before_the_run(model, folder, monkeypatch):
    write_met(folder / "m.nc")

    def never(*arguments, **options):
        raise AssertionError("the run began")

    monkeypatch.setattr(model, "spin_up", never)
    assert "cannot be written" in refused(jlsm_command("run", "m.nc", "-o", "no/o.nc"))
    assert "cannot be written" in refused(jlsm_command("run", "m.nc", "--save-state", "no/s.nc"))


@pytest.mark.parametrize("option", ["-o", "--save-state"])
@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("m.nc/o.nc", "there is no folder"),  # below a file
        ("m.nc/deeper/o.nc", "there is no folder"),
        ("o" * 300 + ".nc", "File name too long"),
        ("no/" * 2000 + "o.nc", "File name too long"),
    ],
)
def test_an_output_that_nobody_can_write(model, folder, option, path, reason):
    """Not even root, whom no permission stops."""
    write_met(folder / "m.nc")
    before = (folder / "m.nc").read_bytes()
    line = refused(jlsm_command("run", "m.nc", option, path))
    assert f"{path}: cannot be written" in line and reason in line
    assert sorted(entry.name for entry in folder.iterdir()) == ["m.nc"]
    assert (folder / "m.nc").read_bytes() == before


def test_a_fault_in_mid_run_leaves_the_old_result(model, folder, monkeypatch):
    write_met(folder / "m.nc")
    (folder / "o.nc").write_text("precious")
    stream = model.stream

    def broken(*arguments):
        for number, (steps, out, state) in enumerate(stream(*arguments)):
            bad = dataclasses.replace(out, Qle=out.Qle.at[3].set(jnp.nan)) if number == 1 else out
            yield steps, bad, state

    monkeypatch.setattr(model, "stream", broken)
    result = run_unwatched("m.nc", "-o", "o.nc", "--overwrite")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: XX-Tst: Qle is not finite at 2004-02-28T21:30: please report it with the Met file\n"
    )
    assert (folder / "o.nc").read_text() == "precious"
    assert sorted(path.name for path in folder.iterdir()) == ["m.nc", "o.nc"]


def test_usage_errors_end_with_two(folder):
    assert jlsm_command("run").exit_code == 2
    assert jlsm_command("run", "m.nc", "--precision", "float16").exit_code == 2
    assert jlsm_command("run", "m.nc", "--spinup-years", "-1").exit_code == 2
    assert jlsm_command("walk").exit_code == 2


def test_version_and_help():
    assert jlsm_command("--version").stdout.startswith("jlsm ")
    for words in (["--help"], ["run", "--help"], ["parameters", "--help"]):
        assert jlsm_command(*words).exit_code == 0
    words = " ".join(jlsm_command("run", "--help").stdout.replace("│", " ").split())
    assert "<MET>_jlsm.nc in this folder" in words and "3, or 0 with --state" in words


def test_parameters_as_text(folder):
    lines = jlsm_command("parameters").stdout.splitlines()
    assert lines[0].split("\t")[:6] == ["name", "value", "unit", "lower", "upper", "calibratable"]
    rows = {line.split("\t")[0]: line.split("\t") for line in lines[1:]}
    assert set(rows) == set(PARAMETERS)
    assert all(len(row) == 8 and all(row) for row in rows.values())


def test_parameters_of_a_site(folder):
    write_met(folder / "m.nc")
    rows = dict(line.split("\t")[:2] for line in jlsm_command("parameters", "--site", "m.nc").stdout.splitlines()[1:])
    assert float(rows["vegetation.canopy_height"]) == 1.0
    assert "no such file" in refused(jlsm_command("parameters", "--site", "none.nc"))
    write_met(folder / "odd.nc", igbp="MOO")
    assert "unknown IGBP class 'MOO'" in refused(jlsm_command("parameters", "--site", "odd.nc"))


def test_help_does_not_wait_for_jax():
    code = "import sys, jlsm.command_line.app; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


@pytest.mark.slow
def test_the_real_model_restarts_to_the_same_bits(folder):
    """Two half runs through a saved state equal one whole run, in a fresh process each."""
    write_met(folder / "m.nc")

    def command(*arguments: str) -> None:
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        subprocess.run(
            [sys.executable, "-m", "jlsm.command_line", "run", "m.nc", *arguments],
            cwd=folder,
            env=environment,
            check=True,
        )

    # a common start: the default one is at the mean air temperature of the record, which a cut changes
    command("--spinup-years", "0", "-o", "before.nc", "--save-state", "start.nc")
    command("--state", "start.nc", "-o", "whole.nc", "--save-state", "end.nc")
    command("--state", "start.nc", "--stop", "2004-02-29", "-o", "a.nc", "--save-state", "half.nc")
    command("--start", "2004-02-29", "--state", "half.nc", "-o", "b.nc", "--save-state", "end2.nc")
    with xr.open_dataset(folder / "whole.nc") as whole, xr.open_dataset(folder / "b.nc") as second:
        for name in whole.data_vars:
            if "time" in whole[name].dims:
                np.testing.assert_array_equal(whole[name].values[48:], second[name].values, err_msg=name)
    with netCDF4.Dataset(folder / "end.nc") as one, netCDF4.Dataset(folder / "end2.nc") as two:
        for name in one.variables:
            np.testing.assert_array_equal(one[name][...], two[name][...], err_msg=name)
