"""Kill, SIGTERM, full disk, read-only folder, two processes, at random moments of real (small) runs in own processes.

Afterwards what is there is whole, nothing temporary of a finished process remains, and a resumed calibration has the
bits of one that nobody disturbed. Each is tried three times, ``JLSM_TEST_KILLS=20`` (``.ci/long kills``) says how often
else; moments and sizes come from seeds.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from jlsm import io
from jlsm.errors import InputError
from mdpl.files import read_archive, read_rows
from mdpl.files.lock import LOCK_FILE
from mdpl.files.mark import MARK_FILE, read_mark
from mdpl.runs.directory import read_run
from mdpl.runs.rows import EpochRow, ParameterRow
from mdpl.scores.evaluation import MetricRow
from mdpl.training.checkpoints import Checkpoints
from tests.jlsm.builders import write_met
from tests.mdpl.kill_jobs import MET, RESULT, STATE, calibration

REPOSITORY = Path(__file__).parents[2]
TIMES = range(int(os.environ.get("JLSM_TEST_KILLS", "3")))
TABLES = {"metrics.csv": MetricRow, "parameters.csv": ParameterRow, "loss.csv": EpochRow}

pytestmark = pytest.mark.slow


class Job:
    """A process of ``kill_jobs``, once it is ready."""

    def __init__(self, name: str, folder: Path, *, limit: int | None = None, prefix: tuple[str, ...] = ()):
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "tests.mdpl.kill_jobs", name, str(folder), str(limit or "")],
            cwd=REPOSITORY,
            # a cache in files that may not grow would only confuse
            env=os.environ | {"JLSM_CACHE_DIR": str(folder.parent / "cache")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> Job:
        assert self.process.stdout.readline() == "ready\n", self.process.stderr.read()
        self.began = time.monotonic()
        return self

    def end(self) -> tuple[int, str]:
        """(exit code, what it said on stderr besides warnings about its input)"""
        _, said = self.process.communicate(timeout=300)
        lines = [line for line in said.splitlines(keepends=True) if not line.startswith("warning: ")]
        return self.process.returncode, "".join(lines)


def moment(number: int, seconds: float) -> float:
    return random.Random(number).uniform(0.0, seconds)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(run directory, seconds from ready to the end) of a calibration in a process of its own."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    job = Job("calibrate", folder).ready()
    code, said = job.end()
    assert code == 0, said
    return folder, time.monotonic() - job.began


def hidden(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*")) if folder.exists() else []


def check_whole(folder: Path) -> None:
    """Every file of a run directory that has its name is complete, and the newest checkpoint is readable."""
    for file in folder.glob("*") if folder.exists() else ():
        if file.name in TABLES:
            assert read_rows(file, TABLES[file.name])
        elif file.suffix == ".nc":
            with netCDF4.Dataset(file) as dataset:
                assert all(np.isfinite(dataset["Qle"][:]).ravel())
        elif file.suffix == ".npz":
            read_archive(file, "")
        elif file.name == MARK_FILE:
            assert read_mark(folder)
        elif file.suffix == ".png":
            assert file.read_bytes()[-8:-4] == b"IEND"
        elif file.suffix == ".html":
            assert file.read_text().rstrip().endswith("</html>")
    if (folder / "checkpoints").is_dir():
        copy = shutil.copytree(folder / "checkpoints", folder.parent / "copy", dirs_exist_ok=True)
        checkpoints = Checkpoints(copy)
        checkpoints.latest()
        checkpoints.close()
        shutil.rmtree(copy)


def check_goes_on(folder: Path, undisturbed: Path) -> None:
    """The run goes on (or begins, where nothing was written yet) to the bits of the undisturbed one."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_whole(folder)
        calibration(folder, resume=(folder / "config.toml").is_file())
    assert hidden(folder) == [] and hidden(folder.parent) == []
    check_same(folder, undisturbed)


