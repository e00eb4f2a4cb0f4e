"""What the cache holds is made by one process: others wait and say so, and one that is killed stops nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jlsm.errors import InputError
from mdpl.files import alone

REPOSITORY = Path(__file__).parents[2]
JOBS = ("surrogate", "runs", "embedded")
LEFT = {"surrogate": 4, "runs": 1, "embedded": 1}
"""what is in the cache at the end: weights, two cards and the runs; the runs; the folder"""


@pytest.fixture
def started(tmp_path):
    """Starts a process that asks for a product; the folder is the test's own."""
    processes = []

    def start(job: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "tests.mdpl.cache_jobs", job, str(tmp_path)]
        processes.append(subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def line(process: subprocess.Popen) -> str:
    return process.stdout.readline().strip()


@pytest.mark.parametrize("job", JOBS)
def test_the_second_waits_for_the_first(tmp_path, started, job):
    first = started(job)
    assert line(first) == "making"
    second = started(job)
    told = line(second)
    assert told.startswith(f"waiting for process {first.pid} on ") and "at work on the same" in told
    assert "cache_jobs" in told, "the command of who is at work"
    (tmp_path / "go").touch()
    assert first.communicate()[0] == "has it\n" and first.returncode == 0
    heard = second.communicate()[0].splitlines()
    assert heard[-1] == "has it" and "making" not in heard and second.returncode == 0
    assert len(list((tmp_path / "cache").iterdir())) == LEFT[job], "no lock and nothing temporary is left"


@pytest.mark.parametrize("job", JOBS)
def test_one_that_is_killed_stops_nobody(tmp_path, started, job):
    first = started(job)
    assert line(first) == "making"
    second = started(job)
    assert line(second).startswith("waiting for")
    first.kill()
    first.wait()
    while (heard := line(second)) != "making":
        assert heard.startswith("waiting for")
    (tmp_path / "go").touch()
    assert second.communicate()[0] == "has it\n" and second.returncode == 0
    third = started(job)
    assert third.communicate()[0] == "has it\n", "made once"
    assert len(list((tmp_path / "cache").iterdir())) == LEFT[job]


def test_other_products_do_not_wait(tmp_path, started):
    assert line(started("surrogate")) == "making"
    assert line(started("embedded")) == "making"


def test_a_cache_that_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: cannot be written .*: set MDPL_CACHE to a folder of yours"):
        with alone(tmp_path / "file" / "surrogate.npz", print):
            pass
