"""Files are whole, replace nothing of anybody else's, and are verified when they are read again."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import netCDF4
import numpy as np
import pytest
from typer.testing import CliRunner

from jlsm import files, io
from jlsm.command_line.app import app
from jlsm.errors import InputError, RepairWarning
from jlsm.io import state_file
from jlsm.parameters import default_parameters
from jlsm.state import State
from tests.jlsm.builders import fake_outputs, fake_state, write_met
from tests.mdpl.fakes import make_site

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def dataset(tmp_path):
    forcing, site = io.load_forcing(write_met(tmp_path / "met.nc"))
    return io.to_dataset(fake_outputs(forcing), forcing, site)


def write_something(path: Path) -> None:
    """A file as jlsm's own writers never leave it."""
    with netCDF4.Dataset(path, "w") as data:
        data.title = "years of work"


@pytest.mark.parametrize("foreign", [lambda path: path.write_text("notes"), write_something, write_met])
def test_writers_leave_what_is_not_theirs(tmp_path, dataset, foreign):
    target = tmp_path / "x.nc"
    foreign(target)
    before = target.read_bytes()
    writers = (
        lambda **how: io.write_dataset(dataset, target, **how),
        lambda **how: io.save_state(fake_state(), target, **how),
        lambda **how: io.write_parameters(default_parameters(make_site()), target, **how),
    )
    for write in writers:
        with pytest.raises(InputError, match="x.nc: is there already and is no .*overwrite it") as error:
            write()
        assert "\n" not in str(error.value) and target.read_bytes() == before
    for write in writers:
        write(overwrite=True)
        write()  # its own
        assert target.read_bytes() != before


def test_a_result_is_no_state_and_a_changed_parameter_file_is_the_users(tmp_path, dataset):
    io.write_dataset(dataset, tmp_path / "o.nc")
    with pytest.raises(InputError, match="is no saved state of jlsm"):
        io.save_state(fake_state(), tmp_path / "o.nc")
    io.save_state(fake_state(), tmp_path / "s.nc")
    with pytest.raises(InputError, match="is no result of jlsm"):
        io.write_dataset(dataset, tmp_path / "s.nc")
    io.write_parameters(default_parameters(make_site()), tmp_path / "p.toml")
    text = (tmp_path / "p.toml").read_text()
    (tmp_path / "p.toml").write_text(text.replace("vcmax25 = ", "vcmax25 = 1"))
    with pytest.raises(InputError, match="no parameter file as jlsm wrote it"):
        io.write_parameters(default_parameters(make_site()), tmp_path / "p.toml")


def test_the_command_leaves_what_is_not_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_met(tmp_path / "m.nc")
    write_met(tmp_path / "other.nc")
    os.link(tmp_path / "m.nc", tmp_path / "linked.nc")
    for arguments, words in (
        (["-o", "other.nc"], "other.nc: is there already and is no result of jlsm"),
        (["--save-state", "other.nc"], "other.nc: is there already and is no saved state"),
        (["-o", "m.nc", "--overwrite"], "would overwrite this input"),
        (["-o", "linked.nc", "--overwrite"], "would overwrite this input"),
        (["--save-state", "m.nc", "--overwrite"], "would overwrite this input"),
    ):
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        result = CliRunner().invoke(app, ["run", "m.nc", *arguments])
        assert result.exit_code == 2 and words in result.stderr and result.stderr.count("\n") == 1
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    mine = files.part_of(tmp_path / "o.nc").name
    host = mine.split(".")[-3]
    names = {
        f".o.nc.{host}.{dead.pid}.part": False,
        f".other.nc.{host}.{dead.pid}.part": False,
        f".other.nc.{host}.{os.getppid()}.part": True,
        f".o.nc.{'0' * 8}.{dead.pid}.part": True,  # of another machine
        ".DE-Geb_Met.nc.part": True,  # a download that goes on
        ".vimrc.part": True,
    }
    for name in names:
        (tmp_path / name).write_text("x")
    files.check_writable(tmp_path / "o.nc")
    assert {name: (tmp_path / name).exists() for name in names} == names
    (tmp_path / f".o.nc.{host}.{os.getppid()}.part").write_text("x")
    with pytest.raises(InputError, match=f"o.nc: process {os.getppid()} is writing it: wait"):
        files.check_writable(tmp_path / "o.nc")


