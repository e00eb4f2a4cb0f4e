"""What the benchmarks make of their numbers: tables, comparisons, figures (the numbers themselves are never tested)."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest

import jlsm
from benchmarks import curves, gpu, paths, results


def written(path, seconds: float, columns: int = 5, name: str = "forward"):
    rows = [{"columns": columns, "what": "run", "compile s": 10.0 * seconds, "s": seconds, "peak MiB": 1000}]
    path.write_text(json.dumps({"benchmark": name, "machine": {}, "rows": rows}))
    return path


@pytest.mark.parametrize(
    ("new", "code", "words"),
    [
        ({"seconds": 1.1}, 0, "1.10"),
        ({"seconds": 2.0}, 1, "SLOWER"),
        ({"seconds": 1.0, "columns": 6}, 1, "no row in common"),
        ({"seconds": 1.0, "name": "gradient"}, 1, "is of forward"),
    ],
)
def test_compare_tells_what_became_slower(tmp_path, new, code, words):
    old, new = written(tmp_path / "old.json", 1.0), written(tmp_path / "new.json", **new)
    command = [sys.executable, "-m", "benchmarks.compare", str(old), str(new)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert words in done.stdout + done.stderr


def test_rows_that_differ_in_a_fraction_are_not_mixed_up(tmp_path):
    def years(path, quarter: float):
        rows = [{"curve": "years", "what": "run", "years": y, "s": s} for y, s in ((0.25, quarter), (1.5, 1.0))]
        path.write_text(json.dumps({"benchmark": "curves", "machine": {}, "rows": rows}))
        return str(path)

    command = [sys.executable, "-m", "benchmarks.compare", years(tmp_path / "a", 0.2), years(tmp_path / "b", 0.4)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout.count("SLOWER") == 1 and "years 0.25" in done.stdout


def row_of(method: str, seed: int, loss: float, history) -> dict:
    return {
        "method": method, "seed": seed, "loss": loss, "test RMSE Qle": 20.0, "test RMSE Qh": 21.0, "seconds": 100.0,
        "seconds compiling": 40.0, "seconds of one run": 2.0, "runs": 30.0, "peak MiB": 900.0, "history": history,
    }  # fmt: skip


def test_paths_say_when_the_search_without_derivatives_was_reached(tmp_path):
    rows = [
        row_of("gauss-newton", 0, 0.08, [(20.0, 0.3), (50.0, 0.12), (60.0, 0.09), (90.0, 0.08)]),
        row_of("gauss-newton", 1, 0.10, [(20.0, 0.3), (50.0, 0.1)]),
        row_of("cma", 0, 0.09, [(20.0, 0.3), (100.0, 0.09)]),
    ]
    lines = paths._table(rows)
    assert any("0.09 (0.08 to 0.1)" in line for line in lines)
    told = [line for line in lines if "reaches the loss of cma" in line]
    assert len(told) == 1 and "after 20.0 s or 10.0 runs; cma took 60 s" in told[0]
    paths._write(rows, tmp_path / "paths.json")
    assert {path.name for path in tmp_path.iterdir()} == {"paths.json", "paths.md", "paths.png"}
    assert json.loads((tmp_path / "paths.json").read_text())["rows"] == json.loads(json.dumps(rows))


def test_curves_are_drawn(tmp_path):
    rows = [
        {"curve": curve, "what": what, "columns": 5 * k, "years": k, "parameters": k, "s": 1.0 * k,
         "us per site-step": 1.0 / k}
        for curve in ("columns", "years", "parameters") for what in ("run", "gradient") for k in (1, 2, 4)
    ]  # fmt: skip
    curves.draw(rows, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000


# ---- benchmarks.gpu -------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_device_is_measured_to_the_end(tmp_path, monkeypatch, capsys):
    """As on a GPU, at tiny size: every kind of row, printed and written.

    The run is the model's. What is differentiated is one line in its place: the model's reverse mode has its own tests.
    """
    model = jlsm.simulate

    def simulate(params, forcing, site, state, **options):
        if options["adjoint"] != jlsm.ReverseOnly():
            return model(params, forcing, site, state, **options)
        inspect.signature(model).bind(params, forcing, site, state, **options)
        flux = forcing.Tair * params.vegetation.vcmax25 / 200.0  # two steps at midnight have no sun
        return SimpleNamespace(Qle=flux, Qh=0.2 * flux), state

    monkeypatch.setattr(gpu.jlsm, "simulate", simulate)
    sizes = ["--columns", "16", "--float64-columns", "", "--members", "1", "--steps", "2", "--window", "2"]
    monkeypatch.setattr("sys.argv", ["gpu", *sizes, "-o", str(tmp_path / "gpu.json")])
    precision = jax.config.jax_default_matmul_precision
    try:
        gpu.main()
    finally:
        jax.config.update("jax_default_matmul_precision", precision)
    written = json.loads((tmp_path / "gpu.json").read_text())
    rows = {row["what"]: row for row in written["rows"]}
    assert list(rows) == ["run", "gradient", "training step", "losses"]
    assert written["machine"]["matrix precision"] == "highest"
    for what in ("run", "gradient", "training step"):
        assert rows[what]["column-steps/s"] > 0 and rows[what]["compile s"] > 0 and rows[what]["note"] == "", rows[what]
    losses = [float(text) for text in rows["losses"]["note"].removeprefix("cpu: ").split(", ")]
    assert len(losses) == 5 and losses[-1] < losses[0]
    assert {row["devices"] for row in written["rows"]} == {1, 8}  # "all devices", too
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(written["rows"])


def works(counts, what="run"):
    return [gpu.Work(what, columns, 48, "float32") for columns in counts]


def test_rows_that_do_not_fit_say_so_and_the_others_are_measured(monkeypatch):
    def measure(work, deadline):
        if work.columns > 100:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 1 byte.")
        if work.what == "training step":
            raise ModuleNotFoundError("No module named 'optax'", name="optax")
        if work.what == "gradient":
            raise TypeError("a defect\nof ours")
        return {"compile s": 1.0, "s": 0.1, "column-steps/s": 1e3, "note": ""}

    monkeypatch.setattr(gpu, "measure", measure)
    asked = [*works([10, 1000, 10000]), *works([5], "training step"), *works([10], "gradient"), *works([20], "losses")]
    rows = list(gpu.measured(asked, 1e6))
    assert [row["note"] for row in rows] == [
        "", "out of memory", "not tried: fewer columns did not fit", "left out: optax is not installed",
        "TypeError: a defect of ours", "",
    ]  # fmt: skip
    assert [row.get("failed", False) for row in rows] == [False] * 4 + [True, False]
    assert all(gpu.line(row) for row in rows)


def test_rows_that_would_take_too_long_are_left_out(monkeypatch):
    seconds = {"compile s": 2.0, "s": 1.0, "column-steps/s": 480.0, "note": ""}
    monkeypatch.setattr(gpu, "measure", lambda work, deadline: dict(seconds))
    rows = list(gpu.measured(works([10, 100, 1000]), 100.0))  # 2 s + 2 x 48 x columns / 480 s
    assert [row["note"] for row in rows] == ["", "", "left out: 100 s left, 202 expected"]
    assert all("left out: 0 s left" in row["note"] for row in gpu.measured(works([10, 100]), -1.0))


def test_benchmarks_of_towers_end_with_one_line_without_them():
    variables = {name: value for name, value in os.environ.items() if name != "MDPL_DATA"}
    for program in ("bondville", "forward"):
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{program}", *(["--figure", ""] if program == "bondville" else [])],
            capture_output=True, text=True, check=False, env=variables,
        )  # fmt: skip
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr == (
            "error: this benchmark reads real towers: "
            "give --data DIR or set MDPL_DATA to the folder described in docs/data.md\n"
        )


def test_results_replace_no_other_file(tmp_path):
    results.write_json(tmp_path / "a.json", {"benchmark": "step", "rows": []})
    results.result_file(str(tmp_path / "a.json"))
    (tmp_path / "notes.json").write_text("[1, 2]")
    (tmp_path / "README.md").write_text("mine")
    for check, name in ((results.result_file, "notes.json"), (results.pictured_result_file, "README.json")):
        with pytest.raises(argparse.ArgumentTypeError, match="is there already"):
            check(str(tmp_path / name))
    with pytest.raises(argparse.ArgumentTypeError, match="no folder"):
        results.result_file(str(tmp_path / "no" / "a.json"))
