from __future__ import annotations

import json
import shutil

import pytest
from tests.tiny_models import save_tiny
from typer.testing import CliRunner

from napari_eomt.cli import model_rows
from napari_eomt.cli.main import app
from napari_eomt.models import rows, store
from napari_eomt.models.catalog import catalog
from napari_eomt.models.user_models import user_models
from napari_eomt.settings import Settings, save_settings, settings_file

LARGE = "eomt-large-coco-panoptic-640"
GIANT = "eomt-giant-coco-panoptic-640"
DELTA = "eomt-dinov3-small-coco-panoptic-640-delta"


def run(*args):
    return CliRunner().invoke(app, ["models", *map(str, args)], terminal_width=200)


def listed(*args):
    result = run(*args, "--json")
    assert result.exit_code == 0, result.output
    return {row["name"]: row for row in json.loads(result.stdout)}


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """Folders of published models that are on this computer, by name; at first none."""
    folders = {}
    for module in (store, rows):
        monkeypatch.setattr(module, "local_folder", lambda entry: folders.get(entry.name))
    monkeypatch.setattr(model_rows, "disk_size", lambda entry: 12_000_000)
    return folders


def test_the_list_is_aligned_and_narrow():
    lines = run().stdout.splitlines()
    assert len(lines) == 1 + 1 + 29  # head, bundled, published
    assert max(map(len, lines)) <= 100
    assert max(map(len, run("--all").stdout.splitlines())) <= 100
    (row,) = [line for line in lines if line.startswith(LARGE)]
    assert row.split() == [LARGE, "panoptic", "640", "317", "M", "1.3", "GB", "PQ", "56.0", "no"]
    starts = {line.find(task) for line in lines for task in (" panoptic ", " instance ")} - {-1}
    assert len(starts) == 1
    assert "nuclei-nano" in lines[1]
    assert lines[1].endswith("bundled")


def test_models_in_their_original_formats_are_listed_when_asked_for_or_here(here, tmp_path):
    result = run()
    assert DELTA not in result.stdout
    assert "15 more" in result.stderr
    assert len(listed("--all")) == 1 + 44
    assert "no, gated" in run("--all").stdout
    here[DELTA] = tmp_path
    assert DELTA in listed()


@pytest.mark.parametrize(
    ("args", "n_found", "example"),
    [
        (
            ["--task", "semantic", "--search", "cityscapes"],
            1,
            "eomt-large-cityscapes-semantic-1024",
        ),
        (["--task", "instance", "--dataset", "ade20k"], 4, "eomt-giant-ade20k-panoptic-640"),
        (["--search", "DINOv3 small"], 1, "eomt-dinov3-small-coco-panoptic-640"),
        (["--video"], 8, "videomt-large-ovis"),
        (["--no-video", "--dataset", "COCO"], 14, LARGE),
        (["--search", "trained on coco panoptic first"], 4, "eomt-large-ade20k-panoptic-640"),
        (["--search", "tue-mps/coco_panoptic_eomt_large_640"], 1, LARGE),
        (["--video", "--dataset", "ytvis_2021"], 2, "videomt-large-ytvis2022"),
        (["--downloaded"], 1, "nuclei-nano"),
    ],
)
def test_filters(args, n_found, example):
    found = listed(*args)
    assert len(found) == n_found
    assert example in found


def test_downloaded_models_are_told_from_others(here, tmp_path):
    here[LARGE] = save_tiny(tmp_path / "m", n_labels=133)
    assert set(listed("--downloaded")) == {"nuclei-nano", LARGE}
    assert listed()[LARGE]["folder"] == str(here[LARGE])
    assert run("--search", LARGE).stdout.splitlines()[1].endswith("yes")
    text = run(LARGE).stdout
    assert str(here[LARGE]) in text
    assert "12 MB" in text
    assert "napari-eomt download" not in text


def test_a_damaged_download_does_not_hide_the_list(here, tmp_path):
    here[LARGE] = tmp_path
    assert LARGE in listed("--downloaded")
    result = run(LARGE)
    assert result.exit_code == 2
    assert "config.json is missing" in result.stderr


def test_nothing_found_is_said():
    result = run("--search", "zebrafish")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "No model is like this" in result.stderr
    assert listed("--search", "zebrafish") == {}


