"""The strip that leads from one object to the next, and says how far it is and when to stop."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_eomt.annotation import operations
from napari_eomt.annotation.review import ReviewQueue
from napari_eomt.annotation.review_order import Order, carried_over, main_reason
from napari_eomt.structures.segments import Status
from napari_eomt.viewer.doubts import Doubts
from napari_eomt.viewer.keymap import BY_NAME
from napari_eomt.viewer.review_place import ReviewPlace
from napari_eomt.widgets.review_choice import ReviewChoice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.review_tally import Tally
    from napari_eomt.annotation.session import Key
    from napari_eomt.structures.uncertainty import Uncertainty
    from napari_eomt.viewer.results import Result, Results
    from napari_eomt.widgets.action_runner import ActionRunner
    from napari_eomt.widgets.current import Current
    from napari_eomt.widgets.jobs import Jobs
    from napari_eomt.worker.messages import FrameDone

DOUBTS_MS = 150
"""How often, at most, the order follows what the model says while results come in."""


class ReviewStrip(QWidget):
    """Leads through what is left to decide, with the keys of the review or its buttons.

    It tells the runner what those keys do: the same as its buttons.

    Parameters
    ----------
    runner : ActionRunner
    current : Current
    doubts : Doubts, optional
        What the models have said of their proposals.
    """

    choice_changed = Signal()
    """Another order, or threshold: to be remembered."""

    def __init__(
        self,
        runner: ActionRunner,
        current: Current,
        doubts: Doubts | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._runner, self._current = runner, current
        self._doubts = Doubts() if doubts is None else doubts
        self.queue: ReviewQueue | None = None
        self._identities: Mapping[Key, float] = {}
        self.previous, self.next = self._arrow("previous", "◀"), self._arrow("next", "▶")
        self.place = QLabel()
        self.place.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.about.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.accept, self.reject = self._button("accept"), self._button("reject")
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(10)
        self.progress.setAccessibleName("Decided")
        self.rate = QLabel()
        self.rate.setWordWrap(True)
        self.rate.setToolTip(
            "How many of the model's proposals are decided, and which part of these was accepted "
            "as it was (precision). Edited, rejected and deleted ones were not."
        )
        self.advice = QFrame()
        self.advice.setFrameShape(QFrame.Shape.StyledPanel)
        self.advice_text = QLabel()
        self.advice_text.setWordWrap(True)
        self.advice_button = QPushButton()
        self._advised: Callable[[], None] | None = None
        self.choice = ReviewChoice()
        self._lay_out()

        self._doubt_timer = _single_shot(self, DOUBTS_MS, self._take_doubts)
        # Whoever else hears of the edit has its turn before another object is selected.
        self._move_timer = _single_shot(self, 0, self._show_current)
        self.advice_button.clicked.connect(self._on_advised)
        self.choice.changed.connect(self._on_choice)
        self._doubts.changed.connect(self._on_doubts)
        current.result_changed.connect(self._on_result)
        current.frame_changed.connect(self._on_choice_of_frame)
        runner.order = self.order
        runner.handle("next", partial(self.go, 1))
        runner.handle("previous", partial(self.go, -1))
        runner.handle("accept", self.accept_current)
        runner.handle("reject", self.reject_current)
        runner.changed.connect(self._show_buttons)
        self._on_result()

    def close_result(self) -> None:
        """Let go of the session."""
        if self.queue is not None:
            self.queue.changed.disconnect(self._show)
            self.queue.moved.disconnect(self._on_moved)
            self.queue.close()
            self.queue = None

    def order(self, result: Result, frame: int) -> Sequence[Key]:
        """Return what is left to decide, in order: for the actions of the key map."""
        queue = self.queue
        return queue.keys() if queue is not None and queue.session is result.session else []

    def know_doubts(self, key: str, frame: int, doubts: Mapping[Key, Uncertainty]) -> None:
        """Take what the model says of its proposals in a frame of a result."""
        self._doubts.know(key, frame, doubts)

    def know_identities(self, doubts: Mapping[Key, float]) -> None:
        """Take how doubtful identities are in the current result, 0 to 1."""
        self._identities = dict(doubts)
        if self.queue is not None:
            self.queue.set_identities(self._identities)

    def watch(self, jobs: Jobs, results: Results) -> None:
        """Hear from the worker what the model is unsure of; after whoever shows its proposals."""

        def know(event: FrameDone) -> None:
            result = results.by_key(event.key)
            if result is not None and event.uncertainty:
                doubts = carried_over(
                    result.document, event.frame, event.segmentation, event.uncertainty
                )
                self.know_doubts(event.key, event.frame, doubts)

        jobs.frame_done.connect(know)

    def go(self, step: int) -> str:
        """Go to the next object, or by another step; return what there is to see."""
        place = self._place()
        if self.queue is None or place is None:
            return ""
        key = self.queue.go(step)
        if key is None:
            return self._nothing_left()
        place.centre_on(key)
        return f"{self.place.text()} · {self.about.text()}"

    def accept_current(self) -> str:
        """Accept what is selected, and go on."""
        return self._decide(partial(operations.set_status, status=Status.ACCEPTED))

    def reject_current(self) -> str:
        """Reject what is selected, and go on."""
        return self._decide(operations.reject)

    def _decide(self, operation: Callable[[Document, list[Key]], Edit]) -> str:
        queue, place = self.queue, self._place()
        if queue is None or place is None:
            return ""
        keys = place.meant()
        queue.stand_at(keys[-1])
        message = place.do(operation(place.result.document, keys))
        self._move_timer.stop()  # it is shown here, at once
        following = queue.current
        if following is None or following in keys:
            following = queue.go(1)
        if following is not None:
            place.centre_on(following)
            return message
        place.result.session.select(())
        return f"{message}. {self._nothing_left()}"

    def _place(self) -> ReviewPlace | None:
        place = self._runner.place
        return None if place is None else ReviewPlace(place.viewer, place.result, place.order)

    def _lay_out(self) -> None:
        go = QHBoxLayout()
        go.addWidget(self.previous)
        go.addWidget(self.place, 1)
        go.addWidget(self.next)
        decide = QHBoxLayout()
        decide.addWidget(self.accept, 1)
        decide.addWidget(self.reject, 1)
        advice = QVBoxLayout(self.advice)
        advice.setContentsMargins(6, 4, 6, 6)
        advice.addWidget(self.advice_text)
        advice.addWidget(self.advice_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(go)
        layout.addWidget(self.about)
        layout.addLayout(decide)
        layout.addWidget(self.progress)
        layout.addWidget(self.rate)
        layout.addWidget(self.advice)
        layout.addWidget(self.choice)

    def _arrow(self, name: str, text: str) -> QToolButton:
        button = QToolButton()
        button.setText(text)
        button.setToolTip(BY_NAME[name].hint)
        button.setAccessibleName(BY_NAME[name].title)
        button.clicked.connect(partial(self._on_click, name))
        return button

    def _button(self, name: str) -> QPushButton:
        action = BY_NAME[name]
        button = QPushButton(f"{action.title}  {action.keys[0]}")
        button.setToolTip(action.hint)
        button.setAccessibleName(action.title)
        button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        button.clicked.connect(partial(self._on_click, name))
        return button

    def _on_click(self, name: str, checked: bool = False) -> None:
        self._runner.run(name)

    def _on_result(self) -> None:
        self.close_result()
        self._move_timer.stop()
        self._identities = {}
        result = self._current.result
        if result is not None:
            self.choice.offer_frames(result.document.n_frames > 1)
            self.queue = ReviewQueue(
                result.session,
                self._doubts.of(result.key),
                frame=self._frame(),
                order=self.choice.order,
                below=self.choice.below,
            )
            self.queue.changed.connect(self._show)
            self.queue.moved.connect(self._on_moved)
        self._show()

    def _frame(self) -> int | None:
        document = self._current.document
        if document is None or document.n_frames == 1:
            return 0
        return None if self.choice.all_frames else self._current.frame

    def _on_choice(self) -> None:
        if self.queue is not None:
            self.queue.show(frame=self._frame(), order=self.choice.order, below=self.choice.below)
        self.choice_changed.emit()

    def _on_choice_of_frame(self, frame: int) -> None:
        if self.queue is not None and not self.choice.all_frames:
            self.queue.show(frame=self._frame(), order=self.choice.order, below=self.choice.below)

    def _on_doubts(self, key: str) -> None:
        self._doubt_timer.start()

    def _take_doubts(self) -> None:
        result = self._current.result
        if self.queue is not None and result is not None:
            self.queue.set_doubts(self._doubts.of(result.key))

    def _on_moved(self, key: Key) -> None:
        self._move_timer.start()

    def _show_current(self) -> None:
        place = self._place()
        if self.queue is not None and place is not None and self.queue.current is not None:
            place.centre_on(self.queue.current)

    # What is shown.

    def _show(self) -> None:
        queue = self.queue
        self.setEnabled(queue is not None)
        if queue is None:
            self.place.setText("Nothing to review")
            self.about.clear()
            self.advice.hide()
            self.progress.setValue(0)
            self.rate.clear()
            return
        what = "to review" if queue.below is None else "uncertain"
        position = queue.position
        count = f"{len(queue):,} {what}"
        self.place.setText(count if position is None else f"{position:,} of {count}")
        self.about.setText("" if position is None else self._describe(queue))
        tally = queue.tally(queue.frame)
        self.progress.setRange(0, max(1, tally.n_all))
        self.progress.setValue(tally.n_decided)
        self.rate.setText(self._progress(queue, tally))
        self._advise(queue, tally)
        self._show_buttons()

    def _show_buttons(self) -> None:
        has_left = self.queue is not None and len(self.queue) > 0
        for arrow in (self.previous, self.next):
            arrow.setEnabled(has_left)
        for name, button in (("accept", self.accept), ("reject", self.reject)):
            button.setEnabled(self._runner.is_possible(BY_NAME[name]))

    def _describe(self, queue: ReviewQueue) -> str:
        key = queue.current
        document = self._current.document
        if key is None or document is None:
            return ""
        segment = document.segments(key[0])[key[1]]
        name = document.categories[segment.category_id].name
        text = f"#{segment.id} {name} · {1 - queue.uncertainty(key):.2f} certain"
        doubt = queue.doubt(key)
        if queue.order is Order.IDENTITY:
            return (
                f"#{segment.id} {name} · {1 - queue.identity_doubt(key):.2f} certain to be itself"
            )
        return text if doubt is None else f"{text}, least of {main_reason(doubt)}"

    def _progress(self, queue: ReviewQueue, tally: Tally) -> str:
        text = f"{tally.n_decided:,} of {tally.n_all:,}"
        if tally.acceptance is None:
            text += " decided"
        else:
            # Rounded down: only if all were right, it is 100 %.
            text += f" · {int(100 * tally.acceptance)} % accepted unchanged"
        if queue.frame is None:
            n_done, n_frames = queue.frames_done()
            text += f" · {n_done:,} of {n_frames:,} frames done"
        return text

    def _nothing_left(self) -> str:
        if self.queue is not None and self.queue.tally(self.queue.frame).n_left:
            return "Nothing uncertain is left to review."
        return "Nothing is left to review."

    def _advise(self, queue: ReviewQueue, tally: Tally) -> None:
        hint, unmarked = queue.hint, queue.unmarked()
        if hint is not None:
            few = f"about {round(hint.n_wrong):,}" if hint.n_wrong >= 1 else "hardly one"
            self._advice(
                f"{hint.n_right:,} in a row were right. Of the {hint.n_rest:,} left, of which the "
                f"model is surer, {few} should be wrong.",
                f"At most {100 * hint.share:.1f} % (Laplace's rule of succession: 1 in n + 2 after "
                "n that were right).",
                "Accept the rest",
                "Accept them all, and mark what is done as reviewed. One step to undo.",
                self._accept_rest,
            )
        elif unmarked:
            n = len(unmarked)
            what = "this frame" if queue.frame is not None else f"{n:,} frames"
            document = self._current.document
            if document is not None and document.n_frames == 1:
                what = "this image"
            self._advice(
                f"Everything in {what} is decided.",
                "",
                "Mark as reviewed",
                "Say that nothing is left to do here. Undo takes it back.",
                self._mark_reviewed,
            )
        elif not len(queue) and tally.n_left:
            self._advice(
                f"Nothing uncertain is left. Of {tally.n_left:,} "
                f"{'object' if tally.n_left == 1 else 'objects'} the model is surer.",
                "",
                "Show them too",
                "Review all that is not decided.",
                self.choice.show_all,
            )
        else:
            self.advice.hide()

    def _advice(
        self, text: str, why: str, button: str, tip: str, advised: Callable[[], None]
    ) -> None:
        self.advice_text.setText(text)
        self.advice_text.setToolTip(why)
        self.advice_button.setText(button)
        self.advice_button.setToolTip(tip)
        self._advised = advised
        self.advice.show()

    def _on_advised(self) -> None:
        if self._advised is not None:
            self._advised()

    def _accept_rest(self) -> None:
        if self.queue is not None:
            self._make(self.queue.accept_rest)

    def _mark_reviewed(self) -> None:
        if self.queue is not None:
            self._make(self.queue.mark_reviewed)

    def _make(self, make: Callable[[], Edit]) -> None:
        if self._current.edit(lambda _: make()):
            session = self._current.session
            self._runner.say("" if session is None else session.undo_name)


def _single_shot(parent: QWidget, interval: int, slot: Callable[[], None]) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(interval)
    timer.timeout.connect(slot)
    return timer
