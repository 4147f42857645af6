"""Annotated images opened in a viewer: what napari shows, and what a session goes on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from PIL import Image as Picture
from pycocotools import mask as pycoco

from napari_eomt.annotation import operations
from napari_eomt.annotation.files import save_document
from napari_eomt.annotation.image_ref import ImageRef
from napari_eomt.annotation.image_store import FolderStore
from napari_eomt.annotation.session import Session
from napari_eomt.annotation.tracks import track_table
from napari_eomt.errors import DataError
from napari_eomt.formats.ctc_write import save_ctc
from napari_eomt.formats.dataset import load_dataset
from napari_eomt.structures.segments import Status
from napari_eomt.viewer.dataset_kind import Kind, find_annotations
from napari_eomt.viewer.dataset_open import OpenDataset
from napari_eomt.viewer.dataset_sessions import take_over, waiting
from napari_eomt.viewer.image_folder import ImageFolder
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.viewer.reader import get_reader, read
from napari_eomt.viewer.results import Results
from napari_eomt.viewer.saved_work import SavedWork

SIZES = [(20, 30), (16, 18), (20, 30)]


@pytest.fixture(autouse=True)
def _own_sessions(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_EOMT_SESSIONS_DIR", str(tmp_path / "user" / "sessions"))


def annotation(i, image_id, box, size, **fields):
    mask = np.zeros(size, np.uint8)
    y0, x0, y1, x1 = box
    mask[y0:y1, x0:x1] = 1
    rle = pycoco.encode(np.asfortranarray(mask))
    rle["counts"] = rle["counts"].decode()
    return {
        "id": i,
        "image_id": image_id,
        "category_id": 7,
        "segmentation": rle,
        "area": float(mask.sum()),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "iscrowd": 0,
        **fields,
    }


def write(folder, sizes, name="annotations.json"):
    """Write a dataset: in each image one object, in the first another that covers part of it."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    images, annotations = [], []
    for k, (h, w) in enumerate(sizes, 1):
        Picture.fromarray(rng.integers(0, 255, (h, w), np.uint8)).save(
            folder / "images" / f"im{k}.png"
        )
        record = {"id": 10 * k, "file_name": f"im{k}.png", "height": h, "width": w, "plate": k}
        images.append(record)
        annotations.append(
            annotation(100 + k, 10 * k, (2, 2, 10, 12), (h, w), by="Ada", score2=0.1 * k)
        )
    annotations.append(annotation(200, 10, (4, 4, 6, 6), sizes[0], keypoints=[1, 2, 2]))
    content = {
        "info": {"year": 2024},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 7, "name": "cell", "supercategory": "x"}],
        "mine": [1, 2.5],
    }
    path = folder / name
    path.write_text(json.dumps(content))
    return path


class Bench:
    def __init__(self, viewer):
        self.viewer = viewer
        self.results = Results(viewer)
        self.work = SavedWork(viewer, self.results)
        self.folder = ImageFolder(viewer, self.results, FolderStore, self.work)
        self.refused = []
        self.folder.refused.connect(self.refused.append)

    def take(self):
        (opened,) = waiting(self.viewer)
        return take_over(self.viewer, self.work, opened)

    def close(self):
        self.work.close()
        self.results.close()


@pytest.fixture
def bench():
    bench = Bench(ViewerModel())
    yield bench
    bench.close()


