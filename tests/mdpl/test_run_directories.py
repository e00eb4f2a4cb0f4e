"""A run directory belongs to one run: nothing of anybody's is removed, and nothing of two runs is mixed."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from jlsm.errors import InputError, RepairWarning
from jlsm.files import host_token
from mdpl.calibration import CalibrationProgress, calibrate
from mdpl.cli import app
from mdpl.config import Config
from mdpl.files import locked, read_archive, write_archive
from mdpl.files.lock import LOCK_FILE, SILENCE
from mdpl.files.mark import MARK_FILE, read_mark
from mdpl.report.page import write_report
from mdpl.runs.claim import run_files
from mdpl.runs.directory import read_run
from mdpl.scale.transfer import transfer
from mdpl.unknowns.generator import load_generator
from tests.mdpl.checkpoint_files import as_0_1_0, edit_facts
from tests.mdpl.fakes import FAKE_PATH, make_tower

TRUTH = {"vegetation.vcmax25": 60.0}
QUICK = Config(parameters=tuple(TRUTH), epochs=2, window_days=120, windows_per_step=1, refresh_every=1, hidden=8,
               loss={"mse": 1.0})  # fmt: skip
REPOSITORY = Path(__file__).parents[2]


def run(folder, *, overwrite=False, resume=False, progress=None, code="XX-Toy", **changes):
    config = dataclasses.replace(QUICK, output=str(folder), **changes)
    towers = [make_tower(TRUTH, days=365, code=code)]
    return calibrate(config, path=FAKE_PATH, towers=towers, overwrite=overwrite, resume=resume, progress=progress)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs: of a network with a seasonal parameter, and of one site's own numbers."""
    folder = tmp_path_factory.mktemp("runs")
    run(folder / "network", time_varying={"vegetation.vcmax25": "seasonal"})
    run(folder / "direct", learner="direct")
    return folder


@pytest.fixture
def network(runs, tmp_path):
    return shutil.copytree(runs / "network", tmp_path / "run")


# ---- whose it is --------------------------------------------------------------------------------------------------


def mlflow(folder):
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "epoch=3.ckpt").write_text("months of GPU time")


def website(folder):
    (folder / "config.toml").write_text('baseURL = "https://example.org"\n')
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "1").mkdir()


def own_config(folder):
    (folder / "config.toml").write_text("epochs = 3\n")
    (folder / "metrics.csv").write_text("accuracy,loss\n0.9,0.1\n")


def other_mark(folder):
    (folder / MARK_FILE).write_text('command = "make"\n')


@pytest.mark.parametrize("fill", [mlflow, website, own_config, other_mark])
@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_a_directory_of_someone_else_is_left_alone(tmp_path, fill, how):
    fill(tmp_path)
    before = content(tmp_path)
    for command in (run, lambda folder, **how: transfer_of(folder, how.get("overwrite", False))):
        with pytest.raises(
            InputError, match="no run of mdpl: choose another|is no mark of a run|no run to resume"
        ) as e:
            command(tmp_path, **how)
        assert "\n" not in str(e.value) and content(tmp_path) == before


def transfer_of(folder, overwrite=False):
    towers = [make_tower(TRUTH, days=365, code=f"XX-{name}", seed=i) for i, name in enumerate(("One", "Two"))]
    return transfer(dataclasses.replace(QUICK, output=str(folder)), path=FAKE_PATH, towers=towers, overwrite=overwrite)


def test_the_line_says_what_is_there_and_what_to_do(tmp_path):
    for name in "abcde":
        (tmp_path / name).touch()
    with pytest.raises(InputError, match=r"holds a, b, c and 2 more, and no run of mdpl: choose another -o, a new or"):
        run(tmp_path)


def test_a_run_of_another_kind_is_no_place(tmp_path, network):
    with pytest.raises(InputError, match="holds a run of mdpl calibrate: choose another -o"):
        transfer_of(network, overwrite=True)


