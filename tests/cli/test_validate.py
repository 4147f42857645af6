from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from napari_eomt.cli.main import app


def run(*args):
    return CliRunner().invoke(app, ["validate", *map(str, args)], terminal_width=200)


@pytest.fixture
def path(tmp_path):
    raw = {
        "images": [{"id": 4, "file_name": "a.jpg", "height": 10, "width": 12}],
        "annotations": [
            {"id": 1, "image_id": 4, "category_id": 1, "area": 16, "bbox": [0, 0, 4, 4]}
            | {"segmentation": [[0, 0, 4, 0, 4, 4, 0, 4]]},
        ],
        "categories": [{"id": 1, "name": "cell"}],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(raw), "utf-8")
    return path


def changed(path, **fields):
    raw = json.loads(path.read_text("utf-8"))
    raw["annotations"].append(raw["annotations"][0] | {"id": 2} | fields)
    path.write_text(json.dumps(raw), "utf-8")


def test_nothing_is_wrong(path):
    result = run(path)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [f"{path}: COCO instances, 0 errors, 0 warnings"]


def test_warnings_are_no_failure_and_errors_are(path):
    changed(path, area=99)
    result = run(path)
    assert result.exit_code == 0
    assert "warning: annotation 2: area is 99, its mask has 16 pixels" in result.stdout
    assert run(path, "-q").stdout == ""
    changed(path, id=3, category_id=8)
    result = run(path, "-q")
    assert result.exit_code == 2
    (line,) = result.stdout.splitlines()
    assert line.startswith("error: a.json: annotation 3 of image 4: category_id is 8")


def test_json(path):
    changed(path, category_id=8)
    result = run(path, "--json")
    assert result.exit_code == 2
    done = json.loads(result.stdout)
    assert (done["format"], done["n_errors"], done["n_warnings"]) == ("coco", 1, 0)
    assert done["findings"][0]["severity"] == "error"


def test_what_is_of_no_format(tmp_path):
    result = run(tmp_path)
    assert result.exit_code == 2
    assert "of no format that is known" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_format_that_is_named_is_taken(path):
    result = run(path, "--format", "panoptic")
    assert result.exit_code == 2
    assert "a.json" in result.stdout


def test_help_answers_at_once():
    code = (
        "import sys; from napari_eomt.cli.main import app\n"
        "try:\n    app(['validate', '--help'])\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "heavy = {'torch', 'transformers', 'napari', 'qtpy', 'zarr', 'dask', 'scipy', 'tifffile'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
