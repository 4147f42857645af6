from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from typer.testing import CliRunner

from napari_eomt.cli.main import app


def run(*args):
    return CliRunner().invoke(app, [*map(str, args)], terminal_width=200)


def one_line(result):
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


@pytest.fixture
def path(tmp_path):
    raw = {
        "info": {},
        "images": [{"id": 4, "file_name": "ü.jpg", "height": 10, "width": 12}],
        "annotations": [
            {"id": 1, "image_id": 4, "category_id": 1, "bbox": [0, 0, 4, 4], "area": 16}
            | {"segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]], "iscrowd": 0},
            {"id": 2, "image_id": 4, "category_id": 1, "bbox": [0, 0, 4, 4]},
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(raw), "utf-8")
    return path


def changed(path, change):
    raw = json.loads(path.read_text("utf-8"))
    change(raw)
    path.write_text(json.dumps(raw), "utf-8")


def test_a_line_and_notes_of_what_is_lost(path, tmp_path):
    result = run("convert", path, "--to", "panoptic", "--out", tmp_path / "p.json")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"{tmp_path / 'p.json'}: COCO instances to COCO panoptic, 1 images or stacks, 1 segments"
    ]
    assert "note: 1 annotations without a mask" in result.stderr
    assert (tmp_path / "p" / "ü.png").is_file()
    result = run("convert", tmp_path / "p.json", "--out", tmp_path / "x.tif", "--json")
    done = json.loads(result.stdout)
    assert (done["source"], done["target"], done["n_segments"]) == ("panoptic", "labels", 1)
    assert tifffile.imread(tmp_path / "x.tif").sum() == 16


def test_by_name_and_by_content(path, tmp_path):
    assert run("convert", path, "--out", tmp_path / "d.eomt").exit_code == 0
    assert run("convert", tmp_path / "d.eomt", "--out", tmp_path / "b.json").exit_code == 0
    assert json.loads((tmp_path / "b.json").read_text("utf-8")) == json.loads(
        path.read_text("utf-8")
    )
    stack = np.zeros((3, 8, 8), np.uint8)
    stack[:, :2] = 7
    (tmp_path / "s").mkdir()
    tifffile.imwrite(tmp_path / "s" / "s.tif", stack, photometric="minisblack")
    result = run("convert", tmp_path / "s", "--to", "ytvis", "--out", tmp_path / "v.json", "-q")
    assert result.exit_code == 0, result.output
    (track,) = json.loads((tmp_path / "v.json").read_text("utf-8"))["annotations"]
    assert track["areas"] == [16] * 3


def test_what_makes_no_sense(path, tmp_path):
    changed(path, lambda raw: raw["annotations"][0].update(category_id=9))
    out = ["--out", tmp_path / "b.json"]
    assert "annotation 1 of image 4" in one_line(run("convert", path, *out))
    assert not (tmp_path / "b.json").exists()
    result = run("convert", path, *out, "--skip-invalid")
    assert result.exit_code == 0
    assert "note: a.json: annotation 1 of image 4" in result.stderr


def test_bad_input_is_one_line(path, tmp_path):
    out = ["--out", tmp_path / "b.json"]
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    for args, message in (
        ([tmp_path / "gone.json", *out], "There is no file"),
        ([tmp_path / "gone", *out], "gone"),
        ([tmp_path / "empty", *out, "--to", "coco"], "of no format that is known"),
        ([path, "--out", path], "is there already"),
        ([path, "--out", tmp_path / "b"], "does not say which format"),
        ([path, *out, "--task", "panoptic"], "--task is an option of checkpoints"),
        (
            [tmp_path / "a.bin", *out, "--skip-invalid"],
            "--skip-invalid is an option of annotations",
        ),
        ([path, *out, "--to", "ytvis"], "a video has one axis of frames"),
    ):
        assert message in one_line(run("convert", *args)), args
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_is_130_and_leaves_nothing(path, tmp_path):
    code = (
        "import os, signal, sys\n"
        # Whoever runs tests in the background hands down that it is ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from napari_eomt.formats import convert as module\n"
        "read = module.annotations_of\n"
        "def stop(*args):\n    os.kill(os.getpid(), signal.SIGINT); return read(*args)\n"
        "module.annotations_of = stop\n"
        "from napari_eomt.cli.main import app; app(sys.argv[1:])"
    )
    tifffile.imwrite(tmp_path / "l.tif", np.eye(9, dtype=np.uint8))
    args = ["convert", str(tmp_path / "l.tif"), "--out", str(tmp_path / "o" / "b.json")]
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
    assert done.returncode in (130, -signal.SIGINT), done.stderr
    assert done.returncode == 130
    assert "stopped" in done.stderr
    assert not list((tmp_path / "o").iterdir())


def test_annotations_are_converted_without_torch(path, tmp_path):
    code = (
        "import sys; from napari_eomt.cli.main import app\n"
        "for args in (['convert', sys.argv[1], '--out', sys.argv[2]], ['validate', sys.argv[1]]):\n"
        "    try:\n        app(args)\n"
        "    except SystemExit as stop:\n        assert not stop.code\n"
        "heavy = {'torch', 'transformers', 'napari', 'qtpy', 'zarr', 'dask', 'pandas'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    args = [str(path), str(tmp_path / "b.tif")]
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
