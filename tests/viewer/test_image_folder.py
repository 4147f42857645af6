"""A folder of images: opened one after the other, each with its work, and nothing else touched."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from PIL import Image as Picture

from napari_eomt.annotation import operations
from napari_eomt.annotation.document import Document, FrameState
from napari_eomt.annotation.image_store import FolderStore, Progress, last_folder
from napari_eomt.errors import DataError, OutputError
from napari_eomt.inference.sources import open_source
from napari_eomt.structures.axes import take_frame
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.structures.uncertainty import Uncertainty
from napari_eomt.viewer.image_folder import ImageFolder
from napari_eomt.viewer.image_layer import image_layer
from napari_eomt.viewer.image_rows import summary
from napari_eomt.viewer.image_source import LayerSource, guess_roles, layer_array
from napari_eomt.viewer.image_work import Ready
from napari_eomt.viewer.results import Results
from napari_eomt.viewer.saved_work import SavedWork

CATEGORIES = (Category(1, "cell"),)


@pytest.fixture(autouse=True)
def _own_sessions(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_EOMT_SESSIONS_DIR", str(tmp_path / "user" / "sessions"))


@pytest.fixture
def images(tmp_path):
    """Three images, one of which is a stack, and one that is damaged."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    Picture.fromarray(rng.integers(0, 255, (20, 30), np.uint8)).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"no image")
    stack = rng.integers(0, 9999, (5, 20, 30), np.uint16)
    tifffile.imwrite(folder / "c.tif", stack, metadata={"axes": "TYX"})
    Picture.fromarray(rng.integers(0, 255, (16, 18, 3), np.uint8)).save(folder / "d.png")
    (folder / "notes.txt").write_text("no image either")
    return folder


class Bench:
    def __init__(self):
        self.viewer = ViewerModel()
        self.results = Results(self.viewer)
        self.work = SavedWork(self.viewer, self.results)
        self.folder = ImageFolder(self.viewer, self.results, FolderStore, self.work)
        self.refused = []
        self.folder.refused.connect(self.refused.append)

    def segment(self, n=2, frame=0):
        """Make a result for the open image, as a run does."""
        layer = self.folder.layer
        roles = guess_roles(layer)
        result = self.results.find(layer, roles) or self.results.create(
            f"key {n} {layer.name}", layer, roles, LayerSource(layer, roles), CATEGORIES
        )
        result.propose(frame, proposal(result.document.image_shape, n), "Segment")
        return result

    def layers(self):
        return [layer.name for layer in self.viewer.layers]

    def states(self):
        return [row.progress.state.value for row in self.folder.rows]

    def close(self):
        self.work.close()
        self.results.close()


@pytest.fixture
def bench():
    benches = []

    def make():
        benches.append(Bench())
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


def proposal(shape, n):
    id_map = np.zeros(shape, np.uint16)
    for i in range(1, n + 1):
        id_map[2:6, 4 * i : 4 * i + 3] = i
    return Segmentation(
        id_map,
        tuple(Segment(i, 1, 0.5, area=12, bbox=(2, 4 * i, 6, 4 * i + 3)) for i in range(1, n + 1)),
    )


def accept_all(result):
    keys = [(f, s.id) for f, s in result.document.iter_segments()]
    result.session.do(operations.set_status(result.document, keys, Status.ACCEPTED))


def test_images_are_opened_in_order_and_unreadable_ones_passed_over(bench, images):
    bench = bench()
    folder = bench.folder
    assert folder.open_folder(images)
    assert [row.name for row in folder.rows] == ["a.png", "b.png", "c.tif", "d.png"]
    assert folder.start == 0
    assert folder.open_next() == 0
    assert bench.layers() == ["a.png"]
    assert folder.open_next() == 2
    assert "b.png" in bench.refused[0]
    assert folder.rows[1].problem == bench.refused[0]
    assert summary(folder.rows)["unreadable"] == 1
    assert bench.layers() == ["c.tif"]
    assert folder.open_next() == 3
    assert bench.viewer.layers[0].rgb
    assert folder.open_next() is None
    assert folder.current == 3
    assert folder.open_next(-1) == 2
    assert folder.open_next(-1) == 0
    assert folder.open_next(-1) is None
    assert len(bench.refused) == 1
    assert folder.open(0)
    assert bench.layers() == ["a.png"]


