"""What the benchmarks make of their numbers: tables, comparisons, figures (the numbers themselves are never tested)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks import curves, paths


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
