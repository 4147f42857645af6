"""Drawn signs of what has been decided about a segment: they differ in shape, not in colour."""

from __future__ import annotations

from functools import lru_cache

from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QIcon, QPainter, QPen, QPixmap, QPolygonF

from napari_eomt.structures.segments import Segment, Status

WORDS = {
    Status.PROPOSED: ("proposed", "Proposed by the model. Another run may replace it."),
    Status.ACCEPTED: ("accepted", "Accepted by you. No model changes it."),
    Status.EDITED: ("edited", "Found by the model, changed by you. No model changes it."),
    Status.DRAWN: ("drawn", "Drawn by you. No model changes it."),
    Status.REJECTED: ("rejected", "Rejected by you: a false positive. It is not proposed again."),
}
LOCKED = ("locked", "Locked by you. No model changes it until it is unlocked.")

_SIDE = 16
_SCALE = 3  # sharp on screens of high density

_LINES: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    "accepted": (((3, 8.5), (6.5, 12), (13, 4)),),
    "edited": (((3, 13), (4, 9.5), (11, 2.5), (13.5, 5), (6.5, 12), (3, 13)),),
    "drawn": (((8, 3), (8, 13)), ((3, 8), (13, 8))),
    "rejected": (((4, 4), (12, 12)), ((12, 4), (4, 12))),
}


def status_word(segment: Segment) -> tuple[str, str]:
    """Return what is said of a segment's status, in a word and in a sentence."""
    if segment.locked and segment.status is Status.PROPOSED:
        return LOCKED
    word, tip = WORDS[segment.status]
    return (word, f"{tip} {LOCKED[1]}") if segment.locked else (word, tip)


@lru_cache(maxsize=64)
def status_icon(word: str, color: str) -> QIcon:
    """Return the sign of a status, in the colour of the text beside it ("#RRGGBB")."""
    pixmap = QPixmap(_SIDE * _SCALE, _SIDE * _SCALE)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.scale(_SCALE, _SCALE)
    painter.setPen(QPen(QColor(color), 1.8))
    if word == LOCKED[0]:
        painter.drawArc(QRectF(5, 2, 6, 9), 0, 180 * 16)
        painter.fillRect(QRectF(3, 7, 10, 7), QColor(color))
    elif word == Status.PROPOSED.value:
        painter.drawEllipse(QRectF(3.5, 3.5, 9, 9))
    else:
        for line in _LINES[word]:
            painter.drawPolyline(QPolygonF([QPointF(x, y) for x, y in line]))
    painter.end()
    return _icon(pixmap)


@lru_cache(maxsize=4096)
def swatch(color: str) -> QIcon:
    """Return a square of a colour ("#RRGGBB"), with a rim that shows on any background."""
    pixmap = QPixmap(_SIDE * _SCALE, _SIDE * _SCALE)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.scale(_SCALE, _SCALE)
    painter.fillRect(QRectF(1.5, 1.5, 13, 13), QColor(color))
    painter.setPen(QPen(QColor("#808080"), 1))
    painter.drawRect(QRectF(1.5, 1.5, 13, 13))
    painter.end()
    return _icon(pixmap)


def _icon(pixmap: QPixmap) -> QIcon:
    icon = QIcon(pixmap)
    # Qt would tint it in a selected row, and a colour that means something would be another one.
    icon.addPixmap(pixmap, QIcon.Mode.Selected)
    return icon
