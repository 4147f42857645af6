"""Post-processing equals transformers' pixel for pixel, and its definition beyond that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers.image_transforms import get_size_with_aspect_ratio
from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil

from napari_eomt.inference.postprocess import (
    QuerySegments,
    SemanticView,
    instance_segments,
    panoptic_segments,
    semantic_map,
)
from napari_eomt.structures.tiles import Tile

# Thin, tiny, square, large aspect, odd; several are not whole blocks, and those of at most 128
# rows and columns together go through another kernel of torch.
SHAPES = [
    (1, 1), (1, 9), (1, 300), (200, 1), (3, 125), (64, 64), (64, 65), (65, 64), (37, 50),
    (127, 129), (96, 96), (130, 77), (250, 50), (333, 417), (129, 256),
]  # fmt: skip
KINDS = ["noise", "blobs", "faint"]


def logits(
    kind: str, n_queries: int, n_classes: int, grid: tuple[int, int], seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return class logits (Q, K + 1) and mask logits (Q, h, w) like a model's."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randn(n_queries, n_classes + 1, generator=generator) * 3
    if kind == "noise":
        return classes, torch.randn(n_queries, *grid, generator=generator) * 2
    if kind == "faint":
        return classes, torch.randn(n_queries, *grid, generator=generator) * 1e-3
    height, width = grid
    y = torch.arange(height)[:, None] + 0.5
    x = torch.arange(width) + 0.5
    centre = torch.rand(2, n_queries, 1, 1, generator=generator)
    radius = 1 + torch.rand(n_queries, 1, 1, generator=generator) * min(grid) / 3
    distance = ((y - centre[0] * height) ** 2 + (x - centre[1] * width) ** 2).sqrt()
    rough = torch.randn(n_queries, *grid, generator=generator) * 0.3
    return classes, ((radius - distance) * 3).clamp(-15, 12) + rough


def outputs(class_logits: torch.Tensor, mask_logits: torch.Tensor, **extra: Any) -> Any:
    return SimpleNamespace(
        class_queries_logits=class_logits, masks_queries_logits=mask_logits, **extra
    )


def content_of(shape: tuple[int, int], input_size: int) -> tuple[int, int]:
    """Return what transformers crops to; a side of 0, at which it fails, is left to the caller."""
    height, width = get_size_with_aspect_ratio(shape, input_size, input_size)
    # Of an image one pixel high it names a longer side than the input has.
    return min(height, input_size), min(width, input_size)


def renumbered(theirs: Any, infos: list[dict[str, Any]]) -> tuple[Any, list[dict[str, Any]]]:
    """Return their map with ids from 1 without gaps, and the visible segments."""
    theirs = theirs.numpy().astype(np.int64)
    visible = [info for info in infos if (theirs == info["id"]).any()]
    ids = np.zeros(theirs.shape, np.int64)
    for i, info in enumerate(visible, start=1):
        ids[theirs == info["id"]] = i
    return ids, visible


def check_segments(ours: QuerySegments, theirs: dict[str, Any]) -> None:
    ids, visible = renumbered(theirs["segmentation"], theirs["segments_info"])
    np.testing.assert_array_equal(ours.id_map, ids)
    assert ours.id_map.dtype == np.uint16
    np.testing.assert_array_equal(ours.labels, [info["label_id"] for info in visible])
    np.testing.assert_allclose(ours.scores, [info["score"] for info in visible], atol=2e-6)
    np.testing.assert_array_equal(ours.areas, np.bincount(ids.ravel())[1:])
    assert (np.diff(ours.queries) > 0).all()


def geometry(shape: tuple[int, int], input_size: int) -> dict[str, Any]:
    content = content_of(shape, input_size)
    if min(content) < 1:
        pytest.skip("transformers resizes such an image to nothing, and fails")
    return {"input_size": input_size, "content": content, "shape": shape}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("input_size", "threshold"), [(160, 0.3), (64, 0.7), (160, 0.0)])
def test_instance_equals_transformers(kind, shape, input_size, threshold):
    classes, masks = logits(kind, 21, 5, (input_size // 4, input_size // 4), seed=sum(shape))
    place = geometry(shape, input_size)
    processor = EomtImageProcessorPil(
        size={"shortest_edge": input_size, "longest_edge": input_size}
    )
    theirs = processor.post_process_instance_segmentation(
        outputs(classes[None], masks[None]), [shape], threshold=threshold
    )[0]
    ours = instance_segments(
        classes, masks, **place, score_threshold=threshold, overlap="query_order"
    )
    check_segments(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("input_size", "threshold", "mask_threshold", "overlap_threshold", "stuff"),
    [
        (160, 0.3, 0.5, 0.8, frozenset()),
        (160, 0.0, 0.5, 0.3, frozenset({1, 3})),
        (64, 0.5, 0.4, 0.6, frozenset({0, 1, 2, 3, 4})),
        (96, 0.2, 0.7, 0.0, frozenset({4})),
    ],
)
def test_panoptic_equals_transformers(
    kind, shape, input_size, threshold, mask_threshold, overlap_threshold, stuff
):
    classes, masks = logits(kind, 21, 5, (input_size // 4, input_size // 4), seed=sum(shape))
    place = geometry(shape, input_size)
    processor = EomtImageProcessorPil(
        size={"shortest_edge": input_size, "longest_edge": input_size}
    )
    theirs = processor.post_process_panoptic_segmentation(
        outputs(classes[None], masks[None]),
        [shape],
        threshold=threshold,
        mask_threshold=mask_threshold,
        overlap_mask_area_threshold=overlap_threshold,
        stuff_classes=sorted(stuff),
    )[0]
    ours = panoptic_segments(
        classes,
        masks,
        **place,
        stuff=stuff,
        score_threshold=threshold,
        mask_threshold=mask_threshold,
        overlap_threshold=overlap_threshold,
    )
    check_segments(ours, theirs)


def split(shape: tuple[int, int], input_size: int) -> tuple[tuple[int, int], list[Any], list[Tile]]:
    """Return transformers' canvas, its patch offsets, and the same windows as tiles."""
    height, width = canvas = get_size_with_aspect_ratio(shape, input_size, None)
    processor = EomtImageProcessorPil(do_pad=False)
    size = SimpleNamespace(shortest_edge=input_size)
    _, offsets = processor._split_image(np.zeros((3, height, width), np.uint8), size, 0)
    if height > width:
        tiles = [Tile(start, 0, stop, width) for _, start, stop in offsets]
    else:
        tiles = [Tile(0, start, height, stop) for _, start, stop in offsets]
    return canvas, [torch.tensor(offset) for offset in offsets], tiles


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "shape",
    [(1, 1), (1, 9), (9, 1), (30, 61), (37, 50), (64, 65), (96, 96), (200, 40), (130, 377)],
)
@pytest.mark.parametrize(("input_size", "n_classes"), [(64, 3), (96, 11), (96, 3), (160, 150)])
def test_semantic_equals_transformers(kind, shape, input_size, n_classes):
    canvas, offsets, tiles = split(shape, input_size)
    pairs = [
        logits(kind, 21, n_classes, (input_size // 4, input_size // 4), seed=i)
        for i in range(len(tiles))
    ]
    size = {"shortest_edge": input_size, "longest_edge": None}
    processor = EomtImageProcessorPil(do_split_image=True, do_pad=False, size=size)
    both = outputs(
        torch.stack([pair[0] for pair in pairs]),
        torch.stack([pair[1] for pair in pairs]),
        patch_offsets=offsets,
    )
    covered = max(tile.y1 for tile in tiles), max(tile.x1 for tile in tiles)
    if covered != canvas:
        pytest.skip("transformers leaves the last row or column without a window")
    theirs = processor.post_process_semantic_segmentation(both, [shape])[0]
    ours = semantic_map(
        [SemanticView(tile, *pair) for tile, pair in zip(tiles, pairs, strict=True)],
        canvas_shape=canvas,
        input_size=input_size,
        shape=shape,
    )
    assert ours.dtype == np.uint16
    np.testing.assert_array_equal(ours, theirs.numpy() + 1)
