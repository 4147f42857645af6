"""The loss against transformers' at the same points, value and gradient."""

from __future__ import annotations

import pytest
import torch
from tests.training.reference import (
    FixedLoss,
    as_targets,
    gradients,
    mask_losses,
    random_objects,
    random_predictions,
)
from torch import distributed

from napari_eomt.training import pair_losses as pairs_module
from napari_eomt.training.loss_params import LossParams
from napari_eomt.training.losses import (
    class_losses,
    compute_losses,
    matched_masks,
    mean_over_ranks,
)
from napari_eomt.training.matching import match
from napari_eomt.training.pair_losses import pair_losses
from napari_eomt.training.points import draw_points
from napari_eomt.training.targets import ImageTargets

N_PREDICTIONS = 3
CPU = torch.device("cpu")


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(5)
    return draw_points((2, 300), CPU, generator), draw_points((40, 300), CPU, generator)


def reference(predictions, masks, labels, points, n_masks):
    total = 0.0
    for p in predictions:
        loss = FixedLoss(*points, n_masks)(
            p.mask_logits.float(), p.class_logits.float(), masks, labels
        )
        total = total + 5 * loss["loss_mask"] + 5 * loss["loss_dice"]
        total = total + 2 * loss["loss_cross_entropy"]
    return total


def ours(predictions, targets, points):
    """The loss of `compute_losses`, but at given points."""
    matches = match(predictions, targets, points[0])
    n_masks = mean_over_ranks(len(matches) / len(predictions), CPU)
    logits = matched_masks(predictions, matches)
    counts = torch.bincount(matches.prediction, minlength=len(predictions)).tolist()
    at = torch.cat([points[1][:n] for n in counts])
    mask, dice = mask_losses(logits, targets, matches, at)
    classes = class_losses(predictions, targets, matches, 0.1)
    return 5 * (mask.sum() + dice.sum()) / n_masks + 2 * classes.sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("counts", [(0, 0), (1, 1), (0, 3), (5, 2), (7, 7), (12, 3)])
