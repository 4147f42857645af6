"""The list of a folder's images, and the next one that is segmented meanwhile."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Picture
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent

from napari_eomt.annotation import operations
from napari_eomt.annotation.image_store import FolderStore
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import predict
from napari_eomt.models.catalog import DEFAULT_MODEL
from napari_eomt.models.load import load_segmenter
from napari_eomt.models.locate import find_model
from napari_eomt.structures.segments import Status
from napari_eomt.synthetic import drawn_nuclei
from napari_eomt.viewer.image_folder import ImageFolder
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.viewer.results import Results
from napari_eomt.viewer.saved_work import SavedWork
from napari_eomt.widgets.image_list import ImageList
from napari_eomt.widgets.jobs import Jobs
from napari_eomt.widgets.prefetch import Prefetch
from napari_eomt.worker.messages import ModelRef

WAIT_MS = 60_000


@pytest.fixture(autouse=True)
def _own_sessions(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_EOMT_SESSIONS_DIR", str(tmp_path / "user" / "sessions"))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "plate 1"
    folder.mkdir()
    for k in range(4):
        Picture.fromarray(drawn_nuclei((120, 140), n=9, seed=k)[0]).save(folder / f"well{k}.png")
    (folder / "well1b.png").write_bytes(b"no image")
    return folder


class Bench:
    def __init__(self, qtbot, viewer, client, *, ahead=False):
        self.viewer, self.client = viewer, client
        self.jobs = Jobs(client)
        self.results = Results(viewer)
        self.work = SavedWork(viewer, self.results)
        self.folder = ImageFolder(viewer, self.results, FolderStore, self.work)
        self.ref, self.params, self.busy = ModelRef(DEFAULT_MODEL, "cpu"), PredictParams(), False
        self.prefetch = Prefetch(
            self.jobs,
            self.folder,
            lambda: (find_model(DEFAULT_MODEL), self.ref),
            lambda: self.params,
            lambda: self.busy,
        )
        self.prefetch.is_on = ahead
        self.list = ImageList(self.folder, self.prefetch)
        qtbot.addWidget(self.list)
        self.said, self.failed = [], []
        self.list.said.connect(self.said.append)
        self.list.failed.connect(self.failed.append)

    def cells(self, column):
        model = self.list.model
        return [model.data(model.index(row, column)) for row in range(model.rowCount())]

    def close(self):
        self.list.close_events()
        self.jobs.stop_polling()
        self.work.close()
        self.results.close()


@pytest.fixture
def bench(make_napari_viewer, qtbot, client):
    benches = []

    def make(**options):
        benches.append(Bench(qtbot, make_napari_viewer(), client, **options))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


def test_an_empty_list_says_what_to_do(bench):
    shown = bench().list
    assert not shown.hint.isHidden()
    assert shown.table.isHidden()
    assert shown.last.isHidden()
    assert shown.open_next() == "Open a folder of images first."


def test_a_dropped_folder_is_opened_and_its_images_follow(bench, images, qtbot):
    bench = bench()
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(images))])
    event = QDropEvent(
        QPointF(5, 5),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    bench.list.dropEvent(event)
    assert bench.list.name.text() == "plate 1"
    assert bench.cells(0) == ["well0.png", "well1.png", "well1b.png", "well2.png", "well3.png"]
    assert bench.cells(1) == ["new"] * 5
    assert [layer.name for layer in bench.viewer.layers] == ["well0.png"]
    assert bench.list.counts.text() == "5 images: 5 new"
    assert not bench.list.back.isEnabled()
    for _ in range(2):
        qtbot.mouseClick(bench.list.next, Qt.MouseButton.LeftButton)
    assert bench.folder.current == 3
    assert bench.cells(1)[2] == "⚠ unreadable"
    assert "well1b.png" in bench.failed[0]
    assert bench.list.counts.text() == "5 images: 4 new · 1 cannot be read"
    bench.list.table.activated.emit(bench.list.model.index(4, 0))
    assert bench.folder.current == 4
    assert bench.list.table.selectionModel().selectedRows()[0].row() == 4
    assert not bench.list.next.isEnabled()
    assert bench.list.open_next() == "That is the last image of the folder."
    qtbot.mouseClick(bench.list.back, Qt.MouseButton.LeftButton)
    assert bench.said[-1] == "Image 4 of 5"


def test_what_is_done_shows_and_a_restart_offers_to_go_on(bench, images, qtbot):
    first = bench()
    first.list.open_folder(images)
    layer = first.folder.layer
    roles = guess_roles(layer)
    result = first.results.create(
        "key", layer, roles, LayerSource(layer, roles), find_model(DEFAULT_MODEL).categories
    )
    found = predict(np.asarray(layer.data), load_segmenter(DEFAULT_MODEL, "cpu"))
    result.propose(0, found, "Segment")
    n = len(result.document.segments(0))
    qtbot.waitUntil(lambda: first.cells(2)[0] == f"{n} ({n})")
    key = (0, min(result.document.segments(0)))
    result.session.do(operations.set_status(result.document, [key], Status.ACCEPTED))
    first.list.open_next()
    assert first.cells(1)[0] == "◐ proposed"
    assert first.cells(2)[0] == f"{n} ({n - 1})"
    first.close()
    second = bench()
    assert second.list.last.text() == "Go on with plate 1"
    second.list.last.click()
    assert second.folder.current == 1
    assert second.cells(2)[0] == f"{n} ({n - 1})"


def test_the_next_image_is_segmented_meanwhile(bench, images, qtbot):
    bench = bench(ahead=True)
    bench.list.open_folder(images)
    qtbot.waitUntil(lambda: bench.prefetch.is_ready, timeout=WAIT_MS)
    qtbot.waitUntil(lambda: "well1.png is ready" in bench.list.state.text(), timeout=WAIT_MS)
    bench.list.open_next()
    result = bench.results.latest(bench.folder.layer)
    image = np.asarray(Picture.open(images / "well1.png"))
    expected = predict(image, load_segmenter("nuclei-nano", "cpu"))
    np.testing.assert_array_equal(result.document.id_map(0), expected.id_map)
    # Its proposals are kept: a slider decides anew without a run.
    with qtbot.waitSignal(bench.jobs.finished, timeout=WAIT_MS) as decided:
        bench.busy = True
        bench.client.decide(result.key, [0], PredictParams(score_threshold=0.9))
    assert decided.args[0].missing == ()
    bench.busy = False
    # The one after it cannot be read: that is said, and it is passed over.
    qtbot.waitUntil(lambda: "well2.png is ready" in bench.prefetch.text, timeout=WAIT_MS)
    assert bench.cells(1)[2] == "⚠ unreadable"
    bench.list.open_next()
    assert bench.folder.rows[bench.folder.current].name == "well2.png"
    assert bench.results.latest(bench.folder.layer) is not None


def test_the_user_goes_before_and_other_values_are_made_anew(bench, images, qtbot):
    bench = bench(ahead=True)
    bench.busy = True
    bench.list.open_folder(images)
    qtbot.wait(300)
    assert not bench.prefetch.is_running
    bench.busy = False
    qtbot.waitUntil(lambda: bench.prefetch.is_running, timeout=WAIT_MS)
    bench.busy = True
    qtbot.waitUntil(
        lambda: not bench.prefetch.is_running or bench.prefetch.is_ready, timeout=WAIT_MS
    )
    bench.busy = False
    qtbot.waitUntil(lambda: bench.prefetch.is_ready, timeout=WAIT_MS)
    bench.params = PredictParams(score_threshold=0.95)
    bench.prefetch.update()
    assert not bench.prefetch.is_ready
    qtbot.waitUntil(lambda: bench.prefetch.is_ready, timeout=WAIT_MS)
    bench.params = PredictParams()
    assert bench.prefetch.take(images / "well1.png") is None, "made with other values"
    bench.folder.open(3)
    assert not bench.prefetch.is_ready, "another image is next"
    bench.list.ahead.setChecked(False)
    assert not bench.prefetch.is_running


def test_reviewed_images_are_skipped_if_one_wants(bench, images):
    bench = bench()
    bench.list.open_folder(images)
    bench.list.skip.setChecked(True)
    assert bench.folder.skips_reviewed
    assert bench.folder.next_index() == 1


def test_it_is_as_narrow_as_the_dock(bench, images):
    bench = bench()
    bench.list.open_folder(images)
    assert bench.list.minimumSizeHint().width() <= 280