def test_what_is_done_on_an_image_is_there_when_it_is_opened_again(bench, images):
    bench = bench()
    folder = bench.folder
    folder.open_folder(images)
    folder.open(0)
    result = bench.segment(3)
    result.session.do(operations.reject(result.document, [(0, 2)]))
    before, id_map = list(result.document.iter_segments()), result.document.id_maps.copy()
    folder.open(3)
    assert bench.layers() == ["d.png"]
    assert bench.states()[0] == "proposed"
    assert (folder.rows[0].progress.n_objects, folder.rows[0].progress.n_left) == (2, 2)
    folder.open(0)
    assert bench.layers() == ["a.png", "a.png segments"]
    again = bench.results.latest(folder.layer)
    assert list(again.document.iter_segments()) == before
    np.testing.assert_array_equal(again.document.id_maps, id_map)
    assert again.session.n_steps == 0
    assert bench.work.unsaved == []
    accept_all_proposed(again)
    again.session.do(operations.mark_frame(again.document, 0, FrameState.REVIEWED))
    folder.show_progress()
    assert bench.states()[0] == "reviewed"
    folder.skips_reviewed = True
    folder.open(1)
    folder.open(2)
    assert folder.next_index(-1) is None
    folder.skips_reviewed = False
    assert folder.next_index(-1) == 0


def accept_all_proposed(result):
    keys = [(f, s.id) for f, s in result.document.iter_segments() if s.status is Status.PROPOSED]
    result.session.do(operations.set_status(result.document, keys, Status.ACCEPTED))


def test_a_restart_goes_on_where_one_was(bench, images):
    first = bench()
    first.folder.open_folder(images)
    first.folder.open(0)
    first.segment(2)
    first.folder.open(2)
    first.segment(1, frame=3)
    assert first.folder.keep()
    first.close()
    second = bench()
    assert last_folder() == images
    second.folder.open_folder(images)
    assert second.folder.start == 2
    assert second.states() == ["proposed", "new", "proposed", "new"]
    second.folder.open(2)
    document = second.results.latest(second.folder.layer).document
    assert [f for f, _ in document.iter_segments()] == [3]
    assert second.viewer.dims.point[0] == 0


def test_work_that_a_crash_has_left_is_taken_up(bench, images):
    first = bench()
    first.folder.open_folder(images)
    first.folder.open(0)
    first.segment(2)
    first.folder.open(3)
    first.folder.open(0)
    accept_all(first.results.latest(first.folder.layer))
    first.close()  # without keeping it: what the journal has is newer than the document
    second = bench()
    second.folder.open_folder(images)
    assert second.folder.start == 0
    second.folder.open(0)
    result = second.results.latest(second.folder.layer)
    assert {s.status for _, s in result.document.iter_segments()} == {Status.ACCEPTED}
    second.folder.open(3)
    assert second.folder.rows[0].progress.n_left == 0
    second.folder.open(0)
    result = second.results.latest(second.folder.layer)
    assert {s.status for _, s in result.document.iter_segments()} == {Status.ACCEPTED}


def test_layers_of_the_user_stay(bench, images):
    bench = bench()
    mine = bench.viewer.add_image(np.zeros((20, 30)), name="mine")
    points = bench.viewer.add_points([(1, 1)])
    bench.folder.open_folder(images)
    bench.folder.open(0)
    bench.segment()
    roles = guess_roles(mine)
    bench.results.create("mine", mine, roles, LayerSource(mine, roles), CATEGORIES)
    bench.folder.open(3)
    assert bench.layers() == ["mine", "Points", "mine segments", "d.png"]
    assert points in bench.viewer.layers
    bench.viewer.layers.remove(bench.folder.layer)
    assert bench.folder.open(0), "after the user has closed it"
    assert "a.png" in bench.layers()