def test_equals_transformers(counts, dtype, points):
    predictions = random_predictions(N_PREDICTIONS, dtype=dtype)
    masks, labels = random_objects(counts)
    # transformers counts objects that no query was left for: 12 of an image with 7 queries.
    n_masks = max(1, sum(min(n, 7) for n in counts))
    theirs = reference(predictions, masks, labels, points, n_masks)
    theirs.backward()
    expected = gradients(predictions)
    total = ours(predictions, as_targets(masks, labels), points)
    total.backward()
    torch.testing.assert_close(total, theirs, rtol=1e-5, atol=1e-5)
    # The gradients of half precision are rounded to it, in both.
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    for one, other in zip(gradients(predictions), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_without_surplus_objects_the_number_of_masks_is_transformers_own(points):
    predictions = random_predictions(1)
    masks, labels = random_objects((4, 2))
    theirs = reference(predictions, masks, labels, points, None)
    torch.testing.assert_close(ours(predictions, as_targets(masks, labels), points), theirs)


def test_an_id_map_is_the_same_as_its_masks(points):
    masks, labels = random_objects((6, 3), seed=2)
    id_maps = []
    for mask in masks:
        ids = torch.zeros(mask.shape[1:], dtype=torch.int32)
        for k, one in enumerate(mask):
            ids[one > 0] = 10 * (len(mask) - k)  # ids neither dense nor in the labels' order
        id_maps.append(ids)
    own = [[10 * (len(mask) - k) for k in range(len(mask))] for mask in masks]
    drawn = [
        torch.stack([ids == one for one in known]) for ids, known in zip(id_maps, own, strict=True)
    ]
    predictions = random_predictions(N_PREDICTIONS)
    from_masks = ours(predictions, as_targets(drawn, labels), points)
    targets = [
        ImageTargets.from_id_map(ids, known, label.tolist())
        for ids, known, label in zip(id_maps, own, labels, strict=True)
    ]
    torch.testing.assert_close(ours(predictions, targets, points), from_masks)


@pytest.mark.parametrize("ignored", [None, 9])
@pytest.mark.parametrize("largest", [1, 300])
def test_losses_in_pieces_have_the_gradients_of_the_whole(ignored, largest, points, monkeypatch):
    predictions = random_predictions(N_PREDICTIONS)
    with torch.no_grad():
        for p in predictions:  # with 300, sigmoids of 0 and 1
            p.queries.mul_(largest)
    masks, labels = random_objects((6, 4))
    ignore = torch.zeros(24, 24, dtype=torch.bool)
    if ignored is not None:
        ignore[ignored:] = True
    targets = as_targets(masks, labels, [None if ignored is None else ignore, None])
    matches = match(predictions, targets, points[0])
    # With as many candidates as uncertain points and no others, the points can be foreseen.
    params = LossParams(n_points=300, oversampling=1.0, uncertain_share=1.0)
    logits = matched_masks(predictions, matches).detach().requires_grad_()
    seen = []
    original = pairs_module.spread_own

    def remember(slope, maps, points):
        seen.append(points)
        return original(slope, maps, points)

    monkeypatch.setattr(pairs_module, "_POINTS_AT_ONCE", (4 * 300, 4 * 300))
    monkeypatch.setattr(pairs_module, "spread_own", remember)
    weighted, mask, dice = pair_losses(logits, targets, matches, params)
    scale = torch.arange(1.0, len(logits) + 1)
    (weighted * scale).sum().backward()
    assert len(seen) > len(logits) // 4
    whole = logits.detach().clone().requires_grad_()
    expected_mask, expected_dice = mask_losses(whole, targets, matches, torch.cat(seen))
    ((5 * expected_mask + 5 * expected_dice) * scale).sum().backward()
    torch.testing.assert_close(mask, expected_mask.detach())
    torch.testing.assert_close(dice, expected_dice.detach())
    torch.testing.assert_close(logits.grad, whole.grad, rtol=1e-5, atol=1e-6)
    assert not mask.requires_grad
    assert not dice.requires_grad


def test_half_precision_logits_are_compared_in_float32(points):
    predictions = random_predictions(N_PREDICTIONS, dtype=torch.bfloat16)
    masks, labels = random_objects((5, 2))
    params = LossParams(n_points=500)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = compute_losses(
            predictions, as_targets(masks, labels), params, generator=torch.Generator()
        )
    under.total.backward()
    found = gradients(predictions)
    assert under.total.dtype == torch.float32
    assert all(gradient.isfinite().all() for gradient in found)
    without = compute_losses(
        predictions, as_targets(masks, labels), params, generator=torch.Generator()
    )
    torch.testing.assert_close(under.total, without.total, rtol=1e-5, atol=1e-5)


def test_the_whole_loss_is_near_transformers_in_the_mean():
    predictions = random_predictions(1)
    masks, labels = random_objects((5, 3))
    targets = as_targets(masks, labels)
    generator = torch.Generator().manual_seed(0)
    params = LossParams(n_points=2000)
    torch.manual_seed(0)
    found, expected = [], []
    p = predictions[0]
    for _ in range(30):
        found.append(compute_losses(predictions, targets, params, generator=generator))
        plain = FixedLoss(draw_points((2, 2000), CPU), None)
        plain.num_points = 2000
        plain.sample_points_using_uncertainty = super(
            FixedLoss, plain
        ).sample_points_using_uncertainty
        expected.append(plain(p.mask_logits, p.class_logits, masks, labels))
    for ours_name, theirs_name in (("mask", "loss_mask"), ("dice", "loss_dice")):
        one = torch.stack([getattr(losses, ours_name)[0] for losses in found])
        other = torch.stack([losses[theirs_name] for losses in expected]).detach()
        error = (one.var() / 30 + other.var() / 30).sqrt()
        assert abs(one.mean() - other.mean()) < 4 * error
        # As scattered, too: points shared by all pairs would scatter more.
        assert 0.4 < one.std() / other.std() < 2.5


def test_ignored_pixels_change_nothing_wherever_the_prediction_goes(points):
    masks, labels = random_objects((4, 3))
    ignore = torch.zeros(24, 24, dtype=torch.bool)
    ignore[:, 12:] = True
    targets = as_targets(masks, labels, [ignore, None])
    changed = [mask.clone() for mask in masks]
    changed[0][:, :, 12:] = 1 - changed[0][:, :, 12:]
    others = as_targets(changed, labels, [ignore, None])
    predictions = random_predictions(2)
    # Points of pixels on the border read across it; these lie well on either side.
    safe = points[0][:, (points[0][0, :, 0] - 0.5).abs() > 0.05]
    at = points[1][:, (points[1][0, :, 0] - 0.5).abs() > 0.05].clone()
    at[..., 0] = torch.where((at[..., 0] - 0.5).abs() < 0.05, at[..., 0] - 0.1, at[..., 0])
    one, other = (ours(predictions, these, (safe, at)) for these in (targets, others))
    torch.testing.assert_close(one, other)
    everywhere = ours(predictions, as_targets(masks, labels), (safe, at))
    assert not torch.allclose(one, everywhere)


def test_points_that_count_are_weighed_as_if_the_others_were_not_drawn(points):
    masks, labels = random_objects((4, 0))
    ignore = torch.zeros(24, 24, dtype=torch.bool)
    ignore[6:15] = True
    predictions = random_predictions(1)
    with_ignored = as_targets(masks, labels, [ignore, None])
    matches = match(predictions, with_ignored, points[0])
    logits = matched_masks(predictions, matches)
    shared = points[1][:1].expand(len(matches), -1, -1)
    is_valid = ~with_ignored[0].is_ignored_at(shared[0])
    found = mask_losses(logits, with_ignored, matches, shared)
    expected = mask_losses(logits, as_targets(masks, labels), matches, shared[:, is_valid])
    torch.testing.assert_close(found, expected)


def test_an_image_that_is_ignored_whole_has_no_loss():
    masks, labels = random_objects((3, 0))
    everything = torch.ones(24, 24, dtype=torch.bool)
    targets = as_targets(masks, labels, [everything, everything])
    predictions = random_predictions(2)
    found = compute_losses(predictions, targets, LossParams(n_points=100))
    assert found.mask.sum() == 0
    assert found.dice.sum() == 0
    found.total.backward()
    # The three objects still have categories; queries without one are told nothing.
    assert all(gradient.isfinite().all() for gradient in gradients(predictions))


def test_a_query_that_found_something_in_an_ignored_region_is_not_told_off():
    predictions = random_predictions(1, n_images=1, n_queries=3)
    p = predictions[0]
    with torch.no_grad():
        p.queries.copy_(torch.eye(3, 6)[None] * 20)
        p.features.fill_(-1)
        maps = p.features.view(8, 8, 6)
        maps[:4, :, 0] = maps[4:, :, 1] = 1  # query 0 above, query 1 below, query 2 nowhere
    masks = [torch.zeros(1, 24, 24)]
    masks[0][0, :12] = 1
    ignore = torch.zeros(24, 24, dtype=torch.bool)
    ignore[12:] = True
    for ignored, is_told in ((None, True), (ignore, False)):
        targets = as_targets(masks, [torch.tensor([2])], [ignored])
        compute_losses(predictions, targets, LossParams(n_points=400)).total.backward()
        gradient = gradients(predictions)[0][0].abs().sum(-1)
        assert gradient[0] > 0
        assert (gradient[1] > 0) == is_told


def test_without_objects_the_mask_head_has_gradients_of_zero():
    predictions = random_predictions(2)
    masks, labels = random_objects((0, 0))
    compute_losses(predictions, as_targets(masks, labels), LossParams(n_points=50)).total.backward()
    for p in predictions:
        assert p.queries.grad is not None
        assert not p.queries.grad.any()
        assert p.class_logits.grad.any()


def test_the_same_seed_gives_the_same_loss():
    predictions = random_predictions(2)
    targets = as_targets(*random_objects((4, 2)))
    one, other, third = (
        compute_losses(predictions, targets, generator=torch.Generator().manual_seed(seed)).total
        for seed in (1, 1, 2)
    )
    assert one == other
    assert one != third


def _rank(rank, folder, counts):
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    number = mean_over_ranks(counts[rank], CPU)
    torch.save(number, f"{folder}/{rank}")
    distributed.destroy_process_group()


def test_the_number_of_masks_is_the_mean_over_ranks(tmp_path):
    torch.multiprocessing.spawn(_rank, (str(tmp_path), (4, 10)), nprocs=2)
    assert [torch.load(tmp_path / str(rank)).item() for rank in (0, 1)] == [7, 7]