def check_same(folder: Path, undisturbed: Path) -> None:
    names = {path.name for path in undisturbed.iterdir()}
    assert {path.name for path in folder.iterdir()} == names
    for name in [*TABLES, *(name for name in names if name.endswith(".png"))]:
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes(), name
    read_run(folder).check_model_files()
    for name in (name for name in names if name.endswith(".nc")):
        with netCDF4.Dataset(folder / name) as one, netCDF4.Dataset(undisturbed / name) as two:
            for variable in one.variables:
                np.testing.assert_array_equal(one[variable][...], two[variable][...])


# ---- calibrations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", TIMES)
def test_a_killed_calibration_goes_on_to_the_same_bits(tmp_path, undisturbed, number):
    directory, seconds = undisturbed
    sent = signal.SIGTERM if number % 2 else signal.SIGKILL
    folder = tmp_path / "run"
    job = Job("calibrate", folder).ready()
    time.sleep(moment(number, seconds))
    job.process.send_signal(sent)
    code, said = job.end()
    if sent == signal.SIGTERM and code != 0:  # 0: it was faster
        assert code in (143, -signal.SIGTERM) and said in ("", "stopped by SIGTERM: go on with --resume\n"), said
        assert hidden(folder) == []
    for name in hidden(folder):
        assert name == LOCK_FILE or name.endswith(".part"), name
    check_goes_on(folder, directory)


