"""Segment a folder of images through the dock and through the command line, and compare.

Needs a display, or::

    xvfb-run -a python scripts/compare_dock_and_cli.py FOLDER
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic

os.environ["NAPARI_CONFIG"] = ""
os.environ["NAPARI_EOMT_CONFIG_DIR"] = tempfile.mkdtemp()

import napari
import numpy as np
import tifffile
from qtpy.QtWidgets import QApplication

TIMEOUT_S = 120


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(
            [sys.executable, "-m", "napari_eomt.cli.main", "predict", str(folder), "--out", out],
            check=True,
        )
        viewer = napari.Viewer(show=True)
        _, dock = viewer.window.add_plugin_dock_widget("napari-eomt", "EoMT")
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        n_equal = n_objects = 0
        for path in paths:
            viewer.layers.clear()
            viewer.open(path, plugin="napari")
            dock.page.run_frame()
            end = monotonic() + TIMEOUT_S
            while dock.page.is_running and monotonic() < end:
                QApplication.processEvents()
            ours = viewer.layers[-1].data
            theirs = tifffile.imread(Path(out) / f"{path.stem}.tif")
            is_equal = np.array_equal(ours, theirs)
            n_equal += is_equal
            n_objects += int(theirs.max())
            if not is_equal:
                print(f"{path.name}: differs in {np.mean(ours != theirs):.2%} of the pixels")
        viewer.close()
    print(f"{n_equal} of {len(paths)} id maps are identical, {n_objects} objects")
    return 0 if n_equal == len(paths) else 1


if __name__ == "__main__":
    sys.exit(main())
