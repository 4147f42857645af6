import csv

import numpy as np
import pytest
import tifffile

from napari_eomt.inference.results import COLUMNS, ResultWriter
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation

CATEGORIES = (Category(7, "cell, round"), Category(9, "näheres"))


def segmentation(id_map, *segments):
    return Segmentation(np.asarray(id_map), segments)


def write(tmp_path, maps, stack_shape, names=()):
    shape = maps[0].shape
    labels, table = tmp_path / "a.tif", tmp_path / "a.csv"
    with ResultWriter(labels, table, shape, stack_shape, names, CATEGORIES) as writer:
        for k, id_map in enumerate(maps):
            writer.add(k, segmentation(id_map))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.tif"]
    return labels


@pytest.mark.parametrize(
    ("stack_shape", "names", "axes"),
    [
        ((4,), ("Z",), "ZYX"),
        ((4,), ("t",), "TYX"),
        ((4,), (), "TYX"),
        ((4,), ("I",), "TYX"),
        ((2, 3), ("T", "Z"), "TZYX"),
        ((3, 2), ("Z", "T"), "ZTYX"),
        ((2, 3), (), "TZYX"),
        ((2, 3, 2), (), "TZCYX"),
    ],
)
def test_stacks_are_read_back_with_their_axes(stack_shape, names, axes, tmp_path):
    data = np.random.default_rng(0).integers(0, 300, (*stack_shape, 20, 30)).astype(np.uint16)
    path = write(tmp_path, list(data.reshape(-1, 20, 30)), stack_shape, names)
    with tifffile.TiffFile(path) as tiff:
        assert (tiff.is_ome, tiff.series[0].axes, len(tiff.series)) == (True, axes, 1)
        np.testing.assert_array_equal(tiff.asarray(), data)
        assert tiff.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE


def test_more_axes_than_ome_knows_become_one(tmp_path):
    data = np.zeros((16, 5, 6), np.uint16)
    path = write(tmp_path, list(data), (2, 2, 2, 2))
    assert tifffile.imread(path).shape == (16, 5, 6)


def test_a_single_image_is_a_plain_one(tmp_path):
    data = np.arange(12, dtype=np.uint16).reshape(3, 4)
    path = write(tmp_path, [data], ())
    np.testing.assert_array_equal(tifffile.imread(path), data)
    with tifffile.TiffFile(path) as tiff:
        assert not tiff.is_ome


@pytest.mark.parametrize("at", [0, 2])
def test_a_frame_of_many_ids_widens_the_stack(at, tmp_path):
    data = np.ones((4, 5, 6), np.uint32)
    data[at, 0, 0] = 70_000
    path = write(tmp_path, list(data), (4,), ("Z",))
    with tifffile.TiffFile(path) as tiff:
        assert (tiff.series[0].dtype, tiff.series[0].axes) == (np.uint32, "ZYX")
        np.testing.assert_array_equal(tiff.asarray(), data)


def test_the_table_holds_every_segment(tmp_path):
    first = Segment(1, 7, 0.98765, area=12, bbox=(0, 1, 2, 3))
    second = Segment(2, 9, None, is_thing=False, area=5, bbox=(4, 5, 6, 7))
    blank = np.zeros((8, 9), np.uint16)
    with ResultWriter(
        tmp_path / "a.tif", tmp_path / "a.csv", (8, 9), (2,), ("T",), CATEGORIES
    ) as writer:
        writer.add(4, segmentation(blank, first, second))
        writer.add(5, segmentation(blank, first))
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [
        list(COLUMNS),
        ["4", "1", "7", "cell, round", "0.9877", "12", "0", "1", "2", "3"],
        ["4", "2", "9", "näheres", "", "5", "4", "5", "6", "7"],
        ["5", "1", "7", "cell, round", "0.9877", "12", "0", "1", "2", "3"],
    ]
