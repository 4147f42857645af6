"""How a track looks in the timeline: its marks differ in shape, not in colour alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPen, QPolygonF

from napari_eomt.annotation.track_lanes import (
    DECIDED,
    DOUBT,
    END,
    GAP,
    PRESENT,
    REJECTED,
    SPLIT,
    START,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from qtpy.QtGui import QPainter

    from napari_eomt.annotation.track_lanes import Lane

LEGEND = (
    "Thick: decided (accepted, edited, drawn or locked). Thin: proposed. Dotted: absent. "
    "▼ doubtful identity, × rejected, | begins or ends, < divides."
)

_THIN = 0.55
"""Height of what is merely proposed, by that of what is decided."""

_FAINT, _RIM = 0.2, 0.45
_CROSS, _FLAG, _FORK = 2.5, 4.0, 5.0


@dataclass(frozen=True)
class TimelineColors:
    """Of a theme.

    Parameters
    ----------
    text, background, accent : str
        "#RRGGBB".
    """

    text: str = "#808080"
    background: str = "#202020"
    accent: str = "#4080C0"

    @property
    def doubt(self) -> QColor:
        """A colour that warns, and is seen on the background."""
        is_dark = QColor(self.background).lightness() < 128
        return QColor("#FFB000" if is_dark else "#B34700")

    def mixed(self, color: QColor, part: float) -> QColor:
        """Return a colour with so much of the background in it."""
        back = QColor(self.background)
        pairs = zip(color.getRgb()[:3], back.getRgb()[:3], strict=True)
        return QColor(*(round(a * (1 - part) + b * part) for a, b in pairs))


def runs(mask: npt.NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield where a mask is true without a break, as (first, one past the last)."""
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def paint_lane(
    painter: QPainter, rect: QRectF, marks: Lane, color: QColor, colors: TimelineColors
) -> None:
    """Paint a track.

    Parameters
    ----------
    painter : QPainter
    rect : QRectF
        Where; as wide as there are marks.
    marks : (width,) uint8
        Of each pixel column.
    color : QColor
        That its objects have.
    colors : TimelineColors
    """
    left, middle, text = rect.left(), rect.center().y(), QColor(colors.text)
    is_present = (marks & PRESENT) != 0
    is_decided = is_present & ((marks & DECIDED) != 0)
    is_gap = (marks & GAP) != 0
    painter.setPen(QPen(text, 1, Qt.PenStyle.DotLine))
    for first, last in runs(is_gap & ~is_present):
        painter.drawLine(QPointF(left + first, middle), QPointF(left + last, middle))
    painter.setPen(Qt.PenStyle.NoPen)
    for mask, part, shade in (
        (is_present & ~is_decided, _THIN, colors.mixed(color, _FAINT)),
        (is_decided, 1.0, color),
    ):
        height = rect.height() * part
        for first, last in runs(mask):
            bar = QRectF(left + first, middle - height / 2, last - first, height)
            painter.fillRect(bar, shade)
            # A rim, for colours that are near the background's.
            painter.setPen(QPen(colors.mixed(text, _RIM), 0.8))
            painter.drawLine(bar.topLeft(), bar.topRight())
            painter.drawLine(bar.bottomLeft(), bar.bottomRight())
            painter.setPen(Qt.PenStyle.NoPen)
    for first, last in runs(is_gap & is_present):
        # Frames of both kinds in one column: a gap is never too short to be seen.
        notch = QRectF(left + first, middle, last - first, rect.height() / 2)
        painter.fillRect(notch, QColor(colors.background))
    _paint_signs(painter, rect, marks, colors)


def _paint_signs(painter: QPainter, rect: QRectF, marks: Lane, colors: TimelineColors) -> None:
    left, top, bottom, middle = rect.left(), rect.top(), rect.bottom(), rect.center().y()
    text = QColor(colors.text)
    painter.setPen(QPen(text, 1.2))
    for first, _ in runs((marks & START) != 0):
        painter.drawLine(QPointF(left + first + 0.5, top), QPointF(left + first + 0.5, bottom))
    for _, last in runs((marks & END) != 0):
        painter.drawLine(QPointF(left + last - 0.5, top), QPointF(left + last - 0.5, bottom))
    for _, last in runs((marks & SPLIT) != 0):
        tip = QPointF(left + last - 1, middle)
        painter.drawLine(tip, QPointF(left + last + _FORK, top))
        painter.drawLine(tip, QPointF(left + last + _FORK, bottom))
    for first, last in runs((marks & REJECTED) != 0):
        x = left + (first + last) / 2
        for sign in (-1, 1):
            painter.drawLine(
                QPointF(x - _CROSS, middle - sign * _CROSS),
                QPointF(x + _CROSS, middle + sign * _CROSS),
            )
    painter.setPen(QPen(colors.mixed(text, 0.5), 0.6))
    painter.setBrush(colors.doubt)
    for first, last in runs((marks & DOUBT) != 0):
        x = left + (first + last) / 2
        flag = [QPointF(x - _FLAG, top - 1), QPointF(x + _FLAG, top - 1), QPointF(x, top + 5)]
        painter.drawPolygon(QPolygonF(flag))
    painter.setBrush(Qt.BrushStyle.NoBrush)
