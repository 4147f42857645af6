"""Write docs/reference/command-line.md from what the commands say about themselves.

Run after a change of a command or of a parameter: ``.venv/bin/python scripts/make_reference.py``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "command-line.md"
HEAD = """\
<!-- Written by scripts/make_reference.py: change the commands, not this page. -->

# The command line

What `napari-eomt COMMAND --help` shows. Exit codes: 0 all went well, 2 bad input (each named in one
line on stderr), 130 stopped by Ctrl-C.
"""


def page() -> str:
    """Return the page: the help of every command."""
    parts = [HEAD]
    commands = re.findall(r"^  (\w+) ", help_of().partition("Commands:")[2], re.MULTILINE)
    for command in commands:
        parts.append(f"## napari-eomt {command}\n\n```text\n{help_of(command)}\n```\n")
    return "\n".join(parts)


def help_of(*command: str) -> str:
    """Return what ``napari-eomt COMMAND --help`` prints in a window of 80 columns."""
    code = "import sys; sys.argv[0] = 'napari-eomt'; from napari_eomt.cli.main import main; main()"
    run = [sys.executable, "-c", code, *command, "--help"]
    env = {"COLUMNS": "80", "PYTHONUTF8": "1"}
    done = subprocess.run(run, check=True, capture_output=True, encoding="utf-8", env=env)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