def show(viewer, path):
    for data, meta, kind in read(str(path)):
        getattr(viewer, f"add_{kind}")(data, **meta)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.json", "[1, 2]"),
        ("other.json", '{"images": [], "version": 3}'),
        ("text.json", "no json"),
        ("empty.json", ""),
        ("geo.json", '{"type": "FeatureCollection", "features": []}'),
        ("picture.png", '{"images": [], "annotations": [], "categories": []}'),
    ],
)
def test_what_is_not_ours_is_left_to_others(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert get_reader(str(tmp_path / name)) is None
    assert get_reader([str(tmp_path / name)]) is None
    assert get_reader(str(tmp_path / "nowhere.json")) is None
    assert get_reader(str(tmp_path)) is None


def test_a_large_file_is_told_by_its_ends(tmp_path):
    path = tmp_path / "large.json"
    long = json.dumps(["x" * 100] * 5000)
    path.write_text(f'{{"long": {long}, "images": [], "annotations": [], "categories": []}}')
    assert get_reader(str(path)) is not None
    path.write_text(f'{{"images": [], "categories": [], "long": {long}}}')
    assert get_reader(str(path)) is not None
    path.write_text(f'{{"long": {long}}}')
    assert get_reader(str(path)) is None


def test_one_image_is_an_image_and_its_objects(tmp_path):
    path = write(tmp_path / "set", SIZES[:1])
    (image, labels) = get_reader(str(path))(str(path))
    assert (image[2], labels[2]) == ("image", "labels")
    np.testing.assert_array_equal(
        image[0], np.asarray(Picture.open(tmp_path / "set/images/im1.png"))
    )
    expected = np.zeros(SIZES[0], int)
    expected[2:10, 2:12] = 1
    expected[4:6, 4:6] = 2
    np.testing.assert_array_equal(labels[0], expected)
    features = labels[1]["features"]
    assert features["category"].tolist() == ["cell", "cell"]
    assert features["status"].tolist() == ["accepted", "accepted"]
    ours = labels[1]["metadata"]["napari_eomt"]
    assert (ours["dataset"], ours["image_ids"]) == (str(path), [10])


def test_images_of_one_size_are_a_stack_read_when_shown(tmp_path):
    folder = tmp_path / "plate"
    write(folder, [(20, 30)] * 4)
    image, labels = read(str(folder))
    assert image[0].shape == labels[0].shape == (4, 20, 30)
    assert image[1]["name"] == "plate"
    assert "dask" in type(image[0]).__module__
    for k in range(4):
        pixels = np.asarray(Picture.open(folder / "images" / f"im{k + 1}.png"))
        np.testing.assert_array_equal(np.asarray(image[0][k]), pixels)
    (folder / "images" / "im3.png").write_bytes(b"gone")
    with pytest.raises(DataError, match=r"im3\.png is not an image"):
        np.asarray(image[0][2])


def test_of_images_of_many_sizes_the_first_is_opened_and_the_way_to_others_told(
    tmp_path, monkeypatch
):
    said = []
    monkeypatch.setattr("napari.utils.notifications.show_info", said.append)
    write(tmp_path / "set", SIZES)
    image, _ = read(str(tmp_path / "set"))
    assert image[1]["name"] == "im1.png"
    assert "first of 3 images" in said[0]
    assert "Folder of images" in said[0]


def test_what_is_missing_or_wrong_is_said(tmp_path):
    path = write(tmp_path / "set", SIZES[:1])
    (tmp_path / "set" / "images" / "im1.png").unlink()
    with pytest.raises(DataError, match=r"image 10: there is no file 'im1\.png' in .*images"):
        read(str(path))
    content = json.loads(path.read_text())
    content["annotations"][0]["category_id"] = 8
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="annotation 101"):
        read(str(path))
    with pytest.raises(DataError, match="holds no annotations"):
        read(str(tmp_path))
    folder = tmp_path / "two"
    write(folder, SIZES[:1], "a.json")
    shutil.copy(folder / "a.json", folder / "b.json")
    with pytest.raises(DataError, match=r"2 files of annotations .* such as a\.json"):
        get_reader(str(folder))(str(folder))


def test_the_kinds_are_told_apart(tmp_path, data_dir):
    sample = data_dir / "coco_panoptic_sample"
    assert find_annotations(sample / "panoptic.json").kind is Kind.PANOPTIC
    assert find_annotations(sample).path.name == "instances.json"
    video = read(str(data_dir / "tracks" / "t98g_left" / "ytvis.json"))
    tracks = tifffile.imread(data_dir / "tracks" / "t98g_left" / "tracks.tif")
    assert video[0][0].shape == video[1][0].shape == tracks.shape
    np.testing.assert_array_equal(video[1][0] > 0, tracks > 0)


def challenge(folder, data_dir):
    """Write the real tracks as the challenge has them, with their images."""
    source = data_dir / "tracks" / "t98g_left"
    save_ctc(read_ctc_document(source / "ytvis.json"), folder / "01_GT" / "TRA")
    (folder / "01").mkdir()
    for path in sorted((source / "frames").iterdir()):
        tifffile.imwrite(folder / "01" / f"{path.stem}.tif", np.asarray(Picture.open(path)))
    return source


