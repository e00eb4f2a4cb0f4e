"""The tutorials and the README's Python run as they stand, offline, each in an empty folder; results mean something.

Each script runs in a process of its own, as a user would run it (float32, no checking of shapes). The checks below run
behind it in the same process, on the script's own variables: this file is a test module and a program
(``test_tutorials.py NAME``). Of the embedded data set only the thirty days that the tutorials read get their fluxes.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = ("calibrate_five_sites", "your_own_tower", "swap_the_path", "sensitivity", "hybrid_stomata")
FIRST, DAYS = 135, 30  # 16 May to 14 June 2001, what the tutorials read


# ---- in the test process --------------------------------------------------------------------------


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def environment(tmp_path_factory, request) -> dict[str, str]:
    """Variables of the children: a folder of data, shared compiled code, flags as ``conftest`` set them."""
    compiled = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(request.config.cache.mkdir("jax"))
    variables = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": compiled,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "JAX_PLATFORMS": "cpu",
        "MDPL_CACHE": str(tmp_path_factory.mktemp("embedded")),
        "MPLBACKEND": "agg",
        "PYTHONPATH": str(ROOT),
    }
    child("data", tmp_path_factory.mktemp("data"), variables)
    return variables


def child(name: str, folder: Path, variables: dict[str, str]) -> str:
    """Run this file as a program; its output. Fails with what it printed."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, __file__, name], cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, stdin=subprocess.DEVNULL, timeout=900,
    )  # fmt: skip
    print(f"{name}: {time.perf_counter() - begin:.0f} s\n{done.stdout}")
    assert done.returncode == 0, f"{name} ended with {done.returncode}:\n{done.stdout[-6000:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", TUTORIALS)
def test_tutorial(name, environment, tmp_path):
    child(name, tmp_path, environment)


@pytest.mark.slow
def test_the_readme_prints_what_it_says(environment, tmp_path):
    child("readme", tmp_path, environment)


def test_every_example_is_a_tutorial_with_a_page_that_shows_it():
    assert sorted(path.stem for path in (ROOT / "examples").glob("*.py")) == sorted(TUTORIALS)
    menu, readme = read("mkdocs.yml"), read("README.md")
    assert "pymdownx.snippets" in menu and "check_paths: true" in menu
    for name in TUTORIALS:
        page = read(f"docs/tutorials/{name}.md")
        shown = re.findall(r'^--8<-- "(.*)"$', page, re.MULTILINE)
        assert shown == [f"examples/{name}.py"], f"{name}: the page shows the script that runs, and no other"
        assert "```python" not in page, f"{name}: code on the page that no test runs"
        assert f"tutorials/{name}.md" in menu and f"docs/tutorials/{name}.md" in readme


# ---- in the child: the data -----------------------------------------------------------------------


def thirty_days(params, forcing, site, report) -> dict:
    """True fluxes of the thirty days, after as much spin-up as the tutorials use; zero outside, where nobody looks."""
    import jax
    import numpy as np

    from jlsm.state import initial_state
    from mdpl.data.pairs import FLUX_LONG_NAMES
    from mdpl.model_paths import lsm_path

    # as mdpl's runner compiles it, so that the first tutorial finds it compiled
    simulate = jax.jit(lsm_path().simulate)
    part, site = forcing.window(48 * FIRST, 48 * (FIRST + DAYS)), site.numeric()
    state = initial_state(part.Tair.mean(axis=0), params.soil.porosity)
    for _ in range(13):
        out, state = simulate(params, part, site, state)
    fluxes = {name: np.zeros(forcing.SWdown.shape, np.float32) for name in FLUX_LONG_NAMES}
    for name in FLUX_LONG_NAMES:
        fluxes[name][48 * FIRST : 48 * (FIRST + DAYS)] = getattr(out, name)
    return fluxes


def make_data() -> None:
    """The embedded data set with its own weather, but fluxes in the tutorials' thirty days only."""
    from mdpl.data import synthetic

    folder = synthetic.cache_folder() / f"five_crops_synthetic-{synthetic.content_key()}"
    synthetic.write_synthetic(folder, model=thirty_days)
    assert synthetic.is_complete(folder) and synthetic.five_crops_synthetic() == folder


# ---- in the child: the README ---------------------------------------------------------------------


