"""Tiny random VidEoMTs, clips for them, and transformers' loss of a clip at given points."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from tests.training.reference import FixedLoss
from tests.training.tiny import SIZE, SIZES, spread
from transformers import VideomtConfig, VideomtForUniversalSegmentation
from transformers.models.videomt import modeling_videomt


def tiny_video(seed=0, **changes):
    """Make a VidEoMT with three blocks, two of which see queries, in training mode."""
    torch.manual_seed(seed)
    model = VideomtForUniversalSegmentation(VideomtConfig(**(SIZES | changes)))
    return spread(model).train()


def clip(n_clips, n_frames, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n_clips, n_frames, 3, SIZE, SIZE, generator=generator)


def published_assignment(masks, classes, targets, labels, visible, points):
    """Match the objects of a clip word by word as published: (queries, objects).

    Parameters
    ----------
    masks : (T, Q, h, w)
    classes : (T, Q, K + 1)
    targets : (n, T, H, W) float
    labels : (n,)
    visible : (n, T) bool
    points : (T, P, 2)
    """
    used, queries, objects = set(), [], []
    for t in range(len(masks)):
        new = [k for k in range(len(labels)) if visible[k, t] and not visible[k, :t].any().item()]
        if not new:
            continue
        at = points[t][None]
        truth = modeling_videomt.sample_point(
            targets[new, t][:, None], at.repeat(len(new), 1, 1), align_corners=False
        ).squeeze(1)
        found = modeling_videomt.sample_point(
            masks[t][:, None], at.repeat(masks.shape[1], 1, 1), align_corners=False
        ).squeeze(1)
        cost = 5 * modeling_videomt.pair_wise_sigmoid_cross_entropy_loss(found, truth)
        cost = cost + 5 * modeling_videomt.pair_wise_dice_loss(found, truth)
        cost = cost - 2 * classes[t].softmax(-1)[:, labels[new]]
        for query in used:
            cost[query] += 1e6
        rows, columns = linear_sum_assignment(cost.detach().numpy())
        queries += rows.tolist()
        objects += [new[c] for c in columns]
        used |= set(rows.tolist())
    order = np.argsort(queries)
    return np.array(queries)[order], np.array(objects)[order]


def published_loss(prediction, clips, matching_points, loss_points, n_masks):
    """Return transformers' criterion of one prediction, the assignment repeated for all frames.

    Parameters
    ----------
    prediction : Prediction
        Of B · T frames, clip by clip.
    clips : list of (targets, labels, visible)
        See `published_assignment`.
    """
    masks, classes = prediction.mask_logits, prediction.class_logits
    indices, mask_labels, class_labels, start = [], [], [], 0
    for targets, labels, visible in clips:
        n_frames = targets.shape[1]
        of = slice(start, start + n_frames)
        query, row = published_assignment(
            masks[of], classes[of], targets, labels, visible, matching_points[of]
        )
        for t in range(n_frames):
            indices.append((torch.tensor(query), torch.tensor(row)))
            mask_labels.append(targets[:, t])
            class_labels.append(labels)
        start += n_frames
    criterion = FixedLoss(matching_points, loss_points)
    found = criterion.loss_masks(masks, mask_labels, indices, n_masks)
    found |= criterion.loss_labels(classes, class_labels, indices)
    return (
        5 * found["loss_mask"] + 5 * found["loss_dice"] + 2 * found["loss_cross_entropy"]
    ), indices