def test_a_full_disk_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match="x.txt: cannot be written .No space left on device.: free space"):
        with files.whole_file(tmp_path / "x.txt") as part:
            part.write_text("half")
            raise OSError(28, "No space left on device")
    assert not list(tmp_path.iterdir())


# ---- saved states -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("ground_temperature", 0.0, r"ground_temperature = 0 K, believed from 150 to 400"),
        ("soil_moisture", 5.0, r"soil_moisture = 5 m3 m-3, believed from 0 to 1"),
        ("soil_moisture", -1.0, r"soil_moisture = -1 m3 m-3"),
        ("snow_albedo", 7.0, r"snow_albedo = 7 -, believed from 0 to 1"),
        ("snow_mass", -3.0, r"snow_mass = -3 kg m-2"),
        ("soil_ice", 0.9, r"soil_ice = 0.9 is more than soil_moisture = "),
        ("canopy_ice", 0.9, r"canopy_ice = 0.9 is more than canopy_water = 0"),
    ],
)
def test_a_state_beyond_belief_is_refused(tmp_path, monkeypatch, field, value, words):
    state = fake_state()
    broken = dataclasses.replace(state, **{field: jnp.full_like(getattr(state, field), value)})
    with pytest.raises(InputError, match=words) as refused:
        io.save_state(broken, tmp_path / "s.nc")
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(state_file, "_check", lambda file, values: None)
    io.save_state(broken, tmp_path / "s.nc")
    monkeypatch.undo()
    with pytest.raises(InputError, match=words) as error:
        io.load_state(tmp_path / "s.nc")
    assert "\n" not in str(error.value) and "spin up again" in str(error.value)
    assert str(refused.value) == str(error.value), "the same line at writing and at reading"


def test_every_field_has_a_range():
    for field in dataclasses.fields(State):
        assert field.metadata["lower"] < field.metadata["upper"], field.name


@pytest.mark.parametrize("change", ["field", "site_code", "time", "jlsm_version"])
def test_a_changed_state_is_refused(tmp_path, change):
    forcing, site = io.load_forcing(write_met(tmp_path / "m.nc"))
    io.save_state(fake_state(), tmp_path / "s.nc", site, forcing)
    io.load_state(tmp_path / "s.nc")
    with netCDF4.Dataset(tmp_path / "s.nc", "a") as data:
        if change == "field":
            data["soil_moisture"][2] = 0.3
        else:
            data.setncattr(change, "other")
    with pytest.raises(InputError, match="has changed since it was written: restore it, or spin up again"):
        io.load_state(tmp_path / "s.nc")


def test_a_state_of_an_earlier_version_is_read_and_says_so(tmp_path):
    io.save_state(fake_state(), tmp_path / "s.nc")
    with netCDF4.Dataset(tmp_path / "s.nc", "a") as data:
        data.delncattr("sha256")
    with pytest.warns(RepairWarning, match="has no digest"):
        state = io.load_state(tmp_path / "s.nc")
    np.testing.assert_array_equal(state.soil_moisture, fake_state().soil_moisture)


# ---- signals ----------------------------------------------------------------------------------------------------

WRITER = """
import sys, time
from pathlib import Path
from jlsm.command_line.front_door import one_line_errors
from jlsm.files import whole_file
with one_line_errors("stopped: go on"), whole_file(sys.argv[1]) as part:
    part.write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGTERM, 143, "stopped by SIGTERM: go on\n"),
        (signal.SIGHUP, 129, "stopped by SIGHUP: go on\n"),
        (signal.SIGINT, 130, "stopped: go on\n"),
    ],
)
def test_signals_end_in_order(tmp_path, number, code, line):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "o.txt")],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    assert len(list(tmp_path.iterdir())) == 1
    time.sleep(0.1)
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, said) == (code, line)
    assert not list(tmp_path.iterdir())


def test_a_killed_process_leaves_a_part_that_the_next_removes(tmp_path):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "o.txt")]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.kill()
    process.wait()
    assert len(list(tmp_path.iterdir())) == 1
    files.check_writable(tmp_path / "another.txt")
    assert not list(tmp_path.iterdir())


STUBBORN = """
import time
from jlsm.command_line.front_door import one_line_errors
with one_line_errors():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("ending", flush=True)
        time.sleep(60)
"""


def test_a_second_signal_ends_at_once():
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    for word in ("ready\n", "ending\n"):
        assert process.stdout.readline() == word
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == -signal.SIGTERM
