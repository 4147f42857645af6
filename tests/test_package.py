"""The package as installed: its names, metadata, manifest, files, and what importing costs."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from npe2 import PluginManifest

import napari_eomt

REPO = Path(__file__).parents[1]
MANIFEST = Path(napari_eomt.__file__).with_name("napari.yaml")
WHEEL_MB = 20
HEAVY = ("torch", "transformers", "torchvision")


def imported_by(code: str) -> set[str]:
    """Return the names in `sys.modules` of a new interpreter that ran `code`."""
    code += "\nimport sys\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("MODULES")[2].split())


def modules_of(package: str) -> list[str]:
    """Return the dotted names of a subpackage and of everything in it."""
    source = MANIFEST.parent
    files = (source / package).rglob("*.py")
    names = [".".join(path.relative_to(source.parent).with_suffix("").parts) for path in files]
    return sorted(name.removesuffix(".__init__") for name in names)


def test_version_is_the_one_of_the_metadata():
    assert metadata.version("napari-eomt") == napari_eomt.__version__


def test_metadata_brings_no_qt_binding_and_no_torchvision_unasked():
    hard = [r for r in metadata.requires("napari-eomt") or [] if "extra ==" not in r]
    names = {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in hard}
    assert {"napari", "numpy", "qtpy", "torch", "transformers"} <= names
    assert not names & {"pyqt5", "pyqt6", "pyside2", "pyside6", "torchvision"}
    assert not [requirement for requirement in hard if requirement.startswith("napari[")]


def test_metadata_says_what_the_hub_reads():
    about = metadata.metadata("napari-eomt")
    assert "Framework :: napari" in about.get_all("Classifier")
    assert about["License-Expression"] == "BSD-3-Clause"
    assert {"all", "test", "dev"} <= set(about.get_all("Provides-Extra"))


def test_every_public_name_is_there():
    assert len(napari_eomt.__all__) == len(set(napari_eomt.__all__))
    for name in napari_eomt.__all__:
        assert getattr(napari_eomt, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'segment_everything'"):
        _ = napari_eomt.segment_everything


def test_importing_the_package_imports_nothing_heavy():
    roots = {name.partition(".")[0] for name in imported_by("import napari_eomt")}
    assert not roots & {*HEAVY, "napari", "numpy", "pandas", "pydantic", "qtpy", "scipy"}


def test_manifest_is_valid():
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.name == "napari-eomt"
    assert manifest.display_name == "EoMT"
    assert manifest.package_version == napari_eomt.__version__


def test_manifest_names_every_command_it_uses():
    contributions = PluginManifest.from_file(MANIFEST).contributions
    commands = [command.id for command in contributions.commands]
    used = [w.command for w in contributions.widgets]
    used += [sample.command for sample in contributions.sample_data]
    used += [reader.command for reader in contributions.readers or ()]
    used += list(dict.fromkeys(writer.command for writer in contributions.writers or ()))
    used += [item.command for items in contributions.menus.values() for item in items]
    assert sorted(commands) == sorted(used)


def test_window_imports_no_torch():
    """Neither what the manifest names nor any other module of the window."""
    commands = PluginManifest.from_file(MANIFEST).contributions.commands
    names = [command.python_name.partition(":")[0] for command in commands]
    names += [*modules_of("viewer"), *modules_of("widgets"), *modules_of("annotation")]
    names.append("napari_eomt.worker.client")
    # One interpreter for all of them: it stops at the first that breaks the rule.
    imported_by(
        "import sys\nfrom importlib import import_module\n"
        f"for name in {list(dict.fromkeys(names))}:\n"
        "    import_module(name)\n"
        f"    heavy = [m for m in {HEAVY} if m in sys.modules]\n"
        "    assert not heavy, f'{name} imports {heavy}'\n"
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=REPO, check=True, capture_output=True, timeout=120)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_is_small_and_holds_model_samples_and_manifest(wheel: Path):
    assert wheel.stat().st_size < WHEEL_MB * 1e6
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for name in (
        "models/bundled/nuclei-nano/model.safetensors",
        "models/bundled/nuclei-nano/README.md",
        "viewer/samples/nuclei_fluorescence.png",
        "viewer/samples/README.md",
        "napari.yaml",
        "py.typed",
    ):
        assert f"napari_eomt/{name}" in names


def test_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = {n for n in archive.namelist() if n.startswith("napari_eomt/")}
        others = {n.partition("/")[0] for n in archive.namelist()} - {"napari_eomt"}
    here = {
        path.relative_to(MANIFEST.parents[1]).as_posix()
        for path in MANIFEST.parent.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == here
    assert others == {f"napari_eomt-{napari_eomt.__version__}.dist-info"}


def test_map_of_the_architecture_names_every_module():
    page = (REPO / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    rooms = page.partition("src/napari_eomt/\n")[2].partition("```")[0]
    there = re.sub(r"\[.*?\]", "", rooms)  # in brackets stands what is planned
    for folder, listed in re.findall(r"^  (\w+)/ +(.*)$", there, re.MULTILINE):
        found = {path.stem for path in (MANIFEST.parent / folder).glob("*.py")} - {"__init__"}
        named = {name.strip() for name in listed.split("·") if not name.strip().endswith("/")}
        assert named - {""} == found, f"{folder}: bring docs/explanation/architecture.md up to date"
