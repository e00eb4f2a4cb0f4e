"""Pictures are made, whole, and say what they show."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from mdpl.report.plots import draw_cycles, loss_curve
from mdpl.report.style import save
from mdpl.report.taylor import TaylorPair, taylor_diagram
from mdpl.runs.rows import EpochRow
from mdpl.scores.metrics import Scores, scores
from mdpl.towers.intervals import model_time
from mdpl.towers.split import Split
from tests.mdpl.fakes import make_tower


def made(r: float, spread: float) -> Scores:
    return Scores(rmse=1.0, bias=0.0, r=r, std_mod=30 * spread, std_obs=30.0, crmse=0.5, nme=0.5, kge=0.5, n=100)


def texts(figure: Figure) -> str:
    found = figure.findobj(Text)
    return "\n".join(artist.get_text() for artist in found)


@pytest.mark.parametrize(("worst_r", "widest"), [(0.6, 1.2), (-0.3, 1.0), (0.7, 3.2)])
def test_taylor_diagram_holds_every_point(tmp_path, worst_r, widest):
    pairs = [TaylorPair("DE-Geb", made(0.8, 0.7), made(0.9, 1.0))]
    pairs += [TaylorPair("US-ARM", made(worst_r, widest), made(0.85, 1.1))]
    figure = taylor_diagram(pairs, "Qle", "test period, daily")
    axes = figure.axes[0]
    assert axes.get_ylim()[1] > widest
    assert np.degrees(axes.get_xlim()[1]) == pytest.approx(180 if worst_r < 0 else 90)
    words = texts(figure)
    for word in ("Correlation R", "Standard deviation, model / observed", "Latent heat flux (Qle)", "test period",
                 "DE-Geb", "US-ARM", "default", "calibrated", "observed"):  # fmt: skip
        assert word in words
    save(figure, tmp_path / "taylor.png")
    assert (tmp_path / "taylor.png").stat().st_size > 10_000
    assert [path.name for path in tmp_path.iterdir()] == ["taylor.png"]


def test_a_site_without_correlation_is_named_not_drawn():
    flat = scores(np.zeros(5), np.arange(5.0))
    words = texts(taylor_diagram([TaylorPair("XX-Flat", flat, flat)], "Qh"))
    assert "not drawn (no correlation): XX-Flat" in words


def test_loss_curve(tmp_path):
    rows = [EpochRow(e, site, 1.0 / (e + 1), 0.9 / (e + 1) if e % 2 == 0 else None, 0.1, False, 0.1)
            for e in range(5) for site in ("DE-Geb", "US-ARM")]  # fmt: skip
    figure = loss_curve(rows)
    words = texts(figure)
    assert "Epoch" in words and "Loss" in words and "US-ARM" in words
    save(figure, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").stat().st_size > 5_000


@pytest.mark.parametrize(("interval", "panels"), [(86400, 2), (3600, 4)])
def test_mean_cycles(tmp_path, interval, panels):
    tower = make_tower({}, days=365, interval=interval)
    run = {flux: np.ones(tower.forcing.steps) for flux in ("Qle", "Qh")}
    everything = np.ones(tower.observations.time.start.shape, bool)
    split, runs = Split(~everything, everything, ""), {"default": run, "calibrated": run}
    figure = draw_cycles(tower.label, tower.observations, model_time(tower.forcing), split, runs)
    assert len(figure.axes) == panels
    words = texts(figure)
    for word in ("Month", "Latent heat flux", "Sensible heat flux", "XX-Toy", "observed", "default", "calibrated"):
        assert word in words
    assert ("Hour of day" in words) == (panels == 4)
    save(figure, tmp_path / "cycles.png")
    assert (tmp_path / "cycles.png").stat().st_size > 5_000
