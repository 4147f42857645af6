"""What the model should find in one image, read at points instead of as float masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_eomt.errors import DataError
from napari_eomt.training.points import containing_pixels, corners, read_own, with_border

if TYPE_CHECKING:
    from collections.abc import Sequence

# Pixels of the masks that are read at a time, on a CPU and elsewhere.
_PIXELS_AT_ONCE = (2**17, 2**25)


@dataclass(frozen=True, eq=False)
class ImageTargets:
    """The objects of one view, as it enters the model.

    Either `masks`, which may overlap, or `rows`, in which a pixel belongs to one object. Both are
    read bilinearly, pixels as 0 or 1, as transformers reads its float masks.

    Parameters
    ----------
    labels : (n,) int64
        Category of each object, as its index in the class logits.
    masks : (n, h, w) uint8 or bool, optional
        0 and 1.
    rows : (h, w) int, optional
        Index in `labels` of the object that each pixel belongs to; -1 where there is none.
    ignore : (h, w) bool, optional
        True where nobody has said what there is: crowds and regions not reviewed. There masks are
        not compared, and a query that no object has claimed and whose mask lies mostly there is
        not told that it found nothing.

    Raises
    ------
    DataError
        If these do not fit together.
    """

    labels: torch.Tensor
    masks: torch.Tensor | None = None
    rows: torch.Tensor | None = None
    ignore: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if (self.masks is None) == (self.rows is None):
            raise DataError("The targets of an image are either masks or rows: give one of them.")
        if self.masks is not None:
            if self.masks.ndim != 3 or len(self.masks) != len(self.labels):
                raise DataError(
                    f"The targets have {len(self.labels)} labels and masks of shape "
                    f"{tuple(self.masks.shape)}; expected ({len(self.labels)}, h, w)."
                )
            if self.masks.dtype not in (torch.bool, torch.uint8):
                raise DataError(
                    f"The target masks are {self.masks.dtype}; expected bool, or uint8 of 0 and 1."
                )
        if self.rows is not None and self.rows.ndim != 2:
            raise DataError(f"The target rows are {tuple(self.rows.shape)}; expected (h, w).")
        if self.ignore is not None and self.ignore.ndim != 2:
            raise DataError(f"The ignore mask is {tuple(self.ignore.shape)}; expected (h, w).")

    def __len__(self) -> int:
        return len(self.labels)

    @classmethod
    def from_id_map(
        cls,
        id_map: torch.Tensor,
        ids: Sequence[int],
        labels: Sequence[int],
        ignore: torch.Tensor | None = None,
    ) -> ImageTargets:
        """Take an id map and the segments in it that are targets; other ids are background.

        Parameters
        ----------
        id_map : (h, w) int
        ids : sequence of int
            Different ids of `id_map`.
        labels : sequence of int
            One for each id.
        ignore : (h, w) bool, optional

        Raises
        ------
        DataError
            If an id is there twice, or ids and labels differ in number.
        """
        if len(ids) != len(labels) or len(set(ids)) != len(ids):
            raise DataError(
                f"The targets have {len(ids)} ids, {len(set(ids))} of them different, and "
                f"{len(labels)} labels; expected one label for each id."
            )
        known = torch.tensor(ids, dtype=torch.int64, device=id_map.device)
        order = known.argsort()
        rows = torch.full(id_map.shape, -1, dtype=torch.int64, device=id_map.device)
        if len(ids):
            wide = id_map.long()
            place = torch.searchsorted(known[order], wide).clamp_(max=len(ids) - 1)
            row = order[place]
            rows = torch.where(known[row] == wide, row, rows)
        return cls(
            torch.tensor(labels, dtype=torch.int64, device=id_map.device),
            rows=rows.int(),
            ignore=ignore,
        )

    def to(self, device: torch.device, *, non_blocking: bool = False) -> ImageTargets:
        """Return these targets on another device."""

        def move(tensor: torch.Tensor | None) -> torch.Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=non_blocking)

        labels = self.labels.to(device, non_blocking=non_blocking)
        return ImageTargets(labels, move(self.masks), move(self.rows), move(self.ignore))

    def at(self, points: torch.Tensor) -> torch.Tensor:
        """Read every object at the same points.

        Parameters
        ----------
        points : (P, 2) float32

        Returns
        -------
        (n, P) float32
        """
        n_objects = len(self)
        if self.masks is not None:
            everything = torch.arange(n_objects, device=points.device)
            return self.at_own(everything, points.expand(n_objects, -1, -1))
        owners, size = self._owners()
        index, weight = corners(points, *size)
        # One row more takes up the pixels of no object.
        table = weight.new_zeros(n_objects + 1, len(points))
        table.scatter_add_(0, owners[index], weight)
        return table[:n_objects]

    def at_own(self, which: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Read each of some objects at points of its own.

        Parameters
        ----------
        which : (m,) int64
            Indices in `labels`.
        points : (m, P, 2) float32

        Returns
        -------
        (m, P) float32
        """
        whole = self.rows if self.masks is None else self.masks[0] if len(self) else None
        if whole is None or not len(which):
            return points.new_zeros(len(which), points.shape[1])
        # Few stay in a CPU's cache; a GPU wants many at a time.
        at_once = _PIXELS_AT_ONCE[points.device.type != "cpu"]
        step = max(1, at_once // max(1, whole.numel()))
        parts = [slice(start, start + step) for start in range(0, len(which), step)]
        return torch.cat([read_own(self._chosen(which[part]), points[part]) for part in parts])

    def is_ignored_at(self, points: torch.Tensor) -> torch.Tensor | None:
        """Tell of each point, (..., 2), whether its pixel is ignored; None if no pixel is."""
        if self.ignore is None:
            return None
        height, width = self.ignore.shape
        return self.ignore.bool().flatten()[containing_pixels(points, height, width)]

    def _chosen(self, which: torch.Tensor) -> torch.Tensor:
        """Return some of the masks, (m, h, w)."""
        if self.masks is not None:
            return self.masks.index_select(0, which)
        if self.rows is None:
            raise ValueError("The targets of an image are either masks or rows.")
        # On a CPU a mask is made and read in a third of the time that it takes to look up whose
        # each point's four pixels are.
        return self.rows == which[:, None, None].to(self.rows.dtype)

    def _owners(self) -> tuple[torch.Tensor, tuple[int, int]]:
        """Return, of every pixel and the border, the index of its object, n if none; (h, w)."""
        if self.rows is None:
            raise ValueError("Targets given as masks have no map of owners.")
        rows = with_border(self.rows.long(), value=-1).flatten()
        height, width = self.rows.shape
        return torch.where(rows < 0, len(self), rows), (height, width)
