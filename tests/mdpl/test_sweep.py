"""Sweeps: nothing is lost or run twice, here, in processes and under Slurm (their files: test_sweep_file.py)."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import submitit  # noqa: F401  it sends its log to the streams of its import, and CliRunner closes those that it lends

from jlsm.errors import InputError
from mdpl.config import Config
from mdpl.files import locked, write_text
from mdpl.files.mark import record
from mdpl.runs import directory as run_directory
from mdpl.runs.claim import CALIBRATION, REPORT_FILE, claimed
from mdpl.scale import running, workers
from mdpl.scale.plan import open_folder
from mdpl.scale.running import TaskState, failure_file, run_task, status_of
from mdpl.scale.slurm import Job, submit
from mdpl.scale.sweep_file import read_sweep
from mdpl.scale.workers import run_here, task_command
from mdpl.scores.evaluation import MetricRow
from tests.mdpl.sweep_jobs import EPOCHS, PROGRAM, REPOSITORY, SETTINGS, log_of, write_sweep, write_towers
from tests.mdpl.test_sweep_file import SEEDS, names, run, sweep_of

# ---- the folder -----------------------------------------------------------------------------------


def finish(task, **kwargs) -> None:
    """A stand-in for ``calibrate``: a whole run directory in no time."""
    config = dataclasses.replace(task, sites=task.sites or ("XX-One",))
    if config.epochs == 99:
        raise InputError("Met.nc: Tair at 2001: 400 K")
    with claimed(config.output, CALIBRATION, config.sites, resume=kwargs.get("resume", False)) as directory:
        run_directory.write_config(directory, config)
        rows = [
            MetricRow(site, "Qle", stage, "test", 10.0 + config.seed, 0.0, 0.5, 1.0, 1.0, 0.5, 0.5, 30)
            for site in config.sites
            for stage in ("default", "calibrated")
        ]
        run_directory.write_metrics(directory, rows)
        run_directory.record_files(directory, config, config.sites)
        write_text(directory / REPORT_FILE, "<html></html>")
        record(directory, [REPORT_FILE])


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """Tasks end at once, and are counted."""
    started = []

    def calibrate(config, **kwargs):
        started.append(Path(config.output).name)
        finish(config, **kwargs)

    monkeypatch.setattr(running, "calibrate", calibrate)
    write_towers(tmp_path / "data")
    return started


def test_what_is_done_is_not_done_again_and_the_last_one_writes_the_table(tmp_path, quick):
    file = write_sweep(tmp_path, SEEDS)
    for number, task in enumerate(("0", "seed-1", "2", "2", "0")):
        result = run(file, "-o", tmp_path / "out", "--task", task)
        assert result.exit_code == 0, result.output
        assert (tmp_path / "out" / "sweep.csv").exists() == (number > 1)
    assert quick == ["seed-0", "seed-1", "seed-2"]
    with (tmp_path / "out" / "sweep.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 6 and rows[2] == rows[2] | {"task": "seed-1", "seed": "1", "without": "", "rmse": "11"}
    listed = run(file, "-o", tmp_path / "out", "--list").stdout
    assert [line.split() for line in listed.splitlines()] == [[str(i), f"seed-{i}", "done"] for i in range(3)]
    table = run(file, "-o", tmp_path / "out", "--table")
    assert table.exit_code == 0 and "11.0 (10.0 to 12.0)" in table.stdout and "3 done" in table.stderr


def test_the_scheduler_says_which(tmp_path, quick, monkeypatch):
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    assert run(write_sweep(tmp_path, SEEDS), "-o", tmp_path / "out", "--task", "auto").exit_code == 0
    assert quick == ["seed-2"]


def test_a_failed_task_leaves_a_line_and_stops_no_other(tmp_path, quick):
    file = write_sweep(tmp_path, "[vary]\nepochs = [99, 1]")
    result = run(file, "-o", tmp_path / "out", "--task", "0")
    assert result.exit_code == 2 and "Met.nc: Tair at 2001: 400 K" in result.stderr
    assert (tmp_path / "out" / "failures" / "epochs-99.txt").read_text() == "Met.nc: Tair at 2001: 400 K\n"
    assert not (tmp_path / "out" / "epochs-99").exists()
    assert run(file, "-o", tmp_path / "out", "--task", "1").exit_code == 0
    listed = run(file, "-o", tmp_path / "out", "--list").stdout.splitlines()
    assert listed[0].split(maxsplit=2)[2] == "failed: Met.nc: Tair at 2001: 400 K" and listed[1].endswith("done")
    table = run(file, "-o", tmp_path / "out", "--table")
    assert table.exit_code == 1 and "epochs-99: failed: Met.nc" in table.stderr
    assert (tmp_path / "out" / "sweep.csv").is_file()


def test_a_running_task_is_left_alone_and_named(tmp_path, quick):
    sweep = sweep_of(tmp_path)
    open_folder(sweep)
    directory = sweep.tasks[0].directory
    directory.mkdir()
    code = f"import sys\nfrom pathlib import Path\nfrom mdpl.files import locked\nwith locked(Path({str(directory)!r})):\n print('ready', flush=True)\n sys.stdin.read()"  # noqa: E501
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY)
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as holder:
        assert holder.stdout.readline() == "ready\n"
        assert status_of(sweep.tasks[0]).state is TaskState.RUNNING
        result = run(sweep.file, "-o", sweep.folder, "--task", "0")
        assert result.exit_code == 0 and f"seed-0: left alone: {directory}: process {holder.pid}" in result.stderr
        holder.stdin.close()
        holder.wait()
    assert quick == [] and status_of(sweep.tasks[0]).state is TaskState.MISSING


def test_a_folder_of_something_else_is_left_alone(tmp_path, quick):
    place = tmp_path / "out"
    place.mkdir()
    (place / "thesis.tex").write_text("years of work")
    result = run(write_sweep(tmp_path, SEEDS), "-o", place, "--task", "0")
    assert result.exit_code == 2 and "holds thesis.tex, and no run of mdpl" in result.stderr
    for how in ([], ["--overwrite"]):
        result = run(tmp_path / "sweep.toml", "-o", place, *how)
        assert result.exit_code == 2 and "no run of mdpl" in result.stderr
    assert [path.name for path in place.iterdir()] == ["thesis.tex"]


def test_a_directory_of_something_else_fails_its_task_alone(tmp_path, quick):
    sweep = sweep_of(tmp_path)
    open_folder(sweep)
    sweep.tasks[0].directory.mkdir()
    (sweep.tasks[0].directory / "mine.txt").write_text("mine")
    finish(dataclasses.replace(sweep.tasks[1].config, epochs=2))  # a calibration of the user's, with other settings
    with pytest.raises(InputError, match=r"holds mine\.txt, and no run of mdpl"):
        run_task(sweep.tasks[0])
    with pytest.raises(InputError, match="holds a calibration with epochs = 2, not 6"):
        run_task(sweep.tasks[1])
    run_task(sweep.tasks[2])
    assert [status_of(task).state for task in sweep.tasks] == [TaskState.FAILED, TaskState.FAILED, TaskState.DONE]
    (sweep.tasks[2].directory / "config.toml").write_text("epochs =")
    (sweep.tasks[1].directory / "run.toml").write_text('command = "make"')
    assert run(sweep.file, "-o", sweep.folder, "--list").exit_code == 0
    with pytest.raises(InputError, match=r"holds a calibration with damaged settings \(.*config\.toml"):
        run_task(sweep.tasks[2])
    assert [path.name for path in sweep.tasks[0].directory.iterdir()] == ["mine.txt"]


def test_a_sweep_may_grow_and_nothing_else(tmp_path, quick):
    place = tmp_path / "out"
    assert run(write_sweep(tmp_path, SEEDS), "-o", place, "--task", "0").exit_code == 0
    assert run(write_sweep(tmp_path, "[vary]\nseed = [3, 0, 1, 2]"), "-o", place, "--task", "0").exit_code == 0
    assert quick == ["seed-0", "seed-3"]
    plan = tomllib.loads((place / "sweep.toml").read_text())["task"]
    assert [task["name"] for task in plan] == ["seed-3", "seed-0", "seed-1", "seed-2"]
    less = run(write_sweep(tmp_path, "[vary]\nseed = [0, 1, 2]"), "-o", place, "--task", "0")
    assert less.exit_code == 2 and "has task seed-3, which" in less.stderr
    four = "[vary]\nseed = [3, 0, 1, 2]"
    other = run(write_sweep(tmp_path, four, "", SETTINGS.replace("= 120", "= 60")), "-o", place, "--task", "0")
    assert other.exit_code == 2 and "task seed-3 was begun with window_days = 120, not 60" in other.stderr
    again = read_sweep(place / "sweep.toml", place)  # the plan is a sweep file
    assert [task.config for task in again.tasks] == [task.config for task in sweep_of(tmp_path, four).tasks]


def test_overwrite_removes_what_is_of_the_sweep(tmp_path, quick, monkeypatch):
    place = tmp_path / "out"
    file = write_sweep(tmp_path, SEEDS)
    for task in "01":
        run(file, "-o", place, "--task", task)
    (place / "seed-0" / "notes.txt").write_text("mine")
    (place / "mine").mkdir()
    finish(Config(output=str(place / "mine" / "run")))
    open_folder(sweep_of(tmp_path, "[vary]\nepochs = [1, 2]"), overwrite=True)
    assert sorted(path.name for path in place.iterdir()) == ["mine", "run.toml", "seed-0", "sweep.toml"]
    assert [path.name for path in (place / "seed-0").iterdir()] == ["notes.txt"]
    assert (place / "mine" / "run" / "metrics.csv").is_file()


def test_two_that_open_a_folder_at_once_share_it(tmp_path):
    """Tasks of an array start together."""
    write_towers(tmp_path / "data")
    file = write_sweep(tmp_path, SEEDS)
    code = f"from mdpl.scale.plan import open_folder\nfrom mdpl.scale.sweep_file import read_sweep\nopen_folder(read_sweep({str(file)!r}, {str(tmp_path / 'out')!r}))"  # noqa: E501
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    for process in processes:
        assert process.communicate()[1] == "" and process.returncode == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["run.toml", "sweep.toml"]


# ---- processes ------------------------------------------------------------------------------------


def check_once(folder: Path, sweep, restarted: set[str]) -> None:
    """Every task is done, in one table, and no epoch of a task that nobody interrupted was computed twice."""
    assert [status_of(task).state for task in sweep.tasks] == [TaskState.DONE] * len(sweep.tasks)
    with (sweep.folder / "sweep.csv").open(newline="") as stream:
        assert [*dict.fromkeys(row["task"] for row in csv.DictReader(stream))] == names(sweep)
    starts, epochs = log_of(folder, "starts"), log_of(folder, "epochs")
    for name in names(sweep):
        counts = [epochs[f"{name} {epoch}"] for epoch in range(1, EPOCHS + 1)]
        if name in restarted:
            # the epoch in which it was killed is computed again, and no other
            assert all(counts) and sum(counts) <= EPOCHS + starts[name] - 1, (name, counts)
        else:
            assert counts == [1] * EPOCHS and starts[name] == 1, (name, counts, starts)


def wait_for(condition, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def has_begun(folder: Path, name: str, epoch: int = 2) -> bool:
    return log_of(folder, "epochs")[f"{name} {epoch}"] > 0


@pytest.mark.slow
def test_a_worker_that_dies_is_named_and_stops_no_other(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "PROGRAM", PROGRAM)
    monkeypatch.chdir(REPOSITORY)
    write_towers(tmp_path / "data")
    sweep = sweep_of(tmp_path, "[vary]\nseed = [0, 1]\n[[task]]\nname = 'bad'\nlai = 'LAI_alternative'")
    open_folder(sweep)
    (tmp_path / "seed-0.dies").touch()
    told = []
    run_here(sweep, sweep.tasks, 2, lambda task, status, seconds: told.append((task.name, *status)), PROGRAM)
    told = {name: (state, note) for name, state, note in told}
    assert told["seed-1"] == (TaskState.DONE, "")
    assert told["seed-0"][0] is TaskState.FAILED and "its process died of SIGKILL" in told["seed-0"][1]
    assert told["bad"][0] is TaskState.FAILED and "LAI_alternative" in told["bad"][1]
    (tmp_path / "seed-0.dies").unlink()
    command = [*PROGRAM, "sweep", str(sweep.file), "-o", str(sweep.folder)]
    with subprocess.Popen([*command, "--task", "seed-0"], stderr=subprocess.PIPE, text=True) as process:
        assert process.wait() == 0, process.stderr.read()
    assert log_of(tmp_path, "starts") == {"seed-0": 2, "seed-1": 1, "bad": 1}


@pytest.mark.slow
def test_a_stopped_sweep_goes_on(tmp_path, monkeypatch):
    """SIGTERM to the command that runs many: its processes save checkpoints; the next one loses no epoch."""
    monkeypatch.chdir(REPOSITORY)
    write_towers(tmp_path / "data")
    sweep = sweep_of(tmp_path, "[vary]\nseed = [0, 1]")
    (tmp_path / "slow").touch()
    code = f"import sys\nimport mdpl.scale.workers as w\nw.PROGRAM = {PROGRAM!r}\nfrom mdpl.cli import app\napp()"
    command = [sys.executable, "-c", code, "sweep", str(sweep.file), "-o", str(sweep.folder), "--jobs", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        wait_for(lambda: has_begun(tmp_path, "seed-0") and has_begun(tmp_path, "seed-1"))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143 and "stopped by SIGTERM: run the same command again to go on" in said
    assert [status_of(task).state for task in sweep.tasks] == [TaskState.BEGUN] * 2
    (tmp_path / "slow").unlink()
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check_once(tmp_path, sweep, set(names(sweep)))
    assert max(log_of(tmp_path, "epochs").values()) == 1, "the signal waits for the epoch's checkpoint"


@pytest.mark.slow
def test_a_site_that_is_left_out_is_scored(tmp_path, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    write_towers(tmp_path / "data")
    network = SETTINGS.replace('"direct"', '"network"').replace(f"epochs = {EPOCHS}", "epochs = 1\nhidden = 4")
    sweep = sweep_of(tmp_path, "", 'leave_out = "each"', network)
    open_folder(sweep)
    run_here(sweep, sweep.tasks, 1, lambda task, status, seconds: None, PROGRAM)
    assert [status_of(task) for task in sweep.tasks] == [(TaskState.DONE, "")] * 2
    with (sweep.folder / "sweep.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for without, other in (("XX-One", "XX-Two"), ("XX-Two", "XX-One")):
        stages = {(row["site"], row["stage"]) for row in rows if row["without"] == without}
        assert stages == {(other, "default"), (other, "calibrated"), (without, "default"), (without, "transferred")}
    table = run(sweep.file, "-o", sweep.folder, "--table")
    assert table.exit_code == 0 and "2 done" in table.stderr


def test_workers_share_the_machine(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    assert workers._device(0, 1) == {}
    assert workers._device(2, 3) == {"XLA_PYTHON_CLIENT_MEM_FRACTION": "0.300"}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert workers._device(1, 2) == {"CUDA_VISIBLE_DEVICES": "7"}
    assert workers._device(2, 4) == {"CUDA_VISIBLE_DEVICES": "4", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.450"}


# ---- submitit and Slurm ---------------------------------------------------------------------------


@pytest.mark.slow
def test_submitit_runs_tasks_and_asks_them_to_save(tmp_path, monkeypatch):
    """Its local executor: one task to the end, one that it interrupts as Slurm does before a time limit."""
    monkeypatch.chdir(REPOSITORY)
    write_towers(tmp_path / "data")
    sweep = sweep_of(tmp_path, "[vary]\nseed = [0, 1]")
    open_folder(sweep)
    (tmp_path / "slow").touch()
    jobs = [Job(task_command(sweep, task, PROGRAM)) for task in sweep.tasks]
    first, second = submit(jobs, tmp_path / "logs", {"time": "30"}, cluster="local")
    wait_for(lambda: has_begun(tmp_path, "seed-0") and has_begun(tmp_path, "seed-1"))
    controller = int(second.job_id)  # it starts a job again that asks for it
    (job,) = Path(f"/proc/{controller}/task/{controller}/children").read_text().split()
    os.kill(int(job), signal.SIGUSR2)
    wait_for(lambda: log_of(tmp_path, "starts")["seed-1"] == 2)
    (tmp_path / "slow").unlink()
    first.result()
    second.result()
    check_once(tmp_path, sweep, {"seed-1"})
    assert log_of(tmp_path, "starts") == {"seed-0": 1, "seed-1": 2}
    assert max(log_of(tmp_path, "epochs").values()) == 1


def slurm_answers() -> bool:
    try:
        return subprocess.run(["sinfo"], capture_output=True, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@pytest.fixture
def slurm():
    if not slurm_answers():
        pytest.skip('no Slurm answers here (sinfo): start one with `eval "$(.ci/slurm start)"`')


def is_active(job: str) -> bool:
    """Whether a job (of an array: any of its tasks) waits or runs; Slurm forgets ended ones after a while."""
    listed = subprocess.run(["squeue", "-h", "-j", job.split("_")[0]], capture_output=True, text=True)
    return listed.returncode == 0 and listed.stdout.strip() != ""


@pytest.mark.slow
def test_a_slurm_array_with_a_requeue_and_a_kill(tmp_path, monkeypatch, slurm):
    """Nothing is lost, nothing is run twice, there is one table."""
    monkeypatch.chdir(REPOSITORY)
    write_towers(tmp_path / "data")
    sweep = sweep_of(tmp_path, "[vary]\nseed = [0, 1, 2, 3]")
    open_folder(sweep)
    (tmp_path / "slow").touch()

    def submit_rest() -> dict[str, str]:
        rest = [task for task in sweep.tasks if status_of(task).state is not TaskState.DONE]
        work = [Job(task_command(sweep, task, PROGRAM), failure_file(task)) for task in rest]
        jobs = submit(work, tmp_path / "logs", {"time": "10", "cpus": 1})
        return {task.name: job.job_id for task, job in zip(rest, jobs, strict=True)}

    ids = submit_rest()
    wait_for(lambda: has_begun(tmp_path, "seed-0"))
    subprocess.run(["scontrol", "requeue", ids["seed-0"]], check=True)
    wait_for(lambda: has_begun(tmp_path, "seed-1"))
    pid = int(status_of(sweep.tasks[1]).note.split("process ")[1].split()[0])
    os.kill(pid, signal.SIGKILL)
    (tmp_path / "slow").unlink()
    wait_for(lambda: not is_active(ids["seed-0"]), 300)
    states = {task.name: status_of(task).state for task in sweep.tasks}
    assert [states.pop("seed-1"), *states.values()] == [TaskState.FAILED] + [TaskState.DONE] * 3
    assert "its process died of SIGKILL" in status_of(sweep.tasks[1]).note
    again = submit_rest()
    assert set(again) == {"seed-1"}
    wait_for(lambda: not is_active(again["seed-1"]), 300)
    check_once(tmp_path, sweep, {"seed-0", "seed-1"})


def test_a_job_can_be_sent():
    """submitit pickles it; what it runs ignores Slurm's notice, which submitit answers."""
    import pickle

    assert pickle.loads(pickle.dumps(Job(("a", "b")))) == Job(("a", "b"))
    code = "import signal, sys; sys.exit(signal.getsignal(signal.SIGUSR2) is not signal.SIG_IGN)"
    Job((sys.executable, "-c", code))()
    with pytest.raises(RuntimeError, match="exit code 3"):
        Job((sys.executable, "-c", "raise SystemExit(3)"))()


def test_a_lock_within_one_process_nests_and_the_patient_wait(tmp_path):
    with locked(tmp_path), locked(tmp_path, 1.0):
        pass
