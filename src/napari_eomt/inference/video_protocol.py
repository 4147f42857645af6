"""A whole video's tracks as the reference scores them, in constant memory.

What VidEoMT's own evaluation on YouTube-VIS and OVIS does: a query's class logits are averaged over
all frames before the softmax, the best pairs of query and category are the tracks, and their masks
are where the query's mask logit is above 0. As a score needs the whole video, it is run twice:
first for the scores, then for the masks of the few queries that are left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from napari_eomt.errors import DataError, ModelError
from napari_eomt.inference.params import PredictParams
from napari_eomt.inference.plan import make_plan
from napari_eomt.inference.preprocess import resize, to_rgb8, window_pixels
from napari_eomt.inference.progress import Progress
from napari_eomt.inference.video_frames import iter_frames
from napari_eomt.models.videomt import VideomtSegmenter
from napari_eomt.structures.rle import encode

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from napari_eomt.models.query_state import QueryState
    from napari_eomt.models.segmenter import QueryOutput, Segmenter
    from napari_eomt.structures.tiles import Tile

TOP_K = 10
"""Tracks of a video on YouTube-VIS; on OVIS 20."""


@dataclass(frozen=True)
class ScoredTrack:
    """A query taken for one category, over the whole video.

    Parameters
    ----------
    query : int
        The same one may be several tracks, of different categories.
    category_id : int
    score : float
        The category's probability.
    """

    query: int
    category_id: int
    score: float


def iter_score(
    frames: Any,
    segmenter: Segmenter,
    params: PredictParams | None = None,
    *,
    n_tracks: int = TOP_K,
) -> Generator[Progress, None, tuple[ScoredTrack, ...]]:
    """Score the queries of a video; each step is a frame.

    Parameters
    ----------
    frames : path, array, or list
        What `iter_frames` takes, and more than once.
    segmenter : VideomtSegmenter
    params : PredictParams, optional
        Channels and contrast alone count.
    n_tracks : int
        The most that there are.

    Returns
    -------
    tuple of ScoredTrack
        Best first; of equal ones the first query, then the first category.

    Raises
    ------
    ModelError
        If the model does not follow queries.
    DataError
        If a frame cannot be read or used.
    """
    total: torch.Tensor | None = None
    n_frames = 0
    for output, _, _ in _iter_outputs(frames, segmenter, params):
        logits = output.class_logits[0].double().cpu()
        total = logits if total is None else total + logits
        n_frames += 1
        yield Progress(n_frames, n_frames, "frame")
    if total is None:
        raise DataError("A video without a frame has no tracks. Give at least one.")
    probabilities = (total / n_frames).softmax(-1)[:, :-1]
    n_labels = probabilities.shape[1]
    flat = probabilities.flatten().numpy()
    order = np.argsort(-flat, kind="stable")[:n_tracks]
    return tuple(
        ScoredTrack(
            int(i) // n_labels, segmenter.card.categories[int(i) % n_labels].id, float(flat[i])
        )
        for i in order
    )


def iter_masks(
    frames: Any,
    segmenter: Segmenter,
    tracks: Sequence[ScoredTrack],
    params: PredictParams | None = None,
) -> Iterator[npt.NDArray[np.bool_]]:
    """Yield where the tracks are, frame by frame.

    Parameters
    ----------
    frames, segmenter, params
        As of `iter_score`.
    tracks : sequence of ScoredTrack

    Yields
    ------
    (n, H, W) bool
        Of the tracks in their order; they may overlap, and be empty.

    Raises
    ------
    ModelError, DataError
        As of `iter_score`.
    """
    size = segmenter.card.input_size
    for output, tile, shape in _iter_outputs(frames, segmenter, params):
        masks = np.zeros((len(tracks), *shape), np.bool_)
        of_query: dict[int, npt.NDArray[np.bool_]] = {}
        for k, track in enumerate(tracks):
            if track.query not in of_query:
                # One at a time: all of a 1280 × 720 frame's 200 take 737 MB.
                logits = output.mask_logits[:, track.query, None]
                logits = F.interpolate(logits, (size, size), mode="bilinear", align_corners=False)
                logits = logits[..., : tile.height, : tile.width]
                logits = F.interpolate(logits, shape, mode="bilinear", align_corners=False)
                of_query[track.query] = (logits[0, 0] > 0).cpu().numpy()
            masks[k] = of_query[track.query]
        yield masks


def youtube_vis_results(
    video_id: int, tracks: Sequence[ScoredTrack], masks: Iterable[npt.NDArray[np.bool_]]
) -> list[dict[str, Any]]:
    """Return tracks as the results that YouTube-VIS's server and tools take.

    Parameters
    ----------
    video_id : int
    tracks : sequence of ScoredTrack
    masks : iterable of (n, H, W) bool
        Of `iter_masks`.

    Returns
    -------
    list of dict
        With the keys video_id, category_id, score and segmentations: a compressed RLE a frame,
        None where the mask is empty.
    """
    rows: list[dict[str, Any]] = [
        {
            "video_id": video_id,
            "category_id": track.category_id,
            "score": track.score,
            "segmentations": [],
        }
        for track in tracks
    ]
    for frame in masks:
        for row, mask in zip(rows, frame, strict=True):
            rle = encode(mask.astype(np.uint8), {1}).get(1)
            row["segmentations"].append(None if rle is None else rle.as_coco())
    return rows


def _iter_outputs(
    frames: Any, segmenter: Segmenter, params: PredictParams | None
) -> Iterator[tuple[QueryOutput, Tile, tuple[int, int]]]:
    """Yield what the model says of each frame, the part of its input with pixels, and (H, W)."""
    if not isinstance(segmenter, VideomtSegmenter):
        raise ModelError(
            f"{segmenter.card.name} does not follow its queries from frame to frame. Choose a "
            "VidEoMT model, or score its tracks another way."
        )
    card = segmenter.card
    task = "instance" if "instance" in card.tasks else None
    whole = (params or PredictParams()).model_copy(update={"tiling": "whole", "task": task})
    state: QueryState | None = None
    size: tuple[int, int] | None = None
    for i, frame in iter_frames(frames):
        try:
            rgb = to_rgb8(frame, whole, card)
        except DataError as error:
            raise DataError(f"Frame {i}: {error}") from error
        shape = (rgb.shape[0], rgb.shape[1])
        if size not in (None, shape):
            raise DataError(
                f"Frame {i} is {shape} px, the frames before are {size}. A video has frames of "
                "one size."
            )
        size = shape
        plan = make_plan(shape, card, whole, None)
        if len(plan.tiles) != 1:
            raise ModelError(
                f"{card.name} looks at frames in windows; queries are scored in whole frames. "
                "Choose a model for the task instance or panoptic."
            )
        (tile,) = plan.tiles
        pixels = window_pixels(resize(rgb, plan.canvas), tile, card.input_size, card)
        output, state = segmenter.step(torch.from_numpy(pixels)[None], state)
        yield output, tile, shape
