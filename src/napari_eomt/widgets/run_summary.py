"""The line on the Segment page that says what there is, and leads to what is uncertain."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QLabel, QWidget

from napari_eomt.widgets.review_choice import BELOW
from napari_eomt.widgets.run import objects_text

if TYPE_CHECKING:
    from napari_eomt.widgets.annotate import AnnotatePage
    from napari_eomt.widgets.current import Current

COUNT_MS = 100
"""How often, at most, objects are counted while results come in."""


class RunSummary(QLabel):
    """Says how many objects the current result has, and how many of them are uncertain.

    Parameters
    ----------
    current : Current
    """

    review_requested = Signal()
    """The uncertain ones shall be looked through, the worst first."""

    def __init__(self, current: Current, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._current = current
        self._counted: AnnotatePage | None = None
        self._seconds: dict[str, float] = {}
        self._link_color = ""
        self.setWordWrap(True)
        self.setTextFormat(Qt.TextFormat.RichText)
        # With the keyboard as well: Tab goes to the link, and Enter follows it.
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.LinksAccessibleByKeyboard
            | Qt.TextInteractionFlag.LinksAccessibleByMouse
        )
        self.linkActivated.connect(self._on_link)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(COUNT_MS)
        self._timer.timeout.connect(self.show_counts)
        self.hide()

    def follow(self, page: AnnotatePage) -> None:
        """Count what a page lists."""
        self._counted = page
        page.counted.connect(self._timer.start)
        self.show_counts()

    def show_link_color(self, color: str) -> None:
        """Show the link in a theme's colour, "#RRGGBB": Qt's own blue cannot be read on dark."""
        self._link_color = color
        self.show_counts()

    def show_seconds(self, key: str, seconds: float) -> None:
        """Say how long the last run took that made a result."""
        self._seconds[key] = seconds
        self._timer.start()

    def show_counts(self) -> None:
        """Bring the line up to date."""
        result = self._current.result
        rows = None if self._counted is None else self._counted.segments
        self.setVisible(result is not None and rows is not None)
        if result is None or rows is None:
            return
        parts = [objects_text(rows.n_objects)]
        if result.document.n_frames > 1:
            n_frames = rows.n_frames
            parts[0] += " in 1 frame" if n_frames == 1 else f" in {n_frames:,} frames"
        n = rows.n_uncertain(BELOW)
        if n:
            style = f' style="color: {self._link_color}"' if self._link_color else ""
            parts.append(f'<a href="review"{style}>{n:,} uncertain</a>')
        elif rows.n_objects:
            parts.append("none uncertain")
        if result.key in self._seconds:
            parts.append(f"{self._seconds[result.key]:.1f} s")
        self.setText(" · ".join(parts))
        self.setToolTip(
            f"Uncertain: the model is less than {BELOW} certain, and nobody has decided yet. Click "
            "to look through these objects, the worst first."
        )

    def _on_link(self, link: str) -> None:
        self.review_requested.emit()
