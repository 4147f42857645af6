"""From an array of pixels to segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_eomt.inference.decision import Decider, DecisionMemory, View
from napari_eomt.inference.forward import Forward
from napari_eomt.inference.looks import iter_views
from napari_eomt.inference.object_size import iter_measure
from napari_eomt.inference.params import PredictParams, n_looks
from napari_eomt.inference.plan import is_tiled, make_plan, task_of
from napari_eomt.inference.preprocess import to_rgb8
from napari_eomt.inference.progress import Progress, result_of
from napari_eomt.inference.proposals import Proposals, changed

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy.typing as npt

    from napari_eomt.inference.trunk_cache import TrunkCache
    from napari_eomt.models.segmenter import Segmenter
    from napari_eomt.structures.candidates import QueryId
    from napari_eomt.structures.segments import Segmentation
    from napari_eomt.structures.uncertainty import Uncertainty

KEEP_BYTES = 2 * 2**30
"""Proposals of one image that take more memory than this are not kept (2 GiB)."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a run of the model gave.

    Parameters
    ----------
    segmentation : Segmentation
    proposals : Proposals or None
        None if they would take too much memory.
    n_tiles, n_full_tiles : int
        Views that the model saw, and those of them whose segments use over 80 % of its queries,
        so that it may have missed some.
    object_size : float or None
        Side of a typical object, in pixels of the image, that set the zoom.
    notes : tuple of str
        What the user should know, such as what was done when memory ran out.
    queries, uncertainty, members
        As in `Decision`, of each segment.
    """

    segmentation: Segmentation
    proposals: Proposals | None
    n_tiles: int
    n_full_tiles: int
    object_size: float | None
    notes: tuple[str, ...] = ()
    queries: tuple[QueryId, ...] = ()
    uncertainty: tuple[Uncertainty, ...] = ()
    members: tuple[tuple[QueryId, ...], ...] = ()


def iter_predict(
    frame: npt.NDArray[Any],
    segmenter: Segmenter,
    params: PredictParams,
    *,
    keep_bytes: int = KEEP_BYTES,
    object_size: float | None = None,
    trunks: TrunkCache | None = None,
    forward: Forward | None = None,
) -> Generator[Progress, None, Prediction]:
    """Segment an image, tile by tile; each step is progress and a place to stop.

    Parameters
    ----------
    frame : (H, W) or (H, W, C)
        Pixels of any real dtype.
    segmenter : Segmenter
    params : PredictParams
    keep_bytes : int
        Proposals that take more memory are not kept.
    object_size : float, optional
        What was measured in another frame of the same stack, in pixels: with "auto" it is taken
        instead of measuring again.
    trunks : TrunkCache, optional
        What models have made of views before their queries come, if it is to be kept.
    forward : Forward, optional
        What runs the model over the views, if it is to remember something of them; object sizes
        are measured without.

    Returns
    -------
    Prediction

    Raises
    ------
    DataError
        If the image cannot be used, or the model does not serve the task.
    ModelError
        If memory does not suffice, whatever was tried.
    """
    card = segmenter.card
    task_of(params, card)
    rgb = to_rgb8(frame, params, card)
    shape = (rgb.shape[0], rgb.shape[1])
    plain = Forward(segmenter, trunks)
    forward = forward or plain
    if params.object_size != "auto":
        object_size = None if params.object_size == "as_is" else params.object_size
    elif not (card.object_size and is_tiled(shape, card, params)):
        object_size = None
    elif card.typical_size is not None:
        object_size = card.typical_size
    elif object_size is None:
        object_size = yield from iter_measure(rgb, plain, params)
    plan = make_plan(shape, card, params, object_size)
    memory = DecisionMemory() if keep_bytes else None
    decider = Decider(plan, card, params, memory)
    views: list[View] | None = []
    n_bytes = done = 0
    yield Progress(0, len(plan.tiles))
    for batch in iter_views(rgb, plan, forward, n_looks(params, card)):
        for tile, output in batch:
            view = View.of(tile, output)
            decider.add(view)
            if views is not None:
                views.append(view)
                n_bytes += view.nbytes
                if n_bytes > keep_bytes:
                    views = None
        done += len(batch)
        yield Progress(done, len(plan.tiles))
    decision = decider.result()
    proposals = None
    if views is not None:
        proposals = Proposals(plan, card, params, views, object_size, memory)
        proposals.remember(params, decision)
    notes = [*plain.notes, *forward.notes]
    if card.is_video and (params.looks or 1) > 1:
        notes.append(
            f"{card.name} looked once: it remembers from frame to frame what it saw in the same "
            "view. Choose a model of images for more looks."
        )
    return Prediction(
        decision.segmentation,
        proposals,
        len(plan.tiles),
        decision.n_full_tiles,
        object_size,
        tuple(dict.fromkeys(notes)),
        decision.queries,
        decision.uncertainty,
        decision.members,
    )


def predict(
    image: npt.NDArray[Any],
    segmenter: Segmenter,
    params: PredictParams | None = None,
    **changes: Any,
) -> Segmentation:
    """Segment an image; a large one by tiles.

    Parameters
    ----------
    image : (H, W) or (H, W, C)
        Pixels of any real dtype.
    segmenter : Segmenter
    params : PredictParams, optional
    **changes
        Single parameters, such as ``task="panoptic"`` or ``score_threshold=0.3``.

    Returns
    -------
    Segmentation

    Raises
    ------
    DataError
        If the image cannot be used, or the model does not serve the task.
    """
    return _run(image, segmenter, params, changes, keep_bytes=0).segmentation


def propose(
    image: npt.NDArray[Any],
    segmenter: Segmenter,
    params: PredictParams | None = None,
    **changes: Any,
) -> Proposals:
    """Run the model on an image and keep all that it proposes; see `predict`."""
    proposals = _run(image, segmenter, params, changes, keep_bytes=2**62).proposals
    assert proposals is not None  # noqa: S101 - no image has 2**62 bytes of proposals
    return proposals


def _run(
    image: npt.NDArray[Any],
    segmenter: Segmenter,
    params: PredictParams | None,
    changes: dict[str, Any],
    keep_bytes: int,
) -> Prediction:
    steps = iter_predict(
        image, segmenter, changed(params or PredictParams(), changes), keep_bytes=keep_bytes
    )
    return result_of(steps)
