"""Tracks in the window: follows the current result, and ties strips, paths, doubts and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.theme import get_theme
from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtGui import QColor, QCursor

from napari_eomt.annotation.review_order import Order
from napari_eomt.annotation.track_lanes import DOUBTFUL, Lanes
from napari_eomt.annotation.track_live import LiveTracks
from napari_eomt.viewer.track_doubts import IdentityDoubts, LinkDoubts
from napari_eomt.viewer.tracks_layer import TracksLayer
from napari_eomt.widgets.timeline_paint import TimelineColors
from napari_eomt.widgets.track_corrections import TrackCorrections
from napari_eomt.widgets.track_strip import TrackStrip
from napari_eomt.widgets.track_words import about, tip

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtCore import QPoint

    from napari_eomt.annotation.edits import Edit
    from napari_eomt.annotation.session import Key
    from napari_eomt.viewer.results import Result
    from napari_eomt.widgets.action_runner import ActionRunner
    from napari_eomt.widgets.annotate import AnnotatePage
    from napari_eomt.widgets.current import Current
    from napari_eomt.widgets.review import ReviewStrip

FOLLOW_MS = 100
"""How long after an edit strips and paths follow: many in a row are one."""

REST_MS = 1
"""Between two parts of what takes long; the window has its turn."""

ROUNDS = 10
"""As many parts are judged while a person waits, some 0.3 s; of long stacks the rest is later."""


class TrackTools(QObject):
    """Keeps what is shown of tracks in step with the document, without a pause of the window.

    Parameters
    ----------
    runner : ActionRunner
    current : Current
    links : LinkDoubts, optional
        What runs have said of their links.
    """

    doubts_changed = Signal()
    """Other identities are doubtful: see `doubts`."""
    shown = Signal()
    """What there is of tracks is shown: there may be some now, or none."""

    def __init__(
        self,
        runner: ActionRunner,
        current: Current,
        links: LinkDoubts | None = None,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._runner, self._current, self._viewer = runner, current, runner.viewer
        self.links = LinkDoubts() if links is None else links
        self.strip = TrackStrip()
        self.live: LiveTracks | None = None
        self.doubts: IdentityDoubts | None = None
        self.lanes: Lanes | None = None
        self.wants_doubts: Callable[[], bool] = lambda: False
        """Whether somebody other than the strip asks for doubts."""
        self._result: Result | None = None
        self._edits: list[Edit] = []
        self._paths: dict[int, tuple[Result, TracksLayer]] = {}
        self._colors: dict[int, QColor] = {}
        self._last_doubt: Key | None = None
        self._known_doubtful: list[Key] | None = None
        self._is_closed = False
        self._timer = self._single_shot(FOLLOW_MS, self._follow)
        self._rest = self._single_shot(REST_MS, self._work)
        self._keep_timer = self._single_shot(0, self._keep_selected)
        timeline = self.strip.timeline
        timeline.color_of, timeline.tip_of = self._color, self._tip
        timeline.picked.connect(self._on_picked)
        timeline.frame_picked.connect(self._on_frame_picked)
        timeline.menu_requested.connect(self._on_menu)
        self.strip.asked.connect(runner.run)
        self.strip.menu_asked.connect(lambda: self.corrections.pop_up(QCursor.pos()))
        self.strip.paths_toggled.connect(self.show_paths)
        self.strip.all_toggled.connect(self._list)
        # Nobody needs doubts that are not shown; from now on somebody does.
        self.strip.seen.connect(self._rest.start)
        self.corrections = TrackCorrections(runner, self.strip, self)
        runner.handle("next_doubt", self.go_to_doubt)
        current.result_changed.connect(self._on_result)
        current.document_changed.connect(self._on_edit)
        current.frame_changed.connect(self._on_frame)
        current.selection_changed.connect(self._on_selection)
        self.links.changed.connect(self._on_links)
        self._viewer.layers.events.removed.connect(self._on_removed)
        self._viewer.events.theme.connect(self._on_theme)
        self._on_theme()
        self._on_result()

    def close(self) -> None:
        """Let go of the viewer, without a touch of Qt; layers of paths stay."""
        if self._is_closed:
            return
        self._is_closed = True
        self.corrections.close()
        self.links.changed.disconnect(self._on_links)
        self._viewer.layers.events.removed.disconnect(self._on_removed)
        self._viewer.events.theme.disconnect(self._on_theme)
        if self._result is not None:
            self._result.view.layer.events.colormap.disconnect(self._on_colormap)
        for _, paths in self._paths.values():
            paths.close(keep=True)
        self._paths.clear()

    def join_page(self, page: AnnotatePage) -> None:
        """Put the strips on the Correct page, and offer corrections in its table."""
        page.add_part(self.strip)
        view = page.table.view
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        view.customContextMenuRequested.connect(
            lambda: self.corrections.pop_up(QCursor.pos(), is_object=True)
        )

    def join_review(self, review: ReviewStrip) -> None:
        """Let objects be reviewed by how doubtful their identity is."""
        choice = review.choice

        def tell() -> None:
            choice.offer_tracks(self.has_tracks)
            if choice.order is Order.IDENTITY:
                review.know_identities({} if self.doubts is None else self.doubts.scores())

        self.wants_doubts = lambda: choice.order is Order.IDENTITY
        self.doubts_changed.connect(tell)
        self.shown.connect(tell)
        choice.changed.connect(tell)
        choice.changed.connect(self._rest.start)
        tell()

    @property
    def has_tracks(self) -> bool:
        """Whether the current result has any."""
        return self.live is not None and self.live.has_tracks

    @property
    def is_busy(self) -> bool:
        """Whether something is still to be shown, or judged."""
        return any(timer.isActive() for timer in (self._timer, self._rest, self._keep_timer))

    def catch_up(self) -> None:
        """Take up the edits that were made: before anything is asked of the tracks."""
        if self.live is None or not self._edits:
            return
        edits, self._edits = self._edits, []
        self._known_doubtful = None
        for edit in edits:
            self.live.note(edit)
        touched = self.live.refresh()
        for edit in edits:
            if self.doubts is not None:
                self.doubts.note(edit, touched)
            paths = self._shown_paths()
            if paths is not None:
                paths.note(edit, touched)
        if self.lanes is not None:
            self.lanes.forget(touched)
        for number in touched:
            self._colors.pop(number, None)

    def show_paths(self, is_on: bool) -> None:
        """Show the current result's layer of paths, or take it away."""
        result = self._result
        if result is None or self.live is None:
            return
        known = self._paths.pop(id(result), None)
        if known is not None:
            known[1].close()
        if is_on:
            self.catch_up()
            self._paths[id(result)] = result, TracksLayer(self._viewer, result, self.live)
            self._rest.start()
        self.strip.set_paths(is_on)

    def go_to_doubt(self) -> str:
        """Go to the next of the doubtful identities, the worst first."""
        self.catch_up()
        place = self._runner.place
        if place is None or self.doubts is None or not self.has_tracks:
            return "There are no tracks: nothing is one thing in several frames."
        n_rounds = 0
        while self.doubts.n_left and (n_rounds < ROUNDS or not self._doubtful()):
            self.doubts.judge()
            self._known_doubtful = None
            n_rounds += 1
        if self.doubts.n_left:
            self._rest.start()
        found = self._doubtful()
        if not found:
            return "No identity is doubtful."
        at = found.index(self._last_doubt) + 1 if self._last_doubt in found else 0
        key = self._last_doubt = found[at % len(found)]
        place.centre_on(key)
        number = 0 if self.live is None else self.live.index.numbers[key]
        reason = self.doubts.reason(key)
        text = f"{at % len(found) + 1} of {len(found):,} doubtful · {number} in frame {key[0]}"
        return text + (f": {reason}" if reason else "")

    # What is heard.

    def _on_result(self) -> None:
        for timer in (self._timer, self._rest, self._keep_timer):
            timer.stop()
        if self._result is not None:
            self._result.view.layer.events.colormap.disconnect(self._on_colormap)
        result = self._result = self._current.result
        self._edits, self._colors, self._last_doubt = [], {}, None
        self._known_doubtful = None
        self.live = self.doubts = self.lanes = None
        if result is not None:
            result.view.layer.events.colormap.connect(self._on_colormap)
            if result.document.n_frames > 1:
                self.live = LiveTracks(result.document)
                self.doubts = IdentityDoubts(self.live, self.links.of(result.key))
                self.lanes = Lanes(self.live, self.doubts.score)
                if id(result) in self._paths:
                    self._paths[id(result)][1].follow(self.live)
        self.strip.set_paths(result is not None and id(result) in self._paths)
        self._show()

    def _on_edit(self, edit: Edit) -> None:
        if self.live is None or self._result is None:
            return
        self._edits.append(edit)
        self.links.forget(self._result.key, {(c.frame, c.id) for c in edit.segments})
        self._timer.start()

    def _on_links(self, key: str) -> None:
        if self._result is not None and key == self._result.key and self.lanes is not None:
            self.lanes.forget()
            self._known_doubtful = None
            self._timer.start()

    def _on_frame(self, frame: int) -> None:
        self.strip.timeline.show_frame(frame)
        if self.has_tracks:
            self._keep_timer.start()

    def _on_selection(self) -> None:
        if self.live is not None:
            self.catch_up()
            self._list()

    def _on_colormap(self, event: Any = None) -> None:
        self._colors = {}
        self.strip.timeline.redraw()

    def _on_removed(self, event: Any) -> None:
        for key, (result, paths) in list(self._paths.items()):
            if paths.layer is event.value or result.view.layer is event.value:
                del self._paths[key]
                paths.close()
        shown = self._result is not None and id(self._result) in self._paths
        self.strip.set_paths(shown)

    def _on_theme(self, event: Any = None) -> None:
        theme = get_theme(self._viewer.theme)
        colors = TimelineColors(
            theme.text.as_hex("long"), theme.background.as_hex("long"), theme.current.as_hex("long")
        )
        self.strip.timeline.show_colors(colors)

    def _on_picked(self, number: int, frame: int, is_added: bool) -> None:
        place = self._runner.place
        self.catch_up()
        if place is None or self.live is None or number not in self.live.index.members:
            return
        members = self.live.index.members[number]
        if not self._result_selection():
            # The list shall not shrink under the hand.
            self.strip.all.setChecked(True)
        place.show_frame(frame)
        nearest = frame if frame in members else min(members, key=lambda f: abs(f - frame))
        key = nearest, members[nearest]
        if is_added:
            mine = {k for k in self._result_selection() if self.live.index.numbers.get(k) == number}
            others = self._result_selection() - mine
            place.result.session.select(others if mine else {*others, key})
        elif nearest == frame:
            place.centre_on(key)
        else:
            place.result.session.select([key])

    def _on_frame_picked(self, frame: int) -> None:
        place = self._runner.place
        if place is not None:
            place.show_frame(frame)

    def _on_menu(self, number: int, frame: int, at: QPoint) -> None:
        numbers = [] if self.live is None else self.live.numbers(self._result_selection())
        if number not in numbers:
            self._on_picked(number, frame, False)
        self.corrections.pop_up(at)

    def _keep_selected(self) -> None:
        """Select in the frame that is shown what is selected in another, if it is there."""
        session, frame = self._current.session, self._current.frame
        self.catch_up()
        if session is None or self.live is None or not session.selection:
            return
        if any(f == frame for f, _ in session.selection):
            return
        index = self.live.index
        numbers = self.live.numbers(sorted(session.selection))
        keys = [
            (frame, members[frame])
            for number in numbers
            if frame in (members := index.members[number])
        ]
        # Those that are away stay selected where they were, and are there again after the gap.
        away = [
            key
            for key in session.selection
            if key in index.numbers and frame not in index.members[index.numbers[key]]
        ]
        if keys:
            session.select([*keys, *away])

    # What is shown.

    def _follow(self) -> None:
        self.catch_up()
        self._show()

    def _show(self) -> None:
        self.strip.setVisible(self.has_tracks)
        self.strip.timeline.show_frame(self._current.frame)
        self._list()
        self.shown.emit()
        self._rest.start()

    def _list(self) -> None:
        """List the selected tracks, or all."""
        timeline = self.strip.timeline
        if self.live is None or not self.has_tracks or self.lanes is None:
            timeline.show_lanes(None, [], 1)
            return
        index = self.live.index
        selected = self.live.numbers(sorted(self._result_selection()))
        shown = selected
        if self.strip.all.isChecked() or not selected:
            shown = sorted(index.members, key=lambda n: (next(iter(index.members[n])), n))
        if list(timeline.numbers) != shown or timeline.lanes is not self.lanes:
            timeline.show_lanes(self.lanes, shown, self.live.document.n_frames)
        timeline.show_selected(selected)
        self.strip.about.setText(self._describe(selected))
        self.strip.show_possible(is_selected=bool(selected))

    def _work(self) -> None:
        """Do a part of what takes long, and come again if there is more."""
        if self._is_closed or self.live is None:
            return
        self.catch_up()
        is_more = False
        paths = self._shown_paths()
        if paths is not None:
            is_more = paths.take()
            if not is_more:
                paths.show()
        if self.doubts is not None and self._is_asked_for_doubts() and self.doubts.n_left:
            judged = self.doubts.judge()
            self._known_doubtful = None
            if self.lanes is not None:
                self.lanes.forget(judged)
            is_more = is_more or self.doubts.n_left > 0
            self.strip.timeline.redraw()
            if not self.doubts.n_left:
                self._list()
                self.doubts_changed.emit()
        if is_more:
            self._rest.start()

    def _is_asked_for_doubts(self) -> bool:
        return self.has_tracks and (self.strip.isVisible() or self.wants_doubts())

    def _describe(self, selected: list[int]) -> str:
        return "" if self.live is None else about(self.live, selected, len(self._doubtful()))

    def _tip(self, number: int, frame: int) -> str:
        return "" if self.live is None else tip(self.live, self.doubts, number, frame)

    def _color(self, number: int) -> QColor:
        if number not in self._colors:
            color = QColor("#808080")
            members = {} if self.live is None else self.live.index.members.get(number, {})
            if members and self._result is not None:
                first = np.array([next(iter(members.values()))], np.uint32)
                rgba = np.atleast_2d(self._result.view.layer.colormap.map(first))[0]
                color = QColor.fromRgbF(*(float(part) for part in rgba[:3]))
            self._colors[number] = color
        return self._colors[number]

    def _doubtful(self) -> list[Key]:
        """Return the doubtful identities, the worst first."""
        if self.doubts is None:
            return []
        if self._known_doubtful is None:  # of 200,000 objects it takes 0.1 s
            rows = [(-v, k) for k, v in self.doubts.scores().items() if v >= DOUBTFUL]
            self._known_doubtful = [key for _, key in sorted(rows)]
        return self._known_doubtful

    def _result_selection(self) -> frozenset[Key]:
        session = self._current.session
        return frozenset() if session is None else session.selection

    def _shown_paths(self) -> TracksLayer | None:
        known = None if self._result is None else self._paths.get(id(self._result))
        return None if known is None else known[1]

    def _single_shot(self, interval: int, slot: Callable[[], None]) -> QTimer:
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setInterval(interval)
        timer.timeout.connect(slot)
        return timer
