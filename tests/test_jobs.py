"""The job scripts of jobs/ are what their schedulers read, and run where the scheduler is here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from mdpl.cli import app
from mdpl.files.mark import read_mark
from mdpl.runs.claim import REPORT_FILE
from tests.mdpl.sweep_jobs import PROGRAM, log_of, write_sweep, write_towers
from tests.mdpl.test_sweep import has_begun, is_active, slurm, wait_for  # noqa: F401  a fixture among them

ROOT = Path(__file__).resolve().parents[1]
JOBS = ROOT / "jobs"
SCRIPTS = [*sorted(JOBS.glob("*.sh")), ROOT / ".ci" / "run", ROOT / ".ci" / "long", ROOT / ".ci" / "slurm"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_right_shell(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    if script.parent == JOBS or script.name == "slurm":
        if shutil.which("shellcheck") is None:
            pytest.skip("shellcheck is not installed: only the syntax was looked at")
        checked = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout


def options_of_sweep() -> set[str]:
    sweep = get_command(app).commands["sweep"]
    return {name for parameter in sweep.params for name in (*parameter.opts, *parameter.secondary_opts)}


def test_scripts_use_options_that_exist():
    used = set()
    for file in JOBS.iterdir():
        for line in file.read_text(encoding="utf-8").splitlines():
            _, _, after = line.partition("mdpl sweep")
            used |= set(re.findall(r"(?<!\w)--?[a-z]+", after.split("|")[0].split(":")[0]))
    assert {"--task", "--jobs", "--list"} <= used <= options_of_sweep()


def test_the_kubernetes_job_is_an_indexed_one():
    job = yaml.safe_load((JOBS / "kubernetes.yaml").read_text(encoding="utf-8"))
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert (job["apiVersion"], job["kind"], spec["completionMode"]) == ("batch/v1", "Job", "Indexed")
    assert pod["restartPolicy"] == "Never", "what backoffLimitPerIndex asks for"
    (container,) = pod["containers"]
    assert container["command"][:2] == ["mdpl", "sweep"] and container["command"][-2:] == ["--task", "auto"]
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", ["Containerfile", "apptainer.def"])
def test_containers_take_what_the_package_is_made_of(name):
    text = (JOBS / name).read_text(encoding="utf-8")
    taken = set(re.findall(r"^(?:COPY|   ) ?([\w. ]+) /opt/jlsm", text, re.MULTILINE))
    taken = {file for group in taken for file in group.split()}
    needed = {"pyproject.toml", PROJECT["readme"], *PROJECT["license-files"], "jlsm", "mdpl"}
    assert taken == needed and all((ROOT / file).exists() for file in taken)
    extras = set(re.findall(r"EXTRA=([\w-]+)", text)) | set(re.findall(r"; ([\w-]+): CUDA", text))
    assert extras == {"gpu", "gpu-cuda13"} <= set(PROJECT["optional-dependencies"])


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """A virtual environment whose ``mdpl`` is the one with the stand-in."""
    place = tmp_path / "environment" / "bin"
    place.mkdir(parents=True)
    (place / "activate").write_text(f'PATH="{place}:$PATH"\n')
    (place / "mdpl").write_text(f'#!/bin/sh\ncd "{ROOT}" && exec {" ".join(PROGRAM)} "$@"\n')
    (place / "mdpl").chmod(0o755)
    return os.environ | {"MDPL_ENVIRONMENT": str(place.parent)}


@pytest.mark.parametrize("script", ["slurm_cpu.sh", "slurm_gpu.sh"])
def test_slurm_takes_the_scripts(script, slurm):  # noqa: F811
    # this Slurm has no GPU and perhaps one processor
    options = ["--gpus=0"] if script == "slurm_gpu.sh" else []
    command = ["sbatch", "--test-only", "--array=0-1", "--cpus-per-task=1", "--mem=1G", *options, str(JOBS / script)]
    tested = subprocess.run([*command, "sweep.toml"], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stderr


@pytest.mark.slow
def test_a_slurm_array_of_the_script_goes_on_after_its_time_limit(tmp_path, environment, slurm):  # noqa: F811
    write_towers(tmp_path / "data")
    sweep = write_sweep(tmp_path, "[vary]\nseed = [0, 1]")
    (tmp_path / "slow").touch()
    command = ["sbatch", "--parsable", "--array=0-1", "--cpus-per-task=1", "--mem=1G", str(JOBS / "slurm_cpu.sh")]
    submitted = subprocess.run([*command, str(sweep), "-o", str(tmp_path / "out")], cwd=tmp_path, env=environment,
                               capture_output=True, text=True)  # fmt: skip
    assert submitted.returncode == 0, submitted.stderr
    # the command's last word is auto, so that the notes of the stand-in do not tell the two tasks apart
    wait_for(lambda: has_begun(tmp_path, "auto"))
    job = submitted.stdout.strip()
    subprocess.run(["scancel", "--signal=TERM", f"{job}_0"], check=True)
    wait_for(lambda: log_of(tmp_path, "starts")["auto"] >= 3)
    (tmp_path / "slow").unlink()
    wait_for(lambda: not is_active(job), 300)
    for name in ("seed-0", "seed-1"):
        mark = read_mark(tmp_path / "out" / name)
        assert mark is not None and REPORT_FILE in mark.files
    assert log_of(tmp_path, "starts")["auto"] == 3 and (tmp_path / "out" / "sweep.csv").is_file()


@pytest.mark.slow
def test_a_pbs_array_job_runs_its_task(tmp_path, environment):
    """No PBS here: the script itself, with the variables that PBS gives it."""
    write_towers(tmp_path / "data")
    sweep = write_sweep(tmp_path, "[vary]\nseed = [0, 1]", above=f'output = "{tmp_path / "out"}"')
    variables = {"PBS_ARRAY_INDEX": "1", "PBS_O_WORKDIR": str(tmp_path), "SWEEP": str(sweep)}
    result = subprocess.run([str(JOBS / "pbs_array.sh")], env=environment | variables, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert read_mark(tmp_path / "out" / "seed-1") and not (tmp_path / "out" / "seed-0").exists()
