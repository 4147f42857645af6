"""Post-processing equals transformers' pixel for pixel, and its definition beyond that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import EomtConfig, EomtForUniversalSegmentation
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


@pytest.fixture(scope="module")
def models() -> dict[int, EomtForUniversalSegmentation]:
    """Return tiny models with random weights, by their input size."""
    found = {}
    for input_size, n_classes in ((96, 3), (160, 7)):
        torch.manual_seed(input_size)
        config = EomtConfig(
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            num_blocks=1,
            num_queries=11,
            num_labels=n_classes,
            image_size=input_size,
        )
        found[input_size] = EomtForUniversalSegmentation(config).eval()
    return found


@pytest.mark.parametrize("shape", [(31, 90), (97, 97), (200, 133), (64, 400), (300, 17), (5, 5)])
@pytest.mark.parametrize("input_size", [96, 160])
@pytest.mark.parametrize("task", ["instance", "panoptic", "semantic"])
def test_models_say_the_same_through_both(models, shape, input_size, task):
    model = models[input_size]
    image = np.random.default_rng(sum(shape)).integers(0, 256, (*shape, 3)).astype(np.uint8)
    if task == "semantic":
        canvas, _, tiles = split(shape, input_size)
        if (max(t.y1 for t in tiles), max(t.x1 for t in tiles)) != canvas:
            pytest.skip("transformers leaves the last row or column without a window")
        size = {"shortest_edge": input_size, "longest_edge": None}
        processor = EomtImageProcessorPil(do_split_image=True, do_pad=False, size=size)
    else:
        size = {"shortest_edge": input_size, "longest_edge": input_size}
        processor = EomtImageProcessorPil(do_split_image=False, do_pad=True, size=size)
    inputs = processor(image, return_tensors="pt", input_data_format="channels_last")
    with torch.inference_mode():
        out = model(**inputs)
    # Untrained class logits are all alike; stretched, some queries are sure.
    out.class_queries_logits = out.class_queries_logits * 6
    classes, masks = out.class_queries_logits, out.masks_queries_logits
    if task == "semantic":
        theirs = processor.post_process_semantic_segmentation(out, [shape])[0].numpy() + 1
        views = [SemanticView(t, c, m) for t, c, m in zip(tiles, classes, masks, strict=True)]
        ours = semantic_map(views, canvas_shape=canvas, input_size=input_size, shape=shape)
        np.testing.assert_array_equal(ours, theirs)
    elif task == "instance":
        theirs = processor.post_process_instance_segmentation(out, [shape], threshold=0.3)[0]
        check_segments(
            instance_segments(
                classes[0],
                masks[0],
                **geometry(shape, input_size),
                score_threshold=0.3,
                overlap="query_order",
            ),
            theirs,
        )
    else:
        theirs = processor.post_process_panoptic_segmentation(
            out, [shape], threshold=0.3, overlap_mask_area_threshold=0.2, stuff_classes=[1]
        )[0]
        check_segments(
            panoptic_segments(
                classes[0],
                masks[0],
                **geometry(shape, input_size),
                stuff=frozenset({1}),
                score_threshold=0.3,
                overlap_threshold=0.2,
            ),
            theirs,
        )


def upsampled(masks: torch.Tensor, place: dict[str, Any]) -> torch.Tensor:
    """Return mask logits (Q, H, W) by the definition: two bilinear steps with a crop between."""
    square = (place["input_size"],) * 2
    middle = F.interpolate(masks[None], square, mode="bilinear")
    height, width = place["content"]
    return F.interpolate(middle[..., :height, :width], place["shape"], mode="bilinear")[0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(64, 65), (37, 50), (130, 77), (250, 50)])
@pytest.mark.parametrize("overlap", ["best_score", "query_order"])
@pytest.mark.parametrize(
    ("mask_threshold", "score_threshold", "min_area"), [(0.5, 0.3, 0), (0.3, 0.2, 40), (0.8, 0, 9)]
)
def test_instances_equal_their_definition(
    kind, shape, overlap, mask_threshold, score_threshold, min_area
):
    classes, masks = logits(kind, 21, 5, (40, 40), seed=sum(shape))
    # Two of the same: the first query wins.
    classes[3], masks[3] = classes[2], masks[2]
    place = geometry(shape, 160)
    full = upsampled(masks, place).numpy()
    inside = full > np.float32(np.log(mask_threshold / (1 - mask_threshold)))
    mask_areas = inside.sum((1, 2))
    probabilities, labels = (part.numpy() for part in classes.softmax(-1)[:, :-1].max(-1))
    total = (torch.from_numpy(full).double().sigmoid().numpy() * inside).sum((1, 2))
    scores = probabilities * total / (mask_areas + 1e-6)
    kept = np.flatnonzero((scores >= score_threshold) & (mask_areas >= max(min_area, 1)))
    order = (
        sorted(kept) if overlap == "query_order" else sorted(kept, key=lambda q: (scores[q], -q))
    )
    codes = np.zeros(shape, np.int64)
    for query in order:
        codes[inside[query]] = query + 1
    queries = np.unique(codes[codes > 0]) - 1

    ours = instance_segments(
        classes,
        masks,
        **place,
        score_threshold=score_threshold,
        mask_threshold=mask_threshold,
        min_area=min_area,
        overlap=overlap,
    )
    np.testing.assert_array_equal(np.append(-1, ours.queries)[ours.id_map] + 1, codes)
    np.testing.assert_array_equal(ours.queries, queries)
    np.testing.assert_array_equal(ours.labels, labels[queries])
    np.testing.assert_allclose(ours.scores, scores[queries], atol=2e-6)


@pytest.mark.parametrize("min_area", [1, 30, 300])
def test_panoptic_drops_small_segments(min_area):
    classes, masks = logits("blobs", 30, 5, (40, 40), seed=1)
    place = geometry((130, 77), 160)
    common = {"score_threshold": 0.2, "overlap_threshold": 0.1, "stuff": frozenset({2})}
    every = panoptic_segments(classes, masks, **place, **common)
    some = panoptic_segments(classes, masks, **place, **common, min_area=min_area)
    kept = every.areas >= min_area
    np.testing.assert_array_equal(some.queries, every.queries[kept])
    np.testing.assert_array_equal(
        some.id_map, np.append(0, np.where(kept, kept.cumsum(), 0))[every.id_map]
    )


def test_panoptic_needs_more_than_the_threshold_in_float32():
    # A mask of five pixels of which four are owned: 4/5 rounds up in float32, and is kept.
    masks = torch.full((2, 1, 300), -5.0)
    masks[0, 0, :5] = 3.0
    masks[1, 0, 4:200] = 5.0
    classes = torch.tensor([[9.0, 0, 0], [0, 9.0, 0]])
    place = {"input_size": 300, "content": (1, 300), "shape": (1, 300)}
    ours = panoptic_segments(classes, masks, **place, score_threshold=0.5)
    np.testing.assert_array_equal(ours.areas, [4, 196])


@pytest.mark.parametrize("blend", ["mean", "ramp"])
@pytest.mark.parametrize("shape", [(150, 170), (61, 90)])
def test_blending_of_a_grid_of_windows_equals_its_definition(blend, shape):
    input_size, canvas = 96, (80, 200)
    tiles = [Tile(0, 0, 80, 96), Tile(0, 60, 80, 156), Tile(0, 104, 80, 200)]
    views = [
        SemanticView(t, *logits("blobs", 12, 6, (24, 24), seed=i)) for i, t in enumerate(tiles)
    ]
    total, weight = torch.zeros(6, *canvas), torch.zeros(canvas)
    for i, view in enumerate(views):
        full = F.interpolate(view.mask_logits[None], (96, 96), mode="bilinear")[0, :, :80, :96]
        probabilities = view.class_logits.softmax(-1)[:, :-1]
        evidence = torch.einsum("qc,qhw->chw", probabilities, full.sigmoid())
        ramp = torch.ones(96)
        if blend == "ramp":
            distance = (torch.arange(96) + 0.5) / 48
            left = distance if i > 0 else torch.ones(96)
            right = distance.flip(0) if i < 2 else torch.ones(96)
            ramp = torch.minimum(ramp, torch.minimum(left, right))
        total[:, :, view.tile.x0 : view.tile.x1] += evidence * ramp
        weight[:, view.tile.x0 : view.tile.x1] += ramp
    expected = F.interpolate((total / weight)[None], shape, mode="bilinear")[0].argmax(0) + 1
    ours = semantic_map(views, canvas_shape=canvas, input_size=input_size, shape=shape, blend=blend)
    np.testing.assert_array_equal(ours, expected)


def test_no_query_is_sure_enough():
    classes, masks = logits("blobs", 9, 5, (16, 16), seed=0)
    place = geometry((40, 70), 64)
    for result in (
        instance_segments(classes, masks, **place, score_threshold=1.0),
        panoptic_segments(classes, masks, **place, score_threshold=1.0),
        panoptic_segments(classes[:0], masks[:0], **place, score_threshold=0.0),
    ):
        assert result.id_map.shape == (40, 70)
        assert not result.id_map.any()
        assert len(result.labels) == len(result.queries) == len(result.areas) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_are_refused(value):
    classes, masks = logits("blobs", 9, 5, (16, 16), seed=0)
    masks[4, 3, 2] = value
    place = geometry((40, 70), 64)
    with pytest.raises(ValueError, match="mask logits are not finite"):
        instance_segments(classes, masks, **place, score_threshold=0.5)
    with pytest.raises(ValueError, match="mask logits are not finite"):
        panoptic_segments(classes, masks, **place, score_threshold=0.5)
    with pytest.raises(ValueError, match="mask logits are not finite"):
        semantic_map(
            [SemanticView(Tile(0, 0, 64, 64), classes, masks)],
            canvas_shape=(64, 64),
            input_size=64,
            shape=(40, 70),
        )


def test_windows_that_leave_a_gap_are_refused():
    classes, masks = logits("blobs", 9, 5, (16, 16), seed=0)
    with pytest.raises(ValueError, match="uncovered"):
        semantic_map(
            [SemanticView(Tile(0, 0, 64, 64), classes, masks)],
            canvas_shape=(64, 70),
            input_size=64,
            shape=(40, 70),
        )


def test_stored_half_precision_is_computed_in_float32():
    classes, masks = (part.half() for part in logits("blobs", 9, 5, (40, 40), seed=0))
    place = geometry((130, 77), 160)
    half = instance_segments(classes, masks, **place, score_threshold=0.2)
    full = instance_segments(classes.float(), masks.float(), **place, score_threshold=0.2)
    np.testing.assert_array_equal(half.id_map, full.id_map)
    np.testing.assert_array_equal(half.scores, full.scores)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", KINDS)
def test_devices_agree_up_to_rounding(kind):
    classes, masks = logits(kind, 40, 9, (40, 40), seed=0)
    place = geometry((700, 900), 160)
    for segments in (instance_segments, panoptic_segments):
        one = segments(classes, masks, **place, score_threshold=0.2)
        other = segments(classes.cuda(), masks.cuda(), **place, score_threshold=0.2)
        np.testing.assert_array_equal(one.queries, other.queries)
        assert (one.id_map != other.id_map).mean() < 1e-4
    canvas = {"canvas_shape": (160, 160), "input_size": 160, "shape": (700, 900)}
    tile = Tile(0, 0, 160, 160)
    one = semantic_map([SemanticView(tile, classes, masks)], **canvas)
    other = semantic_map([SemanticView(tile, classes.cuda(), masks.cuda())], **canvas)
    assert (one != other).mean() < 1e-3
