"""Real mouse and key events in a viewer's canvas."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import QApplication


class Hand:
    """Points at pixels of a layer with the mouse, and presses keys.

    Parameters
    ----------
    qtbot
    viewer : napari.Viewer
        Shown.
    layer : Layer
        Whose pixels are meant.
    """

    def __init__(self, qtbot, viewer, layer):
        self.qtbot, self.viewer, self.layer = qtbot, viewer, layer
        self.canvas = viewer.window._qt_viewer.canvas
        self.native = self.canvas.native
        settle()

    def at(self, y, x):
        """Return where (y, x) of the frame that is shown lies in the canvas."""
        data = np.array(self.layer.world_to_data(tuple(self.viewer.dims.point)), float)
        data = data[-self.layer.ndim :]
        data[-2:] = y, x
        world = np.asarray(self.layer.data_to_world(tuple(data)))[-2:]
        view = self.canvas.view
        transform = view.transform * view.scene.transform
        x, y, *_ = transform.map([world[1], world[0], 0, 1])
        return QPoint(round(float(x)), round(float(y)))

    def move(self, y, x):
        # Where the mouse of the test before stands already, no move would come in.
        for aside in (QPoint(2, 2), QPoint()):
            self.qtbot.mouseMove(self.native, self.at(y, x) + aside)
            self.qtbot.wait(10)  # napari takes a move each 5 ms

    def click(self, y, x, modifier=Qt.KeyboardModifier.NoModifier):
        self.move(y, x)
        self.qtbot.mouseClick(self.native, Qt.MouseButton.LeftButton, modifier, self.at(y, x))

    def double_click(self, y, x):
        self.qtbot.mouseDClick(self.native, Qt.MouseButton.LeftButton, pos=self.at(y, x))

    def drag(self, *points, modifier=Qt.KeyboardModifier.NoModifier):
        """Press at the first of (y, x), move through the others, release at the last."""
        button = Qt.MouseButton.LeftButton
        self.move(*points[0])
        self.qtbot.mousePress(self.native, button, modifier, self.at(*points[0]))
        for a, b in pairwise(points):
            for part in np.linspace(0, 1, 6)[1:]:
                y, x = np.array(a) + part * (np.array(b) - np.array(a))
                self.qtbot.mouseMove(self.native, self.at(y, x))
                self.qtbot.wait(15)
        self.qtbot.mouseRelease(self.native, button, modifier, self.at(*points[-1]))

    def wheel(self, y, x, steps, modifier=Qt.KeyboardModifier.NoModifier):
        place = QPointF(self.at(y, x))
        event = QWheelEvent(
            place,
            QPointF(self.native.mapToGlobal(place.toPoint())),
            QPoint(),
            QPoint(0, 120 * steps),
            Qt.MouseButton.NoButton,
            modifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        QApplication.sendEvent(self.native, event)

    def press(self, key, modifier=Qt.KeyboardModifier.NoModifier):
        self.qtbot.keyClick(self.native, key, modifier)


def settle():
    for _ in range(5):
        QApplication.processEvents()
