from __future__ import annotations

import tracemalloc

import numpy as np
import pycocotools.mask as coco
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_eomt.structures.rle import (
    MAX_PIXELS,
    Rle,
    areas,
    boxes,
    decode,
    encode,
    encode_mask,
    from_coco,
    intersection,
    iou,
    paint,
    union,
)

DTYPES = ["u1", "<u2", ">u2", "<i2", "<i4", ">i4", "<u4", "<i8", "<u8", ">u8"]
LAYOUTS = {
    "rows": np.ascontiguousarray,
    "columns": np.asfortranarray,
    "reversed": lambda a: a[::-1, ::-1],
    "strided": lambda a: np.repeat(np.repeat(a, 2, 0), 3, 1)[::2, ::3],
}


@st.composite
def id_maps(draw, max_side=40):
    """Random id maps: noise or blocks, few ids or many, small ids or huge ones."""
    shape = draw(st.tuples(st.integers(0, max_side), st.integers(0, max_side)))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    top = min(np.iinfo(dtype).max, draw(st.sampled_from([1, 2, 9, 200, 2**32 - 1, 2**64 - 1])))
    ids = rng.integers(1, top, draw(st.integers(1, 30)), np.uint64, endpoint=True)
    ids = np.append(ids, np.zeros(draw(st.sampled_from([0, 1, 30])), np.uint64))
    block = draw(st.sampled_from([1, 1, 3, 11]))
    height, width = (side // block + 1 for side in shape)
    grid = rng.choice(ids, (height, width)).repeat(block, 0).repeat(block, 1)
    grid = grid[: shape[0], : shape[1]].astype(dtype)
    return LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))](grid)


def theirs(mask):
    return coco.encode(np.asfortranarray(mask, np.uint8))


def counted(rle):
    """The uncompressed counts of a mask, by definition."""
    flat = decode(rle).ravel("F")
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    return np.diff(np.concatenate(([0], edges, [flat.size]))).tolist()


@settings(deadline=None)
@given(id_maps())
def test_every_segment_is_encoded_as_pycocotools_does(id_map):
    found = encode(id_map)
    assert list(found) == [i for i in np.unique(id_map).tolist() if i]
    for i, rle in found.items():
        mask = id_map == i
        expected = theirs(mask)
        assert rle.as_coco() == {"size": list(mask.shape), "counts": expected["counts"].decode()}
        assert rle.area == mask.sum() == coco.area(expected)
        x, y, width, height = coco.toBbox(expected).tolist()
        assert rle.bbox == (y, x, y + height, x + width)
        np.testing.assert_array_equal(decode(rle), mask)
        np.testing.assert_array_equal(decode(rle), coco.decode(expected))
        assert encode_mask(mask) == rle
        assert from_coco(expected, mask.shape) == rle
        assert from_coco({"size": [*mask.shape], "counts": counted(rle)}, mask.shape) == rle
    assert areas(list(found.values())).tolist() == [(id_map == i).sum() for i in found]
    assert [tuple(b) for b in boxes(list(found.values()))] == [r.bbox for r in found.values()]
    empty = np.zeros(id_map.shape, id_map.dtype.newbyteorder("="))
    np.testing.assert_array_equal(paint(found.items(), empty), id_map)


@settings(deadline=None)
@given(id_maps(), st.randoms(use_true_random=False))
def test_chosen_ids_only(id_map, random):
    every = encode(id_map)
    some = [i for i in every if random.random() < 0.5]
    asked = [*some, 0, 2**64 + 1, -3]
    random.shuffle(asked)
    assert encode(id_map, asked) == {i: every[i] for i in some}


