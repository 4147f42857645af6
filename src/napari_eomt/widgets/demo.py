"""The demo: a real image, the dock, and its objects found by the bundled model."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import napari
from qtpy.QtWidgets import QApplication

from napari_eomt.errors import EomtError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_eomt.widgets.dock import EomtDock

TIMEOUT_S = 180
WINDOW = (1400, 900)


def run_demo(screenshot: Path | None = None, theme: str = "dark") -> None:
    """Open napari with a sample image and the dock, and segment it.

    Parameters
    ----------
    screenshot : Path, optional
        Save a picture of the window here and close it, instead of leaving it to the user.
    theme : {"dark", "light"}

    Raises
    ------
    OutputError
        If the picture cannot be written.
    EomtError
        If the model does not answer in time.
    """
    viewer = napari.Viewer(title="EoMT demo", show=True)
    viewer.theme = theme
    _, dock = viewer.window.add_plugin_dock_widget("napari-eomt", "EoMT")
    viewer.open_sample("napari-eomt", "nuclei_fluorescence_large")
    outcome: list[str] = []
    dock.jobs.finished.connect(lambda _: outcome.append(""))
    dock.jobs.failed.connect(lambda event: outcome.append(event.message))
    window = viewer.window._qt_window
    window.resize(*WINDOW)
    _settle()
    viewer.reset_view()
    outcome.clear()
    dock.page.outlines.setChecked(True)
    dock.page.run_frame()
    if screenshot is None:
        napari.run()
        return
    try:
        _wait(dock, outcome)
        window.move(0, 0)
        _settle()
        viewer.reset_view()
        _settle()
        screenshot.parent.mkdir(parents=True, exist_ok=True)
        if not window.grab().save(str(screenshot), "PNG"):
            raise OutputError(f"{screenshot}: the picture cannot be written. Is the folder yours?")
    except OSError as error:
        raise OutputError(f"{screenshot}: the picture cannot be written ({error}).") from error
    finally:
        viewer.close()


def _wait(dock: EomtDock, outcome: list[str]) -> None:
    end = monotonic() + TIMEOUT_S
    while dock.page.is_running and monotonic() < end:
        QApplication.processEvents()
    if dock.page.is_running:
        raise EomtError(f"The model gave no result within {TIMEOUT_S} s.")
    if outcome and outcome[-1]:
        raise EomtError(outcome[-1])


def _settle() -> None:
    for _ in range(20):
        QApplication.processEvents()
