"""Where the files of a dataset's images are: all there. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_eomt.errors import DataError
from napari_eomt.formats.dataset_images import image_file, roots_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_eomt.formats.coco_checks import Record


def check_files(
    path: Path, records: Sequence[Record], other: Callable[[int], Path] | None = None
) -> None:
    """Check that the files of a dataset's images are there, all at once rather than one by one.

    Parameters
    ----------
    path : Path
        The dataset's JSON.
    records : sequence of dict
        Its images.
    other : callable, optional
        Finds what each image needs besides, by its id: the PNG of its segments.

    Raises
    ------
    DataError
        If some are not: how many, and which is the first.
    """
    roots = roots_of(path)
    missing: list[str] = []
    for record in records:
        try:
            image_file(roots, record)
            if other is not None:
                other(record["id"])
        except DataError as error:
            missing.append(str(error))
    if missing:
        raise DataError(
            f"The files of {len(missing)} of {len(records)} images cannot be found. The first: "
            f"{missing[0]}"
        )
