"""What the model has to say about an object: how to split it, and what else it may be."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_eomt.annotation.operations import recategorise
from napari_eomt.errors import DataError, EomtError
from napari_eomt.viewer.candidates import split
from napari_eomt.widgets.candidate_source import Questions

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_eomt.annotation.session import Key
    from napari_eomt.structures.candidates import Candidate, Split
    from napari_eomt.viewer.place import Place
    from napari_eomt.widgets.action_runner import ActionRunner
    from napari_eomt.widgets.candidate_source import CandidateSource


class ModelAdvice(QObject):
    """Asks the kept proposals about the object that is meant; no model runs.

    Parameters
    ----------
    runner : ActionRunner
    source : CandidateSource
    """

    categories_found = Signal(object)
    """The key of the object, and its (category_id, probability), most likely first."""
    missing = Signal()
    """The frame's proposals are not kept any more."""

    def __init__(
        self, runner: ActionRunner, source: CandidateSource, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._runner, self._source = runner, source
        self._questions = Questions(source, self)
        self._questions.missing.connect(self.missing)
        runner.handle("split_by_model", self.split)
        runner.handle("likely_categories", self.ask_categories)

    def split(self) -> None:
        """Split the object between the queries that see several there."""
        place = self._placed()
        key = place.meant()[0]
        y0, x0, y1, x1 = place.result.document.segments(key[0])[key[1]].bbox
        mask = place.result.document.id_map(key[0])[y0:y1, x0:x1] == key[1]
        self._questions.ask(
            "split",
            lambda: self._source.split(place.result.key, key[0], mask, (y0, x0)),
            partial(self._on_split, key),
        )

    def ask_categories(self) -> None:
        """Find out which categories the model finds likely for the object."""
        place = self._placed()
        key = place.meant()[0]
        y0, x0, y1, x1 = place.result.document.segments(key[0])[key[1]].bbox
        # The corners of its pixels, not their middles.
        top, left, bottom, right = y0 - 0.5, x0 - 0.5, y1 - 0.5, x1 - 0.5
        corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
        self._questions.ask(
            "categories",
            lambda: self._source.inside(place.result.key, key[0], corners),
            partial(self._on_categories, key),
        )

    def assign(self, key: Key, category_id: int) -> None:
        """Give an object a category."""
        place = self._placed()
        self._do(lambda: place.do(recategorise(place.result.document, [key], category_id)))

    def _on_split(self, key: Key, found: Split | None) -> None:
        if found is None:
            self._runner.say(
                "The model sees one object here, not several. Split it by a line (S).", True
            )
        else:
            self._do(lambda: split(self._placed(), key, found))

    def _on_categories(self, key: Key, found: tuple[Candidate, ...] | None) -> None:
        if found:
            self.categories_found.emit((key, found[0].categories))
        else:
            self._runner.say("The model has no proposal for this object.", True)

    def _placed(self) -> Place:
        place = self._runner.place
        if place is None:
            raise DataError("There are no objects yet: press Segment (W) first.")
        return place

    def _do(self, function: Callable[[], str]) -> None:
        try:
            self._runner.say(function())
        except EomtError as error:
            self._runner.say(str(error), True)
