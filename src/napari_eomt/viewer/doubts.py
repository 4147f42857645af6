"""What the models have said of their proposals: of which they are unsure, and of what."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from psygnal import Signal

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from napari_eomt.annotation.session import Key
    from napari_eomt.structures.uncertainty import Uncertainty


class Doubts:
    """Holds, by result, what a model said of each object; it is in no document.

    Of objects of which nothing is known here, after a document was opened, their score tells.
    """

    changed = Signal(str)
    """More is known of a result: its key."""

    def __init__(self) -> None:
        self._by_result: dict[str, dict[Key, Uncertainty]] = {}

    def of(self, key: str) -> Mapping[Key, Uncertainty]:
        """Return what is known of the objects of a result, by frame and id."""
        return MappingProxyType(self._by_result.get(key, {}))

    def know(self, key: str, frame: int, doubts: Mapping[Key, Uncertainty]) -> None:
        """Take what a model says of its proposals in a frame, in place of what was said before."""
        known = self._by_result.setdefault(key, {})
        for old in [old for old in known if old[0] == frame]:
            del known[old]
        known.update(doubts)
        self.changed.emit(key)

    def keep(self, keys: Collection[str]) -> None:
        """Forget all results but these."""
        self._by_result = {key: known for key, known in self._by_result.items() if key in keys}
