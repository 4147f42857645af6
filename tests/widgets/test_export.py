"""The Export page: what it writes, what it says, and that the window goes on meanwhile."""

from __future__ import annotations

import json
import shlex

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture
from pycocotools import mask as pycoco
from qtpy.QtGui import QGuiApplication
from tests.viewer.test_image_folder import accept_all, proposal
from tests.viewer.test_reader import SIZES, show, write
from typer.testing import CliRunner

from napari_eomt.annotation import operations
from napari_eomt.annotation.document import FrameState
from napari_eomt.annotation.files import save_document
from napari_eomt.annotation.image_store import FolderStore
from napari_eomt.annotation.tracks import track_table
from napari_eomt.cli.main import app
from napari_eomt.formats.coco_file import load_coco
from napari_eomt.formats.ctc import read_ctc
from napari_eomt.formats.tracks_csv import load_tracks_csv
from napari_eomt.settings import load_settings
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Status
from napari_eomt.viewer.dataset_sessions import take_over, waiting
from napari_eomt.viewer.image_folder import ImageFolder
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.viewer.reader import read
from napari_eomt.viewer.results import Results
from napari_eomt.viewer.saved_work import SavedWork
from napari_eomt.widgets.current import Current
from napari_eomt.widgets.dock import EomtDock
from napari_eomt.widgets.export import ExportPage
from napari_eomt.worker.client import WorkerClient

WAIT_MS = 30_000
CATEGORIES = (Category(1, "cell"), Category(2, "debris"))


