"""That no image that checks is learnt from: refused where two datasets are given. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_eomt.errors import DataError
from napari_eomt.formats.copies import find_shared, listed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_eomt.formats.slices import ImagePlace


def check_apart(
    learn: Mapping[str, ImagePlace], check: Mapping[str, ImagePlace], where: Path
) -> None:
    """Check that no image that checks is learnt from.

    Parameters
    ----------
    learn, check : dict of str to (Path or Slice)
        As of `find_shared`.
    where : Path
        The JSON of those that check.

    Raises
    ------
    DataError
        If some are: which, and how many; or one cannot be read.
    """
    same = find_shared(learn, check).check
    if not same:
        return
    shown = listed([f"{check[key]} is {learn[other]}" for key, other in same.items()])
    raise DataError(
        f"{len(same)} of the {len(check)} images that check are learnt from as well: "
        f"{shown}. They cannot tell whether learning helped. Leave them out of "
        f"what is learnt with --leave-out-copies, or take them out of {where}; or leave the other "
        "dataset out, and some images of the first check."
    )
