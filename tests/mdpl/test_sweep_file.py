"""Sweep files: what they ask for, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import submitit  # noqa: F401  it sends its log to the streams of its import, and CliRunner closes those that it lends
from typer.testing import CliRunner

from mdpl.cli import app
from mdpl.scale.command import array_index
from mdpl.scale.slurm import minutes
from mdpl.scale.sweep_file import read_sweep
from mdpl.scale.tasks import LONGEST_NAME, safe_name
from tests.mdpl.sweep_jobs import EPOCHS, SETTINGS, write_sweep, write_towers

SEEDS = "[vary]\nseed = [0, 1, 2]"
runner = CliRunner()


def sweep_of(folder: Path, text: str = SEEDS, above: str = "", settings: str = SETTINGS):
    return read_sweep(write_sweep(folder, text, above, settings), folder / "out")


def names(sweep) -> list[str]:
    return [task.name for task in sweep.tasks]


def run(*arguments: object):
    return runner.invoke(app, ["sweep", *map(str, arguments)])


def test_every_combination_is_a_task(tmp_path):
    sweep = sweep_of(tmp_path, '[vary]\nsites = [["A", "B"], []]\nseed = [0, 1]\n[[task]]\nlearning_rate = 0.5')
    assert names(sweep) == [
        "sites-A+B_seed-0", "sites-A+B_seed-1", "sites-none_seed-0", "sites-none_seed-1", "learning_rate-0.5"
    ]  # fmt: skip
    first = sweep.tasks[1].config
    assert (first.sites, first.seed, first.epochs) == (("A", "B"), 1, EPOCHS)
    assert first.data == str(tmp_path / "data") and first.output == str(tmp_path / "out" / "sites-A+B_seed-1")
    assert sweep.varied == ("sites", "learning_rate", "seed")
    assert sweep.task("4") == sweep.task("learning_rate-0.5") == sweep.tasks[4]


def test_a_base_config_comes_first_and_settings_win(tmp_path):
    (tmp_path / "base.toml").write_text('data = "towers"\nepochs = 3\nseed = 7\n')
    sweep = sweep_of(tmp_path, SEEDS, 'config = "base.toml"\noutput = "place"', "[settings]\nepochs = 4\n")
    config = sweep.tasks[1].config
    assert (config.epochs, config.seed, config.data) == (4, 1, str(tmp_path / "towers"))
    assert read_sweep(tmp_path / "sweep.toml").folder == tmp_path / "place"


def test_each_site_is_left_out(tmp_path):
    write_towers(tmp_path / "data", ("XX-A", "XX-B", "XX-C"))
    network = SETTINGS.replace('"direct"', '"network"')
    sweep = sweep_of(tmp_path, "[vary]\nseed = [0, 1]", 'leave_out = "each"', network)
    assert names(sweep)[:2] == ["seed-0_without_XX-A", "seed-0_without_XX-B"] and len(sweep.tasks) == 6
    assert sweep.tasks[1].config.sites == ("XX-A", "XX-C") and sweep.tasks[1].without == "XX-B"
    assert sweep.varied == ("seed",), "which site is left out stands in a column of its own"
    assert names(sweep_of(tmp_path, "", 'leave_out = ["XX-C"]', network)) == ["without_XX-C"]
    embedded = sweep_of(tmp_path, "", 'leave_out = "each"', "")
    assert "without_DE-Geb-syn" in names(embedded) and len(embedded.tasks) == 5


@pytest.mark.parametrize(
    ("above", "text", "words"),
    [
        ("seeds = [1]", "", "unknown key 'seeds': known keys: output"),
        ("epochs = 3", SEEDS, "unknown key 'epochs': a setting stands under [settings]"),
        ("setting = 3", SEEDS, "unknown key 'setting': did you mean 'settings'"),
        ("", "[vary]\nseeds = [1]", "unknown key 'seeds': did you mean 'seed'"),
        ("", "[vary]\nseed = 3", "vary: seed = 3: must be a list of values"),
        ("", "[vary]\nseed = []", "seed = []: has no value, so that there is no task"),
        ("", "[vary]\nseed = [0, 1.5]", "seed = 1.5: must be a whole number"),
        ("", '[vary]\nsites = ["A", "B"]', "sites = 'A': must be a list of texts"),
        ("", '[vary]\nlearner = ["direct", "forest"]', "with learner-forest: learner = 'forest': use one of network"),
        ("", "[vary]\nepochs = [-1]", "must be 0 or more"),
        ("", '[vary]\noutput = ["a"]', "output: each task has a directory of its own"),
        ("", "vary = 3", "settings: unknown key 'vary'"),
        ("vary = 3", "", "vary = 3: must be a table"),
        ("task = 3", "", "task = 3: must be an array of tables"),
        ("", "", "has no task: give [vary], [[task]] or leave_out"),
        ("", "[vary]", "has no task"),
        ("", "[vary]\nseed = [0, 1, 0]", "tasks 0 and 2 have one directory"),
        ("", '[[task]]\nname = "a/b"\n[[task]]\nname = "A b"\nseed = 1', "tasks 0 and 1 have one directory"),
        ("", '[[task]]\nname = "logs"', "is a folder of the sweep itself"),
        ("", "[[task]]\nname = 3", "[[task]] 0: name = 3: must be a text"),
        ("", "[[task]]\nname = 'a'\nsed = 3", "[[task]] 0: unknown key 'sed'"),
        ("leave_out = 3", SEEDS, 'leave_out = 3: must be "each" or a list of sites'),
        ('leave_out = ["XX-A"]', SEEDS, "only the network's parameters can be transferred"),
        ('config = "absent.toml"', SEEDS, "absent.toml: no such file"),
        ("", SEEDS + '\n[slurm]\nqueue = "a"', "slurm: unknown key 'queue': use some of partition"),
        ("", SEEDS + '\n[slurm]\ntime = "soon"', "write minutes (90), H:MM:SS"),
        ("", SEEDS + "\n[slurm]\ngpus = 0", "gpus = 0: must be a whole number of 1 or more"),
        ("", SEEDS + "\n[slurm]\nsetup = [1]", "setup = [1]: must be a list of shell commands"),
    ],
)
def test_mistakes_are_told_before_anything_runs(tmp_path, above, text, words):
    result = run(write_sweep(tmp_path, text, above), "-o", tmp_path / "out")
    assert result.exit_code == 2 and words in result.stderr, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_site_that_is_nowhere_is_told_before_anything_runs(tmp_path):
    write_towers(tmp_path / "data")
    result = run(write_sweep(tmp_path, '[vary]\nsites = [["XX-One"], ["XX-Six"]]'), "-o", tmp_path / "out")
    assert result.exit_code == 2 and "no Met file of site 'XX-Six': the folder has XX-One, XX-Two" in result.stderr
    result = run(write_sweep(tmp_path, '[vary]\nsites = [["DE-Geb"], ["FR-Gri"]]', "", ""), "-o", tmp_path / "out")
    assert result.exit_code == 2 and "no embedded site 'FR-Gri': use some of DE-Geb-syn" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--task", "3"], "no task 3: they have the numbers 0 to 2"),
        (["--task", "-1"], "no task -1"),
        (["--task", "seed-9"], "no task 'seed-9': did you mean seed-"),
        (["--task", "auto"], "--task auto: no scheduler's array here (SLURM_ARRAY_TASK_ID"),
        (["--list", "--slurm"], "give one of them"),
        (["--gpus", "1"], "--gpus is an option of --slurm"),
        (["--task", "1", "--overwrite"], "give one of them"),
        (["--table"], "holds no sweep"),
        (["--slurm", "--time", "soon"], "command line: slurm: time = 'soon'"),
    ],
)
def test_wrong_options(tmp_path, options, words, monkeypatch):
    for name in ("SLURM_ARRAY_TASK_ID", "PBS_ARRAY_INDEX", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)
    write_towers(tmp_path / "data")
    result = run(write_sweep(tmp_path, SEEDS), "-o", tmp_path / "out", *options)
    assert result.exit_code == 2 and words in result.stderr, result.output
    assert result.stderr.count("\n") == 1


def test_no_slurm_is_told(tmp_path, monkeypatch):
    write_towers(tmp_path / "data")
    monkeypatch.setenv("PATH", "")
    result = run(write_sweep(tmp_path, SEEDS), "-o", tmp_path / "out", "--slurm")
    assert result.exit_code == 2 and "no Slurm here" in result.stderr and "use --jobs N" in result.stderr


@pytest.mark.parametrize(
    ("environment", "index"),
    [
        ({"SLURM_ARRAY_TASK_ID": "3"}, "3"),
        ({"PBS_ARRAY_INDEX": "0"}, "0"),
        ({"PBS_ARRAYID": "2"}, "2"),
        ({"JOB_COMPLETION_INDEX": "11"}, "11"),
        ({"SGE_TASK_ID": "1"}, "0"),
        ({"SGE_TASK_ID": "undefined", "LSB_JOBINDEX": "0", "SLURM_ARRAY_TASK_ID": "5"}, "5"),
    ],
)
def test_the_index_of_any_scheduler(environment, index):
    assert array_index(environment) == index


def test_times_as_slurm_writes_them():
    assert [minutes(text) for text in ("90", "1:30:00", "0:00:30", "2-00:00:00", "0:05")] == [90, 90, 1, 2880, 5]


def test_names_are_safe_short_and_apart():
    assert safe_name("sites-a/b:c d..") == "sites-a-b-c-d"
    long = [safe_name("sites-" + "+".join(f"XX-{i}" for i in range(n))) for n in (100, 101)]
    assert len(set(long)) == 2 and all(len(name) == LONGEST_NAME for name in long)
