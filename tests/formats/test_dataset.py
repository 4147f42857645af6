"""Datasets in folders: what is added is there, what was there stays, names lead nowhere else."""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

import napari_eomt as ne
from napari_eomt.annotation import operations
from napari_eomt.annotation.document import Document, Origin
from napari_eomt.errors import DataError, OutputError
from napari_eomt.formats import dataset as dataset_module
from napari_eomt.formats.coco_file import load_coco
from napari_eomt.formats.dataset import Dataset, load_dataset
from napari_eomt.formats.image_files import read_image
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation

CELL, DEBRIS = Category(1, "cell"), Category(2, "debris")


def drawn(n: int = 3, size: tuple[int, int] = (24, 40), first: int = 1) -> Segmentation:
    id_map = np.zeros(size, np.uint16)
    for k in range(n):
        id_map[2 + k : 12, 4 * k : 4 * k + 3] = first + k
    segments = tuple(Segment(first + k, 1 + k % 2, score=0.5 + k / 10) for k in range(n))
    return Segmentation(id_map, segments)


def pixels(seed: int, shape: tuple[int, ...] = (24, 40), dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 200, shape).astype(dtype)


def made(folder: Path, n: int = 2) -> Dataset:
    dataset = Dataset.create(folder)
    for k in range(n):
        dataset.add(pixels(k), drawn(2 + k), name=f"image {k}.tif", categories=[CELL, DEBRIS])
    dataset.save()
    return dataset


def text(folder: Path) -> dict:
    return json.loads((folder / "annotations.json").read_text(encoding="utf-8"))


def test_what_is_added_pycocotools_reads_bit_by_bit(tmp_path: Path) -> None:
    made(tmp_path)
    coco = COCO(tmp_path / "annotations.json")
    assert [r["file_name"] for r in coco.dataset["images"]] == ["image 0.png", "image 1.png"]
    for k, image in enumerate(coco.dataset["images"]):
        there = np.asarray(Image.open(tmp_path / "images" / image["file_name"]))
        np.testing.assert_array_equal(there, pixels(k))
        truth = drawn(2 + k)
        annotations = coco.imgToAnns[image["id"]]
        for segment, annotation in zip(truth.segments, annotations, strict=True):
            mask = coco.annToMask(annotation)
            np.testing.assert_array_equal(mask, truth.id_map == segment.id)
            assert annotation["area"] == mask.sum()
            assert annotation["iscrowd"] == 0
            assert annotation["category_id"] == segment.category_id
            assert annotation["attributes"]["score"] == segment.score


def test_the_public_names(tmp_path: Path) -> None:
    made(tmp_path)
    dataset = ne.load_dataset(tmp_path)
    dataset.add(pixels(9), drawn(1))
    dataset.save()
    assert len(ne.load_dataset(tmp_path / "annotations.json").file.images) == 3


def test_appending_changes_nothing_that_is_there(tmp_path: Path) -> None:
    made(tmp_path)
    before = text(tmp_path)
    with load_dataset(tmp_path) as dataset:
        added = dataset.add(pixels(5), drawn(4), name="other", categories=[CELL, DEBRIS])
        assert text(tmp_path) == before  # not before it is saved
        dataset.save()
    after = text(tmp_path)
    assert added.image_ids == (3,)
    assert after["images"][:2] == before["images"]
    assert after["annotations"][: len(before["annotations"])] == before["annotations"]
    assert [r["id"] for r in after["annotations"]] == list(range(1, 10))


def test_foreign_records_and_unknown_fields_stay_as_they_are(tmp_path: Path) -> None:
    record = {
        "info": {"year": 2017},
        "licenses": [{"id": 1}],
        "images": [{"id": 70, "file_name": "a.jpg", "height": 24, "width": 40, "flickr_url": "x"}],
        "annotations": [
            {
                "id": 500, "image_id": 70, "category_id": 18, "iscrowd": 0, "area": 9.25,
                "bbox": [1, 1, 3.5, 3], "segmentation": [[1, 1, 4.5, 1, 4.5, 4, 1, 4]], "who": "me",
            },
        ],
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}],
        "mine": {"a": [1.5, None]},
    }  # fmt: skip
    (tmp_path / "annotations.json").write_text(json.dumps(record))
    with load_dataset(tmp_path) as dataset:
        dataset.add(pixels(1), drawn(1), name="b", categories=[CELL])
        dataset.save()
    after = text(tmp_path)
    for key in ("info", "licenses", "mine"):
        assert after[key] == record[key]
    assert after["images"][0] == record["images"][0]
    assert after["annotations"][0] == record["annotations"][0]
    assert after["categories"][0] == record["categories"][0]
    assert (after["images"][1]["id"], after["annotations"][1]["id"]) == (71, 501)


