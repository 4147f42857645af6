"""An object keeps its query: which one, when it comes late, is hidden, or finds none left."""

from __future__ import annotations

import torch

from napari_eomt.training.points import draw_points
from napari_eomt.training.predictions import Prediction
from napari_eomt.training.targets import ImageTargets
from napari_eomt.training.video_matching import match_clips

SIDE = 8
CPU = torch.device("cpu")


def square(at):
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    if at is not None:
        mask[at[0] : at[0] + 4, at[1] : at[1] + 4] = True
    return mask


def saying(frames, n_queries):
    """Make a prediction whose queries say these squares, (T, Q) of places or None."""
    logits = torch.stack(
        [torch.stack([20.0 * square(at) - 10 for at in frame]) for frame in frames]
    )
    n_pixels = SIDE * SIDE
    features = torch.eye(n_pixels).expand(len(frames), -1, -1)
    return Prediction(
        torch.zeros(len(frames), n_queries, 2), logits.flatten(2), features, (SIDE, SIDE)
    )


def matched(frames, objects):
    """Match one clip; return {object: query}, after checking that each keeps it."""
    targets = [
        ImageTargets(
            torch.zeros(len(objects), dtype=torch.int64),
            masks=torch.stack([square(places[t]) for places in objects]),
        )
        for t in range(len(frames))
    ]
    visible = torch.tensor([[at is not None for at in places] for places in objects])
    points = draw_points((len(frames), 400), CPU, torch.Generator().manual_seed(0))
    found = match_clips([saying(frames, len(frames[0]))], targets, [visible], points)
    by_frame = [
        dict(
            zip(
                found.target[found.image == t].tolist(),
                found.query[found.image == t].tolist(),
                strict=True,
            )
        )
        for t in range(len(frames))
    ]
    assert all(pairs == by_frame[0] for pairs in by_frame)
    return by_frame[0]


A, B, C = (0, 0), (0, 4), (4, 0)


def test_the_first_frame_decides():
    """Query 0 fits object 0 in the first frame, and object 1 ever after: it stays with object 0."""
    frames = [[A, B], [B, A], [B, A]]
    assert matched(frames, [(A, A, A), (B, B, B)]) == {0: 0, 1: 1}


def test_what_comes_late_takes_a_query_that_nobody_has():
    """Query 0 fits the newcomer best, but has an object, which is hidden just then."""
    frames = [[A, C, C], [B, C, B]]
    assert matched(frames, [(A, None), (None, B)]) == {0: 0, 1: 2}


def test_what_comes_back_has_its_query_still():
    frames = [[A, B], [A, B], [B, A]]
    assert matched(frames, [(A, None, A), (B, B, B)]) == {0: 0, 1: 1}


def test_where_no_query_is_left_the_newcomer_gets_none():
    frames = [[A, B], [A, B]]
    assert matched(frames, [(A, A), (B, B), (None, C)]) == {0: 0, 1: 1}


def test_a_clip_in_which_nothing_is_seen_has_no_pairs():
    assert matched([[A], [A]], [(None, None)]) == {}
