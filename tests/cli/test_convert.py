from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from tests.models.original_layout import delta_state, original_state, tiny_base, trained
from typer.testing import CliRunner

from napari_eomt.cli.main import app
from napari_eomt.models.card import read_card
from napari_eomt.models.weights import load_weights


def run(*args):
    return CliRunner().invoke(app, ["convert", *map(str, args)], terminal_width=200)


def one_line(result):
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    return result.stderr


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "coco_eomt_64.bin"
    torch.save(original_state(trained("dinov2"), "dinov2"), path)
    return path


def test_there_and_back(tmp_path, checkpoint):
    result = run(checkpoint, "--out", tmp_path / "m")
    assert result.exit_code == 0, result.output
    (line,) = result.stdout.splitlines()
    assert "eomt, 64 px, 4 categories; 70 tensors mapped, 2 dropped, 82 written" in line
    assert not (tmp_path / "m" / "napari_eomt.json").exists()
    result = run(tmp_path / "m", "--to", "original", "--out", tmp_path / "back.safetensors")
    assert result.exit_code == 0, result.output
    before, after = load_weights(checkpoint), load_weights(tmp_path / "back.safetensors")
    assert all(torch.equal(after[key], before[key]) for key in before | after)


def test_json_has_counts_by_kind(tmp_path, checkpoint):
    result = run(checkpoint, "--out", tmp_path / "m", "--json")
    done = json.loads(result.stdout)
    assert (done["n_mapped"], done["mapped"]["blocks"], done["layout"]) == (70, 42, "original")
    assert done["path"] == str(tmp_path / "m")
    assert done["config"]["num_blocks"] == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat\n dog\n\nsky\nsea ice\n", [(1, "cat"), (2, "dog"), (3, "sky"), (4, "sea ice")]),
        ('["cat", "dog", "sky", "sea"]', [(1, "cat"), (2, "dog"), (3, "sky"), (4, "sea")]),
        (
            json.dumps(
                {
                    "categories": [
                        {"id": k, "name": name, "isthing": thing}
                        for k, name, thing in ((7, "cat", 1), (9, "dog", 1), (2, "sky", 0))
                    ]
                    + [{"id": 3, "name": "sea", "isthing": 0}]
                }
            ),
            [(7, "cat"), (9, "dog"), (2, "sky"), (3, "sea")],
        ),
    ],
)
def test_categories_of_a_file_and_the_task(tmp_path, checkpoint, text, expected):
    (tmp_path / "names").write_text(text)
    options = ["--categories", tmp_path / "names", "--task", "panoptic"]
    result = run(checkpoint, "--out", tmp_path / "m", *options)
    assert result.exit_code == 0, result.output
    card = read_card(tmp_path / "m")
    assert [(c.id, c.name) for c in card.categories] == expected
    assert card.tasks == ("panoptic", "instance", "semantic")
    stuff = [c.name for c in card.categories if not c.is_thing]
    assert stuff == (["sky", "sea"] if "isthing" in text else [])


def test_categories_of_the_package_and_windows_for_semantic_models(tmp_path):
    state = original_state(trained("dinov2", num_labels=19), "dinov2")
    torch.save(state, tmp_path / "m.bin")
    options = ["--categories", "cityscapes_semantic", "--task", "semantic"]
    result = run(tmp_path / "m.bin", "--out", tmp_path / "m", *options)
    assert result.exit_code == 0, result.output
    card = read_card(tmp_path / "m")
    assert card.tasks == ("semantic",)
    assert card.categories[0].name == "road"
    processor = json.loads((tmp_path / "m" / "preprocessor_config.json").read_text())
    assert processor["do_split_image"]


def test_a_delta_with_its_base_and_size(tmp_path):
    base = tiny_base()
    state = original_state(trained("dinov3"), "dinov3")
    torch.save(delta_state(state, base.state_dict()), tmp_path / "d.bin")
    base.save_pretrained(tmp_path / "base")
    assert "a delta" in one_line(run(tmp_path / "d.bin", "--out", tmp_path / "m"))
    args = [tmp_path / "d.bin", "--out", tmp_path / "m", "--base", tmp_path / "base"]
    assert "Give the input size" in one_line(run(*args))
    result = run(*args, "--input-size", 96)
    assert result.exit_code == 0, result.output
    assert read_card(tmp_path / "m").input_size == 96


def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, checkpoint):
    out = ["--out", tmp_path / "m"]
    (tmp_path / "few").write_text("cat")
    (tmp_path / "none").write_text("\n")
    (tmp_path / "bad.json").write_text('[{"id": 1}]')
    (tmp_path / "twice.json").write_text('[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]')
    (tmp_path / "page.bin").write_text("<html>not found</html>")
    before = sorted(tmp_path.rglob("*"))
    for args, message in (
        ([tmp_path / "gone.bin", *out], "There is no file"),
        ([tmp_path / "page.bin", *out], "is a web page"),
        ([checkpoint, "--out", tmp_path], "is there already"),
        ([checkpoint, *out, "--input-size", 128], "for an input of 64 pixels"),
        ([checkpoint, *out, "--categories", "coco"], "is no list of the package and cannot be"),
        ([checkpoint, *out, "--categories", checkpoint], "it is no text"),
        ([checkpoint, *out, "--categories", tmp_path / "few"], "with 4 categories, but 1"),
        ([checkpoint, *out, "--categories", tmp_path / "none"], "has no category"),
        ([checkpoint, *out, "--categories", tmp_path / "bad.json"], "is no list of categories"),
        ([checkpoint, *out, "--categories", tmp_path / "twice.json"], "of the same id"),
        ([checkpoint, "--to", "original", *out], "is one file"),
        ([checkpoint, "--to", "original", *out, "--task", "panoptic"], "leave them out"),
    ):
        assert message in one_line(run(*args)), args
    assert sorted(tmp_path.rglob("*")) == before


def test_overwrite_replaces_a_model(tmp_path, checkpoint):
    args = [checkpoint, "--out", tmp_path / "m"]
    assert run(*args).exit_code == 0
    assert "is there already" in one_line(run(*args))
    assert run(*args, "--overwrite").exit_code == 0


def test_a_process_prints_its_line_alone(tmp_path, checkpoint):
    command = [sys.executable, "-m", "napari_eomt.cli.main", "convert", str(checkpoint)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "m")], check=True, capture_output=True, text=True
    )
    assert len(done.stdout.splitlines()) == 1
    assert not done.stderr


def test_help_answers_without_torch():
    code = (
        "import sys; from napari_eomt.cli.main import app\n"
        "try:\n    app(['convert', '--help'])\n"
        "except SystemExit as stop:\n    assert not stop.code\n"
        "assert not {'torch', 'transformers', 'napari'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