def test_exporting_an_image_again_replaces_its_annotations_and_keeps_their_ids(
    tmp_path: Path,
) -> None:
    made(tmp_path)
    before = text(tmp_path)
    again = drawn(4, first=2)  # segment 1 is gone; 2 was there; 3, 4 and 5 are new
    with load_dataset(tmp_path) as dataset:
        added = dataset.add(pixels(0), again, name="image 0.tif")
        dataset.save()
    after = text(tmp_path)
    assert added.image_ids == (1,)
    assert after["images"] == before["images"]
    mine = [r for r in after["annotations"] if r["image_id"] == 1]
    assert {r["attributes"]["segment_id"]: r["id"] for r in mine} == {2: 2, 3: 6, 4: 7, 5: 8}
    others = [r for r in before["annotations"] if r["image_id"] == 2]
    assert [r for r in after["annotations"] if r["image_id"] == 2] == others
    assert sorted(p.name for p in (tmp_path / "images").iterdir()) == ["image 0.png", "image 1.png"]


def test_a_document_that_was_read_is_written_back_as_it_was_but_for_what_changed(
    tmp_path: Path,
) -> None:
    made(tmp_path)
    with load_dataset(tmp_path) as dataset:
        document = dataset.document(2)
        dataset.add(None, document)
        dataset.save()
    before = text(tmp_path)
    document.apply(operations.delete(document, [(0, 2)]))
    with load_dataset(tmp_path) as dataset:
        dataset.add(None, document)
        dataset.save()
    after = text(tmp_path)
    kept, gone = after["annotations"], before["annotations"][3:4]
    assert before["annotations"] == [*kept[:3], *gone, *kept[3:]]
    assert len(after["annotations"]) == len(before["annotations"]) - 1
    assert after["images"] == before["images"]


def test_a_document_of_a_panoptic_file_is_added_as_it_is_seen(tmp_path: Path) -> None:
    other = tmp_path / "panoptic.json"
    other.write_text(
        '{"images": [], "annotations": [{"image_id": 3, "segments_info": []}], "categories": []}'
    )
    document = Document((), (24, 40), [CELL, DEBRIS], Origin(str(other), (3,)))
    document.apply(operations.propose(document, 0, drawn(2)))
    dataset = Dataset.create(tmp_path / "new")
    added = dataset.add(pixels(0), document, name="image")
    dataset.save()
    assert added.n_annotations == 2
    assert "no file of COCO instances" in added.notes[0]
    assert len(text(tmp_path / "new")["annotations"]) == 2


def test_changed_pixels_get_a_new_file_so_that_the_old_dataset_stays_whole(tmp_path: Path) -> None:
    made(tmp_path)
    with load_dataset(tmp_path) as dataset:
        dataset.add(pixels(77), drawn(1), name="image 0.tif")
        dataset.save()
        np.testing.assert_array_equal(dataset.image(1), pixels(77))
    assert text(tmp_path)["images"][0]["file_name"] == "image 0_2.png"
    np.testing.assert_array_equal(read_image(tmp_path / "images" / "image 0.png"), pixels(0))


