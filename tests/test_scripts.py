"""`./run` in a copy of the repository, with a Python, a pip and an apt-get that only take notes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

REPO = Path(__file__).parents[1]

pytestmark = pytest.mark.skipif(os.name == "nt", reason="./run is for POSIX shells")

# Notes the call, and makes an environment whose python and program take notes too.
PYTHON = r"""#!/bin/sh
case "$*" in
*"-m venv "*)
    echo "venv" >>"$NOTES"
    for last in "$@"; do :; done
    mkdir -p "$last/bin"
    cp "$0" "$last/bin/python"
    echo "VIRTUAL_ENV='$last'" >"$last/bin/activate"
    printf '#!/bin/sh\necho "napari-eomt: $*" >>"$NOTES"\n' >"$last/bin/napari-eomt"
    chmod +x "$last/bin/napari-eomt" ;;
*"-m pip install"*)
    echo "pip $PIP_CONSTRAINT: $*" >>"$NOTES"
    if [ -n "${STOP-}" ]; then kill -TERM 0; fi
    exit "${PIP_FAILS:-0}" ;;
*"-m pip config"*) echo "global.index-url='https://example.org'" ;;
*"-m pytest"*) echo "pytest: $*" >>"$NOTES" ;;
*"import ensurepip"*) test -z "${NO_ENSUREPIP-}" ;;
*"import pip"*) ;;
*system_libraries.py*) if [ ! -e "$INSTALLED" ]; then printf '%b' "${MISSING-}"; fi ;;
*) exec "$REAL_PYTHON" "$@" ;;
esac
"""
APT_GET = r"""#!/bin/sh
echo "apt-get $*" >>"$NOTES"
case "$*" in
*update*) test "$(grep -c update "$NOTES")" -gt "${UPDATE_FAILS:-0}" ;;
*) : >"$INSTALLED" ;;
esac
"""
TOOLS = [
    "cat",
    "chmod",
    "cksum",
    "cp",
    "cut",
    "dirname",
    "env",
    "grep",
    "mkdir",
    "rm",
    "sh",
    "sort",
]
TOOLS += ["tr", "uname"]


class Clone:
    """A copy of what `./run` reads, in a folder with a space in its name."""

    def __init__(self, folder: Path) -> None:
        self.root, self.stubs = folder / "a clone", folder / "stubs"
        for name in ("run", "pyproject.toml", ".ci/constraints.txt", "src/napari_eomt/__init__.py"):
            (self.root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPO / name, self.root / name)
        self.stubs.mkdir()
        self.notes_file = folder / "notes"
        self.stub("python3", PYTHON)
        self.stub("apt-get", APT_GET)
        self.stub("id", "#!/bin/sh\necho ${UID_IS:-0}\n")
        self.stub("sleep", "#!/bin/sh\n")
        self.stub("xvfb-run", '#!/bin/sh\necho "xvfb-run" >>"$NOTES"\nshift 3\nexec "$@"\n')
        for tool in TOOLS:
            path = shutil.which(tool)
            if path and not (self.stubs / tool).exists():
                (self.stubs / tool).symlink_to(path)
        self.env = {
            "PATH": str(self.stubs),
            "NOTES": str(self.notes_file),
            "INSTALLED": str(folder / "installed"),
            "REAL_PYTHON": sys.executable,
            "DISPLAY": ":1",
        }

    def stub(self, name: str, text: str) -> None:
        (self.stubs / name).write_text(text)
        (self.stubs / name).chmod(0o755)

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        self.notes_file.write_text("")
        return subprocess.run(
            [str(self.root / "run"), *arguments],
            env=self.env | env,
            cwd=self.root.parent,
            capture_output=True,
            text=True,
            timeout=30,
            start_new_session=True,  # a stop, as by Ctrl-C, reaches the whole group
        )

    @property
    def notes(self) -> list[str]:
        return self.notes_file.read_text().splitlines()


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_first_start_sets_up_and_the_second_only_runs(clone: Clone):
    first = clone.run("test", "-k", "two words")
    assert first.returncode == 0, first.stderr
    install = "pip .ci/constraints.txt: -m pip install --quiet -e .[test]"
    assert clone.notes == ["venv", install, "pytest: -m pytest -k two words"]
    second = clone.run("demo", "--screenshot", "my picture.png", MISSING="")
    assert (second.returncode, second.stderr) == (0, "")
    assert clone.notes == ["napari-eomt: demo --screenshot my picture.png"]


def test_constraints_of_the_user_come_first(clone: Clone):
    clone.run("test", PIP_CONSTRAINT="mine.txt")
    assert clone.notes[1].startswith("pip mine.txt:")


@pytest.mark.parametrize("file", ["pyproject.toml", ".ci/constraints.txt"])
def test_a_changed_requirement_is_installed(clone: Clone, file: str):
    clone.run("test")
    with (clone.root / file).open("a") as stream:
        stream.write("# changed\n")
    clone.run("test")
    assert [note.split()[0] for note in clone.notes] == ["pip", "pytest:"]


def test_a_moved_clone_gets_a_new_environment(clone: Clone):
    clone.run("test")
    clone.root = clone.root.rename(clone.root.with_name("moved"))
    clone.run("test")
    assert clone.notes[0] == "venv"


def test_stopped_while_installing_begins_anew(clone: Clone):
    assert clone.run("test", STOP="yes").returncode != 0
    assert not any(note.startswith("pytest") for note in clone.notes)
    assert clone.run("test").returncode == 0
    assert [note.split()[0] for note in clone.notes] == ["venv", "pip", "pytest:"]


def test_pip_that_fails_leaves_the_environment_for_the_next_start(clone: Clone):
    failed = clone.run("test", PIP_FAILS="1")
    assert failed.returncode == 1
    assert "run: pip could not install napari-eomt" in failed.stderr
    assert clone.run("test").returncode == 0
    assert [note.split()[0] for note in clone.notes] == ["pip", "pytest:"]


def test_root_on_debian_gets_the_missing_packages(clone: Clone):
    missing = "libegl1 libEGL.so.1\\nxvfb Xvfb\\nxvfb xvfb-run\\n"
    done = clone.run("test", MISSING=missing, NO_ENSUREPIP="1", UPDATE_FAILS="2")
    assert done.returncode == 0, done.stderr
    version = "{}.{}".format(*sys.version_info)
    assert [note for note in clone.notes if note.startswith("apt-get")] == [
        *["apt-get -qq update"] * 3,
        "apt-get -qq install -y --no-install-recommends libegl1 xvfb",
        f"apt-get -qq install -y --no-install-recommends python{version}-venv",
    ]


def test_anyone_else_is_told_what_to_install(clone: Clone):
    refused = clone.run("test", MISSING="libegl1 libEGL.so.1\\n", UID_IS="1000")
    assert refused.returncode == 1
    assert "Install with: sudo apt-get install -y libegl1" in refused.stderr
    refused = clone.run("test", NO_ENSUREPIP="1", UID_IS="1000")
    assert refused.returncode == 1
    assert "-venv" in refused.stderr
    assert clone.notes == []
    (clone.stubs / "apt-get").unlink()
    refused = clone.run("test", MISSING="libegl1 libEGL.so.1\\n")
    assert refused.returncode == 1
    assert "libEGL.so.1" in refused.stderr
    assert clone.run("test", MISSING="libegl1 libEGL.so.1\\n", SKIP_LIBRARIES="1").returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is always a display")
def test_demo_without_a_display(clone: Clone):
    refused = clone.run("demo", DISPLAY="")
    assert refused.returncode == 2
    assert "./run demo --screenshot demo.png" in refused.stderr
    assert clone.notes == []
    assert clone.run("demo", "--screenshot=a.png", DISPLAY="").returncode == 0
    assert clone.notes[-2:] == ["xvfb-run", "napari-eomt: demo --screenshot=a.png"]


def test_python_too_old_or_missing(clone: Clone):
    clone.stub("python3", "#!/bin/sh\nexit 1\n")
    refused = clone.run("test", UID_IS="1000")
    assert refused.returncode == 1
    assert "Python 3.10 or newer is missing" in refused.stderr


def test_unknown_command_shows_the_usage(clone: Clone):
    refused = clone.run("tset")
    assert refused.returncode == 2
    assert refused.stderr.startswith("Usage: ./run COMMAND")
    assert clone.run("--help").returncode == 0


def script(name: str):
    spec = spec_from_file_location(name, REPO / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def system_libraries():
    return script("system_libraries")


def test_missing_libraries_are_named_with_their_package(system_libraries, monkeypatch, tmp_path):
    monkeypatch.setattr(system_libraries, "loads", lambda name: name != "libEGL.so.1")
    monkeypatch.setattr(system_libraries.shutil, "which", lambda name: None)
    assert system_libraries.missing(xvfb=True, root=tmp_path) == [
        ("libegl1", "libEGL.so.1"),
        ("xvfb", "Xvfb"),
        ("xvfb", "xvfb-run"),
        ("xauth", "xauth"),
        ("libgl1-mesa-dri", "Mesa's OpenGL driver"),
        ("fonts-dejavu-core", "a font"),
    ]


def test_a_font_and_the_driver_are_found_by_their_files(system_libraries, monkeypatch, tmp_path):
    monkeypatch.setattr(system_libraries, "loads", lambda name: True)
    for name in ("usr/lib/x86_64-linux-gnu/dri/swrast_dri.so", "usr/share/fonts/a/b/c.ttf"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert system_libraries.missing(xvfb=False, root=tmp_path) == []


def test_library_that_is_not_there_does_not_load(system_libraries):
    assert not system_libraries.loads("libno-such-thing.so.0")


def test_reference_names_the_options_that_there_are():
    """Options alone: the rest of the help is laid out differently by other versions of typer."""
    reference = script("make_reference")
    written, now = (
        re.findall(r"^## .*|^  (?:-\w, )?(--[\w-]+)", page, re.MULTILINE)
        for page in (reference.PAGE.read_text(encoding="utf-8"), reference.page())
    )
    assert "--score-threshold" in now
    assert written == now, "Run scripts/make_reference.py"
