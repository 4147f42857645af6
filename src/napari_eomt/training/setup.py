"""All that a training needs, made of what was asked: images, classes, network, parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_eomt.errors import DataError
from napari_eomt.formats.copies import find_shared, join_copies, left_out_text
from napari_eomt.formats.panoptic_file import PanopticFile
from napari_eomt.models.locate import locate
from napari_eomt.training.checkpoint import State, load_state
from napari_eomt.training.clip_samples import ClipSet
from napari_eomt.training.copies import check_apart
from napari_eomt.training.labels import LabelMap, match_categories, with_background
from napari_eomt.training.opened import Annotated, Opened, open_dataset
from napari_eomt.training.resolve import resolve, resolve_for_network, training_task
from napari_eomt.training.runs import STATES, RunPlan, RunSplit
from napari_eomt.training.samples import SampleSet
from napari_eomt.training.split import split_images
from napari_eomt.training.start import (
    Learner,
    restore_learner,
    start_learner,
)
from napari_eomt.training.survey import void_share
from napari_eomt.training.video_card import BECOMES_VIDEO, as_video_card
from napari_eomt.training.video_opened import OpenedVideos, check_tracks
from napari_eomt.training.video_split import frames_apart, split_videos

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from napari_eomt.formats.copies import Shared
    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.categories import Category
    from napari_eomt.structures.segments import Task
    from napari_eomt.training.params import TrainParams
    from napari_eomt.training.runs import Run

_LITTLE_VOID = 0.01
"""So much of images that are annotated all over may be void, between outlines."""


@dataclass(frozen=True, eq=False)
class Setup:
    """A training that can start.

    Parameters
    ----------
    plan : RunPlan
    split : RunSplit
    samples : SampleSet
    learner : Learner
    val_dataset : Dataset, PanopticFile or Videos
        In which the images that check are.
    state : State or None
        To go on from.
    notes : tuple of str
        What the user should know.
    """

    plan: RunPlan
    split: RunSplit
    samples: SampleSet
    learner: Learner
    val_dataset: Annotated
    state: State | None = None
    notes: tuple[str, ...] = ()


def set_up(
    dataset: Annotated | Path | str,
    params: TrainParams,
    model: str | Path,
    *,
    device: str = "auto",
    val_dataset: Annotated | Path | str | None = None,
    leave_out_copies: bool = False,
) -> Setup:
    """Prepare a training from the start.

    Parameters
    ----------
    dataset : Dataset, PanopticFile, Videos, Path or str
    params : TrainParams
    model : str or Path
        That `load_segmenter` would take, and which is on this computer or can be fetched. From
        videos an EoMT learns to be a VidEoMT; from images a VidEoMT learns as they drift.
    device : str
        As torch names them; "auto" takes the best there is.
    val_dataset : Dataset, PanopticFile, Videos, Path or str, optional
        With the images that check; by default some of the dataset's own do.
    leave_out_copies : bool
        Leave out what is learnt from and checks as well, rather than refuse it. Where some of the
        dataset's own images or videos check, those that are equal always learn together, or check.

    Raises
    ------
    EomtError
        If anything of it cannot be used.
    """
    card = locate(model)
    opened = open_dataset(dataset)
    source = opened.source
    notes: list[str] = list(opened.notes)
    if isinstance(opened, OpenedVideos):
        if not card.is_video:
            notes.append(BECOMES_VIDEO.format(name=card.name))
        card = as_video_card(card)
    groups = {entry.key: entry.group for entry in source.entries}
    names = {entry.key: entry.name for entry in source.entries}
    checks, val_names = opened, {}
    if val_dataset is not None:
        checks = open_dataset(val_dataset)
        _check_kinds(opened, checks)
        if checks.path.resolve() == opened.path.resolve():
            raise DataError(
                f"{checks.path} is what is learnt from: it cannot tell whether learning helped. "
                "Leave it out, and some of its images check."
            )
        if not leave_out_copies:
            check_apart(opened.files, checks.files, checks.path)
        val_names = {entry.key: entry.name for entry in checks.source.entries}
        train, val = tuple(groups), tuple(val_names)
        if leave_out_copies:
            train = _without_copies(names, train, find_shared(opened.files, checks.files), notes)
    else:
        fraction = params.val_fraction
        if opened.val_fraction is not None and fraction > 0:
            fraction = opened.val_fraction
        files = opened.files
        copies = join_copies(groups, files)
        if isinstance(opened, OpenedVideos):
            parts = split_videos(groups, fraction, params.clip_length, copies)
            files = frames_apart(files)
        else:
            parts = split_images(groups, fraction, copies=copies)
        train, val = parts.train, parts.val
        notes += parts.notes
        # Frames of stacks that are not equal as a whole.
        learn, check = ({k: files[k] for k in part if k in files} for part in (train, val))
        train = _without_copies(names, train, find_shared(learn, check), notes)
    if isinstance(opened, OpenedVideos):
        notes += check_tracks(opened.source, opened.path, train)
    labels = _labels(card.categories, opened, train, training_task(params, card))
    samples = _samples(opened, train, labels, params, card)
    resolved = resolve(params, card, len(samples), has_videos=isinstance(opened, OpenedVideos))
    learner = start_learner(card, labels, resolved)
    resolved = resolve_for_network(resolved, learner.config, learner.network.mask_probabilities)
    plan = RunPlan(
        dataset=str(opened.path.resolve()),
        val_dataset="" if checks is opened else str(checks.path.resolve()),
        model=str(model),
        device=device,
        params=params,
        resolved=resolved,
    )
    own = train if val_names else (*train, *val)
    split = RunSplit(
        train=train, val=val, names={key: names[key] for key in own}, val_names=val_names
    )
    return Setup(plan, split, samples, learner, checks.data, None, (*notes, *samples.notes))


GOES_ON_WITH_OTHER = ("micro_batch", "loaders", "patience", "gradient_checkpointing")
"""Parameters that may be others after a stop: what is learnt stays the same but for rounding."""


def set_up_again(run: Run, changes: dict[str, Any] | None = None) -> Setup:
    """Prepare a training to go on from the last state of a run.

    Parameters
    ----------
    run : Run
    changes : dict, optional
        Parameters that are to be others from now on; of `GOES_ON_WITH_OTHER`.

    Raises
    ------
    EomtError
        If there is no state, or what was learnt from is no longer there.
    """
    plan, split = _changed(run, changes or {}), run.split
    state = load_state(run.folder / STATES)
    opened = open_dataset(plan.dataset)
    checks = open_dataset(plan.val_dataset) if plan.val_dataset else opened
    _check_there(opened, split.train, split.names, "learns from")
    _check_there(
        checks, split.val, split.val_names if plan.val_dataset else split.names, "checks on"
    )
    learner = restore_learner(state.folder, plan.resolved, plan.model)
    # Runs of older versions have not told them.
    resolved = resolve_for_network(
        plan.resolved, learner.config, learner.network.mask_probabilities
    )
    plan = plan.model_copy(update={"resolved": resolved})
    task = training_task(plan.resolved, learner.card)
    labels = _labels(learner.categories, opened, split.train, task)
    samples = _samples(opened, split.train, labels, plan.params, learner.card)
    return Setup(plan, split, samples, learner, checks.data, state, state.notes)


def _without_copies(
    names: Mapping[str, str], train: tuple[str, ...], shared: Shared, notes: list[str]
) -> tuple[str, ...]:
    """Return what is learnt from without what checks as well, and note what is left out."""
    if not shared.learn:
        return train
    left = shared.left_of(train)
    notes.append(left_out_text([names[key] for key in shared.learn], len(train)))
    return left


def _samples(
    opened: Opened | OpenedVideos,
    keys: Sequence[str],
    labels: LabelMap,
    params: TrainParams,
    card: ModelCard,
) -> SampleSet:
    """Return the views that are learnt from: clips for a model of videos."""
    make = ClipSet if card.is_video else SampleSet
    return make(opened.source, keys, labels, params, card)


def _check_kinds(opened: Opened | OpenedVideos, checks: Opened | OpenedVideos) -> None:
    """Refuse to measure tracks on images, or images by videos."""
    if isinstance(opened, OpenedVideos) == isinstance(checks, OpenedVideos):
        return
    kinds = ["videos" if isinstance(one, OpenedVideos) else "images" for one in (opened, checks)]
    raise DataError(
        f"{opened.path} has {kinds[0]}, and {checks.path}, which is to check, {kinds[1]}. Choose "
        "two of a kind."
    )


def _check_there(
    opened: Opened | OpenedVideos, keys: Sequence[str], names: Mapping[str, str], what: str
) -> None:
    known = {entry.key: entry.name for entry in opened.source.entries}
    gone = [key for key in keys if key not in known or known[key] != names.get(key, known[key])]
    if gone:
        raise DataError(
            f"{len(gone)} of the {len(keys)} images that the run {what} are no longer in "
            f"{opened.path}: the first is {names.get(gone[0], gone[0])}. Put them back, or begin a "
            "new run."
        )


def _labels(
    categories: Sequence[Category], opened: Opened | OpenedVideos, keys: Sequence[str], task: Task
) -> LabelMap:
    """Return the labels of a dataset's categories in a model with these."""
    source, learning = opened.source, frozenset(keys)
    labels = match_categories(categories, source.categories)
    # In a panoptic dataset void is what nobody has looked at, not what is nothing.
    if task == "semantic" and not isinstance(opened.data, PanopticFile):
        entries = [entry for entry in source.entries if entry.key in learning]
        if void_share(source, entries) > _LITTLE_VOID:
            return with_background(labels)
    return labels


def _changed(run: Run, changes: dict[str, Any]) -> RunPlan:
    plan = run.plan
    for name, value in changes.items():
        known = getattr(plan.params, name)
        if name not in GOES_ON_WITH_OTHER and value != known:
            raise DataError(
                f"The run in {run.folder} began with {name} {known}, and cannot go on with "
                f"{value}. Leave it out, or begin a new run."
            )
    left = {name: value for name, value in changes.items() if name in GOES_ON_WITH_OTHER}
    return plan.model_copy(
        update={
            "params": plan.params.model_copy(update=left),
            "resolved": plan.resolved.model_copy(update=left),
        }
    )
