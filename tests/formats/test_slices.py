"""Images of a dataset that are slices of one file: which pixels are read, and what is refused."""

import json
import re
import tracemalloc

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.formats.drawn_slices import SHAPE, change, save_slices, slices

from napari_eomt.errors import DataError
from napari_eomt.formats.coco_file import load_coco
from napari_eomt.formats.dataset import load_dataset
from napari_eomt.formats.slices import Slice, check_record, image_name, place_of, read_record
from napari_eomt.inference.sources import open_source


def record(frame=None, size=SHAPE, **other):
    row = {"id": 7, "file_name": "stack.tif", "height": size[0], "width": size[1]} | other
    return row if frame is None else row | {"frame": frame}


def numbered(*shape, dtype=np.uint16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("axes", "shape", "kind", "options"),
    [
        ("ZYX", (4, 10, 12), "ome", {}),
        ("TZCYX", (2, 3, 2, 10, 12), "ome", {}),
        ("ZCYX", (3, 2, 10, 12), "imagej", {}),
        ("TYX", (4, 10, 12), "imagej", {"byteorder": ">"}),
        ("TYXS", (2, 10, 12, 3), "imagej", {}),
        ("TZYX", (3, 2, 10, 12), "shaped", {}),
        (None, (4, 10, 12), "shaped", {}),
    ],
)
def test_each_frame_is_the_one_that_the_image_itself_has(
    axes, shape, kind, options, compression, tmp_path
):
    """One numbering over all axes that are stepped through, as where the file is opened."""
    path = tmp_path / "stack.tif"
    data = numbered(*shape, dtype=np.uint8 if axes and "S" in axes else np.uint16)
    metadata = {"axes": axes} if axes else None
    flag = {} if kind == "shaped" else {kind: True}
    options = options if axes and "S" in axes else options | {"photometric": "minisblack"}
    tifffile.imwrite(path, data, metadata=metadata, compression=compression, **flag, **options)
    with open_source(path) as source:
        expected = [np.asarray(source.frame(k)) for k in range(source.n_frames)]
    assert len(expected) > 1
    for k, frame in enumerate(expected):
        found = read_record(path, record(k, frame.shape[:2]), is_shared=True)
        np.testing.assert_array_equal(found, frame)
        assert found.dtype.isnative
    with pytest.raises(DataError, match=f"no frame {len(expected)} in stack.tif, which has"):
        read_record(path, record(len(expected), (10, 12)))


def test_lzw_is_read_without_another_package(tmp_path):
    pixels, _ = slices(3)
    path = tmp_path / "stack.tif"
    first, *rest = map(Image.fromarray, pixels)
    first.save(path, save_all=True, append_images=rest, compression="tiff_lzw")
    for k in range(3):
        np.testing.assert_array_equal(read_record(path, record(k)), pixels[k])


def test_one_slice_reads_no_other(tmp_path):
    """The pages of all others are damaged."""
    pixels, _ = slices(4)
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, pixels, compression="zlib", photometric="minisblack")
    with tifffile.TiffFile(path) as tiff:
        places = [(p.dataoffsets[0], p.databytecounts[0]) for p in tiff.pages]
    content = bytearray(path.read_bytes())
    for k in (0, 1, 3):
        at, n = places[k]
        content[at : at + n] = b"\xff" * n
    path.write_bytes(content)
    np.testing.assert_array_equal(read_record(path, record(2)), pixels[2])
    with pytest.raises(DataError, match=r"^stack\.tif cannot be read as an image"):
        read_record(path, record(1))


def test_a_slice_of_a_plain_stack_takes_the_memory_of_a_slice(tmp_path):
    data = np.zeros((64, 256, 256), np.uint16)
    data[40] = 3
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, data, metadata={"axes": "ZYX"})
    tracemalloc.start()
    found = read_record(path, record(40, (256, 256)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (found == 3).all()
    assert peak < 6 * found.nbytes  # of 64


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (4, r"Image 7: there is no frame 4 in stack\.tif, which has 4 frames, 0 to 3\."),
        (-1, r"Image 7: frame is -1; a whole number from 0 was expected"),
        (1.0, r"Image 7: frame is 1\.0; a whole number"),
        ("1", r"Image 7: frame is '1'; a whole number"),
        (True, r"Image 7: frame is True; a whole number"),
    ],
)
@pytest.mark.parametrize("is_shared", [True, False])
def test_a_frame_that_is_none_of_the_stack(tmp_path, frame, message, is_shared):
    path = save_slices(tmp_path).with_name("stack.tif")
    for read in (read_record, check_record):
        with pytest.raises(DataError, match=message):
            read(path, record(frame), is_shared=is_shared)


