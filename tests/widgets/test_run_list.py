"""The Learn page's runs: listed, compared, opened from elsewhere, deleted."""

from __future__ import annotations

import time

from qtpy.QtWidgets import QMessageBox
from tests.widgets.learn_page import WAIT_MS, written


def test_runs_are_listed_compared_opened_and_deleted(qtbot, make_dock, tmp_path, monkeypatch):
    one, two = (written(tmp_path / "runs" / name).folder for name in ("one", "two"))
    other = written(tmp_path / "elsewhere", best=0.9).folder
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "params.json").write_text("{")
    page = make_dock().train
    runs = page.runs
    qtbot.waitUntil(lambda: runs.table.topLevelItemCount() == 2, timeout=WAIT_MS)
    page.show_runs([one, two])
    qtbot.waitUntil(lambda: len(page.view.news) == 2, timeout=WAIT_MS)
    assert {i.name() for i in page.view.plots.score.plotItem.listDataItems()} == {"one", "two"}
    assert all(
        name in page.view.plots.heads[page.view.plots.score].text() for name in ("one", "two")
    )
    assert not page.view.use.isVisible()
    runs.open_folder(other)
    qtbot.waitUntil(
        lambda: (
            [n.folder for n in page.view.news] == [other] and runs.table.topLevelItemCount() == 3
        ),
        timeout=WAIT_MS,
    )
    assert "AP 0.100 → 0.900 at step 6" in page.view.state.text()
    assert page.view.about.text() == "tiny · Quick · 1 image learns, 1 checks"
    # What came of it stands where people look; a new training is a click away.
    assert page.setup.head.isVisible()
    assert not page.setup.is_open
    assert str(other) in page.values()["others"]
    runs.open_folder(tmp_path / "runs" / "broken")
    qtbot.waitUntil(lambda: page.view.state.text().startswith("⚠"), timeout=WAIT_MS)
    runs.select([one])
    asked = []

    def answer(parent, title, text):
        asked.append(text)
        return QMessageBox.StandardButton.Yes

    monkeypatch.setattr(QMessageBox, "question", answer)
    runs.delete.click()
    qtbot.waitUntil(lambda: runs.table.topLevelItemCount() == 2, timeout=WAIT_MS)
    assert "one" in asked[0]
    assert not one.exists()
    assert two.exists()


def test_the_window_does_not_wait_for_a_slow_disk(qtbot, make_dock, tmp_path, monkeypatch):
    from napari_eomt.widgets.run_tail import RunTail

    folder = written(tmp_path / "runs" / "one").folder
    page = make_dock().train
    read = RunTail.read

    def slow(self):
        time.sleep(0.5)
        return read(self)

    monkeypatch.setattr(RunTail, "read", slow)
    page.show_runs([folder])
    assert not page.view.news  # it came back before the disk did
    qtbot.waitUntil(lambda: bool(page.view.news), timeout=WAIT_MS)
