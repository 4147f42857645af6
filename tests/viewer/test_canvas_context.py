"""In which OpenGL context napari deletes what it drew layers with."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtGui import QOpenGLContext
from vispy.gloo.glir import GlirProgram

from napari_eomt.viewer.canvas_context import CanvasContext


@pytest.fixture
def contexts(monkeypatch):
    """Return a list that grows by the current context whenever a shader program is deleted."""
    current = []
    delete = GlirProgram.delete

    def noting(program):
        current.append(QOpenGLContext.currentContext())
        delete(program)

    monkeypatch.setattr(GlirProgram, "delete", noting)
    return current


def drawn(viewer):
    """Draw an image and its segments, and return the canvas's context, which is not current."""
    viewer.add_image(np.zeros((40, 40), np.uint8))
    viewer.add_labels(np.ones((40, 40), np.uint16))
    viewer.screenshot(flash=False)
    canvas = viewer.window._qt_viewer.canvas.native
    canvas.doneCurrent()  # as after every picture, when Qt puts the window together
    return canvas.context()


def remove_each(viewer):
    for layer in list(viewer.layers):
        viewer.layers.remove(layer)


def remove_together(viewer):
    viewer.layers.clear()


@pytest.mark.parametrize("remove", [remove_each, remove_together])
def test_what_layers_were_drawn_with_is_deleted_in_the_context_of_the_canvas(
    make_napari_viewer, contexts, remove
):
    viewer = make_napari_viewer(show=True)
    keeper = CanvasContext(viewer)
    own = drawn(viewer)
    remove(viewer)
    assert len(contexts) == 2
    assert all(context is own for context in contexts)
    keeper.close()


def test_closed_it_leaves_the_context_as_it_is(make_napari_viewer):
    viewer = make_napari_viewer(show=True)
    keeper = CanvasContext(viewer)
    own = drawn(viewer)
    keeper.close()
    remove_each(viewer)
    assert QOpenGLContext.currentContext() is not own


def test_layers_go_from_a_viewer_without_a_window_and_from_one_never_shown(make_napari_viewer):
    for viewer in (ViewerModel(), make_napari_viewer(show=False)):
        keeper = CanvasContext(viewer)
        viewer.add_image(np.zeros((4, 4)))
        remove_each(viewer)
        assert not viewer.layers
        keeper.close()


PROGRAM = """
import sys, time
import napari, numpy as np
from qtpy.QtWidgets import QApplication
from napari_eomt.viewer.canvas_context import CanvasContext

def redraw(layer):
    for gamma in (0.5, 0.6, 0.7):
        layer.gamma = gamma
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            QApplication.processEvents()

viewer = napari.Viewer()
keeper = CanvasContext(viewer)
pixels = np.zeros((40, 40), np.uint8)
image = viewer.add_image(pixels)
labels = viewer.add_labels(pixels + 1)
redraw(image)
viewer.layers.remove(labels)
viewer.layers.remove(image)
redraw(viewer.add_image(pixels))
viewer.close()
print("drawn")
"""


def test_the_next_image_is_drawn_after_an_image_and_its_segments_were_removed():
    """Once the program died here; a dead test run would say less than a dead child."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "drawn" in run.stdout
