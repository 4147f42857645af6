"""Thresholds that follow the model's recommendation until the user moves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_eomt.inference.params import PredictParams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.segments import Task
    from napari_eomt.widgets.params_form import ParamsForm

THRESHOLDS = ("score_threshold", "mask_threshold", "overlap_threshold")


def recommended(card: ModelCard, task: Task | None) -> dict[str, float]:
    """Return the thresholds to start with.

    A model's are for the task that it was trained for, which is its first. For another one, and
    where it says nothing, they are the defaults: a score that is good for a panoptic model would
    leave hardly an instance.
    """
    values = {name: float(PredictParams.model_fields[name].default) for name in THRESHOLDS}
    if task in (None, card.tasks[0]):
        said = card.thresholds.model_dump()
        values |= {name: said[name] for name in THRESHOLDS if said[name] is not None}
    return values


def to_move(
    now: Mapping[str, float], before: Mapping[str, float], after: Mapping[str, float]
) -> dict[str, float]:
    """Return the thresholds that move when the recommendation changes from `before` to `after`.

    Those that the user has moved away from `before` stay.
    """
    return {
        name: after[name]
        for name in THRESHOLDS
        if after[name] != now[name] and abs(now[name] - before[name]) < 0.0005
    }


def in_words(moved: Mapping[str, float]) -> str:
    """Say which thresholds have moved, as the form calls them: "score 0.80, mask 0.50"."""
    titles = {name: str(PredictParams.model_fields[name].title).lower() for name in moved}
    return ", ".join(f"{titles[name]} {value:.2f}" for name, value in moved.items())


class Recommendation:
    """Moves the thresholds of a form that nobody has moved to what model and task ask for.

    Parameters
    ----------
    form : ParamsForm
    """

    def __init__(self, form: ParamsForm) -> None:
        self._form = form
        self._card: ModelCard | None = None
        self._task: Task | None = None
        self._before: dict[str, float] | None = None

    def follow(self, card: ModelCard | None = None) -> dict[str, float]:
        """Take up that the model, or the form's task, is another; return what has moved.

        Parameters
        ----------
        card : ModelCard, optional
            Of another model.
        """
        task = self._form.task
        if card is None and task == self._task:
            return {}
        self._card = self._card if card is None else card
        if self._card is None:
            return {}
        before = self._before
        self._before, self._task = recommended(self._card, task), task
        if before is None:  # those of last time
            return {}
        moved = to_move(self._form.thresholds(), before, self._before)
        self._form.set_thresholds(moved)
        return moved
