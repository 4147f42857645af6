"""Against the rule of EoMT's own evaluation, written out in torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.tiny_models import SIZE, save_tiny

from napari_eomt.inference.detections import scored_masks
from napari_eomt.inference.predict import propose
from napari_eomt.models.load import load_segmenter
from napari_eomt.structures.rle import decode
from napari_eomt.synthetic import drawn_nuclei


def by_definition(view, shape, limit):
    """Return category label, score and mask of the best pairs of query and category."""
    probabilities = view.class_logits.softmax(-1)[:, :-1]
    scores, places = probabilities.flatten().topk(limit)
    large = torch.nn.functional.interpolate(
        view.mask_logits.float()[None], (SIZE, SIZE), mode="bilinear"
    )[..., : view.tile.height, : view.tile.width]
    large = torch.nn.functional.interpolate(large, shape, mode="bilinear")[0]
    rows = []
    for score, place in zip(scores, places, strict=True):
        query, label = divmod(int(place), probabilities.shape[1])
        inside = large[query] > 0
        mean = (large[query].sigmoid() * inside).sum() / (inside.sum() + 1e-6)
        if inside.any():
            rows.append((label, float(score * mean), inside.numpy()))
    return sorted(rows, key=lambda row: -row[1])


@pytest.mark.parametrize("limit", [7, 40])
def test_an_image_seen_as_a_whole_gives_the_best_pairs(limit, tmp_path):
    tiny = load_segmenter(save_tiny(tmp_path / "tiny", tasks=["instance"]), "cpu")
    image = np.random.default_rng(3).integers(0, 256, (90, 210, 3)).astype(np.uint8)
    proposals = propose(image, tiny, tiling="whole")
    found = scored_masks(proposals, limit=limit)
    expected = by_definition(proposals.views[0], image.shape[:2], limit)
    assert len(found) == len(expected) > 2
    ids = [category.id for category in tiny.card.categories]
    for row, (label, score, inside) in zip(found, expected, strict=True):
        assert row.category_id == ids[label]
        assert row.score == pytest.approx(score, rel=1e-5)
        np.testing.assert_array_equal(decode(row.mask), inside)


def test_tiles_give_objects_that_are_whole_and_of_lower_scores():
    image = drawn_nuclei(n=30, seed=1)[0]
    nano = load_segmenter("nuclei-nano", "cpu")
    # As sure as half of what is found, whatever the bundled model's weights.
    threshold = float(np.median([s.score for s in propose(image, nano).segment().segments]))
    proposals = propose(image, nano, score_threshold=threshold)
    shown = proposals.segment()
    found = scored_masks(proposals)
    assert len(found) > len(shown.segments) > 5
    assert [row.score for row in found] == sorted((row.score for row in found), reverse=True)
    assert found[-1].score >= threshold / 4
    assert sum(row.mask.area for row in found) <= image.shape[0] * image.shape[1]
    # What is shown is decided as before.
    np.testing.assert_array_equal(proposals.segment().id_map, shown.id_map)