def test_a_published_model_is_described():
    text = " ".join(run(LARGE).stdout.split())
    for part in (
        "EoMT-L COCO panoptic 640",
        "PQ 56.0",
        "128 images/s on NVIDIA H100",
        "https://huggingface.co/tue-mps/coco_panoptic_eomt_large_640, main",
        "133: 1 person, 2 bicycle",
        "and 121 more",
        "score 0.8, mask 0.5, overlap 0.8",
        "317 M, 1.3 GB",
        "licence MIT",
        f"`napari-eomt download {LARGE}`",
    ):
        assert part in text
    text = " ".join(run(DELTA).stdout.split())
    assert "gated" in text
    assert "facebook/dinov3-vits16-pretrain-lvd1689m" in text
    assert "same model eomt-dinov3-small-coco-panoptic-640 " in text
    assert "on videos" in run("videomt-large-ovis").stdout


def test_json_of_one_is_its_row_of_the_list():
    for name in ("nuclei-nano", LARGE):
        assert json.loads(run(name, "--json").stdout) == listed()[name]
    row = listed()[GIANT]
    assert row["published"]["score"] == {"metric": "PQ", "value": 57.0, "dataset": "COCO"}
    assert (row["kind"], row["is_here"], row["folder"]) == ("published", False, None)
    assert len(row["categories"]) == 133
    assert json.loads(run("tue-mps/coco_panoptic_eomt_giant_640", "--json").stdout) == row


def test_bundled_models_are_described():
    text = run("nuclei-nano").stdout
    assert "128 × 128 px" in text
    assert "1 nucleus" in text


def test_models_are_added_and_forgotten(tmp_path):
    folder = save_tiny(tmp_path / "cells")
    assert run("--add", folder, "--name", "my cells", "--note", "old").stdout.startswith("my cells")
    assert user_models()["my cells"].note == "old"
    row = listed()["my cells"]
    assert (row["kind"], row["is_here"], row["folder"]) == ("added", True, str(folder))
    assert run("my cells", "--json").exit_code == 0
    shutil.move(folder, tmp_path / "away")
    assert listed()["my cells"]["problem"] == "the folder is missing"
    assert run("--search", "cells").stdout.splitlines()[1].endswith("missing")
    assert run("--remove", "my cells").exit_code == 0
    assert user_models() == {}
    assert (tmp_path / "away" / "config.json").is_file()


def test_a_damaged_model_does_not_hide_the_others(tmp_path):
    folder = save_tiny(tmp_path / "cells")
    run("--add", folder)
    (folder / "model.safetensors").write_text("no")
    rows = listed()
    assert "damaged" in rows["cells"]["problem"]
    assert "nuclei-nano" in rows
    assert run("--search", "cells").stdout.splitlines()[1].endswith("damaged")


def test_folders_of_old_settings_are_taken_over_once(tmp_path):
    own, gone, added = save_tiny(tmp_path / "my-own"), tmp_path / "gone", tmp_path / "added"
    run("--add", save_tiny(added), "--name", "known")
    settings_file().write_text(json.dumps({"folders": [*map(str, (own, gone, added))]}))
    result = run()
    assert result.exit_code == 0
    assert "my-own" in result.stdout
    assert user_models()["my-own"].folder == own
    assert [row for row in listed() if row in ("added", "known")] == ["known"]
    save_settings(Settings())
    run("--remove", "my-own")
    assert "my-own" not in listed(), "it is taken over once"
    # The disk of the other comes back.
    save_tiny(gone)
    assert "gone" in listed()
    assert "folders" not in json.loads(settings_file().read_text())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nix"], "There is no model 'nix'"),
        (["."], "config.json is missing"),
        (["eomt-large-coco-panoptic-460"], "Did you mean eomt-large-coco-panoptic-640"),
        (["--task", "panoramic"], "expected one of instance, semantic, panoptic"),
        (["--remove", "nix"], "You have added no model 'nix'"),
        (["--add", "nix"], "is not a folder"),
        (["--name", "a"], "belong to --add"),
        (["nuclei-nano", "--remove", "a"], "one of them at a time"),
    ],
)
def test_what_cannot_be_is_one_clear_line(args, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_every_published_model_can_be_described():
    for name in catalog():
        assert run(name).exit_code == 0
