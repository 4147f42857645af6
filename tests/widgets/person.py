"""A person at the dock, who runs the model, saves the work, and opens it again."""

from __future__ import annotations

from qtpy.QtWidgets import QFileDialog

WAIT_MS = 90_000


class Person:
    """Works in a window with the dock.

    Parameters
    ----------
    qtbot
    viewer : napari.Viewer
        Shown.
    """

    def __init__(self, qtbot, viewer):
        self.qtbot, self.viewer = qtbot, viewer
        _, self.dock = viewer.window.add_plugin_dock_widget("napari-eomt", "EoMT")
        self.n_runs = 0
        self.dock.jobs.finished.connect(self._on_finished)

    def _on_finished(self, event):
        self.n_runs += int(event.n_frames > 0)

    @property
    def result(self):
        return self.dock.current.result

    @property
    def document(self):
        return self.result.document

    def run(self, start):
        """Start the model with a click, and wait until it has run."""
        n = self.n_runs
        start()
        self.qtbot.waitUntil(lambda: self.n_runs > n, timeout=WAIT_MS)

    def save_and_reopen(self, folder, monkeypatch):
        """Save the work into a folder, close the image, and open the work anew."""
        saving = self.dock.saving
        monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(folder), ""))
        saving.save.click()
        self.qtbot.waitUntil(lambda: saving.state.text() == "" and folder.is_dir(), timeout=WAIT_MS)
        self.viewer.layers.clear()
        assert self.result is None
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
        saving.menu.actions()[0].trigger()
        self.qtbot.waitUntil(lambda: self.result is not None, timeout=WAIT_MS)