def test_a_slice_of_another_size_than_the_dataset_says(tmp_path):
    path = save_slices(tmp_path).with_name("stack.tif")
    message = r"stack\.tif, frame 2, has 72 × 90 pixels, the dataset says 90 × 72 \(height"
    for read in (read_record, check_record):
        with pytest.raises(DataError, match=message):
            read(path, record(2, SHAPE[::-1]))


@pytest.mark.parametrize("name", ["one.png", "one.tif"])
def test_a_single_image_has_the_frame_0_alone_if_others_are_of_it(tmp_path, name):
    """In videos of which each frame is a file, a frame is a place in the video."""
    pixels, path = slices(1)[0][0], tmp_path / name
    Image.fromarray(pixels).save(path)
    for frame, is_shared in ((None, False), (0, True), (0, False), (3, False), ("x", False)):
        found = read_record(path, record(frame), is_shared=is_shared)
        np.testing.assert_array_equal(found, pixels)
        assert place_of(path, record(frame), is_shared=is_shared) == path
    words = f"there is no frame 3 in {re.escape(name)}, which is a single image, and no stack"
    with pytest.raises(DataError, match=words):
        read_record(path, record(3), is_shared=True)


def test_one_of_several_images_of_a_file_says_which_it_is(tmp_path):
    path = save_slices(tmp_path).with_name("stack.tif")
    with pytest.raises(DataError, match=r"^Image 7 is of stack\.tif, as others are, and does not"):
        read_record(path, record(), is_shared=True)


def test_a_stack_that_is_cut_off(tmp_path):
    path = save_slices(tmp_path).with_name("stack.tif")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"stack\.tif"):
        read_record(path, record(3))


def test_a_stack_is_looked_at_again_when_it_has_changed(tmp_path):
    path = tmp_path / "stack.tif"
    axes = {"metadata": {"axes": "ZYX"}, "photometric": "minisblack"}
    tifffile.imwrite(path, numbered(2, 10, 12), **axes)
    with pytest.raises(DataError, match="has 2 frames"):
        check_record(path, record(2, (10, 12)))
    tifffile.imwrite(path, numbered(3, 10, 12), **axes)
    check_record(path, record(2, (10, 12)))


def test_names_and_places_tell_slices_apart(tmp_path):
    path = save_slices(tmp_path, frames=[0, 3])
    images = load_coco(path).images
    stack = tmp_path / "stack.tif"
    names = [image_name(image, is_shared=True) for image in images]
    assert names == ["stack.tif, frame 0", "stack.tif, frame 3"]
    places = [place_of(stack, image, is_shared=True) for image in images]
    assert places == [stack, Slice(stack, 3)]
    assert str(places[1]) == f"{stack}, frame 3"
    assert place_of(stack, images[1]) == places[1]
    assert image_name(images[1]) == "stack.tif"


def test_a_dataset_reads_its_slices(tmp_path):
    path = save_slices(tmp_path, frames=[3, 1, 2])
    dataset = load_dataset(path)
    for image, k in zip(json.loads(path.read_text())["images"], (3, 1, 2), strict=True):
        assert dataset.file.is_shared(image)
        np.testing.assert_array_equal(dataset.image(image["id"]), slices()[0][k])
    change(path, lambda content: content["images"][0].update(file_name="other.tif"))
    images = load_coco(path).images
    assert [load_coco(path).is_shared(image) for image in images] == [False, True, True]


def test_real_slices_are_those_of_the_stack(data_dir):
    dataset = load_dataset(data_dir / "cells3d")
    stack = tifffile.imread(data_dir / "cells3d" / "image.tif")
    assert len(dataset.file.images) == len(stack)
    for image in dataset.file.images:
        np.testing.assert_array_equal(dataset.image(image["id"]), stack[image["frame"]])


def test_what_would_take_too_much_memory_is_refused_before(tmp_path, monkeypatch):
    """Of a stack whose pages are packed together all of them, of others a frame."""
    path = save_slices(tmp_path).with_name("stack.tif")
    n_bytes = SHAPE[0] * SHAPE[1]
    monkeypatch.setattr("napari_eomt.formats.slices.MAX_BYTES", n_bytes)
    assert read_record(path, record(1)).nbytes == n_bytes
    whole = tmp_path / "whole.tif"
    tifffile.imwrite(
        whole, slices()[0], photometric="minisblack", compression="zlib", volumetric=True
    )
    with tifffile.TiffFile(whole) as tiff:
        assert len(tiff.pages) == 1
    with pytest.raises(DataError, match=r"A frame of whole\.tif has 72 × 90 pixels and unpacks to"):
        read_record(whole, record(1))
    monkeypatch.setattr("napari_eomt.formats.slices.MAX_BYTES", 4 * n_bytes)
    np.testing.assert_array_equal(read_record(whole, record(1)), slices()[0][1])