@pytest.fixture(autouse=True)
def _own_sessions(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_EOMT_SESSIONS_DIR", str(tmp_path / "user" / "sessions"))


class Bench:
    def __init__(self, qtbot, viewer, saved=None):
        self.qtbot, self.viewer = qtbot, viewer
        self.results = Results(viewer)
        self.work = SavedWork(viewer, self.results)
        self.folder = ImageFolder(viewer, self.results, FolderStore, self.work)
        self.current = Current(viewer, self.results)
        self.page = ExportPage(self.current, self.folder, saved or {})
        self.folder.opened.connect(self._follow)
        qtbot.addWidget(self.page)
        self.page.show()

    def _follow(self, index):
        layer = self.folder.layer
        self.current.follow(layer, guess_roles(layer))

    def image(self, shape=(20, 30), n=3, name="dish"):
        """Show an image with objects that a model has proposed."""
        pixels = np.random.default_rng(1).integers(0, 255, shape, np.uint8)
        layer = self.viewer.add_image(pixels, name=name)
        roles = guess_roles(layer)
        source = LayerSource(layer, roles)
        result = self.results.create(name, layer, roles, source, CATEGORIES)
        for frame in range(result.document.n_frames):
            result.propose(frame, proposal(result.document.image_shape, n), "Segment")
        self.current.follow(layer, roles)
        return result

    def open(self, path):
        show(self.viewer, path)
        (opened,) = waiting(self.viewer)
        result = take_over(self.viewer, self.work, opened)
        self.current.follow(result.image, result.roles)
        return result

    def export(self, folder=None, **values):
        form = self.page.form
        for name, box in (
            ("form", form.formats),
            ("tool", form.tools),
            ("append", form.mode),
            ("copy_images", form.images),
        ):
            if name in values:
                box.setCurrentIndex(box.findData(values[name]))
        if "val" in values:
            form.split.setValue(values["val"])
        if folder is not None:
            form.show_folder(folder)
        self.page.export.click()
        self.wait()
        return self.page.message.text()

    def wait(self):
        self.qtbot.waitUntil(lambda: not self.page.run.is_running, timeout=WAIT_MS)

    def close(self):
        self.page.close_events()
        self.current.close()
        self.work.close()
        self.results.close()


@pytest.fixture
def bench(make_napari_viewer, qtbot):
    benches = []

    def make(**options):
        benches.append(Bench(qtbot, make_napari_viewer(), **options))
        return benches[-1]

    yield make
    for bench in benches:
        bench.close()


def masks(path):
    """Return the masks of a COCO file as pycocotools reads them."""
    return {r["id"]: pycoco.decode(r["segmentation"]) for r in load_coco(path).annotations}


def test_an_empty_page_says_what_to_do(bench):
    page = bench().page
    assert page.hint.isVisibleTo(page)
    assert not page.export.isVisibleTo(page)
    assert not page.form.isVisibleTo(page)


def test_an_image_is_written_as_it_is_seen(bench, tmp_path):
    bench = bench()
    result = bench.image()
    assert bench.page.counts.text() == "1 image · 3 objects · 3 not reviewed"
    document = result.document
    result.session.do(operations.reject(document, [(0, 1)]))
    result.session.do(operations.set_status(document, [(0, 2), (0, 3)], Status.ACCEPTED))
    assert bench.page.counts.text() == "1 image · 2 objects"
    message = bench.export(tmp_path / "out")
    assert message.startswith(f"2 objects of 1 image written: {tmp_path / 'out'}")
    file = load_coco(tmp_path / "out" / "annotations.json")
    assert [c["name"] for c in file.categories] == ["cell", "debris"]
    found = list(masks(tmp_path / "out" / "annotations.json").values())
    for i, mask in zip((2, 3), found, strict=True):
        np.testing.assert_array_equal(mask, document.id_maps == i)
    (image,) = file.images
    pixels = np.asarray(Picture.open(tmp_path / "out" / "images" / image["file_name"]))
    np.testing.assert_array_equal(pixels, result.image.data)
    assert document.state(0) is FrameState.EXPORTED
    assert bench.page.open.isVisibleTo(bench.page)


def test_what_nobody_has_decided_about_stays_to_be_reviewed(bench, tmp_path, qtbot):
    bench = bench()
    document = bench.image().document
    assert bench.page.go.isVisibleTo(bench.page)
    with qtbot.waitSignal(bench.page.review_requested, timeout=1000):
        bench.page.go.click()
    bench.export(tmp_path / "out")
    assert document.state(0) is FrameState.PROPOSED
    (a, *_) = load_coco(tmp_path / "out" / "annotations.json").annotations
    assert a["attributes"]["status"] == "proposed"


def test_writing_it_again_replaces_it_and_another_is_added(bench, tmp_path):
    bench = bench()
    result = bench.image()
    bench.export(tmp_path / "out")
    path = tmp_path / "out" / "annotations.json"
    before = json.loads(path.read_text())
    result.session.do(operations.delete(result.document, [(0, 1)]))
    bench.export()
    after = json.loads(path.read_text())
    assert [a["id"] for a in after["annotations"]] == [2, 3]
    assert after["annotations"] == before["annotations"][1:]
    bench.image((16, 18), 2, "other")
    bench.export()
    assert [i["file_name"] for i in load_coco(path).images] == ["dish.png", "other.png"]
    assert load_coco(path).annotations[:2] == after["annotations"]
    message = bench.export(append=False)
    assert "has a dataset already" in message
    assert message.startswith("⚠")


def test_a_dataset_is_written_back_and_one_annotation_differs(bench, tmp_path):
    path = write(tmp_path / "set", SIZES[:1])
    before = json.loads(path.read_text())
    bench = bench()
    result = bench.open(path)
    assert bench.page.form.folder == path.parent
    bench.export()
    assert json.loads(path.read_text()) == before
    result.session.do(operations.recategorise(result.document, [(0, 1)], 7))
    layer = result.view.layer
    layer.data_setitem((np.array([15, 15]), np.array([20, 21])), 2)
    bench.export()
    after = json.loads(path.read_text())
    assert after["annotations"][0] == before["annotations"][0]
    changed = after["annotations"][1]
    assert changed["area"] == 6
    assert changed["keypoints"] == [1, 2, 2]
    assert {k: v for k, v in after.items() if k != "annotations"} == {
        k: v for k, v in before.items() if k != "annotations"
    }


def test_real_nuclei_go_out_as_they_came_in(bench, tmp_path, data_dir):
    source = data_dir / "dsb2018" / "val" / "instances.json"
    bench = bench()
    bench.open(source)
    bench.export(tmp_path / "out")
    before, after = load_coco(source), load_coco(tmp_path / "out" / "annotations.json")
    (image,) = after.images
    was = before.images[0]
    assert {k: v for k, v in was.items() if k not in ("id", "file_name", "license")}.items() <= (
        image.items()
    )
    said = {a["id"]: a for a in before.annotations_of(was["id"])}
    assert {a["id"] for a in after.annotations} == set(said)
    for record in after.annotations:
        assert record | {"image_id": was["id"]} == said[record["id"]]
    there = masks(tmp_path / "out" / "annotations.json")
    for i, record in said.items():
        np.testing.assert_array_equal(there[i], pycoco.decode(record["segmentation"]))


def test_real_tracks_go_out_as_they_came_in(bench, tmp_path, data_dir):
    source = data_dir / "tracks" / "t98g_left" / "ytvis.json"
    bench = bench()
    result = bench.open(source)
    bench.export(tmp_path / "out", form="ytvis")
    path = tmp_path / "out" / "ytvis.json"
    assert json.loads(path.read_text()) == json.loads(source.read_text())
    ids = sorted(result.document.segments(5))
    result.session.do(operations.delete(result.document, [(5, ids[0])]))
    bench.export(tmp_path / "again", form="ytvis")
    before = {a["id"]: a for a in load_coco(path).annotations}
    after = {a["id"]: a for a in load_coco(tmp_path / "again" / "ytvis.json").annotations}
    assert [i for i in before if before[i] != after[i]] == [
        result.document.segments(4)[ids[0]].annotation_id
    ]


@pytest.mark.parametrize("copy_images", [True, False])
def test_the_frames_of_a_video_go_with_it(bench, tmp_path, copy_images):
    bench = bench()
    result = bench.image((4, 20, 30), 2, "film")
    text = bench.export(tmp_path / "out", form="ytvis", copy_images=copy_images)
    path = tmp_path / "out" / "ytvis.json"
    (video,) = load_coco(path).videos
    if not copy_images:
        assert not (tmp_path / "out" / "JPEGImages").exists()
        assert "stay where they are" in bench.page.form.loses.text()
        return
    assert video["file_names"] == [f"film/{k:05d}.png" for k in range(4)]
    assert bench.page.form.loses.text() == ""
    image, labels = read(str(path))
    np.testing.assert_array_equal(np.asarray(image[0]), result.image.data)
    np.testing.assert_array_equal(labels[0] > 0, result.document.id_maps > 0)
    # Nothing is written over.
    text = bench.export(tmp_path / "out", form="ytvis")
    assert "is there already" in text


def test_frames_of_a_stack_are_images_and_are_marked(bench, tmp_path):
    bench = bench()
    result = bench.image((4, 20, 30), 2, "film")
    assert bench.page.counts.text().startswith("4 images · 8 objects")
    accept_all(result)
    bench.export(tmp_path / "out", val=50)
    file = load_coco(tmp_path / "out" / "annotations.json")
    assert [i["file_name"] for i in file.images] == [f"film_t{k:04}.png" for k in range(4)]
    assert {result.document.state(f) for f in range(4)} == {FrameState.EXPORTED}
    parts = [load_coco(tmp_path / "out" / f"annotations_{p}.json").images for p in ("train", "val")]
    assert sorted(len(part) for part in parts) == [0, 4]  # together


def test_a_tool_gets_a_copy_and_what_it_cannot_hold_is_said(bench, tmp_path):
    bench = bench()
    bench.image()
    form = bench.page.form
    form.tools.setCurrentIndex(form.tools.findData("x-anylabeling"))
    assert "polygons only" in form.loses.text()
    message = bench.export(tmp_path / "out", tool="x-anylabeling")
    assert "The copy for X-AnyLabeling is in" in message
    (record, *_) = load_coco(tmp_path / "out" / "x-anylabeling" / "annotations.json").annotations
    assert isinstance(record["segmentation"], list)


@pytest.mark.parametrize("form", ["panoptic", "labels"])
def test_other_formats(bench, tmp_path, form):
    bench = bench()
    result = bench.image()
    bench.export(tmp_path / "out", form=form)
    assert not bench.page.form.tools.isVisibleTo(bench.page)
    if form == "panoptic":
        (png,) = (tmp_path / "out" / "panoptic").glob("*.png")
        ids = np.asarray(Picture.open(png)) @ np.array([1, 256, 65536])
        np.testing.assert_array_equal(ids > 0, result.document.id_maps > 0)
    else:
        (tif,) = (tmp_path / "out" / "labels").glob("*.tif")
        np.testing.assert_array_equal(tifffile.imread(tif), result.document.id_maps)


def test_all_images_of_a_folder(bench, tmp_path):
    folder = tmp_path / "plate"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for k in range(4):
        Picture.fromarray(rng.integers(0, 255, (20, 30), np.uint8)).save(folder / f"w{k}.png")
    bench = bench()
    bench.folder.open_folder(folder)
    for k in range(3):
        bench.folder.open(k)
        layer = bench.folder.layer
        roles = guess_roles(layer)
        result = bench.results.create(f"k{k}", layer, roles, LayerSource(layer, roles), CATEGORIES)
        result.propose(0, proposal((20, 30), k + 1), "Segment")
        if k != 1:
            accept_all(result)
    bench.current.follow(layer, roles)
    page = bench.page
    page.refresh()
    assert page.all.isChecked()
    assert page.counts.text() == "3 images · 6 objects · 2 not reviewed · 1 without objects"
    with bench.qtbot.waitSignal(page.review_requested, timeout=1000):
        page.go.click()
    assert bench.folder.current == 1
    bench.folder.open(2)
    message = bench.export(tmp_path / "out")
    assert message.startswith("6 objects of 3 images")
    file = load_coco(tmp_path / "out" / "annotations.json")
    assert [len(file.annotations_of(i["id"])) for i in file.images] == [1, 2, 3]
    page.refresh()
    bench.folder.show_progress()
    states = [row.progress.state.value for row in bench.folder.rows]
    assert states == ["exported", "proposed", "exported", "new"]
    # The same after everything was closed.
    bench.folder.open_folder(folder)
    states = [row.progress.state.value for row in bench.folder.rows]
    assert states == ["exported", "proposed", "exported", "new"]


def test_of_a_dataset_only_what_was_touched_is_written_back(bench, tmp_path):
    path = write(tmp_path / "set", SIZES)
    before = json.loads(path.read_text())
    bench = bench()
    bench.folder.open_folder(path)
    bench.folder.open(1)
    result = bench.results.latest(bench.folder.layer)
    result.session.do(operations.delete(result.document, [(0, 1)]))
    assert bench.page.all.isChecked()
    assert bench.page.form.folder == path.parent
    message = bench.export()
    assert message.startswith("0 objects of 1 image")
    after = json.loads(path.read_text())
    assert after["images"] == before["images"]
    assert after["annotations"] == [a for a in before["annotations"] if a["id"] != 102]
    bench.export(tmp_path / "copy")
    copy = load_coco(tmp_path / "copy" / "annotations.json")
    assert len(copy.images) == 3
    assert [a["id"] for a in copy.annotations] == [101, 200, 103]


def test_cancel_leaves_the_folder_as_it_was(bench, tmp_path):
    bench = bench()
    bench.image()
    bench.export(tmp_path / "out")
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    bench.image((1500, 20, 30), 3, "long")
    page = bench.page
    seen = []

    def stop(*_):
        seen.append((page.export.isEnabled(), page.cancel.isVisibleTo(page)))
        page.cancel.click()

    page.run.progressed.connect(stop)
    page.export.click()
    bench.wait()
    assert seen[0] == (False, True)
    assert page.message.text() == "Stopped. Nothing was written."
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == before
    assert page.export.isEnabled()
    assert not page.open.isVisibleTo(page)


def test_what_cannot_be_written_is_said_in_plain_words(bench, tmp_path):
    bench = bench()
    bench.image()
    (tmp_path / "file").write_text("")
    message = bench.export(tmp_path / "file")
    assert message.startswith("⚠")
    assert "Choose" in message
    bench.page.form.place.clear()
    bench.page.export.click()
    assert "Choose a folder" in bench.page.message.text()


def test_an_error_of_ours_comes_with_details(bench, tmp_path, monkeypatch):
    bench = bench()
    bench.image()

    def fail(*_, **__):
        raise RuntimeError("unforeseen")

    monkeypatch.setattr("napari_eomt.formats.dataset.Dataset.add", fail)
    message = bench.export(tmp_path / "out")
    assert "unforeseen" in message
    bench.page.copy_details.click()
    assert "RuntimeError" in QGuiApplication.clipboard().text()


def test_the_command_does_the_same(bench, tmp_path):
    bench = bench()
    result = bench.image()
    bench.export(tmp_path / "out", form="labels")
    bench.page.copy.click()
    words = shlex.split(QGuiApplication.clipboard().text())
    assert words[:2] == ["napari-eomt", "convert"]
    save_document(result.document, tmp_path / "dish.eomt")
    words[2] = str(tmp_path / "dish.eomt")
    words[words.index("--out") + 1] = str(tmp_path / "again")
    done = CliRunner().invoke(app, words[1:])
    assert done.exit_code == 0, done.output
    found = [tifffile.imread(p) for p in sorted(tmp_path.glob("*/**/dish*.tif"))]
    assert len(found) == 2
    np.testing.assert_array_equal(*found)


def test_the_dock_has_the_page_and_remembers_it(make_napari_viewer, qtbot, tmp_path):
    client = WorkerClient()
    viewer = make_napari_viewer()
    dock = EomtDock(viewer, client=client)
    qtbot.addWidget(dock, before_close_func=lambda dock: dock.shutdown())
    dock.show()
    dock.runner.run("export")
    assert dock.tabs.currentWidget().objectName() == "export"
    form = dock.export.form
    form.fill()  # as it does when it is seen, with an image
    form.formats.setCurrentIndex(form.formats.findData("panoptic"))
    form.split.setValue(20)
    qtbot.waitUntil(lambda: load_settings().export.get("val_fraction") == 0.2, timeout=WAIT_MS)
    assert load_settings().export["form"] == "panoptic"
    assert load_settings().page == "export"
    page = ExportPage(dock.current, dock.folder, load_settings().export)
    qtbot.addWidget(page)
    assert page.form.params().form == "panoptic"
    page.close_events()
    client.close()


def test_values_of_another_version_are_left_out(bench, tmp_path):
    assert bench(saved={"form": "hologram"}).page.form.params().form == "coco"


def test_it_fits_a_narrow_dock(bench, tmp_path):
    bench = bench()
    bench.image()
    bench.page.form.show_folder(tmp_path / ("long" * 20))
    bench.export(tmp_path / "out", tool="x-anylabeling")
    assert bench.page.minimumSizeHint().width() <= 290


def test_tracks_go_into_a_table(bench, tmp_path, data_dir):
    bench = bench()
    result = bench.open(data_dir / "tracks" / "t98g_left" / "ytvis.json")
    bench.export(tmp_path / "out", form="csv")
    (written,) = (tmp_path / "out" / "track_tables").iterdir()
    assert load_tracks_csv(written) == tuple(track_table(result.document).iter_rows())


def test_tracks_go_into_the_folder_of_a_challenge(bench, tmp_path, data_dir):
    bench = bench()
    result = bench.open(data_dir / "tracks" / "t98g_left" / "ytvis.json")
    bench.export(tmp_path / "out", form="ctc")
    written = read_ctc(tmp_path / "out" / "tracks")
    ids = {track.track_id: track.frames.tolist() for track in track_table(written).tracks()}
    before = track_table(result.document).tracks()
    assert ids == {track.track_id: track.frames.tolist() for track in before}
