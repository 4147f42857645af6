"""A forward pass kept: from it any thresholds and any task, without another one."""

from __future__ import annotations

from functools import cached_property
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

from napari_eomt.inference.decision import Decider, DecisionMemory
from napari_eomt.inference.finder import Finder
from napari_eomt.inference.params import PredictParams, same_proposals
from napari_eomt.inference.plan import Plan, make_plan, task_of
from napari_eomt.inference.query_masks import QueryMasks

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_eomt.inference.decision import Decision, View
    from napari_eomt.models.card import ModelCard
    from napari_eomt.structures.segments import Segmentation, Task

_SHOWN_PIXELS = 2**20


class Proposals:
    """Everything that the model proposed for an image.

    Parameters
    ----------
    plan : Plan
        How the image was looked at.
    card : ModelCard
        Of the model.
    params : PredictParams
        With which it was run.
    views : list of View
        One for each of the plan's tiles, in their order.
    object_size : float or None
        Side of a typical object, in pixels of the image, that set the zoom.
    memory : DecisionMemory, optional
        Of the decision that was made while they came.
    """

    def __init__(
        self,
        plan: Plan,
        card: ModelCard,
        params: PredictParams,
        views: list[View],
        object_size: float | None,
        memory: DecisionMemory | None = None,
    ) -> None:
        self.plan = plan
        self.card = card
        self.params = params
        self.views = views
        self.object_size = object_size
        self.memory = memory or DecisionMemory()
        self._shown: tuple[PredictParams, npt.NDArray[np.bool_], int] | None = None
        self._finder: tuple[tuple[Task, float], Finder] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of memory that they take; what is remembered of them takes 1 % more."""
        return sum(view.nbytes for view in self.views)

    @cached_property
    def masks(self) -> QueryMasks:
        """The masks of single queries; what was measured once is remembered."""
        return QueryMasks(self.plan, self.card.input_size, self.views)

    def finder(self, params: PredictParams) -> Finder:
        """Return what looks at single queries with the task and mask threshold of `params`."""
        key = (task_of(params, self.card), params.mask_threshold)
        if self._finder is None or self._finder[0] != key:
            self._finder = (key, Finder(self.masks, self.card, *key))
        return self._finder[1]

    def fits(self, params: PredictParams) -> bool:
        """Whether running the model with these parameters would give the same proposals."""
        return (
            same_proposals(self.params, params)
            and make_plan(self.plan.shape, self.card, params, self.object_size) == self.plan
        )

    def decide(self, params: PredictParams) -> Decision:
        """Decide about the proposals anew, without running the model."""
        decider = Decider(self.plan, self.card, params, self.memory)
        for view in self.views:
            decider.add(view)
        decision = decider.result()
        self.remember(params, decision)
        return decision

    def remember(self, params: PredictParams, decision: Decision) -> None:
        """Remember what was decided last, for `shown`."""
        id_map = decision.segmentation.id_map
        # As coarse as the model's grid at most; 1 MB of 4096².
        step = max(1, ceil(sqrt(id_map.size / _SHOWN_PIXELS)))
        self._shown = (params, id_map[::step, ::step] > 0, step)

    def shown(self, params: PredictParams) -> tuple[npt.NDArray[np.bool_], int]:
        """Return what a decision covers with segments, on every n-th row and column, and n."""
        if self._shown is None or self._shown[0] != params:
            self.decide(params)
        assert self._shown is not None  # noqa: S101 - just remembered
        return self._shown[1:]

    def segment(self, params: PredictParams | None = None, **changes: Any) -> Segmentation:
        """Decide about the proposals anew, without running the model.

        Parameters
        ----------
        params : PredictParams, optional
            By default those with which the model was run.
        **changes
            Single parameters to change, such as ``score_threshold=0.3``.
        """
        return self.decide(changed(params or self.params, changes)).segmentation


def changed(params: PredictParams, changes: dict[str, Any]) -> PredictParams:
    """Return the parameters with some of them changed, checked."""
    return PredictParams(**{**params.model_dump(), **changes})