def test_an_empty_or_hidden_directory_serves(tmp_path):
    (tmp_path / ".gitkeep").touch()
    run(tmp_path)
    assert (tmp_path / ".gitkeep").exists() and (tmp_path / "metrics.csv").is_file()
    assert not (tmp_path / LOCK_FILE).exists()


# ---- one run ------------------------------------------------------------------------------------------------------


def test_overwrite_leaves_nothing_of_the_old_run_and_all_of_the_user(network):
    (network / "notes.txt").write_text("mine")
    (network / "checkpoints" / "notes.txt").write_text("mine too")
    (network / "checkpoints_surrogate" / "7" / "state").mkdir(parents=True)
    old = read_mark(network).identity
    assert {"generator.npz", "parameters_seasonal.csv", "XX-Toy_default.nc"} <= content(network).keys()
    run(network, overwrite=True, learner="direct", code="XX-New")
    left = content(network)
    assert {"notes.txt", "checkpoints/notes.txt", "XX-New_default.nc"} <= left.keys()
    assert not {"generator.npz", "parameters_seasonal.csv", "XX-Toy_default.nc", "cycles_XX-Toy.png"} & left.keys()
    assert not (network / "checkpoints_surrogate").exists()
    assert read_mark(network).identity != old and read_mark(network).sites == ("XX-New",)


def test_a_killed_overwrite_is_begun_again(network):
    """The config goes first: what is left then is still ours."""
    (network / "config.toml").unlink()
    with pytest.raises(InputError, match="holds no run to resume"):
        run(network, resume=True)
    run(network, learner="direct")
    assert not (network / "generator.npz").exists()


def test_every_file_is_accounted_for(runs):
    for name in ("network", "direct"):
        folder = runs / name
        files = {path.name for path in folder.iterdir() if path.is_file()}
        assert files - {MARK_FILE, "config.toml"} == set(read_mark(folder).files) <= set(run_files(["XX-Toy"]))


@pytest.mark.parametrize("name", ["metrics.csv", "parameters.csv", "loss.csv", "XX-Toy_calibrated.nc", "config.toml"])
def test_files_of_another_run_are_refused(runs, network, name):
    shutil.copy(runs / "direct" / name, network / name)
    with pytest.raises(InputError, match=f"{name}: .*of the run of this directory|{name}: is not as the run"):
        write_report(network)
    with pytest.raises(InputError, match=name):
        read_run(network).to_dataset()


def test_files_that_no_run_left_are_refused(runs, network, tmp_path):
    direct = shutil.copytree(runs / "direct", tmp_path / "direct")
    for name in ("parameters_seasonal.csv", "generator.npz"):
        shutil.copy(network / name, direct / name)
    with pytest.raises(InputError, match=r"parameters_seasonal.csv: run.toml does not name it"):
        read_run(direct)
    with pytest.raises(InputError, match=r"generator.npz: run.toml does not name it"):
        load_generator(direct)


def test_lines_may_be_appended_and_data_may_move(network):
    with (network / "metrics.csv").open("a") as stream:
        stream.write((network / "metrics.csv").read_text().splitlines()[1].replace("default", "1lin") + "\n")
    text = (network / "config.toml").read_text()
    (network / "config.toml").write_text(text.replace('data = ""', 'data = "/elsewhere"'))
    assert {"1lin"} <= {row.stage for row in read_run(network).metrics}
    write_report(network)


def test_a_page_of_someone_else_is_left_alone(network):
    (network / "report.html").write_text("<title>My own words</title>")
    with pytest.raises(InputError, match="report.html: is there already and is no report of mdpl"):
        write_report(network)


