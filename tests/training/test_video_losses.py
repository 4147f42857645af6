"""The loss of clips against transformers' criterion, as the published training calls it."""

from __future__ import annotations

import pytest
import torch
from tests.training.clips import clip, published_loss, tiny_video
from tests.training.reference import (
    N_LABELS,
    gradients,
    mask_losses,
    random_objects,
    random_predictions,
)

from napari_eomt.training.loss_params import LossParams
from napari_eomt.training.losses import class_losses, compute_losses, matched_masks
from napari_eomt.training.parameter_groups import RateParams, make_optimizer
from napari_eomt.training.points import draw_points
from napari_eomt.training.step import Batch, train_step
from napari_eomt.training.targets import ImageTargets
from napari_eomt.training.video_matching import match_clips
from napari_eomt.training.video_network import VideoTrainingNetwork

CPU = torch.device("cpu")
T = 4


def drawn_clip(n, seed=0, absent=0.4):
    """Draw n objects that move and are gone now and then; masks (n, T, H, W), labels, visible."""
    per_frame = [random_objects((n,), seed=seed + 10 * t) for t in range(T)]
    masks = torch.stack([found[0][0] for found in per_frame], 1)
    generator = torch.Generator().manual_seed(seed)
    gone = torch.rand((n, T), generator=generator) < absent
    gone[torch.arange(n), torch.randint(0, T, (n,), generator=generator)] = False
    masks[gone] = 0
    visible = masks.flatten(2).any(-1)
    kept = visible.any(1)
    return masks[kept], per_frame[0][1][0][kept], visible[kept]


def as_frames(clips):
    return [
        ImageTargets(labels, masks=masks[:, t].bool())
        for masks, labels, _ in clips
        for t in range(T)
    ]


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(5)
    return draw_points((2 * T, 300), CPU, generator), draw_points((90, 300), CPU, generator)


@pytest.mark.parametrize("counts", [(1, 1), (3, 5), (7, 2)])
def test_equals_transformers_criterion(counts, points):
    """Value and gradient, of several predictions that are each matched again."""
    predictions = random_predictions(3, n_images=2 * T)
    clips = [drawn_clip(n, seed=k) for k, n in enumerate(counts)]
    n_masks = sum(len(labels) * T for _, labels, _ in clips)
    theirs = 0.0
    expected_pairs = []
    for prediction in predictions:
        loss, indices = published_loss(prediction, clips, *points, n_masks)
        theirs = theirs + loss
        expected_pairs += indices
    theirs.backward()
    expected = gradients(predictions)
    targets, visible = as_frames(clips), [seen for _, _, seen in clips]
    matches = match_clips(predictions, targets, visible, points[0])
    found_pairs = torch.stack((matches.query, matches.target))
    pairs = [torch.stack(pair) for pair in expected_pairs]
    assert torch.equal(found_pairs, torch.cat(pairs, 1))
    counts_of = torch.bincount(matches.prediction, minlength=3).tolist()
    at = torch.cat([points[1][:n] for n in counts_of])
    mask, dice = mask_losses(matched_masks(predictions, matches), targets, matches, at)
    classes = class_losses(predictions, targets, matches, 0.1)
    ours = 5 * (mask.sum() + dice.sum()) / n_masks + 2 * classes.sum()
    ours.backward()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients(predictions), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_the_whole_loss_divides_by_all_frames():
    """Also where an object is gone: its query learns that it has no pixel there."""
    (prediction,) = random_predictions(1, n_images=T)
    one = drawn_clip(3)
    generator = torch.Generator().manual_seed(1)
    options = {"params": LossParams(n_points=200), "visible": [one[2]]}
    by_itself = compute_losses([prediction], as_frames([one]), generator=generator, **options)
    generator.manual_seed(1)
    n_masks = torch.tensor(float(len(one[1]) * T))
    given = compute_losses(
        [prediction], as_frames([one]), generator=generator, n_masks=n_masks, **options
    )
    torch.testing.assert_close(by_itself.total, given.total)


def test_a_step_learns_to_keep_an_object():
    """A clip that is shown again and again: its loss falls, and queries hold their objects."""
    network = VideoTrainingNetwork(tiny_video(num_labels=N_LABELS, num_queries=6))
    one = drawn_clip(2, absent=0.3)
    batch = Batch(as_frames([one]), clip(1, T), visible=[one[2]])
    optimizer = make_optimizer(network.model, RateParams(learning_rate=1e-3, layer_decay=1.0))
    generator = torch.Generator().manual_seed(0)
    losses = [
        train_step(
            network,
            [batch],
            optimizer,
            LossParams(n_points=200),
            n_queries=6,
            clip_norm=1.0,
            generator=generator,
        ).loss
        for _ in range(25)
    ]
    assert losses[-1] < 0.7 * losses[0]
    found = network(clip(1, T))[-1]
    points = draw_points((T, 200), CPU, generator)
    matches = match_clips([found], as_frames([one]), [one[2]], points)
    classes = found.class_logits.argmax(-1)
    assert all(
        classes[frame, query] == one[1][row]
        for frame, query, row in zip(matches.image, matches.query, matches.target, strict=True)
    )
