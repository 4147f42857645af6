"""Against transformers' output for the whole clip, scored as the reference's code does."""

from __future__ import annotations

import numpy as np
import pycocotools.mask as coco_mask
import pytest
import torch
import torch.nn.functional as F
from tests.tiny_models import SIZE, save_tiny
from transformers import VideomtForUniversalSegmentation

from napari_eomt.errors import DataError, ModelError
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.preprocess import resize, to_rgb8, window_pixels
from napari_eomt.inference.video_protocol import (
    ScoredTrack,
    iter_masks,
    iter_score,
    youtube_vis_results,
)
from napari_eomt.models.load import load_segmenter
from napari_eomt.structures.tiles import Tile
from napari_eomt.synthetic import moving_objects

SHAPE = (60, 90)
CONTENT = (43, 64)  # 60 × 90 px, the long side at the model's 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = save_tiny(tmp_path_factory.mktemp("video") / "m", "videomt")
    model = VideomtForUniversalSegmentation.from_pretrained(folder)
    with torch.no_grad():  # less sure: probabilities of 1 have no order
        model.class_predictor.weight.mul_(0.05)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def segmenter(folder):
    return load_segmenter(folder, device="cpu")


@pytest.fixture(scope="module")
def clip():
    return moving_objects(7, SHAPE, 3, seed=4)[0]


def score(frames, segmenter, **how):
    steps = iter_score(frames, segmenter, **how)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


@pytest.fixture(scope="module")
def reference(folder, segmenter, clip):
    """The logits of the whole clip from transformers: (T, Q, K + 1), (T, Q, h, w)."""
    card = segmenter.card
    views = []
    for frame in clip:
        canvas = resize(to_rgb8(frame, PredictParams(), card), CONTENT)
        views.append(window_pixels(canvas, Tile(0, 0, *CONTENT), SIZE, card))
    model = VideomtForUniversalSegmentation.from_pretrained(folder).eval()
    with torch.inference_mode():
        output = model(pixel_values_videos=torch.from_numpy(np.stack(views))[None])
    return output.class_queries_logits, output.masks_queries_logits


@pytest.mark.parametrize("n_tracks", [1, 10, 20, 1000])
def test_tracks_are_the_best_pairs_of_the_mean_logits(segmenter, clip, reference, n_tracks):
    probabilities = reference[0].mean(0).softmax(-1)[:, :-1]
    n_labels = probabilities.shape[1]
    n = min(n_tracks, probabilities.numel())
    values, places = probabilities.flatten().topk(n)
    found = score(clip, segmenter, n_tracks=n_tracks)
    assert [t.score for t in found] == pytest.approx(values.tolist(), abs=1e-6)
    categories = [c.id for c in segmenter.card.categories]
    pairs = [(int(i) // n_labels, categories[int(i) % n_labels]) for i in places]
    # Ties, if any, in any order.
    assert {(t.query, t.category_id) for t in found} == set(pairs)


def test_a_mean_over_frames_is_not_a_frame_alone(segmenter, clip):
    """Or the test above would pass for a model that says the same in all frames."""
    whole, alone = ([t.score for t in score(c, segmenter)] for c in (clip, clip[:1]))
    assert np.abs(np.subtract(whole, alone)).max() > 1e-3


def test_masks_are_where_the_logits_are_above_zero(segmenter, clip, reference):
    tracks = score(clip, segmenter)
    found = list(iter_masks(clip, segmenter, tracks))
    assert len(found) == len(clip)
    queries = [track.query for track in tracks]
    for masks, logits in zip(found, reference[1], strict=True):
        whole = F.interpolate(logits[None, queries], (SIZE, SIZE), mode="bilinear")
        cropped = whole[..., : CONTENT[0], : CONTENT[1]]
        expected = F.interpolate(cropped, SHAPE, mode="bilinear")[0]
        # Those that rounding may turn over are not counted.
        is_sure = (expected.abs() > 1e-4).numpy()
        np.testing.assert_array_equal(masks[is_sure], (expected > 0).numpy()[is_sure])
        assert is_sure.mean() > 0.99
    assert 0.02 < np.mean(found) < 0.98


def test_results_are_read_by_pycocotools(segmenter, clip):
    tracks = score(clip, segmenter, n_tracks=3)
    masks = list(iter_masks(clip, segmenter, tracks))
    masks[2][1] = False
    rows = youtube_vis_results(7, tracks, masks)
    assert [(r["video_id"], r["category_id"], r["score"]) for r in rows] == [
        (7, t.category_id, t.score) for t in tracks
    ]
    for k, row in enumerate(rows):
        assert len(row["segmentations"]) == len(clip)
        for t, rle in enumerate(row["segmentations"]):
            drawn = np.zeros(SHAPE, bool) if rle is None else coco_mask.decode(rle).astype(bool)
            np.testing.assert_array_equal(drawn, masks[t][k])
    assert rows[1]["segmentations"][2] is None


def test_what_cannot_be_scored_is_told(segmenter, clip):
    with pytest.raises(ModelError, match="does not follow its queries"):
        score(clip, load_segmenter("nuclei-nano", device="cpu"))
    with pytest.raises(DataError, match="Frame 1 is"):
        score([clip[0], clip[1][:40]], segmenter)
    with pytest.raises(DataError, match="Frame 1: "):
        score([clip[0], np.full(SHAPE, np.nan)], segmenter)
    (masks,) = iter_masks(clip[:1], segmenter, [ScoredTrack(0, 1, 0.5)])
    assert masks.shape == (1, *SHAPE)
