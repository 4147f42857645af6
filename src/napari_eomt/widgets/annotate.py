"""The Correct page: categories, the table of objects, and what can be done to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import QLabel, QPushButton, QSplitter, QVBoxLayout, QWidget

from napari_eomt.viewer.doubts import Doubts
from napari_eomt.viewer.selection import ClickSelection, show_segment
from napari_eomt.widgets.category_list import CategoryList
from napari_eomt.widgets.model_actions import primary_style
from napari_eomt.widgets.segment_rows import SegmentRows
from napari_eomt.widgets.segment_table import SegmentTable

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from qtpy.QtGui import QResizeEvent

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.widgets.current import Current

DOUBTS_MS = 150
"""How often, at most, the table follows what a model says while results come in."""


class AnnotatePage(QWidget):
    """Shows the current result's categories and objects; without one, what to do next.

    Parameters
    ----------
    viewer : ViewerModel
    current : Current
    doubts : Doubts, optional
        What the models have said of their proposals.
    """

    segment_requested = Signal()
    sample_requested = Signal()
    draw_requested = Signal()
    """Objects shall be drawn by hand, without a model."""
    said = Signal(str)
    """What happened, in one line."""
    counted = Signal()
    """There may be more objects, or fewer, or of others it is known how unsure they are."""

    def __init__(
        self,
        viewer: ViewerModel,
        current: Current,
        doubts: Doubts | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer, self._current = viewer, current
        self._doubts = Doubts() if doubts is None else doubts
        self._segments: SegmentRows | None = None
        self._clicks = ClickSelection(viewer, lambda: current.result)
        self.categories = CategoryList(current)
        self.table = SegmentTable(current)
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        self.start = QPushButton()
        self.draw = QPushButton("Start with nothing: draw")
        self.draw.setToolTip(
            "Begin without a model: an empty layer of objects, with the brush in hand. The model "
            "can be run later; it leaves alone what you have drawn."
        )
        self.content = QWidget()
        self.bottom = QVBoxLayout()
        self.bottom.setContentsMargins(0, 0, 0, 0)
        content = QVBoxLayout(self.content)
        content.setContentsMargins(0, 0, 0, 0)
        self.lists = QSplitter(Qt.Orientation.Vertical)
        self.lists.addWidget(self.categories)
        self.lists.addWidget(self.table)
        self.lists.setChildrenCollapsible(False)
        self.lists.setStretchFactor(1, 3)
        content.addWidget(self.lists, 1)
        content.addLayout(self.bottom)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(self.hint)
        layout.addWidget(self.start)
        layout.addWidget(self.draw)
        layout.addWidget(self.content, 1)
        layout.addStretch(0)
        self.lists.setHandleWidth(6)
        self.start.clicked.connect(self._on_start)
        self.draw.clicked.connect(self.draw_requested)
        self.lists.splitterMoved.connect(self._on_moved)
        self._is_arranged = False
        self.table.shown.connect(self._on_shown)
        self.categories.said.connect(self.said)
        current.result_changed.connect(self._on_result)
        current.document_changed.connect(self._on_document)
        current.frame_changed.connect(self.categories.show_counts)
        # Of a run of many frames it is said of each.
        self._doubt_timer = QTimer(self)
        self._doubt_timer.setSingleShot(True)
        self._doubt_timer.setInterval(DOUBTS_MS)
        self._doubt_timer.timeout.connect(self._take_doubts)
        self._doubts.changed.connect(self._on_doubts)
        self._on_result()

    @property
    def segments(self) -> SegmentRows | None:
        """The objects that are listed; None without a result."""
        return self._segments

    def close_events(self) -> None:
        """Let go of the viewer."""
        self._clicks.close()
        self._doubts.changed.disconnect(self._on_doubts)
        self.categories.close_result()

    def show_colors(self, accent: str, text: str) -> None:
        """Follow a theme: the colour that stands out and that of the text, as "#RRGGBB"."""
        self.start.setStyleSheet(primary_style(accent))
        self.table.show_text_color(text)

    def add_part(self, widget: QWidget) -> None:
        """Put a widget below the table of objects."""
        self.bottom.addWidget(widget)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Arrange the lists anew."""
        super().resizeEvent(event)
        self._arrange()

    def show_start(self) -> None:
        """Say what to do next where there is no result."""
        has_image = self._current.image is not None
        has_result = self._current.result is not None
        if has_image:
            self.hint.setText(
                "Nothing to correct yet. Let the model find objects in this image, or draw them; "
                "then they are listed here."
            )
            self.start.setText("Segment")
            self.start.setToolTip("Find the objects of the image with the model (W).")
        else:
            self.hint.setText(
                "Open an image (File → Open, or drop it here), or begin with a sample."
            )
            self.start.setText("Open sample")
            self.start.setToolTip("Open a fluorescence image of nuclei that comes with the plugin.")
        for widget in (self.hint, self.start):
            widget.setVisible(not has_result)
        self.draw.setVisible(has_image and not has_result)
        self.content.setVisible(has_result)

    def _on_start(self) -> None:
        (self.sample_requested if self._current.image is None else self.segment_requested).emit()

    def _on_result(self) -> None:
        document = self._current.document
        result = self._current.result
        known = {} if result is None else self._doubts.of(result.key)
        self._segments = None if document is None else SegmentRows(document, known)
        self.categories.show_rows(self._segments)
        self.table.show_rows(self._segments)
        self.show_start()
        self._arrange()
        self.counted.emit()

    def _arrange(self) -> None:
        """Give the categories the room that they need, until a person has moved the handle."""
        if not self._is_arranged:
            height = self.categories.wanted_height
            self.lists.setSizes([height, max(2 * height, self.lists.height() - height)])

    def _on_moved(self) -> None:
        self._is_arranged = True

    def _on_document(self, edit: Edit) -> None:
        if self._segments is None or not (edit.segments or edit.categories):
            return
        changed = self._segments.update(edit)
        if edit.categories:
            self.categories.refresh()
            self._arrange()
        else:
            self.categories.show_counts()
        self.table.update_rows(edit, changed, self._segments.n_objects)
        self.counted.emit()

    def _on_doubts(self, key: str) -> None:
        result = self._current.result
        if result is not None and result.key == key:
            self._doubt_timer.start()

    def _take_doubts(self) -> None:
        result = self._current.result
        if result is not None and self._segments is not None:
            self.table.update_doubts(self._segments.set_doubts(self._doubts.of(result.key)))
            self.counted.emit()

    def _on_shown(self, frame: int, segment_id: int, close: bool) -> None:
        result = self._current.result
        if result is not None:
            show_segment(self._viewer, result, (frame, segment_id), close=close)
