"""Tracks as strips over the frames, one below the other: only what is visible is looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QPoint, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QHelpEvent, QPainter, QPen
from qtpy.QtWidgets import QAbstractScrollArea, QFrame, QToolTip, QWidget

from napari_eomt.annotation.track_lanes import columns, frame_at, place_of
from napari_eomt.widgets.timeline_paint import LEGEND, TimelineColors, paint_lane

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from qtpy.QtGui import (
        QContextMenuEvent,
        QKeyEvent,
        QMouseEvent,
        QPaintEvent,
        QResizeEvent,
        QWheelEvent,
    )

    from napari_eomt.annotation.track_lanes import Lanes

MIN_ROWS, MAX_ROWS = 2, 7
"""How many rows are high enough to be asked for."""

MIN_FRAMES = 8
"""Frames that are shown at least, however near one looks."""

_MARGIN = 6
_ZOOM = 1.25

_KEYS = {
    Qt.Key.Key_Left: "track_previous",
    Qt.Key.Key_Right: "track_next",
    Qt.Key.Key_Home: "track_start",
    Qt.Key.Key_End: "track_end",
}


class Timeline(QAbstractScrollArea):
    """Shows tracks, and tells what is clicked: a frame of a track, or a frame alone.

    Parameters
    ----------
    parent : QWidget, optional
    """

    picked = Signal(int, int, bool)
    """A track, the frame, and whether it is added to what is selected."""
    frame_picked = Signal(int)
    asked = Signal(str)
    """A key was pressed that means this action of the table."""
    menu_requested = Signal(int, int, QPoint)
    """For a track at a frame, at this place of the screen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._lanes: Lanes | None = None
        self._numbers: list[int] = []
        self._rows: dict[int, int] = {}
        self._n_frames, self._frame = 1, 0
        self._span = (0.0, 1.0)
        self._selected: frozenset[int] = frozenset()
        self._label_width = 0
        self.colors = TimelineColors()
        self.color_of: Callable[[int], QColor] = lambda number: QColor("#808080")
        self.tip_of: Callable[[int, int], str] = lambda number, frame: ""
        self.n_painted = 0
        """How many rows the last paint has looked at."""
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Timeline of tracks")
        self.setAccessibleDescription(
            "A strip for each track. Left and Right go along the selected track, Up and Down to "
            "other tracks, Home and End to its ends."
        )

    @property
    def numbers(self) -> Sequence[int]:
        """The tracks that are listed, from the top."""
        return self._numbers

    @property
    def lanes(self) -> Lanes | None:
        """Of which document the tracks are."""
        return self._lanes

    @property
    def row_height(self) -> int:
        """Of a track, in pixels."""
        return int(max(16, self.fontMetrics().height() + 3))

    @property
    def ruler_height(self) -> int:
        """Of the line of frame numbers at the top, in pixels."""
        return int(self.fontMetrics().height() + 2)

    def show_lanes(self, lanes: Lanes | None, numbers: Sequence[int], n_frames: int) -> None:
        """List tracks; what they are like is asked of their lanes when they are seen."""
        is_other = lanes is not self._lanes or n_frames != self._n_frames
        self._lanes, self._numbers, self._n_frames = lanes, list(numbers), max(1, n_frames)
        self._rows = {number: row for row, number in enumerate(self._numbers)}
        if is_other:
            self._span = (0.0, float(self._n_frames))
        digits = len(str(max(self._numbers, default=0)))
        self._label_width = self.fontMetrics().horizontalAdvance("8" * max(2, digits)) + _MARGIN
        self._fit()
        self.updateGeometry()
        self.redraw()

    def show_frame(self, frame: int) -> None:
        """Mark the frame that the viewer shows."""
        self._frame = frame
        first, last = self._span
        if not first <= frame < last:
            length = last - first
            self._look_at(frame + 0.5 - length / 2, frame + 0.5 + length / 2)
        self.redraw()

    def show_selected(self, numbers: Collection[int]) -> None:
        """Mark the selected tracks, and bring the first of them into view."""
        if frozenset(numbers) != self._selected:
            self._selected = frozenset(numbers)
            rows = sorted(self._rows[n] for n in self._selected if n in self._rows)
            bar = self.verticalScrollBar()
            if rows and bar is not None:
                top, n_seen = bar.value(), self._n_seen()
                if not top <= rows[0] < top + n_seen:
                    bar.setValue(rows[0] - n_seen // 2)
        self.redraw()

    def show_colors(self, colors: TimelineColors) -> None:
        """Follow a theme."""
        self.colors = colors
        self.redraw()

    def redraw(self) -> None:
        """Paint anew what is visible."""
        viewport = self.viewport()
        if viewport is not None:
            viewport.update()

    def sizeHint(self) -> QSize:
        """Ask for as many rows as there are, within reason."""
        n = min(MAX_ROWS, max(MIN_ROWS, len(self._numbers)))
        return QSize(200, self.ruler_height + n * self.row_height + 4)

    def minimumSizeHint(self) -> QSize:
        """Ask for a few rows at least."""
        n = min(MIN_ROWS + 1, max(1, len(self._numbers)))
        return QSize(120, self.ruler_height + n * self.row_height + 4)

    def strip(self, number: int) -> QRectF:
        """Return where the strip of a track is, in the viewport; empty if it is not listed."""
        row, bar = self._rows.get(number), self.verticalScrollBar()
        if row is None or bar is None:
            return QRectF()
        y = self.ruler_height + (row - bar.value()) * self.row_height
        return QRectF(self._label_width, y, self._strip_width(), self.row_height)

    def point_of(self, number: int, frame: int) -> QPoint:
        """Return the middle of a frame in the strip of a track, in the viewport."""
        rect = self.strip(number)
        x = rect.left() + place_of(frame + 0.5, *self._span, rect.width())
        return QPoint(int(x), int(rect.center().y()))

    # Events.

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Paint the rows that are visible, and the frame over them."""
        viewport, bar = self.viewport(), self.verticalScrollBar()
        if viewport is None or bar is None:
            return
        painter = QPainter(viewport)
        painter.fillRect(viewport.rect(), QColor(self.colors.background))
        width = self._strip_width()
        first = bar.value()
        shown = self._numbers[first : first + self._n_seen() + 1]
        self.n_painted = len(shown)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        for number in shown:
            self._paint_row(painter, number, width)
        self._paint_ruler(painter, width)
        painter.end()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Fit the rows."""
        super().resizeEvent(event)
        self._fit()

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to the frame, and select the track."""
        if event is None or event.button() != Qt.MouseButton.LeftButton:
            return
        at = event.position()
        number = self._number_at(at.y())
        if number is None:
            self.frame_picked.emit(self._frame_at(at.x()))
            return
        is_added = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
        frame = self._frame_at(at.x()) if at.x() >= self._label_width else self._frame
        self.picked.emit(number, frame, is_added)

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Go through the frames while the mouse is dragged along the ruler."""
        if event is not None and event.buttons() & Qt.MouseButton.LeftButton:
            frame = self._frame_at(event.position().x())
            if frame != self._frame:
                self.frame_picked.emit(frame)

    def contextMenuEvent(self, event: QContextMenuEvent | None) -> None:
        """Offer what can be done to the track."""
        number = None if event is None else self._number_at(event.pos().y())
        if event is not None and number is not None:
            self.menu_requested.emit(number, self._frame_at(event.pos().x()), event.globalPos())

    def wheelEvent(self, event: QWheelEvent | None) -> None:
        """Scroll through the tracks; with Ctrl look nearer, with Shift go along the frames."""
        if event is None:
            return
        delta = event.angleDelta().y() or event.angleDelta().x()
        first, last = self._span
        if event.modifiers() & Qt.KeyboardModifier.ControlModifier and delta:
            at = (event.position().x() - self._label_width) / max(1, self._strip_width())
            middle = first + min(max(at, 0), 1) * (last - first)
            factor = 1 / _ZOOM if delta > 0 else _ZOOM
            self._look_at(middle - (middle - first) * factor, middle + (last - middle) * factor)
            event.accept()
        elif event.modifiers() & Qt.KeyboardModifier.ShiftModifier and delta:
            step = -delta / 120 * (last - first) / 10
            self._look_at(first + step, last + step)
            event.accept()
        else:
            super().wheelEvent(event)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Go along the track, or to another; other keys are the page's."""
        if event is None:
            return
        key = Qt.Key(event.key())
        if event.modifiers() == Qt.KeyboardModifier.NoModifier and key in _KEYS:
            self.asked.emit(_KEYS[key])
        elif key in (Qt.Key.Key_Up, Qt.Key.Key_Down) and self._numbers:
            rows = sorted(self._rows[n] for n in self._selected if n in self._rows)
            step = -1 if key == Qt.Key.Key_Up else 1
            row = rows[0] + step if rows else 0
            if 0 <= row < len(self._numbers):
                self.picked.emit(self._numbers[row], self._frame, False)
        else:
            event.ignore()

    def viewportEvent(self, event: QEvent | None) -> bool:
        """Say what is so in a frame of a track."""
        if isinstance(event, QHelpEvent):
            number = self._number_at(event.pos().y())
            frame = self._frame_at(event.pos().x())
            text = LEGEND if number is None else self.tip_of(number, frame)
            QToolTip.showText(event.globalPos(), text, self)
            return True
        return bool(super().viewportEvent(event))

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow another font."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.Type.FontChange:
            self.show_lanes(self._lanes, self._numbers, self._n_frames)

    # Places.

    def _strip_width(self) -> int:
        viewport = self.viewport()
        return max(1, (0 if viewport is None else viewport.width()) - self._label_width - _MARGIN)

    def _n_seen(self) -> int:
        """Return how many whole rows there is room for."""
        viewport = self.viewport()
        height = 0 if viewport is None else viewport.height()
        return max(1, (height - self.ruler_height) // self.row_height)

    def _fit(self) -> None:
        bar = self.verticalScrollBar()
        if bar is not None:
            bar.setRange(0, max(0, len(self._numbers) - self._n_seen()))
            bar.setPageStep(self._n_seen())

    def _look_at(self, first: float, last: float) -> None:
        """Show these frames, or as many that there are."""
        length = min(max(last - first, min(MIN_FRAMES, self._n_frames)), self._n_frames)
        first = min(max(first, 0.0), self._n_frames - length)
        self._span = (first, first + length)
        self.redraw()

    def _frame_at(self, x: float) -> int:
        return frame_at(x - self._label_width, *self._span, self._strip_width(), self._n_frames)

    def _number_at(self, y: float) -> int | None:
        bar = self.verticalScrollBar()
        if bar is None or y < self.ruler_height:
            return None
        row = bar.value() + int((y - self.ruler_height) // self.row_height)
        return self._numbers[row] if row < len(self._numbers) else None

    # Paint.

    def _paint_row(self, painter: QPainter, number: int, width: int) -> None:
        rect = self.strip(number)
        if number in self._selected:
            band = QRectF(0, rect.top(), self._label_width + width + _MARGIN, rect.height())
            painter.fillRect(band, self.colors.mixed(QColor(self.colors.accent), 0.6))
        painter.setPen(QColor(self.colors.text))
        label = QRectF(0, rect.top(), self._label_width - 4, rect.height())
        painter.drawText(
            label, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, str(number)
        )
        if self._lanes is not None:
            marks = columns(self._lanes.lane(number), *self._span, width)
            painter.setClipRect(rect.adjusted(-1, 0, _MARGIN, 0))
            inner = rect.adjusted(0, 3, 0, -3)
            paint_lane(painter, inner, marks, self.color_of(number), self.colors)
            painter.setClipping(False)

    def _paint_ruler(self, painter: QPainter, width: int) -> None:
        viewport = self.viewport()
        if viewport is None:
            return
        text, metrics = QColor(self.colors.text), self.fontMetrics()
        height = self.ruler_height
        painter.fillRect(0, 0, viewport.width(), height, QColor(self.colors.background))
        first, last = self._span
        x = self._label_width + place_of(self._frame + 0.5, first, last, width)
        is_seen = first <= self._frame < last
        here = str(self._frame)
        box = QRectF(0, 0, metrics.horizontalAdvance(here) + 6, height - 1)
        box.moveLeft(
            min(max(x - box.width() / 2, self._label_width), viewport.width() - box.width())
        )
        painter.setPen(self.colors.mixed(text, 0.3))
        ends = str(int(first)), str(max(int(first), int(-(-last // 1)) - 1))
        for label, flag in zip(
            ends, (Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight), strict=True
        ):
            room = QRectF(self._label_width, 0, width, height - 1)
            size = metrics.horizontalAdvance(label)
            taken = QRectF(
                room.left() if flag == Qt.AlignmentFlag.AlignLeft else room.right() - size,
                0,
                size,
                height,
            )
            if not taken.adjusted(-3, 0, 3, 0).intersects(box):
                painter.drawText(room, flag | Qt.AlignmentFlag.AlignVCenter, label)
        if is_seen:
            painter.setPen(QPen(text, 1))
            painter.drawLine(int(x), height - 1, int(x), viewport.height())
            painter.fillRect(box, text)
            painter.setPen(QColor(self.colors.background))
            painter.drawText(box, Qt.AlignmentFlag.AlignCenter, here)
