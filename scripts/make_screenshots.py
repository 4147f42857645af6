"""Make the pictures of the documentation anew: ``.venv/bin/python scripts/make_screenshots.py``.

They are taken on a display made up by Xvfb where there is one, so that they come out the same size
everywhere; and with settings and a cache of models of their own, so that nobody's show.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

IMAGES = Path(__file__).parents[1] / "docs" / "images"
XVFB = ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24"]
MODEL = "eomt-large-coco-panoptic-640"


def main() -> None:
    program = Path(sys.executable).with_name("napari-eomt")
    IMAGES.mkdir(exist_ok=True)
    demo, models = IMAGES / "demo.png", IMAGES / "models.png"
    for command, image in (
        ([str(program), "demo", "--screenshot", str(demo)], demo),
        ([sys.executable, __file__, str(models)], models),
    ):
        with TemporaryDirectory() as folder:
            own = {"NAPARI_CONFIG": "", "NAPARI_EOMT_CONFIG_DIR": folder, "HF_HOME": folder}
            on_display = [*XVFB, *command] if shutil.which("xvfb-run") else command
            subprocess.run(on_display, check=True, env={**os.environ, **own})
        print(image)


def save_models(image: Path) -> None:
    """Save a picture of the window of all models."""
    import napari

    viewer = napari.Viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-eomt", "EoMT")
    dock.show_models()
    dock.models.select(MODEL)
    _settle()
    saved = dock.models.grab().save(str(image), "PNG")
    viewer.close()
    if not saved:
        raise SystemExit(f"{image}: the picture cannot be written.")


def _settle(seconds: float = 1.0) -> None:
    from qtpy.QtWidgets import QApplication

    end = monotonic() + seconds
    while monotonic() < end:
        QApplication.processEvents()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        save_models(Path(sys.argv[1]))
    else:
        main()