def read_ctc_document(path):
    dataset = OpenDataset(find_annotations(path))
    return dataset.document(dataset.items[0])


def test_tracks_of_a_challenge_open_over_their_images(tmp_path, data_dir, bench):
    source = challenge(tmp_path, data_dir)
    table = tmp_path / "01_GT" / "TRA" / "man_track.txt"
    for path in (tmp_path / "01_GT", table.parent, table):
        assert find_annotations(path).path == table
    show(bench.viewer, table)
    result = bench.take()
    image, labels = bench.viewer.layers
    assert (image.name, labels.name) == ("01", "01 segments")
    frame = np.asarray(Picture.open(source / "frames" / "t020.png"))
    np.testing.assert_array_equal(np.asarray(image.data[20]), frame)
    tracks = tifffile.imread(source / "tracks.tif")
    np.testing.assert_array_equal(labels.data > 0, tracks > 0)
    assert len(track_table(result.document).tracks()) >= len(np.unique(tracks)) - 1

    (tmp_path / "01" / "t036.tif").unlink()
    ((data, _, kind),) = read(str(table))
    assert (kind, data.shape) == ("labels", tracks.shape)
    shutil.rmtree(tmp_path / "01")
    assert len(read(str(table))) == 1


def test_slices_of_one_file_are_frames(data_dir):
    image, labels = read(str(data_dir / "cells3d"))
    np.testing.assert_array_equal(
        np.asarray(image[0]), tifffile.imread(data_dir / "cells3d" / "image.tif")
    )
    truth = tifffile.imread(data_dir / "cells3d" / "labels.tif")
    np.testing.assert_array_equal(labels[0] > 0, truth > 0)


def test_a_panoptic_dataset_shows_things_and_stuff(data_dir):
    sample = data_dir / "coco_panoptic_sample"
    _, labels = read(str(sample / "panoptic.json"))
    png = np.asarray(Picture.open(next(iter(sorted((sample / "panoptic").glob("*.png"))))))
    ids = png @ np.array([1, 256, 65536])
    pairs = np.unique(np.stack([ids.ravel(), labels[0].ravel()]), axis=1)
    assert len(pairs.T) == len(np.unique(ids)) == len(np.unique(labels[0]))


def test_a_session_goes_on_with_what_was_opened(tmp_path, bench):
    path = write(tmp_path / "set", SIZES[:1])
    show(bench.viewer, path)
    result = bench.take()
    assert [layer.name for layer in bench.viewer.layers] == ["im1.png", "im1.png segments"]
    assert result.document.origin.path == str(path)
    assert [s.annotation_id for s in result.document.segments(0).values()] == [101, 200]
    assert result.view.is_intact
    assert result.view.layer.metadata["napari_eomt"]["dataset"] == str(path)
    assert bench.work.unsaved == []
    assert waiting(bench.viewer) == []


def test_what_was_painted_before_the_session_is_in_it(tmp_path, bench):
    show(bench.viewer, write(tmp_path / "set", SIZES[:1]))
    labels = bench.viewer.layers[1]
    labels.data[15:18, 20:25] = 9
    labels.data[4:6, 4:6] = 0
    labels.data[9, 2:12] = 0
    document = bench.take().document
    segments = document.segments(0)
    assert sorted(segments) == [1, 9]
    assert (segments[1].status, segments[1].area) == (Status.EDITED, 66)
    assert (segments[9].status, segments[9].bbox) == (Status.DRAWN, (15, 20, 18, 25))
    assert document.next_id == 10


def test_a_document_opens_over_its_image(tmp_path, bench):
    path = write(tmp_path / "set", SIZES[:1])
    show(bench.viewer, path)
    result = bench.take()
    session = Session(result.document)
    session.do(operations.set_status(result.document, [(0, 2)], Status.PROPOSED))
    file = tmp_path / "set" / "images" / "im1.png"
    folder = tmp_path / "set" / "images" / "im1.eomt"
    ref = ImageRef.of(np.asarray(Picture.open(file)), "im1.png", file)
    save_document(result.document, folder, ref)
    for place in (folder, folder / "document.json"):
        image, labels = read(str(place))
        assert image[1]["name"] == "im1.png"
        assert labels[1]["features"]["status"].tolist() == ["accepted", "proposed"]
    file.unlink()
    (labels,) = read(str(folder))
    assert labels[2] == "labels"


