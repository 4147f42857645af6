"""Runs read a piece at a time, and where they are."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_eomt.training.params import TrainParams
from napari_eomt.training.run_log import NAME, read_rows
from napari_eomt.training.runs import RunPlan, RunSplit, create_run
from napari_eomt.widgets.run_process import LOG, TrainingProcess, failure_of
from napari_eomt.widgets.run_tail import RunNews, RunTail
from napari_eomt.widgets.run_view import state_text

KINDS = ("start", "step", "check", "note", "end")
LINES = st.one_of(
    st.builds(
        lambda kind, step: json.dumps({"kind": kind, "step": step}),
        st.sampled_from(KINDS),
        st.integers(0, 9),
    ),
    st.sampled_from(["", "{", "3", "null", '{"kind": "step"}', '{"kind": "step", "step"']),
)


def new_run(folder, n_steps=10):
    params = TrainParams(steps=n_steps, metric="ap")
    plan = RunPlan(dataset="d", model="m", params=params, resolved=params)
    return create_run(folder, plan, RunSplit(train=("1",), val=("2",), names={"2": "two"}))


@settings(max_examples=60, deadline=None)
@given(lines=st.lists(LINES, max_size=30), cuts=st.lists(st.integers(1, 40), max_size=20))
def test_piece_by_piece_is_the_same_as_at_once(tmp_path_factory, lines, cuts):
    folder = tmp_path_factory.mktemp("run")
    new_run(folder)
    data, tail = "".join(line + "\n" for line in lines).encode(), RunTail(folder)
    with (folder / NAME).open("wb", buffering=0) as file:
        for cut in cuts:
            file.write(data[:cut])
            data = data[cut:]
            tail.read()
        file.write(data)
    assert list(tail.read().rows) == read_rows(folder / NAME)


def test_another_log_in_its_place_is_read_from_its_beginning(tmp_path):
    new_run(tmp_path / "run")
    tail = RunTail(tmp_path / "run")
    log = tmp_path / "run" / NAME
    log.write_text('{"kind": "start", "step": 0}\n{"kind": "step", "step": 1}\n')
    assert tail.read().step == 1
    log.write_text('{"kind": "start", "step": 0}\n')
    assert [row["kind"] for row in tail.read().rows] == ["start"]


def test_no_run_yet(tmp_path):
    news = RunTail(tmp_path).read()
    assert (news.run, news.status, news.rows) == (None, None, ())
    assert state_text(news) == "preparing"


def test_curves_and_figures_are_those_of_the_rows(tmp_path):
    rows = [{"kind": "check", "step": 0, "score": 0.2}]
    rows += [
        {"kind": "step", "step": k, "loss": float(k), "seconds": 0.5, "learning_rate": 1e-4}
        for k in range(1, 401)
    ]
    rows += [{"kind": "step", "step": 401, "loss": None}]  # was not finite
    rows += [{"kind": "check", "step": 401, "score": None}]
    rows += [{"kind": "check", "step": 401, "score": 0.6}]
    news = RunNews(tmp_path, rows=tuple(rows))
    steps, values = news.curves["loss"]
    np.testing.assert_array_equal(steps, np.arange(1, 401))
    expected = [np.mean(range(max(1, k - 19), k + 1)) for k in range(1, 401)]
    np.testing.assert_allclose(values, expected)
    np.testing.assert_array_equal(news.curves["score"], [[0, 401], [0.2, 0.6]])
    assert news.before == 0.2
    assert news.best == (401, 0.6)
    assert news.problem == ""


def test_long_curves_are_thinned(tmp_path):
    rows = tuple({"kind": "step", "step": k, "loss": 1.0} for k in range(20_000))
    assert len(RunNews(tmp_path, rows=rows).curves["loss"][0]) <= 1_000


def test_why_a_run_failed_is_its_last_word_only(tmp_path):
    failed = {"kind": "end", "step": 3, "reason": "failed", "text": "the loss is not finite"}
    news = RunNews(tmp_path, rows=({"kind": "start", "step": 0}, failed))
    assert news.problem == "the loss is not finite"
    again = RunNews(tmp_path, rows=(failed, {"kind": "start", "step": 3}))
    assert again.problem == ""


def test_time_left_is_that_of_the_last_steps(tmp_path):
    run = new_run(tmp_path / "run", n_steps=50)
    slow = [{"kind": "step", "step": k, "seconds": 9.0} for k in range(1, 11)]
    rows = [*slow, *({"kind": "step", "step": k, "seconds": 0.5} for k in range(11, 31))]
    news = RunNews(run.folder, run, "running", tuple(rows))
    assert news.seconds_left == pytest.approx(0.5 * 20)
    assert "10 s left" in state_text(news)


@pytest.mark.parametrize(
    ("log", "code", "message"),
    [
        ("Loading\nerror: cells.json: no images.\n", 2, "cells.json: no images."),
        ("Traceback\nValueError: what\n", 1, "The training ended with code 1: ValueError: what"),
        ("", -9, "memory ran out"),
        ("", None, "without a word"),
    ],
)
def test_why_a_process_ended(tmp_path, log, code, message):
    (tmp_path / LOG).write_text(log)
    assert message in failure_of(tmp_path, code)[0]


def test_a_process_says_what_is_wrong(tmp_path):
    process = TrainingProcess(tmp_path / "run", [str(tmp_path), "--out", str(tmp_path / "run")])
    assert process._child.wait(120) == 2
    message, _ = failure_of(tmp_path / "run", process.code)
    assert "annotations.json" in message


def test_the_page_knows_no_torch_and_imports_plots_late():
    code = (
        "import sys, napari_eomt.widgets.dock, napari_eomt.widgets.loss_plot as p;"
        "assert 'torch' not in sys.modules;"
    )
    light = (
        "import sys, napari_eomt.widgets.dock;"
        "assert not {'torch', 'pyqtgraph', 'imageio'} & set(sys.modules), sys.modules"
    )
    for each in (code, light):
        subprocess.run([sys.executable, "-c", each], check=True, timeout=120)
