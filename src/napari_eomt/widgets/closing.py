"""Asks what shall become of unsaved work before the window closes, or the dock in it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QApplication, QDockWidget, QMainWindow, QMessageBox, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.viewer.saved_work import SavedWork
    from napari_eomt.widgets.saving import SavingStrip

_BY_NAPARI = "destroyOnClose"
"""What the × of a dock of napari calls; it cannot be refused from within."""


class ClosingGuard(QObject):
    """Holds the window open until a person has said what shall become of unsaved work.

    A program that closes the viewer is not asked, and neither is whoever ends the session of the
    desktop: the work is kept then, and offered the next time.

    Parameters
    ----------
    dock : QWidget
        Which is in a dock of a window, or will be.
    work : SavedWork
    saving : SavingStrip
    keep : callable
        Saves what is saved by itself, such as the work on the image of a folder.
    """

    def __init__(
        self, dock: QWidget, work: SavedWork, saving: SavingStrip, keep: Callable[[], object]
    ) -> None:
        super().__init__(dock)
        self._dock, self._work, self._saving, self._keep = dock, work, saving, keep
        # Weakly: the window may go without a word to the dock, and must not outlive that.
        self._window_ref: ref[QMainWindow] | None = None
        self._panel_ref: ref[QDockWidget] | None = None
        self.question: QMessageBox | None = None
        """The question while it is open."""
        self.is_answered = False
        """Whether a person has said that the work is to be kept for the next time."""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.attach)

    def attach_later(self) -> None:
        """Attach when the dock has come to where it belongs."""
        self._timer.start(0)

    def attach(self) -> None:
        """Watch the window that the dock is in, and its own ×."""
        panel, window = _ancestor(self._dock, QDockWidget), _ancestor(self._dock, QMainWindow)
        if (panel, window) == (self._panel, self._window):
            return
        self.release()
        self._panel_ref = None if panel is None else ref(panel)
        self._window_ref = None if window is None else ref(window)
        if window is not None:
            window.installEventFilter(self)
        if panel is not None and hasattr(panel, _BY_NAPARI):
            here, this = ref(panel), ref(self)

            def close_panel() -> None:
                guard, panel = this(), here()
                if panel is not None:
                    close = partial(getattr(type(panel), _BY_NAPARI), panel)
                    close() if guard is None else guard._close_panel(close)

            setattr(panel, _BY_NAPARI, close_panel)

    def release(self) -> None:
        """Let everything close as it would."""
        self._timer.stop()
        if self._window is not None:
            self._window.removeEventFilter(self)
        if self._panel is not None:
            vars(self._panel).pop(_BY_NAPARI, None)
        self._window_ref = self._panel_ref = None

    @property
    def _window(self) -> QMainWindow | None:
        return None if self._window_ref is None else self._window_ref()

    @property
    def _panel(self) -> QDockWidget | None:
        return None if self._panel_ref is None else self._panel_ref()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Hold a close back that would leave unsaved work."""
        if (
            event is None
            or event.type() != QEvent.Type.Close
            or watched is not self._window
            or not self._must_ask()
        ):
            return False
        event.ignore()
        self._ask(self._close_window, self._stay_open)
        return True

    def _close_panel(self, close: Callable[[], object]) -> None:
        if self._must_ask():
            self._ask(close, lambda: None)
        else:
            close()

    def _must_ask(self) -> bool:
        window = self._window
        if self.is_answered or window is None or not window.isVisible() or _is_program(window):
            return False
        for result, _ in self._work.unsaved:
            result.view.flush()
        if self._work.unsaved:
            self._keep()
        return bool(self._work.unsaved)

    def _ask(self, close: Callable[[], object], stay: Callable[[], object]) -> None:
        if self.question is not None:
            self.question.raise_()
            return
        rows = self._work.unsaved
        names = ", ".join(str(result.image.name) for result, _ in rows)
        box = self.question = QMessageBox(self._window)
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Unsaved work")
        box.setText(f"The work on {names} is not saved in a document.")
        box.setInformativeText(
            "Kept for next time, it is offered when the EoMT dock is opened again; until then it "
            "is on this computer alone."
        )
        role = QMessageBox.ButtonRole
        save = box.addButton("Save", role.AcceptRole)
        keep = box.addButton("Keep for next time", role.DestructiveRole)
        cancel = box.addButton("Cancel", role.RejectRole)
        box.setDefaultButton(save)
        box.setEscapeButton(cancel)

        def close_soon() -> None:
            QTimer.singleShot(0, close)  # not in the midst of what the box, or a file, tells

        def answer() -> None:
            clicked, self.question = box.clickedButton(), None
            box.deleteLater()
            if clicked is save:
                # What is done while it is written is asked about anew.
                self._saving.save_all([result for result, _ in rows], close_soon, stay)
            elif clicked is keep:
                self.is_answered = True
                close_soon()
            else:
                stay()

        # Not `exec`, within which another event loop would run in the midst of a close event.
        box.finished.connect(answer)
        box.open()

    def _close_window(self) -> None:
        window: Any = self._window
        if window is None:
            return
        # Whether all of the program was to end.
        quits = bool(getattr(window, "_quit_app", False))
        window.close(quit_app=True) if quits else window.close()

    def _stay_open(self) -> None:
        if getattr(self._window, "_quit_app", False):
            # Or the next × would end all of the program.
            setattr(self._window, "_quit_app", False)  # noqa: B010


def _is_program(window: QMainWindow) -> bool:
    """Whether nobody sits there who could answer: a script closes the viewer, or the desktop."""
    from napari.qt import QtViewer

    viewer = window.findChild(QtViewer)
    app = QApplication.instance()
    is_ending = isinstance(app, QApplication) and app.isSavingSession()
    # `Viewer.close` closes the canvas first; it must not be held up between the two.
    return is_ending or (viewer is not None and viewer.isHidden())


def _ancestor(widget: QWidget, kind: type[Any]) -> Any:
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, kind):
        parent = parent.parentWidget()
    return parent