def test_a_dataset_is_gone_through_image_by_image(tmp_path, bench):
    path = write(tmp_path / "set", SIZES)
    folder = bench.folder
    assert folder.open_folder(tmp_path / "set")
    assert [row.name for row in folder.rows] == ["im1.png", "im2.png", "im3.png"]
    assert [(r.progress.state.value, r.progress.n_objects) for r in folder.rows] == [
        ("reviewed", 2),
        ("reviewed", 1),
        ("reviewed", 1),
    ]
    assert folder.open_next() == 0
    result = bench.results.latest(folder.layer)
    assert result.document.origin.image_ids == (10,)
    result.session.do(operations.delete(result.document, [(0, 2)]))
    assert folder.open_next() == 1
    assert folder.rows[0].progress.n_objects == 1
    assert folder.rows[1].progress.work == ""  # nothing was done: the dataset has it
    assert bench.results.latest(folder.layer).document.image_shape == (16, 18)
    assert folder.open_next(-1) == 0
    again = bench.results.latest(folder.layer).document
    assert list(again.segments(0)) == [1]
    assert again.origin.path == str(path)
    assert bench.refused == []


def test_an_image_that_is_not_there_is_passed_over(tmp_path, bench):
    write(tmp_path / "set", SIZES)
    (tmp_path / "set" / "images" / "im1.png").unlink()
    assert bench.folder.open_folder(tmp_path / "set" / "annotations.json")
    assert "no file 'im1.png'" in bench.folder.rows[0].problem
    assert bench.folder.open_next() == 1


def test_a_dataset_of_predictions_is_to_be_reviewed(tmp_path, bench):
    path = write(tmp_path / "set", SIZES[:1])
    content = json.loads(path.read_text())
    content["annotations"][0]["score"] = 0.4
    path.write_text(json.dumps(content))
    bench.folder.open_folder(path)
    progress = bench.folder.rows[0].progress
    assert (progress.state.value, progress.n_objects, progress.n_left) == ("proposed", 2, 1)


def test_nothing_is_written_by_looking(tmp_path, bench):
    path = write(tmp_path / "set", SIZES)
    before = {p: p.read_bytes() for p in (tmp_path / "set").rglob("*") if p.is_file()}
    bench.folder.open_folder(path)
    while bench.folder.open_next() is not None:
        pass
    assert {p: p.read_bytes() for p in (tmp_path / "set").rglob("*") if p.is_file()} == before


def test_an_edit_changes_its_annotation_alone(tmp_path, bench):
    path = write(tmp_path / "set", SIZES[:1])
    before = json.loads(path.read_text())
    show(bench.viewer, path)
    result = bench.take()
    with load_dataset(path) as dataset:
        dataset.add(LayerSource(result.image, guess_roles(result.image)), result.document)
        dataset.save()
    assert json.loads(path.read_text()) == before
    labels = result.view.layer
    labels.data_setitem((np.array([15, 15]), np.array([20, 21])), 2)
    with load_dataset(path) as dataset:
        dataset.add(None, result.document)
        dataset.save()
    after = json.loads(path.read_text())
    assert {k: v for k, v in after.items() if k != "annotations"} == {
        k: v for k, v in before.items() if k != "annotations"
    }
    assert after["annotations"][0] == before["annotations"][0]
    assert after["annotations"][1]["keypoints"] == [1, 2, 2]
    assert after["annotations"][1]["area"] == 6


def test_import_is_light(tmp_path):
    import subprocess
    import sys

    path = write(tmp_path / "set", SIZES[:1])
    code = (
        "import sys; from napari_eomt.viewer.reader import get_reader; "
        f"assert get_reader({str(path)!r}) is not None; "
        "found = {'torch', 'qtpy', 'napari', 'numpy', 'pandas', 'dask'} & set(sys.modules);"
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(path).exists()
