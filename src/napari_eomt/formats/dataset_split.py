"""The files of a dataset's parts: derived from its one file, and made again when they are stale.

There is one truth, and one step replaces it. Two files of parts cannot change in one step; so they
say of which state of the truth they are, and whoever opens the dataset next makes them again.
Until then each is whole, and of the state before or of the one after.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_eomt.errors import DataError
from napari_eomt.formats.coco_file import CocoFile, save_coco
from napari_eomt.formats.copies import find_shared, join_copies, left_out_text
from napari_eomt.formats.dataset_images import image_files
from napari_eomt.formats.slices import image_name
from napari_eomt.formats.splits import PARTS, Part, group_of, joined_sizes, split_groups

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_eomt.formats.coco_checks import Record
    from napari_eomt.formats.slices import ImagePlace

KEY = "napari_eomt"
"""Of our own settings in a COCO file, beside 'images' and 'annotations'."""

_STATE = re.compile(r'"state": "([^"]*)"')
_N_HEAD = 4096  # bytes, in which the state stands
_RULE = 3  # by which images are split: files of parts that another one has made are stale


def val_fraction_of(file: CocoFile) -> float | None:
    """Return the fraction of images that check, if a dataset is split."""
    ours = file.extra.get(KEY)
    value = ours.get("val_fraction") if isinstance(ours, dict) else None
    return value if isinstance(value, float) and 0 < value < 1 else None


def with_val_fraction(file: CocoFile, val_fraction: float | None) -> CocoFile:
    """Return a file that says how it is split; None: not at all.

    Raises
    ------
    DataError
        If the fraction is not between 0 and 1, or the key of our settings is somebody else's.
    """
    if val_fraction is not None and not 0 < val_fraction < 1:
        raise DataError(
            f"The fraction of images that check is {val_fraction}; a number between 0 and 1 was "
            "expected, such as 0.2."
        )
    ours = file.extra.get(KEY, {})
    if not isinstance(ours, dict):
        raise DataError(f"'{KEY}' in the dataset is no object of ours. Rename that key.")
    settings = {k: v for k, v in ours.items() if k != "val_fraction"}
    if val_fraction is not None:
        settings["val_fraction"] = float(val_fraction)
    extra: dict[str, Any] = {k: v for k, v in file.extra.items() if k != KEY}
    return replace(file, extra=extra | ({KEY: settings} if settings else {}))


def path_of(path: Path, part: Part) -> Path:
    """Return the file of a part of the dataset in `path`."""
    return path.with_name(f"{path.stem}_{part}.json")


def state_of(path: Path) -> str:
    """Return what another state of the file would have another of."""
    stat = path.stat()
    return f"{_RULE}-{stat.st_size}-{stat.st_mtime_ns}"


def is_stale(path: Path) -> bool:
    """Whether a part of the dataset in `path` is missing, or of another state of it."""
    state = state_of(path)
    for part in PARTS:
        try:
            with path_of(path, part).open("rb") as file:
                found = _STATE.search(file.read(_N_HEAD).decode(errors="replace"))
        except OSError:
            return True
        if found is None or found[1] != state:
            return True
    return False


@dataclass(frozen=True)
class Written:
    """What the parts of a dataset have.

    Parameters
    ----------
    n_images : dict of str to int
        By part; videos count as one.
    notes : tuple of str
        What is in none of them; for people.
    """

    n_images: dict[Part, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def write_parts(path: Path, file: CocoFile, val_fraction: float) -> Written:
    """Write the files of the parts.

    Images, stacks and videos of equal files are in one part. Frames of stacks that are not equal
    as a whole are left out of what is learnt from if they are the same as ones that check.

    Raises
    ------
    OutputError
        If one cannot be written.
    DataError
        If an image cannot be read, to be compared with others of its size.
    """
    state = state_of(path)
    counts: dict[Part, int] = {}
    # A video is as the group of its frames, if it has any.
    every = [*file.images, *({"id": 0, "video_id": r["id"]} for r in file.videos)]
    sizes, places = Counter(map(group_of, every)), image_files(path, file.images, file)
    copies = _find_copies(path, file, places)
    joined = split_groups(joined_sizes(sizes, copies), val_fraction)
    part_of = {group: joined[copies[group]] for group in sizes}
    left_out: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    if max(sizes.values(), default=0) > 1:  # else all that are equal are together
        left_out, notes = _left_out(file, places, part_of)
    for part in PARTS:

        def chosen(record: Record, part: Part = part) -> bool:
            return part_of[group_of(record)] == part

        images = [r for r in file.images if chosen(r) and str(r["id"]) not in left_out]
        videos = [r for r in file.videos if chosen({"id": 0, "video_id": r["id"]})]
        image_ids, video_ids = {r["id"] for r in images}, {r["id"] for r in videos}
        note = {"part": part, "of": path.name, "state": state}
        derived = replace(
            file,
            images=images,
            videos=videos,
            extra=file.extra | {KEY: note},
            keys=(KEY, *file.keys),
        )
        save_coco(
            derived,
            path_of(path, part),
            (
                record
                for record in file.annotations
                if record.get("image_id") in image_ids or record.get("video_id") in video_ids
            ),
        )
        counts[part] = len(images) + len(videos)
    return Written(counts, notes)


def _find_copies(path: Path, file: CocoFile, places: Mapping[str, ImagePlace]) -> dict[str, str]:
    """Return for each group of images, or of frames of a video, which one it is a copy of."""
    groups = {str(record["id"]): group_of(record) for record in file.images}
    frames = {
        (video["id"], k): name
        for video in file.videos
        for k, name in enumerate(video.get("file_names") or [None])
    }
    keys = {place: f"video {place[0]}, {place[1]}" for place in frames}
    records = [{"id": key, "file_name": frames[place]} for place, key in keys.items()]
    groups |= {key: group_of({"id": 0, "video_id": place[0]}) for place, key in keys.items()}
    return join_copies(groups, {**places, **image_files(path, records)})


def _left_out(
    file: CocoFile, places: Mapping[str, ImagePlace], part_of: Mapping[str, Part]
) -> tuple[frozenset[str], tuple[str, ...]]:
    """Return which images would learn and are the same as ones that check, and tell of them."""
    parts = {str(record["id"]): part_of[group_of(record)] for record in file.images}
    learn, check = ({k: places[k] for k in places if parts[k] == part} for part in PARTS)
    same = find_shared(learn, check).learn
    if not same:
        return frozenset(), ()
    records = [record for record in file.images if str(record["id"]) in same]
    names = [image_name(record, is_shared=file.is_shared(record)) for record in records]
    n_learn = sum(part == "train" for part in parts.values())
    return frozenset(same), (left_out_text(names, n_learn),)


def remove_parts(path: Path) -> None:
    """Remove the files of parts that we have written."""
    for part in PARTS:
        derived = path_of(path, part)
        with suppress(OSError):
            with derived.open("rb") as file:
                is_ours = file.read(_N_HEAD).lstrip().startswith(f'{{"{KEY}"'.encode())
            if is_ours:
                derived.unlink()
