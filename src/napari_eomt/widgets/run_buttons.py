"""The buttons that start a run: one frame, all of them, or those from here on."""

from __future__ import annotations

from qtpy.QtGui import QAction
from qtpy.QtWidgets import QHBoxLayout, QMenu, QPushButton, QSizePolicy, QWidget


class RunButtons(QWidget):
    """Offers what can be run now.

    Attributes
    ----------
    segment, all : QPushButton
        The second one has a menu.
    all_frames, from_here, go_on : QAction
        Of the menu; the last one goes on with a run that was stopped.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.segment = QPushButton("Segment")
        self.segment.setToolTip("Find the objects of the image with the model (W).")
        self.segment.setDefault(True)
        self.all = QPushButton("All")
        menu = QMenu(self.all)
        self.all_frames, self.from_here = QAction(menu), QAction(menu)
        self.go_on = QAction(menu)
        menu.addActions([self.all_frames, self.from_here, self.go_on])
        menu.setToolTipsVisible(True)
        self.all.setMenu(menu)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.segment, 2)
        layout.addWidget(self.all, 1)
        for button in (self.segment, self.all):
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_frames(self, n: int, *, busy: bool, tracked: bool, left: int | None = None) -> None:
        """Say what can be run.

        Parameters
        ----------
        n : int
            Frames of the image; 0 without one.
        busy : bool
            Whether a run is under way.
        tracked : bool
            Whether several frames are tracked.
        left : int, optional
            The frame from which a run that was stopped would go on; counted as napari does, from 0.
        """
        self.segment.setText("Segment" if n <= 1 else "Segment this frame")
        self.segment.setEnabled(n > 0 and not busy)
        self.all.setText(f"Track {n}" if tracked else f"All {n}")
        self.all.setToolTip(
            "Follow objects through more than this frame."
            if tracked
            else "Segment more than this frame."
        )
        self.all.setVisible(n > 1)
        self.all.setEnabled(not busy)
        self.all_frames.setText("Track all frames" if tracked else "All frames")
        self.from_here.setText("Track from here on" if tracked else "From here on")
        self.from_here.setToolTip(
            "Objects of this frame keep their tracks. What is yours stays, here and later."
            if tracked
            else ""
        )
        self.go_on.setVisible(left is not None)
        if left is not None:
            self.go_on.setText(f"Continue tracking from frame {left}")