def test_checkpoints_of_another_run_are_refused(runs, tmp_path):
    first = shutil.copytree(runs / "direct", tmp_path / "run")
    run(tmp_path / "other", learner="direct")
    shutil.rmtree(first / "checkpoints")
    shutil.copytree(tmp_path / "other" / "checkpoints", first / "checkpoints")
    with pytest.raises(InputError, match="checkpoint of another run"):
        run(first, resume=True, learner="direct")


def test_transfer_is_one_run_too(tmp_path):
    transfer_of(tmp_path / "t")
    with pytest.raises(InputError, match="an earlier run: choose another -o RUN_DIR, go on with --resume, or add"):
        transfer_of(tmp_path / "t")
    shutil.copytree(tmp_path / "t" / "without_XX-One", tmp_path / "t" / "without_XX-Gone")  # of an earlier run
    (tmp_path / "t" / "without_me").mkdir()
    transfer_of(tmp_path / "t", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "t").iterdir()) == [
        MARK_FILE, "transfer.csv", "without_XX-One", "without_XX-Two", "without_me"
    ]  # fmt: skip


def test_baselines_do_not_replace_a_table(tmp_path):
    (tmp_path / "metrics.csv").write_text("precious")
    result = CliRunner().invoke(app, ["baselines", "--data", str(tmp_path), "-o", str(tmp_path / "metrics.csv")])
    assert result.exit_code == 2 and "metrics.csv: is there already" in result.stderr
    assert (tmp_path / "metrics.csv").read_text() == "precious"


# ---- runs of earlier versions -------------------------------------------------------------------------------------


@pytest.fixture
def old(network):
    (network / MARK_FILE).unlink()
    as_0_1_0(network / "checkpoints")
    return network


def test_an_old_run_is_read_resumed_and_overwritten(old):
    write_report(old)
    assert read_mark(old) is None, "reading changes nothing"
    with pytest.raises(InputError, match="holds an earlier run"):
        run(old)
    with pytest.warns(RepairWarning, match="of an earlier version"):
        run(old, resume=True, time_varying={"vegetation.vcmax25": "seasonal"})
    assert read_mark(old) is not None
    (old / MARK_FILE).unlink()
    run(old, overwrite=True, learner="direct")
    assert not (old / "generator.npz").exists()


# ---- the lock -----------------------------------------------------------------------------------------------------

