from __future__ import annotations

import numpy as np
import pycocotools.mask as coco
import pytest
from hypothesis import given
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
