import errno
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import zarr

from napari_eomt.errors import DataError, OutputError
from napari_eomt.inference import batch
from napari_eomt.inference.batch import (
    check_writable,
    choose_frames,
    iter_segment_file,
    result_stems,
)
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.predict import Prediction
from napari_eomt.inference.progress import Progress
from napari_eomt.inference.sources import open_source
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation

SEGMENTER = SimpleNamespace(card=SimpleNamespace(categories=(Category(1, "nucleus"),)))


def iter_threshold(frame, segmenter, params, *, keep_bytes, object_size):
    """Stand in for a model: one segment, where the frame is above 0."""
    assert keep_bytes == 0
    yield Progress(0, 2)
    if frame.max() == 99:
        raise DataError("no finite pixel")
    id_map = (frame > 0).astype(np.uint16)
    yield Progress(1, 2)
    segments = (Segment(1, 1, 0.9, area=int(id_map.sum())),)
    size = object_size or float(frame.max())
    return Prediction(Segmentation(id_map, segments), None, 4, 1, size, ("a note",))


@pytest.fixture(autouse=True)
def _no_model(monkeypatch):
    monkeypatch.setattr(batch, "iter_predict", iter_threshold)


def run(path, out, stem="r", **kwargs):
    out.mkdir(exist_ok=True)
    steps = iter_segment_file(open_source(path), out, stem, SEGMENTER, PredictParams(), **kwargs)
    seen = []
    while True:
        try:
            seen.append(next(steps))
        except StopIteration as stop:
            return stop.value, seen


@pytest.fixture
def stack(tmp_path):
    data = np.zeros((2, 3, 16, 20), np.uint8)
    for k in range(6):
        data.reshape(6, 16, 20)[k, : k + 1] = k + 1
    path = tmp_path / "s.tif"
    tifffile.imwrite(path, data, ome=True, metadata={"axes": "TZYX"}, compression="zlib")
    return path, data


def test_a_stack_keeps_its_axes(stack, tmp_path):
    path, data = stack
    result, seen = run(path, tmp_path / "out")
    with tifffile.TiffFile(result.labels) as tiff:
        assert tiff.series[0].axes == "TZYX"
        # Frame k holds k + 1 where its only object is: ids count through the whole stack.
        np.testing.assert_array_equal(tiff.asarray(), data)
    assert (result.n_frames, result.n_segments) == (6, 6)
    assert (result.n_tiles, result.n_full_tiles, result.object_size) == (24, 6, 1)
    assert result.notes == ("a note",)
    assert seen[-1] == Progress(5, 6, "frame")
    assert len(result.table.read_text().splitlines()) == 7


def test_chosen_frames_are_a_stack_of_their_own(stack, tmp_path):
    path, data = stack
    result, _ = run(path, tmp_path / "out", frames=[1, 4])
    expected = (data.reshape(6, 16, 20)[[1, 4]] > 0) * np.array([1, 2])[:, None, None]
    np.testing.assert_array_equal(tifffile.imread(result.labels), expected)
    assert [line[0] for line in result.table.read_text().splitlines()[1:]] == ["1", "4"]
    result, seen = run(path, tmp_path / "out", frames=[2])
    assert tifffile.imread(result.labels).shape == (16, 20)
    assert seen == [Progress(0, 2), Progress(1, 2)]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_stopping_leaves_nothing_behind_and_keeps_what_was_there(stack, tmp_path):
    path, _ = stack
    out = tmp_path / "out"
    run(path, out, "old")
    before = (out / "old.tif").read_bytes()
    steps = iter_segment_file(open_source(path), out, "old", SEGMENTER, PredictParams())
    for _ in range(5):
        next(steps)
    steps.close()
    assert names_in(out) == ["old.csv", "old.tif"]
    assert (out / "old.tif").read_bytes() == before


def test_a_bad_frame_names_the_file_and_leaves_nothing(tmp_path):
    data = np.ones((3, 5, 6), np.uint8)
    data[2] = 99
    np.save(tmp_path / "a.npy", data)
    with pytest.raises(DataError) as caught:
        run(tmp_path / "a.npy", tmp_path / "out")
    assert str(caught.value) == f"{tmp_path / 'a.npy'}: no finite pixel"
    assert names_in(tmp_path / "out") == []


@pytest.mark.parametrize("where", ["write", "fsync"])
def test_a_full_disk_is_an_output_error_and_leaves_nothing(where, stack, tmp_path, monkeypatch):
    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "write":
        monkeypatch.setattr(tifffile.TiffWriter, "write", full)
    else:
        monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device.*--out"):
        run(stack[0], tmp_path / "out")
    assert names_in(tmp_path / "out") == []


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        check_writable(tmp_path / "file" / "out")
    check_writable(tmp_path / "a" / "b")
    assert names_in(tmp_path / "a" / "b") == []


def test_memory_does_not_grow_with_the_stack(tmp_path):
    array = zarr.create_array(
        tmp_path / "a.zarr", shape=(40, 512, 512), chunks=(1, 512, 512), dtype="u2"
    )
    array[:] = 1
    source = open_source(tmp_path / "a.zarr")
    (tmp_path / "out").mkdir()
    tracemalloc.start()
    for _ in iter_segment_file(source, tmp_path / "out", "r", SEGMENTER, PredictParams()):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 512 * 512 * 2  # the stack is 40 frames


@pytest.mark.parametrize(
    ("images", "stems"),
    [
        (["a.png", "b.tif"], ["a", "b"]),
        (["a.ome.tif", "b.ome.zarr", ".ome.tif"], ["a", "b", ".ome"]),
        (["a.png", "a.jpg", "b.png"], ["a_png", "a_jpg", "b"]),
        (["x/a.png", "y/a.png"], ["x_a", "y_a"]),
        (["x/a.png", "y/A.png"], ["x_a", "y_A"]),
        (["p/x/a.png", "q/x/a.png"], ["x_a", "x_a-2"]),
        (["out/a.tif"], ["a_labels"]),
    ],
)
def test_results_get_names_of_their_own(images, stems, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert result_stems([Path(image) for image in images], Path("out")) == stems


def test_results_take_no_inputs_place(tmp_path):
    images = [tmp_path / name for name in ("a.tif", "a_labels.tif", "a_labels_labels.tif")]
    found = result_stems(images, tmp_path)
    assert len(set(found)) == 3
    assert not {tmp_path / f"{stem}.tif" for stem in found} & set(images)


@pytest.mark.parametrize(
    ("text", "n", "frames"),
    [
        ("all", 5, None),
        ("0", 1, [0]),
        ("4", 5, [4]),
        ("1:3", 5, [1, 2]),
        ("3:99", 5, [3, 4]),
        ("-2:", 5, [3, 4]),
        ("::2", 5, [0, 2, 4]),
        ("::-1", 3, [2, 1, 0]),
    ],
)
def test_frames_are_chosen_as_slices(text, n, frames):
    assert choose_frames(text, n) == frames


@pytest.mark.parametrize("text", ["5", "-1", "7:9", "", "a", "1:2:3:4", "1.5", "::0", "1,2"])
def test_frames_that_mean_nothing_are_an_error(text):
    with pytest.raises(DataError, match="frames"):
        choose_frames(text, 5)