HOLDER = """
import sys, time
from pathlib import Path
from mdpl.files import locked
with locked(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(network):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(network)], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("command", ["calibrate", "overwrite", "resume", "report"])
def test_two_processes(network, holder, command):
    before = content(network)
    with pytest.raises(
        InputError, match=rf"process {holder.pid} on .* is at work there since .*: wait for it"
    ) as error:
        if command == "report":
            write_report(network)
        else:
            run(network, overwrite=command == "overwrite", resume=command == "resume")
    assert "\n" not in str(error.value) and content(network) == before


def test_a_killed_holder_holds_nothing(network, holder):
    holder.kill()
    holder.wait()
    assert (network / LOCK_FILE).exists()
    write_report(network)
    assert not (network / LOCK_FILE).exists()


def held_elsewhere(folder, age, pid=1):
    text = {"pid": pid, "machine": "00000000", "host": "node7", "since": "2026-01-01T00:00:00", "command": "mdpl x"}
    (folder / LOCK_FILE).write_text(json.dumps(text))
    os.utime(folder / LOCK_FILE, (time.time() - age,) * 2)


def test_a_holder_on_another_machine_counts_until_it_is_silent(tmp_path):
    held_elsewhere(tmp_path, SILENCE / 2)
    for _ in range(2):  # asking is no sign of life
        with pytest.raises(InputError, match=r"process 1 on node7 .*if it is gone, delete .*mdpl-lock"):
            with locked(tmp_path):
                pass
    held_elsewhere(tmp_path, 2 * SILENCE)
    with locked(tmp_path):
        text = json.loads((tmp_path / LOCK_FILE).read_text())
        assert (text["pid"], text["host"], text["machine"]) == (os.getpid(), socket.gethostname(), host_token())
    assert not list(tmp_path.iterdir())


def test_without_the_kernels_locks_the_text_decides(tmp_path, monkeypatch):
    monkeypatch.setattr("mdpl.files.lock.fcntl", None)
    text = {"pid": os.getppid(), "machine": host_token(), "host": "here", "since": "now", "command": "mdpl x"}
    (tmp_path / LOCK_FILE).write_text(json.dumps(text))
    with pytest.raises(InputError, match=f"process {os.getppid()} on here"):
        with locked(tmp_path):
            pass
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    (tmp_path / LOCK_FILE).write_text(json.dumps(text | {"pid": dead.pid}))
    with locked(tmp_path), locked(tmp_path):
        assert (tmp_path / LOCK_FILE).exists()
    assert not (tmp_path / LOCK_FILE).exists()


# ---- verified when read -------------------------------------------------------------------------------------------


def test_a_changed_archive_is_refused(tmp_path):
    file = tmp_path / "a.npz"
    write_archive(file, {"mean": [0.1, 0.2]}, {"w": [1.0, 2.0]})
    facts, arrays = read_archive(file, "train again")
    assert facts == {"mean": [0.1, 0.2]}
    with np.load(file) as stored:
        about = json.loads(str(stored["about"]))
    np.savez(file, about=json.dumps(about | {"mean": [9.0, 0.2]}), w=arrays["w"])
    with pytest.raises(InputError, match="a.npz: has changed since it was written: restore it, or train again"):
        read_archive(file, "train again")
    np.savez(file, about=json.dumps({"mean": [9.0, 0.2]}), w=arrays["w"])
    with pytest.warns(RepairWarning, match="has no digest"):
        assert read_archive(file, "train again")[0] == {"mean": [9.0, 0.2]}


def interrupted(folder):
    def epoch(number, epochs, losses):
        if number == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, epochs=4, learner="direct", progress=CalibrationProgress(epoch=epoch))


@pytest.mark.parametrize("changes", [{"best_loss": [0.0]}, {"epoch": 1}, {"rows": []}, {"draws": None}])
def test_changed_facts_are_a_spoiled_checkpoint(tmp_path, changes):
    interrupted(tmp_path / "run")
    edit_facts(tmp_path / "run" / "checkpoints" / "3", **changes)
    with pytest.warns(RepairWarning, match="checkpoint is not readable .*changed since.*: trying the one before"):
        resumed = run(tmp_path / "run", epochs=4, learner="direct", resume=True)
    whole = run(tmp_path / "whole", epochs=4, learner="direct")
    assert resumed.trained.rows == whole.trained.rows


@pytest.mark.parametrize("changes", [{"draws": None}, {"rows": [{"epoch": 1}]}, {"best_loss": None}])
def test_an_incomplete_checkpoint_of_an_earlier_version_is_one_line(tmp_path, changes):
    interrupted(tmp_path / "run")
    as_0_1_0(tmp_path / "run" / "checkpoints", **changes)
    with pytest.warns(RepairWarning, match="of an earlier version"), pytest.raises(InputError, match="incomplete"):
        run(tmp_path / "run", epochs=4, learner="direct", resume=True)


def test_another_version_says_so_and_another_surrogate_is_refused(tmp_path, monkeypatch):
    interrupted(tmp_path / "run")
    monkeypatch.setattr("mdpl.training.resume.package_version", lambda: "9.9")
    with pytest.warns(RepairWarning, match="written by version .*, this is 9.9"):
        run(tmp_path / "run", epochs=4, learner="direct", resume=True)
    towers = [make_tower(TRUTH, days=365)]
    config = dataclasses.replace(QUICK, output=str(tmp_path / "run"), epochs=4, learner="direct")
    with pytest.raises(InputError, match="through another surrogate"):
        calibrate(config, path=FAKE_PATH._replace(identity="b"), towers=towers, resume=True)
