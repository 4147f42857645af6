"""What is said of one run, and what can be done with it."""

from __future__ import annotations

import json

import pytest
from tests.widgets.learn_page import written

from napari_eomt.widgets.run_tail import RunTail
from napari_eomt.widgets.run_view import RunView, state_text
from napari_eomt.widgets.run_watch import Background


@pytest.fixture
def view(qtbot):
    background = Background()
    view = RunView(background)
    qtbot.addWidget(view)
    yield view
    background.close()


def news_of(tmp_path, reason, *, n_checks):
    """Return a run that has ended after so many checks, the first of them at the start."""
    run = written(tmp_path / "run", reason=reason)
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    checks = [row for row in rows if row["kind"] == "check"][n_checks:]
    left = [row for row in rows if row not in checks]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in left))
    (run.folder / "checkpoints" / "last").mkdir(parents=True)
    return RunTail(run.folder).read()


def test_first_curves_are_shown_at_once(view, tmp_path):
    view.show_news([news_of(tmp_path, "stopped", n_checks=2)])
    assert view.plots.isVisibleTo(view)  # without a round of Qt's loop


@pytest.mark.parametrize(
    ("reason", "n_checks", "is_offered"),
    [
        ("finished", 2, True),
        ("stopped", 1, True),
        ("failed", 2, True),
        ("failed", 1, False),  # there is nothing but the model of the start
        ("failed", 0, True),  # no image checks, and it has learnt
    ],
)
def test_what_was_learnt_can_be_used(view, tmp_path, reason, n_checks, is_offered):
    view.show_news([news_of(tmp_path, reason, n_checks=n_checks)])
    assert view.use.isVisibleTo(view) == is_offered


@pytest.mark.parametrize(("n_checks", "titles"), [(1, ["before"]), (2, ["before", "after"])])
def test_no_figures_are_shown_of_what_was_not_checked(view, tmp_path, n_checks, titles):
    news = news_of(tmp_path, "stopped", n_checks=n_checks)
    view.show_news([news])
    view._show_scores([news.folder], [({"ap": 0.1}, {"ap": 0.1})])
    shown = [view.scores.horizontalHeaderItem(k).text() for k in range(view.scores.columnCount())]
    assert shown == titles


def test_a_run_that_can_go_on_waits_for_the_other(view, tmp_path):
    view.show_news([news_of(tmp_path, "stopped", n_checks=1)])
    tip = view.resume.toolTip()
    view.show_busy("A training is running. Stop it first.")
    assert not view.resume.isEnabled()
    assert view.resume.toolTip() == "A training is running. Stop it first."
    view.show_busy("")
    assert view.resume.isEnabled()
    assert view.resume.toolTip() == tip


def test_how_a_run_ended_is_said(tmp_path):
    text = state_text(news_of(tmp_path, "failed", n_checks=2))
    assert text.startswith("failed · step 6 of 6 · AP 0.100 → 0.500 at step 6")
    assert "no state was saved yet" in text