def test_equal_names_from_other_folders_differ_and_stay_so(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        with load_dataset(out) if out.exists() else Dataset.create(out) as dataset:
            for k, folder in enumerate(("a", "b", "C")):
                name = "Cells.tif" if folder == "C" else "cells.tif"
                source = tmp_path / folder / name
                dataset.add(pixels(k), drawn(1), name=name, source_path=source, categories=[CELL])
            dataset.save()
        names = [r["file_name"] for r in text(out)["images"]]
        assert names == ["cells.png", "cells_2.png", "Cells_3.png"]
    for k in range(3):
        np.testing.assert_array_equal(load_dataset(out).image(k + 1), pixels(k))


def test_images_without_a_name_are_always_new(tmp_path: Path) -> None:
    with Dataset.create(tmp_path) as dataset:
        for k in range(3):
            dataset.add(pixels(0), drawn(1), categories=[CELL])
            if k == 1:
                dataset.save()
        dataset.save()
    names = [r["file_name"] for r in text(tmp_path)["images"]]
    assert names == ["image.png", "image_2.png", "image_3.png"]


@pytest.mark.parametrize(
    ("shape", "dtype", "suffix"),
    [
        ((24, 40), "uint8", ".png"), ((24, 40, 3), "uint8", ".png"), ((24, 40, 4), "uint8", ".png"),
        ((24, 40, 2), "uint8", ".tif"), ((24, 40), "uint16", ".tif"), ((24, 40), "float32", ".tif"),
        ((24, 40, 5), "uint16", ".tif"), ((24, 40), "int64", ".tif"), ((24, 40, 3), ">u2", ".tif"),
        ((24, 40), "complex64", ".tif"), ((24, 40), "float16", ".tif"),
    ],
)  # fmt: skip
def test_images_are_written_without_loss(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, suffix: str
) -> None:
    image = pixels(3, shape, dtype)
    with Dataset.create(tmp_path) as dataset:
        dataset.add(image, drawn(1), name="x", categories=[CELL])
        dataset.save()
        there = dataset.image(1)
    assert text(tmp_path)["images"][0]["file_name"] == f"x{suffix}"
    assert there.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(there, image)


def test_frames_of_a_stack_are_files_of_their_own_and_what_is_unknown_is_left_out(
    tmp_path: Path,
) -> None:
    document = Document((3, 2), (24, 40), [CELL])
    for frame in (1, 4):
        document.apply(operations.propose(document, frame, drawn(1)))
    stack = pixels(0, (3, 2, 24, 40), "uint16")
    with Dataset.create(tmp_path) as dataset:
        added = dataset.add(stack, document, name="stack.ome.tif")
        dataset.save()
        again = dataset.add(stack, document, name="stack.ome.tif", frames=[4, 5])
        dataset.save()
        assert (added.image_ids, again.image_ids) == ((1, 2), (2, 3))
        for image_id, index in ((1, (0, 1)), (2, (2, 0)), (3, (2, 1))):
            np.testing.assert_array_equal(dataset.image(image_id), stack[index])
    assert [r["file_name"] for r in text(tmp_path)["images"]] == [
        "stack_t0000_z0001.tif", "stack_t0002_z0000.tif", "stack_t0002_z0001.tif",
    ]  # fmt: skip


def test_a_failure_in_the_middle_of_a_stack_adds_nothing(tmp_path: Path) -> None:
    document = Document((3,), (24, 40), [CELL])

    class Broken:
        def frame(self, index: int) -> np.ndarray:
            return pixels(index) if index < 2 else pixels(index, (5, 5))

    with Dataset.create(tmp_path) as dataset:
        with pytest.raises(DataError, match=r"frame 2.*\(5, 5\)"):
            dataset.add(Broken(), document, name="s", frames=range(3))
        assert dataset.is_saved
        assert list((tmp_path / "images").iterdir()) == []
        dataset.add(pixels(0), drawn(1), name="s", categories=[CELL])  # and goes on
        dataset.save()
    assert len(text(tmp_path)["images"]) == 1


def test_categories_are_found_by_name_and_conflicts_are_told(tmp_path: Path) -> None:
    made(tmp_path)
    with load_dataset(tmp_path) as dataset:
        added = dataset.add(
            pixels(4), drawn(2), name="c", categories=[Category(1, "debris"), Category(2, "dust")]
        )
        dataset.save()
    after = text(tmp_path)
    names = {r["id"]: r["name"] for r in after["categories"]}
    assert names == {1: "cell", 2: "debris", 3: "dust"}
    mine = [r["category_id"] for r in after["annotations"] if r["image_id"] == 3]
    assert mine == [2, 3]
    assert len(added.notes) == 2
    assert "'debris' has the id 2 in the dataset, not 1" in added.notes[0]
    assert "'dust' has the id 3 in the dataset: 2 is 'debris' there" in added.notes[1]


def test_a_segment_without_a_known_category_is_refused(tmp_path: Path) -> None:
    with Dataset.create(tmp_path) as dataset:
        with pytest.raises(DataError, match=r"category 2, not one of \[1\]"):
            dataset.add(pixels(0), drawn(2), name="a", categories=[CELL])
        assert dataset.is_saved


def test_images_can_stay_where_they_are_if_that_is_in_the_dataset(tmp_path: Path) -> None:
    inside, outside = tmp_path / "data" / "raw" / "a.png", tmp_path / "b.png"
    inside.parent.mkdir(parents=True)
    for path in (inside, outside):
        Image.fromarray(pixels(1)).save(path)
    with Dataset.create(tmp_path / "data") as dataset:
        dataset.add(None, drawn(1), source_path=inside, categories=[CELL], images="reference")
        with pytest.raises(DataError, match="outside"):
            dataset.add(None, drawn(1), source_path=outside, images="reference")
        with pytest.raises(DataError, match="24 × 40"):
            dataset.add(None, drawn(1, (30, 40)), source_path=inside, images="reference")
        dataset.save()
    dataset = load_dataset(tmp_path / "data")
    assert dataset.file.images[0]["file_name"] == "raw/a.png"
    np.testing.assert_array_equal(dataset.image(1), pixels(1))
    assert not (tmp_path / "data" / "images").exists()


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "C:\\a.png", "nul", "out/a.png"])
def test_no_image_is_read_from_elsewhere(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "d"
    made(folder, 1)
    Image.fromarray(pixels(0)).save(tmp_path / "secret.png")
    if name.startswith("out"):
        (folder / "images" / "out").symlink_to(tmp_path)
    raw = text(folder)
    raw["images"][0]["file_name"] = name
    (folder / "annotations.json").write_text(json.dumps(raw))
    with pytest.raises(DataError, match="Image 1: the file_name"):
        load_dataset(folder).image(1)


def test_an_image_of_another_size_is_refused(tmp_path: Path) -> None:
    made(tmp_path, 1)
    Image.fromarray(pixels(0, (24, 41))).save(tmp_path / "images" / "image 0.png")
    with pytest.raises(DataError, match="24 × 41 pixels, the dataset says 24 × 40"):
        load_dataset(tmp_path).image(1)
    (tmp_path / "images" / "image 0.png").write_bytes(b"\x89PNG\r\n\x1a\nno")
    with pytest.raises(DataError, match=r"image 0\.png"):
        load_dataset(tmp_path).image(1)
    (tmp_path / "images" / "image 0.png").unlink()
    with pytest.raises(DataError, match=r"Image 1: there is no file 'image 0\.png'"):
        load_dataset(tmp_path).image(1)


def test_a_small_file_that_says_it_is_huge_is_not_unpacked(tmp_path: Path) -> None:
    made(tmp_path, 1)
    path = tmp_path / "images" / "image 0.png"
    data = bytearray(path.read_bytes())
    data[16:24] = (2**17).to_bytes(4, "big") * 2  # of IHDR, whose checksum is wrong now
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(DataError, match="pixels"):
        load_dataset(tmp_path).image(1)


def test_parts_hold_each_image_once_and_are_made_again_when_stale(tmp_path: Path) -> None:
    with Dataset.create(tmp_path) as dataset:
        for k in range(12):
            dataset.add(pixels(k), drawn(2), name=f"i{k}", categories=[CELL, DEBRIS])
        counts = dataset.save(val_fraction=0.4)
    parts = {p: tmp_path / f"annotations_{p}.json" for p in ("train", "val")}
    assert {p: len(load_coco(path).images) for p, path in parts.items()} == counts
    assert sum(counts.values()) == 12
    assert counts["val"] > 0
    old = {p: {r["file_name"] for r in load_coco(path).images} for p, path in parts.items()}
    # As after a crash between the dataset and its parts.
    saved = {p: path.read_bytes() for p, path in parts.items()}
    with load_dataset(tmp_path) as dataset:
        dataset.add(pixels(40), drawn(1), name="new")
        dataset.save()
    for p, path in parts.items():
        path.write_bytes(saved[p])
    load_dataset(tmp_path)
    now = {p: {r["file_name"] for r in load_coco(path).images} for p, path in parts.items()}
    assert sum(map(len, now.values())) == 13
    assert len(now["val"]) == counts["val"] == 5
    assert len(old["val"] - now["val"]) <= 1
    n = sum(len(load_coco(path).annotations) for path in parts.values())
    assert n == len(load_coco(tmp_path / "annotations.json").annotations) == 25
    with load_dataset(tmp_path) as dataset:
        dataset.save(val_fraction=0)
    assert not any(path.exists() for path in parts.values())


def test_two_writers_are_one_too_many(tmp_path: Path) -> None:
    made(tmp_path)
    first, second = load_dataset(tmp_path), load_dataset(tmp_path)
    first.add(pixels(5), drawn(1), name="first")
    with pytest.raises(DataError, match="being written by this program already"):
        second.add(pixels(6), drawn(1), name="second")
    first.save()
    second.add(pixels(6), drawn(1), name="second")  # on top of what the first has written
    second.save()
    assert len(text(tmp_path)["images"]) == 4
    first.add(pixels(7), drawn(1), name="third")
    first.close()  # and forgets it
    assert len(load_dataset(tmp_path).file.images) == 4
    assert sorted(p.suffix for p in (tmp_path / "images").iterdir()) == [".png"] * 4


def test_another_process_is_named_and_its_lock_ends_with_it(tmp_path: Path) -> None:
    made(tmp_path)
    code = (
        "import sys, napari_eomt.formats.dataset_lock as d; from pathlib import Path\n"
        "lock = d.DatasetLock(Path(sys.argv[1])); lock.acquire(); print('ready', flush=True)\n"
        "sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"ready"
        dataset = load_dataset(tmp_path)
        with pytest.raises(DataError, match=f"process {child.pid} on "):
            dataset.add(pixels(5), drawn(1), name="x")
    finally:
        child.kill()
        child.communicate()
    dataset.add(pixels(5), drawn(1), name="x")
    dataset.save()
    assert len(text(tmp_path)["images"]) == 3


def test_what_another_program_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    made(tmp_path)
    with load_dataset(tmp_path) as dataset:
        dataset.add(pixels(5), drawn(1), name="x")
        raw = text(tmp_path) | {"edited": True}
        (tmp_path / "annotations.json").write_text(json.dumps(raw))
        with pytest.raises(DataError, match="changed by another program"):
            dataset.save()
    assert text(tmp_path) == raw
    assert len(list((tmp_path / "images").iterdir())) == 2


@pytest.mark.parametrize("step", ["image", "json"])
def test_a_full_disk_leaves_the_old_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    made(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*.*") if p.is_file()}

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with load_dataset(tmp_path) as dataset:
        if step == "image":
            with monkeypatch.context() as patch:
                patch.setattr("os.fsync", full)
                with pytest.raises(OutputError, match="No space left on device"):
                    dataset.add(pixels(5), drawn(1), name="x")
        else:
            dataset.add(pixels(5), drawn(1), name="x")
            with monkeypatch.context() as patch:
                patch.setattr("os.fsync", full)
                with pytest.raises(OutputError, match="No space left on device"):
                    dataset.save()
            with monkeypatch.context() as patch:
                patch.setattr(dataset_module, "sync_folder", lambda folder: None)
                patch.setattr("napari_eomt.atomic.os.fsync", full)
                with pytest.raises(OutputError, match="No space left on device"):
                    dataset.save()
    lock = tmp_path / ".writing.lock"
    after = {p: p.read_bytes() for p in tmp_path.rglob("*.*") if p.is_file() and p != lock}
    before.pop(lock, None)
    assert after == before


def test_saving_can_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OutputError("full")

    with load_dataset(tmp_path) as dataset:
        dataset.add(pixels(5), drawn(1), name="x")
        with monkeypatch.context() as patch:
            patch.setattr(dataset_module, "save_coco", full)
            with pytest.raises(OutputError, match="full"):
                dataset.save()
        dataset.save()
    np.testing.assert_array_equal(load_dataset(tmp_path).image(3), pixels(5))


def test_what_killed_writers_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    made(tmp_path)
    left = [
        tmp_path / "images" / ".dataset-0123456789ab.png",
        tmp_path / ".writing-0123456789ab.json",
    ]
    stays = [tmp_path / "images" / "mine.png", tmp_path / ".writing-mine.json"]
    for path in left + stays:
        path.write_bytes(b"half")
    load_dataset(tmp_path)
    assert all(path.exists() for path in left)  # who only reads removes nothing
    with load_dataset(tmp_path) as dataset:
        dataset.add(pixels(5), drawn(1), name="mine")
        dataset.save()
    assert not any(path.exists() for path in left)
    assert all(path.read_bytes() == b"half" for path in stays)
    assert text(tmp_path)["images"][2]["file_name"] == "mine_2.png"


def test_an_export_that_was_cut_short_finds_its_own_images_again(tmp_path: Path) -> None:
    made(tmp_path)
    Image.fromarray(pixels(5)).save(tmp_path / "images" / "x.png")
    with load_dataset(tmp_path) as dataset:
        dataset.add(pixels(5), drawn(1), name="x.tif")
        dataset.save()
    assert text(tmp_path)["images"][2]["file_name"] == "x.png"


@pytest.mark.parametrize(
    ("names", "message"),
    [([], "has no annotations.json"), (["a.json", "b.json"], "has 2 JSON files")],
)
def test_a_folder_without_a_dataset_says_so(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / name).write_text("{}")
    with pytest.raises(DataError, match=message):
        load_dataset(tmp_path)


def test_a_dataset_is_not_begun_twice(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(DataError, match="has a dataset already"):
        Dataset.create(tmp_path)
    with pytest.raises(OutputError, match="cannot be made"):
        Dataset.create(tmp_path / "annotations.json" / "sub")


def test_coco_as_it_is_downloaded_finds_its_images(tmp_path: Path) -> None:
    made(tmp_path / "x", 1)
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    (tmp_path / "x" / "images").rename(tmp_path / "coco" / "val2017")
    path = tmp_path / "coco" / "annotations" / "instances_val2017.json"
    (tmp_path / "x" / "annotations.json").rename(path)
    dataset = load_dataset(tmp_path / "coco")
    np.testing.assert_array_equal(dataset.image(1), pixels(0))
    with dataset:
        dataset.add(pixels(2), drawn(1), name="new")
        dataset.save()
    np.testing.assert_array_equal(read_image(tmp_path / "coco" / "val2017" / "new.png"), pixels(2))


def test_invalid_records_are_not_lost_by_adding_to_the_rest(tmp_path: Path) -> None:
    made(tmp_path)
    raw = text(tmp_path)
    raw["annotations"][0]["area"] = -1
    (tmp_path / "annotations.json").write_text(json.dumps(raw))
    dataset = load_dataset(tmp_path, skip_invalid=True)
    assert len(dataset.notes) == 1
    with pytest.raises(DataError, match="1 records that make no sense"):
        dataset.add(pixels(5), drawn(1), name="x")
    assert text(tmp_path) == raw


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_read_only_folder_is_read_and_not_written(tmp_path: Path) -> None:
    made(tmp_path)
    tmp_path.chmod(0o555)
    try:
        dataset = load_dataset(tmp_path)
        assert dataset.image(1).shape == (24, 40)
        with pytest.raises(OutputError, match="cannot be written"):
            dataset.add(pixels(5), drawn(1), name="x")
    finally:
        tmp_path.chmod(0o755)


def test_stale_parts_that_cannot_be_made_again_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Dataset.create(tmp_path) as dataset:
        dataset.add(pixels(0), drawn(1), name="a", categories=[CELL])
        dataset.save(val_fraction=0.5)
    (tmp_path / "annotations_val.json").unlink()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    dataset = load_dataset(tmp_path)
    assert len(dataset.file.images) == 1
    assert "not of its last state" in dataset.notes[0]
    assert "Permission denied" in dataset.notes[0]