@st.composite
def overlapping_masks(draw):
    shape = draw(st.tuples(st.integers(0, 40), st.integers(0, 40)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 6))
    block = draw(st.sampled_from([1, 4, 9]))
    coarse = rng.random((n, shape[0] // block + 1, shape[1] // block + 1))
    masks = coarse.repeat(block, 1).repeat(block, 2)[:, : shape[0], : shape[1]]
    return masks < rng.random((n, 1, 1)) ** 2


@settings(deadline=None)
@given(overlapping_masks(), st.booleans())
def test_masks_are_compared_as_pycocotools_does(masks, is_crowd):
    rles = [encode_mask(mask) for mask in masks]
    plain = [theirs(mask) for mask in masks]
    a, b = rles[: len(rles) // 2], rles[len(rles) // 2 :]
    crowd = [is_crowd and k % 2 == 0 for k in range(len(b))]
    found = iou(a, b, crowd)
    assert found.shape == (len(a), len(b))
    for j, one in enumerate(masks[: len(a)]):
        for k, other in enumerate(masks[len(a) :]):
            whole = one.sum() if crowd[k] else (one | other).sum()
            assert found[j, k] == pytest.approx((one & other).sum() / max(whole, 1))
    assert union(rles) == encode_mask(masks.any(0))
    assert intersection(rles) == encode_mask(masks.all(0))
    if masks.size:
        assert union(rles).counts == coco.merge(plain)["counts"]
        assert intersection(rles).counts == coco.merge(plain, intersect=True)["counts"]


@settings(deadline=None)
@given(overlapping_masks())
def test_later_masks_win_and_what_they_hide_is_told(masks):
    ids = [7 + k for k in range(len(masks))]
    expected = np.full(masks.shape[1:], 3, np.uint16)
    for i, mask in zip(ids, masks, strict=True):
        expected[mask] = i
    hidden: dict[int, int] = {}
    out = np.full(masks.shape[1:], 3, np.uint16)
    pairs = ((i, encode_mask(mask)) for i, mask in zip(ids, masks, strict=True))
    assert paint(pairs, out, hidden=hidden) is out
    np.testing.assert_array_equal(out, expected)
    lost = {i: int((mask & (expected != i)).sum()) for i, mask in zip(ids, masks, strict=True)}
    assert hidden == {i: n for i, n in lost.items() if n}


def drawn_cases():
    y, x = np.mgrid[:23, :31]
    nested = (np.maximum(abs(y - 11), abs(x - 15)) // 3).astype(np.uint16)
    dots = np.zeros((7, 9), np.uint16)
    dots[::2, ::2] = np.arange(1, 21).reshape(4, 5)
    return {
        "nested": nested,
        "one pixel each": dots,
        "image-filling": np.full((5, 8), 7, np.uint8),
        "empty": np.zeros((5, 8), np.uint8),
        "holes": (nested % 2).astype(np.uint8),
        "touching": np.repeat(np.arange(1, 6, dtype=np.uint8), 4)[None].repeat(9, 0),
        "ends of columns": np.array([[0, 1, 1], [0, 0, 1], [1, 1, 0]], np.uint8),
        "a single pixel": np.array([[2**64 - 1]], np.uint64),
        "5000 objects": np.arange(1, 5001, dtype=np.uint32).reshape(50, 100).repeat(3, 0),
        "a row": np.array([[3, 3, 0, 3, 1]], np.int16),
        "a column": np.array([[3, 3, 0, 3, 1]], np.int16).T,
    }


@pytest.mark.parametrize("name", drawn_cases())
def test_drawn_cases_are_encoded_as_pycocotools_does(name):
    id_map = drawn_cases()[name]
    found = encode(id_map)
    assert list(found) == [i for i in np.unique(id_map).tolist() if i]
    for i, rle in list(found.items())[::7] + list(found.items())[:3]:
        expected = theirs(id_map == i)
        assert rle.counts == expected["counts"]
        assert rle.area == coco.area(expected)
        y0, x0, y1, x1 = rle.bbox
        assert [x0, y0, x1 - x0, y1 - y0] == coco.toBbox(expected).tolist()
    np.testing.assert_array_equal(paint(found.items(), np.zeros_like(id_map)), id_map)
    assert encode_mask(id_map != 0).counts == theirs(id_map != 0)["counts"]


@pytest.mark.parametrize(
    "counts",
    [
        [2**31 + 5, 3, MAX_PIXELS - 2**31 - 8],
        [0, MAX_PIXELS],
        [MAX_PIXELS],
        [7, 2**31, 1, 2**31 - 9],
        [1, 1, 2**32 - 12, 1, 1, 1, 1, 1, 4],
    ],
)
def test_counts_beyond_31_bits(counts):
    size = (1, MAX_PIXELS)
    rle = from_coco({"size": [*size], "counts": counts}, size)
    plain = coco.frPyObjects({"size": [*size], "counts": counts}, *size)
    assert rle.counts == plain["counts"]
    assert rle.area == sum(counts[1::2])
    assert from_coco(rle.as_coco(), size) == rle
    assert union([rle]) == intersection([rle, rle]) == rle
    assert iou([rle], [rle, union([rle])], [True, False]).tolist() == [[float(rle.area > 0)] * 2]


def test_iou_of_large_images_equals_its_definition():
    size = (2**14, 2**15)
    a = from_coco({"size": [*size], "counts": [10, 40, 2**29 - 50]}, size)
    b = from_coco({"size": [*size], "counts": [30, 80, 2**29 - 110]}, size)
    assert iou([a], [b]).tolist() == [[20 / 100]]
    assert iou([a], [b], [True]).tolist() == [[20 / 40]]


def test_what_others_write_differently_reads_the_same():
    expected = from_coco({"size": [2, 4], "counts": [2, 3, 3]}, (2, 4))
    # Runs of no pixels; zeros in a row; a number in more characters than it needs.
    assert from_coco({"size": [2, 4], "counts": [2, 1, 0, 2, 3, 0]}, (2, 4)) == expected
    assert from_coco({"size": [2, 4], "counts": [1, 0, 1, 3, 1, 0, 2, 0]}, (2, 4)) == expected
    assert expected.counts == b"233"
    assert from_coco({"size": (2, 4), "counts": "R033"}, (2, 4)) == expected


HOSTILE = {
    "over-run": "234",
    "under-run": "232",
    "negative": [2, -3, 9],
    "negative, compressed": b"2O6",
    "beyond ASCII": "23\u0663",
    "high byte": b"23\xb3",
    "control character": b"23\n",
    "NUL": b"23\x003",
    "character too high": b"23p",
    "stops within a number": b"23S",
    "too-long number": b"2" + b"P" * 9 + b"0",
    "huge number": b"2ooooooo0",
    "huge list number": [2, 10**30],
    "wraps around": [2**63, 2**63, 8],
    "NaN": [2, float("nan"), 3],
    "float": [2, 3.0, 3],
    "bool": [2, 3, 2, True],
    "text in a list": [2, "3", 3],
    "None": None,
    "nothing": [],
    "nothing, compressed": "",
    "nested": [[2, 3, 3]],
    "a number": 8,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_damaged_counts_are_refused(name):
    with pytest.raises(ValueError, match=r"counts|run lengths"):
        from_coco({"size": [2, 4], "counts": HOSTILE[name]}, (2, 4))


@pytest.mark.parametrize(
    "size",
    [
        [4, 2],
        [2],
        [2, 4, 1],
        [2.0, 4.0],
        [True, 8],
        ["2", "4"],
        "24",
        None,
        [10**9, 10**9],
        [-2, -4],
    ],
)
def test_another_size_is_refused(size):
    with pytest.raises(ValueError, match="size"):
        from_coco({"size": size, "counts": "233"}, (2, 4))


@pytest.mark.parametrize("value", [None, [], "233", {"counts": "233"}, {"size": [2, 4]}, 5])
def test_what_is_no_mask_is_refused(value):
    with pytest.raises(ValueError, match="run lengths is"):
        from_coco(value, (2, 4))


@pytest.mark.parametrize("size", [(10**6, 10**6), (2**16, 2**16), (-1, 5)])
def test_images_beyond_32_bits_of_pixels_are_refused(size):
    with pytest.raises(ValueError, match="count at most"):
        from_coco({"size": [*size], "counts": "0"}, size)


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=30), st.text("0123OPQopm\x7f ", max_size=30)))
def test_any_string_is_read_or_refused(text):
    try:
        rle = from_coco({"size": [5, 7], "counts": text}, (5, 7))
    except ValueError:
        return
    assert decode(rle).shape == (5, 7)
    assert encode_mask(decode(rle)) == rle


def test_a_string_claims_no_memory():
    claim = {"size": [2, 4], "counts": b"PPPPPP1" * 1000}
    tracemalloc.start()
    with pytest.raises(ValueError, match="cover more"):
        from_coco(claim, (2, 4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("counts", [b"234", b"2S", b"", b"2O6"])
def test_masks_made_by_hand_cannot_write_beside_the_image(counts):
    bad = Rle((2, 4), counts)
    good = encode_mask(np.ones((2, 4), bool))
    for read in (
        lambda: paint([(1, good), (2, bad)], np.zeros((2, 4), np.uint8)),
        lambda: decode(bad),
        lambda: areas([good, bad]),
        lambda: iou([good], [bad]),
        lambda: union([good, bad]),
    ):
        with pytest.raises(ValueError, match="run lengths"):
            read()


def test_wrong_calls_say_what_is_wrong():
    one, other = encode_mask(np.ones((2, 4), bool)), encode_mask(np.ones((4, 2), bool))
    with pytest.raises(ValueError, match="differ in size"):
        iou([one], [other])
    with pytest.raises(ValueError, match="No mask"):
        union([])
    with pytest.raises(ValueError, match="1 masks and 2 crowd flags"):
        iou([one], [one], [True, False])
    with pytest.raises(ValueError, match="id 3 is"):
        paint([(3, one)], np.zeros((4, 2), np.uint8))
    with pytest.raises(ValueError, match="does not fit"):
        paint([(256, one)], np.zeros((2, 4), np.uint8))
    with pytest.raises(ValueError, match="float64"):
        encode(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="id -5"):
        encode(np.array([[-5, 0]]))
    with pytest.raises(ValueError, match="booleans"):
        encode_mask(np.zeros((2, 4, 1), bool))
    assert iou([], [one]).shape == (0, 1)
    assert areas([]).shape == (0,)
    assert boxes([]).shape == (0, 4)
    out = np.full((2, 4), 9, np.uint8)
    assert paint([], out) is out
    assert (out == 9).all()
