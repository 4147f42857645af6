"""Make the pictures of the documentation anew: ``.venv/bin/python scripts/make_screenshots.py``.

They are taken on a display made up by Xvfb where there is one, so that they come out the same size
everywhere.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

IMAGES = Path(__file__).parents[1] / "docs" / "images"
XVFB = ["xvfb-run", "-a", "-s", "-screen 0 1600x1000x24"]


def main() -> None:
    program = Path(sys.executable).with_name("napari-eomt")
    command = [str(program), "demo", "--screenshot", str(IMAGES / "demo.png")]
    IMAGES.mkdir(exist_ok=True)
    subprocess.run([*XVFB, *command] if shutil.which("xvfb-run") else command, check=True)
    print(IMAGES / "demo.png")


if __name__ == "__main__":
    main()
