"""The curves of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_eomt.widgets.loss_plot import RunPlots
from napari_eomt.widgets.run_tail import RunNews


def news(*scores):
    rows = [{"kind": "check", "step": 10 * k, "score": score} for k, score in enumerate(scores)]
    return RunNews(Path("run"), rows=tuple(rows))


@pytest.mark.parametrize(
    ("scores", "low", "high"),
    [
        ((0.738, 0.734), 0.686, 0.786),  # no hair's breadth looks like a cliff
        ((0.2, 0.7), 0.2, 0.7),
        ((0.0, 0.0), 0.0, 0.1),
        ((0.99, 1.0), 0.9, 1.0),
    ],
)
def test_the_measure_is_shown_in_a_range_worth_a_look(qtbot, scores, low, high):
    plots = RunPlots()
    qtbot.addWidget(plots)
    plots.show_runs([news(*scores)])
    shown = plots.score.plotItem.vb.viewRange()[1]
    room = 0.06 * (high - low)
    assert shown[0] == pytest.approx(low, abs=room)
    assert shown[1] == pytest.approx(high, abs=room)
    assert shown[0] <= low
    assert shown[1] >= high


def test_labels_of_the_loss_do_not_lie_on_each_other(qtbot):
    plots = RunPlots()
    qtbot.addWidget(plots)
    for losses, labels in (
        ((0.25, 2.0), ["0.1", "0.3", "1", "3", "10", "30"]),
        ((0.0, 4e-3, 9.0), ["0.001", "0.01", "0.1", "1", "10"]),
    ):
        rows = [{"kind": "step", "step": k + 1, "loss": loss} for k, loss in enumerate(losses)]
        one = RunNews(Path("run"), rows=tuple(rows))
        # Two runs: the loss alone, without its parts.
        plots.show_runs([one, one])
        (ticks, _) = plots.loss.getAxis("left")._tickLevels
        assert [text for _, text in ticks] == labels
