"""The Learn page in tests: a dock that is open there, a tiny model, a small dataset, runs."""

from __future__ import annotations

import json

import pytest
from tests.training.drawn import save_model, save_nuclei

from napari_eomt.models.catalog import DEFAULT_MODEL
from napari_eomt.models.user_models import add_user_model
from napari_eomt.settings import load_settings, save_settings
from napari_eomt.training.params import TrainParams
from napari_eomt.training.runs import RunPlan, RunSplit, create_run
from napari_eomt.widgets.dock import EomtDock

WAIT_MS = 120_000
FORM = {"steps": 4, "batch_size": 2, "undecided": "learn", "validation_interval": 2}


@pytest.fixture(scope="session")
def drawn_set(tmp_path_factory):
    return save_nuclei(tmp_path_factory.mktemp("nuclei") / "set", n_images=4)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    return save_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def runs_folder(tmp_path, monkeypatch):
    """Return the folder of runs, which is this test's own."""
    monkeypatch.setenv("NAPARI_EOMT_RUNS_DIR", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def make_dock(make_napari_viewer, qtbot, client, tiny_model, runs_folder):
    """Return a function that opens the dock at the Learn page, in a new viewer."""

    def make(worker=client, **form):
        add_user_model(tiny_model, "tiny")
        train = load_settings().train or {"form": FORM}
        train = {**train, "form": {**train["form"], **form}}
        settings = load_settings().model_copy(
            update={"model": "tiny", "train": train, "page": "learn", "device": "cpu"}
        )
        save_settings(settings)
        dock = EomtDock(make_napari_viewer(), client=worker)
        qtbot.addWidget(dock, before_close_func=close)
        dock.resize(320, 900)
        dock.show()
        return dock

    return make


@pytest.fixture
def make_bundled_dock(make_napari_viewer, qtbot, runs_folder):
    """Return a function that opens the dock with the bundled model, in a new window.

    Its worker is its own, which knows the models as this test does.
    """

    def make(**form):
        form = {"preset": "quick", "batch_size": 2, **form}
        settings = {"model": DEFAULT_MODEL, "device": "cpu", "train": {"form": form}}
        save_settings(load_settings().model_copy(update=settings))
        dock = EomtDock(make_napari_viewer(show=True))
        qtbot.addWidget(dock, before_close_func=close)
        dock.resize(340, 900)
        dock.show()
        return dock

    return make


def close(dock):
    """Close a dock, and end the training that it has started."""
    process = dock.train.start_up._process
    if process is not None and process.code is None:
        process.kill()
    dock.shutdown()


def learn(qtbot, dock, dataset):
    """Begin to learn from a dataset; return the folder of the run."""
    page = dock.train
    page.data.show_folder(dataset)
    qtbot.waitUntil(page.new.learn.isEnabled, timeout=WAIT_MS)
    page.new.learn.click()
    qtbot.waitUntil(lambda: bool(page.watch.folders), timeout=WAIT_MS)
    return page.watch.folders[0]


def wait_for(qtbot, page, *statuses):
    """Wait until the run that is shown is of a status; return its news."""
    qtbot.waitUntil(
        lambda: bool(page.view.news) and page.view.news[0].status in statuses, timeout=WAIT_MS
    )
    return page.view.news[0]


def wait_for_step(qtbot, page, step):
    """Wait until the run that is shown has done so many steps."""
    qtbot.waitUntil(
        lambda: bool(page.view.news) and page.view.news[0].step >= step, timeout=WAIT_MS
    )


def wait_for_resume(qtbot, page):
    """Wait until a run can go on: the process that stopped is gone, and the page knows it."""
    resume = page.view.resume
    qtbot.waitUntil(lambda: resume.isVisible() and resume.isEnabled(), timeout=WAIT_MS)


def written(folder, n=6, metric="ap", best=0.5, reason="finished"):
    """Write what a finished run leaves that the page reads."""
    folder.mkdir(parents=True)
    params = TrainParams(steps=n, metric=metric)
    plan = RunPlan(dataset="none.json", model="tiny", params=params, resolved=params)
    run = create_run(folder, plan, RunSplit(train=("1",), val=("2",), names={}))
    rows = [{"kind": "start", "step": 0}]
    rows.append({"kind": "check", "step": 0, "score": 0.1})
    for k in range(n):
        rows.append({"kind": "step", "step": k + 1, "loss": 2.0 / (k + 1), "seconds": 0.1})
    rows.append({"kind": "check", "step": n, "score": best})
    rows.append({"kind": "end", "step": n, "reason": reason})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run
