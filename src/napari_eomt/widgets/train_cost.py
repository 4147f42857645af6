"""How long a training will take, before it starts. No Qt, no torch."""

from __future__ import annotations

from collections import Counter
from math import ceil
from typing import TYPE_CHECKING

from napari_eomt.errors import EomtError
from napari_eomt.training.memory import estimate
from napari_eomt.training.resolve import resolve
from napari_eomt.training.video_choice import n_videos
from napari_eomt.training.view_choice import Look

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_eomt.models.card import ModelCard
    from napari_eomt.training.params import TrainParams
    from napari_eomt.viewer.train_dataset import LearnRow
    from napari_eomt.widgets.run_tail import RunNews

_MAX_SHAPES = 200
"""Different images that are looked at: the rest is like them."""

_LAST_STEPS = 50


def count_views(rows: Iterable[LearnRow], card: ModelCard, params: TrainParams) -> int:
    """Return about how many views an epoch takes of some images.

    Parameters
    ----------
    rows : iterable of LearnRow
        That learn. Those of unknown size are taken to be like the others.
    card : ModelCard
    params : TrainParams

    Returns
    -------
    int
        Of videos, how many clips.

    Raises
    ------
    DataError
        If the images cannot be cut so.
    """
    look = Look(card, params, None)
    kinds: Counter[tuple[tuple[int, int], float | None]] = Counter()
    n_unknown = 0
    for row in rows:
        n = ceil(row.n_images / params.clip_length) if row.is_video else row.n_images
        if row.shape is None:
            n_unknown += max(1, n)
        else:
            kinds[row.shape, row.object_size] += n
    n_known = n_seen = n_views = 0
    for k, ((shape, size), n) in enumerate(kinds.items()):
        n_known += n
        if k < _MAX_SHAPES:
            n_seen += n
            one = len(look.grid(shape, size)) if params.views == "grid" else 0
            n_views += n * (one or look.n_views(shape, size))
    return max(1, round(n_views / n_seen * (n_known + n_unknown))) if n_seen else max(1, n_unknown)


def expected_seconds(
    card: ModelCard,
    params: TrainParams,
    rows: Sequence[LearnRow],
    device: str,
    runs: Sequence[RunNews] = (),
) -> tuple[float, bool] | None:
    """Return about how long a training takes, without its checks; None if nobody can tell.

    Parameters
    ----------
    card : ModelCard
        Of the model to start from.
    params : TrainParams
        As they are given.
    rows : sequence of LearnRow
        The images that learn.
    device : str
        "cpu", "cuda:0" and the like.
    runs : sequence of RunNews
        Earlier ones, the newest first: one of the same kind tells how fast this computer is.

    Returns
    -------
    (float, bool)
        Seconds, and whether they were measured rather than guessed.
    """
    if not rows:
        return None
    try:
        n_views = count_views(rows, card, params)
        is_video = any(row.is_video for row in rows)
        resolved = resolve(params, card, n_views, has_videos=is_video)
        measured = measured_step(card.name, resolved, device, runs, is_video=is_video)
        found = estimate(
            card,
            resolved,
            n_views=n_views,
            device=device.partition(":")[0],
            seconds_per_step=measured,
        )
    except EomtError:
        return None  # the form, or the training itself, says what is wrong
    return found.seconds, measured is not None


def measured_step(
    model: str,
    params: TrainParams,
    device: str,
    runs: Sequence[RunNews],
    *,
    is_video: bool = False,
) -> float | None:
    """Return how long a step of the newest run of the same kind took, in seconds, if there is one.

    Parameters
    ----------
    model : str
    params : TrainParams
        Resolved.
    device : str
    runs : sequence of RunNews
        The newest first.
    is_video : bool
        Whether they are of videos.
    """
    for news in runs:
        if news.run is None:
            continue
        plan = news.run.plan
        told = plan.resolved
        is_same = (
            plan.model == model
            and plan.device in (device, "auto")
            and told.frozen_blocks == params.frozen_blocks
            and told.lora_rank == params.lora_rank
            and told.views == params.views
            and told.auxiliary_losses == params.auxiliary_losses
            and told.gradient_checkpointing == params.gradient_checkpointing
            and (news.split is not None and n_videos(news.split.train) > 0) == is_video
        )
        seconds = sorted(row["seconds"] for row in news.steps[-_LAST_STEPS:] if row.get("seconds"))
        if is_same and seconds:
            # The middle one: the first steps fill a cache, and a check may hold one up.
            n_told, n = told.batch_size, params.batch_size
            if is_video:
                n_told, n = n_told * told.clip_length, n * params.clip_length
            return float(seconds[len(seconds) // 2]) * n / n_told
    return None


def time_text(seconds: float) -> str:
    """Return a time as people say it: "~40 s", "~12 min", "~3 h"."""
    if seconds < 90:
        return f"~{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"~{round(seconds / 60)} min"
    return f"~{round(seconds / 3600)} h"
