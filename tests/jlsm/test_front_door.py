"""What all commands share: mistakes in one line, an exit code for each kind of them."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from jlsm.command_line.app import app as jlsm_app
from jlsm.command_line.front_door import one_line_errors, version_option
from jlsm.errors import InputError, RepairWarning

MISTAKES = [
    (InputError("m.nc: Tair is\nmissing"), 2, "error: m.nc: Tair is missing\n"),
    (FloatingPointError("Qle is not finite"), 1, "error: Qle is not finite\n"),
    (KeyboardInterrupt(), 130, "stopped: go on with --resume\n"),
]


@pytest.mark.parametrize(("mistake", "code", "line"), MISTAKES, ids=["input", "number", "interrupt"])
def test_around_a_block(capsys, mistake, code, line):
    with pytest.raises(SystemExit) as end, one_line_errors("stopped: go on with --resume"):
        raise mistake
    assert end.value.code == code and capsys.readouterr().err == line


@pytest.mark.parametrize(("mistake", "code", "line"), MISTAKES, ids=["input", "number", "interrupt"])
def test_before_a_command(mistake, code, line):
    app = typer.Typer()

    @app.command()
    @one_line_errors("stopped: go on with --resume")
    def calibrate(epochs: Annotated[int, typer.Option(help="Passes.")] = 3) -> None:
        assert epochs == 4
        raise mistake

    result = CliRunner().invoke(app, ["--epochs", "4"])
    assert result.exit_code == code and result.stderr == line
    assert "--epochs" in CliRunner().invoke(app, ["--help"]).stdout


def test_repairs_are_lines_and_warnings_are_put_back(capsys):
    before = warnings.showwarning
    with one_line_errors():
        warnings.warn("m.nc: CO2air\nis missing", RepairWarning, stacklevel=1)
    assert capsys.readouterr().err == "warning: m.nc: CO2air is missing\n"
    assert warnings.showwarning is before


def test_other_errors_stay_what_they_are():
    with pytest.raises(ZeroDivisionError), one_line_errors():
        raise ZeroDivisionError


def test_versions():
    app = typer.Typer()

    @app.callback(invoke_without_command=True)
    def root(
        version: Annotated[bool, typer.Option("--version", callback=version_option("mdpl"), is_eager=True)] = False,
    ):
        raise AssertionError("the command began")

    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0 and result.stdout.startswith("mdpl ")


def test_the_help_says_every_default():
    text = " ".join(CliRunner().invoke(jlsm_app, ["run", "--help"], env={"COLUMNS": "200"}).stdout.split())
    assert "<MET>_jlsm.nc in this folder" in text and "3, or 0 with --state" in text


def test_it_does_not_wait_for_jax():
    code = "import sys, jlsm.command_line.front_door; sys.exit('jax' in sys.modules)"
    folder = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=folder, check=False).returncode == 0


def test_the_compiler_does_not_ask_users_to_file_bugs():
    """XLA's log says so where a compilation takes minutes, too long to test: here only the log's level is, and that one
    of the user's stays. Settings are read before jax is prepared, which may import it."""
    program = (
        "import os, mdpl.cli; mdpl.cli._config(None); from jlsm.command_line.front_door import prepare_jax;"
        "prepare_jax(); print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    )
    for chosen, level in (({}, "3"), ({"TF_CPP_MIN_LOG_LEVEL": "1"}, "1")):
        environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"} | chosen
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == level, done.stderr