def run_readme() -> None:
    """Run each Python block and compare what it prints with the block that follows it."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", read("README.md"), re.DOTALL | re.MULTILINE)
    programs = [(text, blocks[i + 1]) for i, (language, text) in enumerate(blocks) if language == "python"]
    assert programs
    for program, (language, promised) in programs:
        assert language == "", "what a Python block prints stands in the next block"
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(program, "README.md", "exec"), {"__name__": "__main__"})
        print(printed.getvalue())
        number = r"-?\d+\.\d+"
        assert re.sub(number, "", printed.getvalue()).split() == re.sub(number, "", promised).split()
        pairs = zip(re.findall(number, printed.getvalue()), re.findall(number, promised), strict=True)
        # float32 rounds differently in code that was compiled without optimisation
        assert all(math.isclose(float(a), float(b), rel_tol=1e-4) for a, b in pairs), promised


# ---- in the child: what each tutorial must have found ---------------------------------------------


def check_run(page: dict, sites: int) -> None:
    """A complete run directory, losses that fell, parameters that moved within their bounds."""
    calibration = page["calibration"]
    files = {path.name for path in calibration.directory.iterdir()}
    labels = {row.site for row in calibration.metrics}
    assert len(labels) == sites
    expected = {"config.toml", "parameters.csv", "metrics.csv", "loss.csv", "taylor_Qh.png", "taylor_Qle.png"}
    expected |= {"report.html", "checkpoints", *(f"{s}_{w}.nc" for s in labels for w in ("default", "calibrated"))}
    assert expected <= files, expected - files
    for site in labels:
        rows = [row for row in calibration.trained.rows if row.site == site and row.record_loss is not None]
        print(f"check: {site} loss {rows[0].record_loss:.4f} -> {min(row.record_loss for row in rows):.4f}")
    epochs = sorted({row.epoch for row in calibration.trained.rows if row.record_loss is not None})
    losses = [
        sum(row.record_loss for row in calibration.trained.rows if row.epoch == epoch) / sites for epoch in epochs
    ]
    assert epochs[0] == 0 and min(losses) < 0.98 * losses[0], f"mean loss by epoch: {losses}"
    moved = set()
    for row in calibration.parameters:
        assert row.lower <= row.calibrated <= row.upper, row
        moved |= {row.site} if row.calibrated != row.default else set()
    assert len(moved) > sites / 2, f"where nothing beats the default it stays, but it should at most sites: {moved}"


def check_calibrate_five_sites(page: dict) -> None:
    check_run(page, sites=5)


def check_your_own_tower(page: dict) -> None:
    check_run(page, sites=1)
    lines = Path(page["__file__"]).read_text(encoding="utf-8").split("# Ten lines")[1].split("\n\n")[0].splitlines()[1:]
    assert len(lines) == 10, f"ten lines are promised, these are {len(lines)}"


def check_swap_the_path(page: dict) -> None:
    assert page["skill"]["year", "Qle", "half-hourly"] > 0.8
    for name, result in page["trained"].items():
        losses = [row.record_loss for row in result.rows if row.record_loss is not None]
        assert losses[-1] < 0.98 * losses[0], f"{name}: {losses}"
        assert page["judged"][name] < page["default"], f"the model does not like what the {name} found"
    lsm = page["trained"]["land surface model"]
    own = min(row.record_loss for row in lsm.rows if row.record_loss is not None)
    # the judge spins up with the found parameters; training refreshed its states along the way
    assert math.isclose(page["judged"]["land surface model"], own, rel_tol=0.15), "the judge is the model itself"


def check_sensitivity(page: dict) -> None:
    import numpy as np

    vcmax25, step = page["params"].vegetation.vcmax25, 2.0
    slope = np.asarray(page["slope"], np.float64)
    assert slope.shape == (DAYS, 5) and np.isfinite(slope).all()
    above, below = (np.asarray(page["both"](vcmax25 + h)[0], np.float64) for h in (step, -step))
    difference = (above - below) / (2.0 * step)
    print("check:", slope.sum(axis=0), difference.sum(axis=0))
    assert (slope.sum(axis=0) > 0).all(), "more capacity, more open stomata, more water"
    # day by day: a single step whose surface balance has two solutions may jump between them
    agree = np.isclose(slope, difference, rtol=0.02, atol=3e-4)
    assert agree.mean() > 0.95, (slope[~agree], difference[~agree])
    np.testing.assert_allclose(np.where(agree, slope, 0.0).sum(axis=0), np.where(agree, difference, 0.0).sum(axis=0),
                               rtol=0.01)  # fmt: skip


def check_hybrid_stomata(page: dict) -> None:
    import equinox as eqx
    import jax
    import numpy as np

    losses = page["losses"]
    assert all(np.isfinite(losses)) and losses[-1] < 0.98 * losses[0], losses
    slope = np.asarray(page["learned"])
    assert slope.shape == page["forcing"].Tair.shape and slope.std() > 0.01, "the parameter varies in time"
    # the derivative along the gradient, against a difference
    network = page["network"]
    value, slopes = page["gradient"](network)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    length = math.sqrt(sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(slopes)))
    step = 0.02 / length
    moved = [
        float(page["gradient"](eqx.apply_updates(network, jax.tree.map(lambda s, h=h: h * s, slopes)))[0])
        for h in (step, -step)
    ]
    difference = (moved[0] - moved[1]) / (2.0 * step)
    print("check:", float(value), length**2, difference)
    assert difference > 0 and math.isclose(length**2, difference, rel_tol=0.1)


def stay_offline() -> None:
    import socket

    def refuse(*_):
        raise OSError("a tutorial asked for the network")

    socket.socket.connect = refuse
    socket.getaddrinfo = refuse


if __name__ == "__main__":
    stay_offline()
    if sys.argv[1] == "data":
        make_data()
    elif sys.argv[1] == "readme":
        run_readme()
    else:
        script = ROOT / "examples" / f"{sys.argv[1]}.py"
        globals()[f"check_{sys.argv[1]}"](runpy.run_path(str(script)))
