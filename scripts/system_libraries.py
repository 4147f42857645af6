"""Say which system libraries napari's window lacks. Standard library alone: runs before pip.

Prints a line for each: the package of Debian that holds it, a space, and what is missing.
"""

from __future__ import annotations

import argparse
import ctypes
import shutil
from pathlib import Path

LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libfontconfig.so.1": "libfontconfig1",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libdbus-1.so.3": "libdbus-1-3",
}
PROGRAMS = {"Xvfb": "xvfb", "xvfb-run": "xvfb", "xauth": "xauth"}
# Mesa's driver is opened by path and a font by its file: neither is a library one can ask for.
FILES = {
    "Mesa's OpenGL driver": (
        "libgl1-mesa-dri",
        ("usr/lib*/dri/swrast_dri.so", "usr/lib*/*/dri/swrast_dri.so"),
    ),
    "a font": (
        "fonts-dejavu-core",
        tuple(f"usr/{where}share/fonts/**/*.[to]tf" for where in ("", "local/")),
    ),
}


def missing(*, xvfb: bool, root: Path = Path("/")) -> list[tuple[str, str]]:
    """Return package and name of all that is missing.

    Parameters
    ----------
    xvfb : bool
        Whether a display has to be made up, for want of a real one.
    root : Path
        Where the file system starts.
    """
    found = [(package, name) for name, package in LIBRARIES.items() if not loads(name)]
    if xvfb:
        found += [(package, name) for name, package in PROGRAMS.items() if not shutil.which(name)]
    for name, (package, patterns) in FILES.items():
        if not any(path for pattern in patterns for path in root.glob(pattern)):
            found.append((package, name))
    return found


def loads(name: str) -> bool:
    """Whether the dynamic linker finds the library."""
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--xvfb", action="store_true", help="there is no display: need Xvfb too")
    for package, name in missing(xvfb=parser.parse_args().xvfb):
        print(package, name)


if __name__ == "__main__":
    main()
