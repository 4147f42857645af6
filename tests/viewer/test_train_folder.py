"""Learning from a dataset on disk: COCO instances and COCO panoptic, whole or in parts."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from tests.training.drawn import save_nuclei
from tests.training.drawn_panoptic import SIZE, drawn_ids, pixels_of, save_panoptic_set
from tests.training.test_copies import add_copies

from napari_eomt.errors import DataError
from napari_eomt.formats.copies import find_shared, join_copies
from napari_eomt.formats.dataset import load_dataset
from napari_eomt.models.catalog import DEFAULT_MODEL, find_model
from napari_eomt.training.opened import open_dataset
from napari_eomt.training.params import TrainParams
from napari_eomt.training.sources import DatasetSource
from napari_eomt.training.split import split_images
from napari_eomt.viewer.train_categories import learnt_text
from napari_eomt.viewer.train_dataset import Parts, parts_of
from napari_eomt.viewer.train_folder import FolderSource


def ids_of(path):
    return {image["id"] for image in load_dataset(path).file.images}


def test_a_dataset_is_read_where_it_is_unless_somebody_chose(tmp_path):
    path = save_nuclei(tmp_path / "set", n_images=5)
    source = FolderSource(path)
    assert [(row.n_images, row.n_objects) for row in source.rows] == [(1, 5)] * 5
    parts = parts_of(source.rows, 0.4, {})
    prepared = source.write(parts, False, 0.4, tmp_path / "part")
    assert prepared.arguments() == [str(path / "annotations.json"), "--val-fraction", "0.4"]
    assert not (tmp_path / "part").exists()

    keys = [row.key for row in source.rows]
    of = dict(zip(keys, ["train", "none", "val", "train", "val"], strict=True))
    prepared = source.write(Parts(of), True, 0.4, tmp_path / "part")
    whole = [record["id"] for record in source._file.images]
    assert ids_of(prepared.dataset) == {whole[0], whole[3]}
    assert ids_of(prepared.val) == {whole[2], whole[4]}
    part, before = load_dataset(prepared.dataset), load_dataset(path)
    for image_id in (whole[0], whole[3]):
        np.testing.assert_array_equal(part.image(image_id), before.image(image_id))
        here, there = part.image_path(image_id), before.image_path(image_id)
        assert os.stat(here).st_ino == os.stat(there).st_ino  # a link: no second copy
        one, other = (d.document(image_id) for d in (part, before))
        np.testing.assert_array_equal(one.id_maps, other.id_maps)


def test_copies_learn_together_or_check_as_the_command_splits_them(tmp_path):
    path = save_nuclei(tmp_path / "set", n_images=4)
    add_copies(path, 4)
    source = FolderSource(path)
    assert len({row.group for row in source.rows}) == 4
    opened = open_dataset(path)
    copies = join_copies({e.key: e.group for e in opened.source.entries}, opened.files)
    keys = {e.key: e.group for e in opened.source.entries}
    for fraction in (0.2, 0.4, 0.6):
        parts = parts_of(source.rows, fraction, {})
        split = split_images(keys, fraction, copies=copies)
        assert {k for k, part in parts.of.items() if part == "val"} == {keys[k] for k in split.val}
        for k in range(4):
            assert parts.of[f"drawn{k}"] == parts.of[f"copy of drawn{k}.png"]
    # One of them is chosen: the other goes with it.
    for part in ("train", "val"):
        parts = parts_of(source.rows, 0.4, {"copy of drawn1.png": part})
        assert parts.of["drawn1"] == part
        assert not parts.notes


def test_a_copy_that_is_to_learn_is_left_out_if_the_other_is_to_check(tmp_path):
    path = save_nuclei(tmp_path / "set", n_images=4)
    add_copies(path, 2)
    source = FolderSource(path)
    parts = parts_of(source.rows, 0.0, {"copy of drawn1.png": "train", "drawn1": "val"})
    assert parts.of["drawn1"] == "val"
    assert parts.of["copy of drawn1.png"] == "none"
    (note,) = parts.notes
    assert note == (
        "Of 5 images that were to learn 1 is the same as one that checks, left out: "
        "copy of drawn1.png."
    )
    prepared = source.write(parts, True, 0.0, tmp_path / "part")
    learn, check = open_dataset(prepared.dataset), open_dataset(prepared.val)
    assert not find_shared(learn.files, check.files).learn
    assert len(learn.files) == 4


def test_images_are_copied_where_the_disk_has_no_links(tmp_path, monkeypatch):
    path = save_nuclei(tmp_path / "set", n_images=2)
    source = FolderSource(path)

    def no_links(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    of = dict(zip([row.key for row in source.rows], ["train", "val"], strict=True))
    prepared = source.write(Parts(of), True, 0.4, tmp_path / "part")
    (entry,) = DatasetSource(load_dataset(prepared.dataset)).entries
    np.testing.assert_array_equal(
        load_dataset(prepared.dataset).image(int(entry.key)),
        load_dataset(path).image(int(entry.key)),
    )


def test_a_dataset_without_images_is_refused(tmp_path):
    path = save_nuclei(tmp_path / "set", n_images=1)
    (path / "annotations.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(DataError, match="no images to learn from"):
        FolderSource(path)


def test_what_is_in_a_panoptic_dataset(tmp_path):
    path = save_panoptic_set(tmp_path / "set")
    for place in (path, path.parent):
        source = FolderSource(place)
        assert [row.name for row in source.rows] == [f"im{k}.png" for k in range(4)]
        for k, row in enumerate(source.rows):
            ids = drawn_ids(k)
            # Cells are countable; the crowd is ignored; glass and medium are regions.
            sizes = [np.count_nonzero(ids == 1001 + c * 65_536) for c in range(4)]
            assert (row.n_images, row.n_objects, row.n_regions) == (1, 4, 2)
            assert row.shape == (SIZE, SIZE)
            assert row.object_size == sorted(sizes)[2] ** 0.5
            found = {category.name: n for category, n in row.found.items()}
            assert found == {"cell": 4, "glass": 1, "medium": 1}
        assert source.val_fraction is None
        assert source.path == path


def test_images_without_a_png_are_not_offered(tmp_path):
    path = save_panoptic_set(tmp_path / "set")
    content = json.loads(path.read_text())
    del content["annotations"][1]
    path.write_text(json.dumps(content))
    assert [row.key for row in FolderSource(path).rows] == ["im0.png", "im2.png", "im3.png"]
    path.write_text(json.dumps(content | {"annotations": []}))
    # Nothing tells it from a file of instances then: all images are empty.
    assert [row.n_objects for row in FolderSource(path).rows] == [0] * 4


def test_the_command_splits_a_panoptic_dataset_as_the_page_says(tmp_path):
    path = save_panoptic_set(tmp_path / "set", n_images=7)
    source = FolderSource(path)
    parts = parts_of(source.rows, 0.4, {})
    prepared = source.write(parts, False, 0.4, tmp_path / "part")
    assert prepared.arguments() == [str(path), "--val-fraction", "0.4"]
    entries = open_dataset(prepared.dataset).source.entries
    split = split_images({entry.key: entry.group for entry in entries}, 0.4)
    names = {entry.key: entry.name for entry in entries}
    assert {names[key] for key in split.val} == {k for k, p in parts.of.items() if p == "val"}


def test_a_part_of_a_panoptic_dataset_has_its_pngs(tmp_path):
    path = save_panoptic_set(tmp_path / "set")
    source = FolderSource(path)
    of = dict(zip([row.key for row in source.rows], ["train", "none", "val", "train"], strict=True))
    prepared = source.write(Parts(of), True, 0.2, tmp_path / "part")
    learn, check = (open_dataset(place).source for place in (prepared.dataset, prepared.val))
    assert [e.name for e in learn.entries] == ["im0.png", "im3.png"]
    assert [e.name for e in check.entries] == ["im2.png"]
    assert [c.name for c in learn.categories] == ["cell", "glass", "medium"]
    for part, k in ((learn, 0), (learn, 3), (check, 2)):
        key = str(10 + k)
        np.testing.assert_array_equal(part.frame(key), pixels_of(drawn_ids(k)))
        found = part.segmentation(key)
        png_ids = np.zeros(len(found.segments) + 1, np.int64)
        for segment in found.segments:
            png_ids[segment.id] = segment.annotation_id
        np.testing.assert_array_equal(png_ids[found.id_map], drawn_ids(k))
    png = tmp_path / "part" / "learn" / "im0.png"
    assert os.stat(png).st_ino == os.stat(path.parent / "panoptic" / "im0.png").st_ino
    (path.parent / "panoptic" / "im3.png").unlink()
    with pytest.raises(DataError, match=r"Image 13.*im3\.png.*PNG of its segments"):
        source.write(Parts(of), True, 0.2, tmp_path / "other")


def test_coco_s_own_panoptic_files(data_dir):
    folder = data_dir / "coco_panoptic_sample"
    if not folder.is_dir():
        pytest.skip("The sample of COCO panoptic is not here.")
    path = folder / "panoptic.json"
    source = FolderSource(path)
    content = json.loads(path.read_text())
    is_thing = {c["id"]: c["isthing"] for c in content["categories"]}
    segments = {
        i["file_name"]: [
            s
            for a in content["annotations"]
            if a["image_id"] == i["id"]
            for s in a["segments_info"]
            if not s["iscrowd"]
        ]
        for i in content["images"]
    }
    for row in source.rows:
        things = [s for s in segments[row.key] if is_thing[s["category_id"]]]
        assert row.n_objects == len(things)
        assert row.n_regions == len(segments[row.key]) - len(things)
        assert row.object_size == sorted(s["area"] for s in things)[len(things) // 2] ** 0.5
    assert [row.shape for row in source.rows] == [(427, 640), (360, 640)]
    with pytest.raises(DataError, match="4 JSON files"):
        FolderSource(folder)  # it is not said which of them


PARAMS = TrainParams()


@pytest.mark.parametrize(
    ("task", "says", "says_not"),
    [
        ("instance", ["cell (16), as objects", "Stuff, glass, medium, are background"], ["(4)"]),
        ("semantic", ["cell (16), glass (4), medium (4), as regions"], ["background"]),
        ("panoptic", ["cell (16), glass (4), medium (4), as objects and"], ["background"]),
    ],
)
def test_which_categories_are_learnt(tmp_path, task, says, says_not):
    rows = FolderSource(save_panoptic_set(tmp_path / "set")).rows
    card = find_model("eomt-small-coco-panoptic-640")
    text = learnt_text(rows, card, TrainParams(task=task))
    assert all(words in text for words in says)
    assert not any(words in text for words in says_not)
    assert "new to eomt-small-coco-panoptic-640" in text


def test_what_a_model_cannot_learn_is_said(tmp_path):
    path = save_panoptic_set(tmp_path / "set")
    card = find_model(DEFAULT_MODEL)
    rows = FolderSource(path).rows
    text = learnt_text(rows, card, PARAMS)
    assert text.startswith(f"Learns cell (16), as objects. cell is new to {DEFAULT_MODEL}.")
    assert "does not serve" in learnt_text(rows, card, TrainParams(task="semantic"))
    content = json.loads(path.read_text())
    content["categories"][0]["isthing"] = 0
    path.write_text(json.dumps(content))
    assert learnt_text(FolderSource(path).rows, card, PARAMS).startswith("⚠ Nothing that")
    assert learnt_text([], card, PARAMS) == ""
