"""The bar of candidates: what else the model could see at the cursor, and what to make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import QLabel, QMenu, QPushButton, QVBoxLayout, QWidget

from napari_eomt.viewer.keymap import BY_NAME
from napari_eomt.widgets.flow import FlowLayout

if TYPE_CHECKING:
    from napari_eomt.widgets.action_runner import ActionRunner
    from napari_eomt.widgets.candidate_finder import CandidateFinder
    from napari_eomt.widgets.current import Current
    from napari_eomt.widgets.model_advice import ModelAdvice

_GONE = "What the model proposed for this frame is no longer at hand."


class CandidateBar(QWidget):
    """Shows and steers a `CandidateFinder`.

    Parameters
    ----------
    runner : ActionRunner
    current : Current
    finder : CandidateFinder
    advice : ModelAdvice
    """

    segment_requested = Signal()

    def __init__(
        self,
        runner: ActionRunner,
        current: Current,
        finder: CandidateFinder,
        advice: ModelAdvice,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._current, self._finder, self._advice = current, finder, advice
        self._is_gone = False
        self.toggle = self._button("next_candidate", "Candidates  C", checkable=True)
        self.toggle.setToolTip(
            "Outline what the model could see at the cursor (its queries). C or Shift+wheel shows "
            "the next one, a click takes it; Shift-drag around an object takes what fits it best."
        )
        self.hidden = self._button("hidden", "Hidden proposals  H", checkable=True)
        self.previous = self._button("previous_candidate", "◀")
        self.next = self._button("next_candidate", "▶")
        self.take = self._button("take", "Take  T")
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.again = QPushButton("Segment again")
        self.again.setToolTip("Run the model on this frame; what is yours stays (W).")
        self.menu = QMenu(self)

        toggles = FlowLayout()
        toggles.addWidget(self.toggle)
        toggles.addWidget(self.hidden)
        steps = FlowLayout()
        for button in (self.previous, self.next, self.take):
            steps.addWidget(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(toggles)
        layout.addWidget(self.text)
        layout.addLayout(steps)
        layout.addWidget(self.again)
        self.toggle.clicked.connect(finder.turn)
        self.hidden.clicked.connect(lambda: runner.run("hidden"))
        self.previous.clicked.connect(lambda: runner.run("previous_candidate"))
        self.next.clicked.connect(lambda: runner.run("next_candidate"))
        self.take.clicked.connect(lambda: runner.run("take"))
        self.again.clicked.connect(self.segment_requested)
        finder.changed.connect(self._show)
        advice.categories_found.connect(self._on_categories)
        advice.missing.connect(self._on_missing)
        current.frame_changed.connect(self._on_frame)
        current.result_changed.connect(self._on_frame)
        self._show()

    def _button(self, name: str, text: str, *, checkable: bool = False) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(BY_NAME[name].hint)
        button.setAccessibleName(BY_NAME[name].title)
        button.setCheckable(checkable)
        return button

    def _show(self) -> None:
        finder = self._finder
        has_result = self._current.result is not None
        self.toggle.setChecked(finder.is_on)
        self.hidden.setChecked(finder.shows_hidden)
        self.toggle.setEnabled(has_result)
        self.hidden.setEnabled(has_result)
        is_asked = finder.is_on or finder.shows_hidden
        is_gone = finder.is_missing if is_asked else self._is_gone
        self.text.setText(_GONE if is_gone else finder.text)
        self.text.setVisible(bool(self.text.text()))
        self.again.setVisible(is_gone)
        for button in (self.previous, self.next, self.take):
            button.setVisible(finder.is_on and not is_gone)
        for button in (self.previous, self.next):
            button.setEnabled(len(finder.candidates) > 1)
        self.take.setEnabled(finder.candidate is not None)

    def _on_missing(self) -> None:
        """Say so although no candidates are shown."""
        self._is_gone = True
        self._show()

    def _on_frame(self, frame: int = 0) -> None:
        self._is_gone = False
        self._show()

    def _on_categories(self, found: Any) -> None:
        """Offer the likely categories of an object in a menu where the mouse is."""
        key, likely = found
        document = self._current.document
        if document is None:
            return
        self.menu.clear()
        self.menu.addSection(f"Object {key[1]}")
        for category_id, probability in likely:
            category = document.categories.get(category_id)
            if category is not None:
                entry = self.menu.addAction(f"{category.name}\t{probability:.0%}")
                if entry is not None:
                    entry.triggered.connect(
                        lambda _=False, c=category_id: self._advice.assign(key, c)
                    )
        self.menu.popup(QCursor.pos())