def test_an_image_whose_work_cannot_be_kept_stays_open(bench, images, monkeypatch):
    bench = bench()
    bench.folder.open_folder(images)
    bench.folder.open(0)
    bench.segment()

    def full(*args, **options):
        raise OutputError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr("napari_eomt.annotation.image_store.save_document", full)
        assert not bench.folder.open(3)
        assert bench.folder.open_next() is None
        assert not bench.folder.open_folder(images)
    assert bench.refused.count("The disk is full.") == 3
    assert bench.layers() == ["a.png", "a.png segments"]
    assert bench.folder.current == 0
    assert bench.folder.open(3)


def test_an_image_that_was_replaced_does_not_get_the_work_of_the_other(bench, images):
    bench = bench()
    bench.folder.open_folder(images)
    bench.folder.open(0)
    bench.segment()
    bench.folder.open(3)
    Picture.fromarray(np.full((20, 30), 7, np.uint8)).save(images / "a.png")
    bench.folder.open(0)
    assert bench.layers() == ["a.png"]
    assert "other pixels" in bench.refused[-1]
    assert Path(bench.refused[-1].split("kept in ")[1].split("; open")[0]).is_dir()


def test_proposals_that_are_ready_are_shown(bench, images):
    bench = bench()
    folder = bench.folder
    folder.open_folder(images)
    unsure = (Uncertainty(0.4, 0, 0, 0, 0), Uncertainty(0.2, 0, 0, 0, 0))
    ready = {images / "c.tif": Ready("key", proposal((20, 30), 2), CATEGORIES, unsure)}
    folder.prefetched = lambda path: ready.pop(path, None)
    doubts = []
    folder.doubted.connect(lambda *about: doubts.append(about))
    folder.open(0)
    folder.open(2)
    result = bench.results.by_key("key")
    assert result.image is folder.layer
    assert len(result.document.segments(0)) == 2
    assert len(result.view.layer.features) == 2
    assert bench.viewer.dims.point[0] == 0
    assert doubts == [("key", 0, {(0, 1): unsure[0], (0, 2): unsure[1]})]
    assert result.session.undo_name == "Segment ahead"


def test_a_folder_without_images_is_refused_and_the_other_stays(bench, images, tmp_path):
    bench = bench()
    bench.folder.open_folder(images)
    bench.folder.open(0)
    (tmp_path / "empty").mkdir()
    assert not bench.folder.open_folder(tmp_path / "empty")
    assert "holds no images" in bench.refused[0]
    assert bench.folder.folder == images
    assert bench.layers() == ["a.png"]


@pytest.mark.parametrize(
    ("states", "statuses", "expected"),
    [
        ((), (), "new"),
        ((FrameState.PROPOSED,), (), "proposed"),
        ((FrameState.REVIEWED,), (), "proposed"),
        ((FrameState.REVIEWED,) * 2, (), "reviewed"),
        ((FrameState.REVIEWED,) * 2, (Status.PROPOSED,), "proposed"),
        ((FrameState.REVIEWED, FrameState.EXPORTED), (Status.ACCEPTED,), "reviewed"),
        ((FrameState.EXPORTED,) * 2, (Status.ACCEPTED,), "exported"),
    ],
)
def test_an_image_is_as_far_as_its_last_frame(states, statuses, expected):
    document = Document((2,), (8, 8), CATEGORIES)
    for frame, state in enumerate(states):
        document.apply(operations.mark_frame(document, frame, state))
    for status in statuses:
        mask = np.ones((2, 2), bool)
        document.apply(operations.add(document, 0, mask, (0, 0), Segment(0, 1, status=status)))
    assert Progress.of(document).state.value == expected


