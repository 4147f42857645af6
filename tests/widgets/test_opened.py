"""Annotated images in a real window: sessions for them, whenever the dock comes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from napari.qt import QtViewer
from qtpy.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QApplication
from tests.viewer.test_reader import SIZES, write

from napari_eomt.annotation.files import save_document
from napari_eomt.annotation.image_ref import ImageRef
from napari_eomt.formats.dataset import load_dataset
from napari_eomt.synthetic import drawn_nuclei
from napari_eomt.widgets.dock import EomtDock

WAIT_MS = 20_000


@pytest.fixture
def add_dock(viewer, client):
    docks = []

    def add():
        dock = EomtDock(viewer, client=client)
        viewer.window.add_dock_widget(dock, name="EoMT")
        docks.append(dock)
        return dock

    yield add
    for dock in docks:
        dock.shutdown()


def drop(qtbot, viewer, path):
    canvas = viewer.window._qt_window.findChild(QtViewer)
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    how = (Qt.DropAction.CopyAction, data, Qt.MouseButton.LeftButton)
    none = Qt.KeyboardModifier.NoModifier
    # Qt gives a drop to whoever has taken what was dragged in.
    QApplication.sendEvent(canvas, QDragEnterEvent(QPoint(50, 50), *how, none))
    QApplication.sendEvent(canvas, QDropEvent(QPointF(50, 50), *how, none))


def test_napari_opens_a_dataset_and_the_dock_goes_on(qtbot, viewer, add_dock, tmp_path):
    path = write(tmp_path / "set", SIZES[:1])
    viewer.open(str(path), plugin="napari-eomt")
    assert [type(layer).__name__ for layer in viewer.layers] == ["Image", "Labels"]
    dock = add_dock()
    qtbot.waitUntil(lambda: dock.current.document is not None, timeout=WAIT_MS)
    assert dock.current.document.origin.image_ids == (10,)
    assert dock.annotate.segments.n_objects == 2
    assert dock.work.unsaved == []
    assert not dock.bar.has_error


def test_a_dataset_opened_beside_the_dock_has_a_session_as_well(qtbot, viewer, add_dock, tmp_path):
    dock = add_dock()
    folder = tmp_path / "plate"
    write(folder, [(20, 30)] * 3)
    viewer.open(str(folder / "annotations.json"), plugin="napari-eomt")
    qtbot.waitUntil(lambda: dock.current.document is not None, timeout=WAIT_MS)
    assert dock.current.document.frame_shape == (3,)
    viewer.dims.set_point(0, 2)
    assert dock.current.frame == 2
    assert [layer.name for layer in viewer.layers] == ["plate", "plate segments"]


def test_folders_of_ours_can_be_dropped_on_the_canvas(qtbot, viewer, add_dock, tmp_path):
    dock = add_dock()
    folder = tmp_path / "plate"
    path = write(folder, [(20, 30)])
    qtbot.wait(10)
    drop(qtbot, viewer, folder)
    qtbot.waitUntil(lambda: dock.current.document is not None, timeout=WAIT_MS)
    document = dock.current.document
    (tmp_path / "empty").mkdir()
    image = dock.current.image
    ref = ImageRef.of(image.data, image.name, folder / "images" / "im1.png")
    save_document(document, tmp_path / "work.eomt", ref)
    viewer.layers.clear()
    drop(qtbot, viewer, tmp_path / "work.eomt")
    qtbot.waitUntil(lambda: dock.current.document is not None, timeout=WAIT_MS)
    assert dock.current.document is not document
    assert dock.current.document.origin.path == str(path)


def test_what_is_wrong_is_said_in_the_dock(qtbot, viewer, add_dock, tmp_path):
    dock = add_dock()
    path = write(tmp_path / "set", SIZES[:1])
    content = json.loads(path.read_text())
    content["annotations"][1]["bbox"] = [1, 2, 3]
    path.write_text(json.dumps(content))
    qtbot.wait(10)
    drop(qtbot, viewer, tmp_path / "set")
    assert "annotation 200" in dock.bar.errors.text.text()
    assert list(viewer.layers) == []


def test_other_images_are_left_alone(qtbot, viewer, add_dock):
    dock = add_dock()
    viewer.add_image(drawn_nuclei((60, 60), n=3, seed=1)[0], name="n")
    viewer.add_labels(np.zeros((60, 60), int), name="l")
    qtbot.wait(20)
    assert [layer.name for layer in viewer.layers] == ["n", "l"]
    assert dock.current.document is None


def test_painted_with_the_mouse_and_written_back_one_annotation_differs(
    qtbot, viewer, add_dock, tmp_path
):
    path = write(tmp_path / "set", SIZES[:1])
    before = json.loads(path.read_text())
    dock = add_dock()
    viewer.open(str(path), plugin="napari-eomt")
    qtbot.waitUntil(lambda: dock.current.document is not None, timeout=WAIT_MS)
    layer = dock.current.result.view.layer
    layer.selected_label = 2
    layer.brush_size = 1
    layer.paint((15, 20), 2)
    with load_dataset(path) as dataset:
        dataset.add(None, dock.current.document)
        dataset.save()
    after = json.loads(path.read_text())
    assert after["annotations"][0] == before["annotations"][0]
    assert after["annotations"][1] != before["annotations"][1]
    assert after["images"] == before["images"]