@pytest.mark.parametrize("number", TIMES)
def test_a_calibration_on_a_full_disk(tmp_path, undisturbed, number):
    """Files that may not grow further; the real thing, a small tmpfs, where this process may mount one."""
    directory, _ = undisturbed
    folder = tmp_path / "disk" / "run"
    folder.parent.mkdir()
    size = int(10 ** random.Random(number).uniform(3.0, 5.7))
    mounted = number % 2 == 1 and mount(folder.parent, size)
    try:
        code, said = Job("calibrate", folder, limit=None if mounted else size // 4).ready().end()
        if code:
            assert code == 2 and said.count("\n") == 1 and said.startswith("error: "), said
            assert "No space left on device" in said or "File too large" in said or "HDF error" in said, said
        assert [name for name in hidden(folder) if name.endswith(".part") or "orbax" in name] == []
        copy = shutil.copytree(folder, tmp_path / "run") if folder.exists() else tmp_path / "run"
    finally:
        if mounted:
            subprocess.run(["umount", str(folder.parent)], check=True)
    check_goes_on(copy, directory)


def mount(folder: Path, size: int) -> bool:
    """A file system of a few bytes, where root may mount one."""
    if os.getuid() or not shutil.which("mount"):
        return False
    command = ["mount", "-t", "tmpfs", "-o", f"size={max(size, 8192)}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.parametrize("number", TIMES)
def test_two_calibrations_into_one_directory(tmp_path, undisturbed, number):
    directory, seconds = undisturbed
    folder = tmp_path / "run"
    jobs = [Job("calibrate", folder)]
    time.sleep(moment(number, seconds / 2))
    jobs.append(Job("calibrate", folder))
    ends = sorted(job.ready().end() for job in jobs)
    assert ends[0] == (0, ""), ends
    code, said = ends[1]
    assert code == 2 and said.count("\n") == 1, said
    assert " is at work there since " in said or "holds an earlier run" in said, said
    assert hidden(folder) == []
    check_same(folder, directory)


@pytest.fixture
def read_only(tmp_path):
    """A folder that may not be written, and what a command needs before it so that this holds for root too."""
    folder = tmp_path / "locked"
    folder.mkdir()
    prefix: tuple[str, ...] = ()
    if os.getuid() == 0:
        prefix = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
        if not shutil.which("setpriv") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
            pytest.skip("permissions do not bind root, and setpriv (util-linux) cannot give this power up")
    write_met(folder / MET)
    folder.chmod(0o555)
    yield folder, prefix
    folder.chmod(0o755)


@pytest.mark.parametrize("name", ["calibrate", "run"])
def test_a_read_only_folder_is_one_line_before_anything_runs(read_only, name):
    folder, prefix = read_only
    for target in (folder, folder / "run") if name == "calibrate" else (folder,):
        job = Job(name, target, prefix=prefix).ready()
        code, said = job.end()
        assert code == 2 and said.count("\n") == 1 and ("cannot be written" in said or "no run of mdpl" in said), said
        assert [path.name for path in folder.iterdir()] == [MET]


# ---- jlsm run -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_run(tmp_path_factory):
    """(folder with Met file, result and state; seconds) of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("run") / "work"
    folder.mkdir()
    write_met(folder / MET)
    job = Job("run", folder).ready()
    code, said = job.end()
    assert code == 0, said
    return folder, time.monotonic() - job.began


def begin(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    write_met(folder / MET)
    return folder


def check_results(folder: Path, undisturbed: Path, complete: bool) -> None:
    """Result and state are those of an undisturbed run, or not there."""
    if complete:
        assert sorted(path.name for path in folder.iterdir()) == sorted((MET, RESULT, STATE))
    for name in (RESULT, STATE):
        if (folder / name).exists():
            with netCDF4.Dataset(folder / name) as one, netCDF4.Dataset(undisturbed / name) as two:
                for variable in two.variables:
                    np.testing.assert_array_equal(one[variable][...], two[variable][...])
    if (folder / STATE).exists():
        io.load_state(folder / STATE)


@pytest.mark.parametrize("number", TIMES)
def test_a_killed_run_leaves_whole_files(tmp_path, model_run, number):
    folder = begin(tmp_path)
    sent = signal.SIGTERM if number % 2 else signal.SIGKILL
    job = Job("run", folder).ready()
    time.sleep(moment(number, model_run[1]))
    job.process.send_signal(sent)
    code, said = job.end()
    if sent == signal.SIGTERM and code != 0:
        assert code in (143, -signal.SIGTERM) and hidden(folder) == [], said
        assert said in ("", "stopped by SIGTERM\n"), said
    check_results(folder, model_run[0], complete=False)
    code, said = Job("run", folder).ready().end()
    assert code == 0, said
    check_results(folder, model_run[0], complete=True)


@pytest.mark.parametrize("number", TIMES)
def test_a_run_on_a_full_disk(tmp_path, model_run, number):
    folder = begin(tmp_path)
    largest = (model_run[0] / RESULT).stat().st_size
    size = int(random.Random(number).uniform(0.02, 1.0) * largest)
    code, said = Job("run", folder, limit=size).ready().end()
    if code:
        assert code == 2 and said.count("\n") == 1 and "cannot be written" in said, said
    assert hidden(folder) == []
    check_results(folder, model_run[0], complete=False)


@pytest.mark.parametrize("number", TIMES)
def test_two_runs_into_one_file(tmp_path, model_run, number):
    folder = begin(tmp_path)
    jobs = [Job("run", folder)]
    time.sleep(moment(number, model_run[1] / 2))
    jobs.append(Job("run", folder))
    ends = sorted(job.ready().end()[0] for job in jobs)
    assert ends[0] == 0 and ends[1] in (0, 2), "the second is refused, or came after the first had ended"
    check_results(folder, model_run[0], complete=True)


def test_a_directory_of_a_process_that_runs_is_refused_by_every_command(tmp_path, undisturbed):
    folder = shutil.copytree(undisturbed[0], tmp_path / "run")
    shutil.rmtree(folder / "checkpoints")
    (folder / "config.toml").unlink()  # begun anew
    job = Job("calibrate", folder).ready()
    deadline = time.monotonic() + 60.0
    # looking at a directory takes its lock for a moment: who holds it for a run has written its settings
    while not (folder / "config.toml").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    with pytest.raises(InputError, match=f"process {job.process.pid} on .* is at work there"):
        calibration(folder)
    assert job.end() == (0, "")
    check_same(folder, undisturbed[0])