def test_a_damaged_index_costs_no_work(bench, images):
    first = bench()
    first.folder.open_folder(images)
    first.folder.open(0)
    first.segment()
    first.folder.open(3)
    first.close()
    (FolderStore(images).path / "index.json").write_text("{")
    second = bench()
    second.folder.open_folder(images)
    assert second.states() == ["new"] * 4
    second.folder.open(0)
    assert len(second.results.latest(second.folder.layer).document.segments(0)) == 2


def test_hundreds_of_images_are_listed_at_once(bench, tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for k in range(300):
        Picture.fromarray(np.zeros((4, 4), np.uint8)).save(folder / f"{k:03}.png")
    bench = bench()
    bench.folder.open_folder(folder)
    assert len(bench.folder.rows) == 300
    assert bench.folder.open(299)
    assert bench.folder.next_index() is None


@pytest.mark.parametrize(
    ("shape", "axes", "dtype"),
    [
        ((20, 30), "YX", np.uint8),
        ((20, 30, 3), "YXS", np.uint8),
        ((4, 20, 30), "TYX", np.float32),
        ((2, 20, 30), "CYX", np.uint16),
        ((3, 4, 20, 30), "TZYX", np.uint16),
        ((3, 2, 20, 30), "TCYX", np.uint16),
        ((1, 20, 30), "ZYX", np.uint8),
    ],
)
def test_a_layer_has_the_pixels_of_the_file(tmp_path, shape, axes, dtype):
    pixels = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    path = tmp_path / "image.ome.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": axes}, photometric=None)
    source = open_source(path)
    layer = image_layer(open_source(path))
    roles = guess_roles(layer)
    data = layer_array(layer)
    assert layer.source.path == str(path)
    assert roles.n_frames(data.shape) == source.n_frames
    for k in range(source.n_frames):
        np.testing.assert_array_equal(take_frame(data, roles, k), source.frame(k))
    if data.ndim > 2 and not layer.rgb:
        whole = np.asarray(data)
        np.testing.assert_array_equal(np.asarray(data[..., 3:9, 4]), whole[..., 3:9, 4])
    viewer = ViewerModel()
    viewer.add_layer(layer)


def test_a_damaged_document_is_said_and_the_image_opens(bench, images):
    bench = bench()
    bench.folder.open_folder(images)
    bench.folder.open(0)
    bench.segment()
    bench.folder.open(3)
    (document,) = FolderStore(images).path.glob("*.eomt")
    (document / "document.json").write_text("{}")
    bench.folder.open(0)
    assert bench.layers() == ["a.png"]
    assert "document.json" in bench.refused[-1]
    with pytest.raises(DataError):
        FolderStore(images).load(bench.folder._ref)
    bench.segment(3)
    bench.folder.open(3)
    documents = sorted(FolderStore(images).path.glob("*.eomt"))
    assert len(documents) == 2, "the damaged one is not written over"
    assert {(d / "document.json").read_text() == "{}" for d in documents} == {True, False}
    bench.folder.open(0)
    assert len(bench.results.latest(bench.folder.layer).document.segments(0)) == 3


def test_looking_at_an_image_writes_nothing(bench, images):
    bench = bench()
    bench.folder.open_folder(images)
    bench.folder.open(0)
    bench.segment()
    bench.folder.open(3)
    (document,) = FolderStore(images).path.glob("*.eomt")
    before = (document / "labels.tif").stat()
    bench.folder.open(0)
    bench.folder.open(3)
    assert (document / "labels.tif").stat().st_ino == before.st_ino
    bench.folder.open(0)
    result = bench.results.latest(bench.folder.layer)
    accept_all(result)
    bench.folder.open(3)
    assert (document / "labels.tif").stat().st_ino != before.st_ino


def test_images_that_were_left_take_no_memory(bench, images):
    bench = bench()
    bench.folder.open_folder(images)
    left = []
    for _ in range(3):
        for index in (0, 2, 3):
            bench.folder.open(index)
            left += [weakref.ref(bench.folder.layer), weakref.ref(bench.segment().document)]
    gc.collect()
    alive = [ref() for ref in left[:-2] if ref() is not None]
    assert alive == []
