"""Which videos learn and which check; a single one is split in time. No torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_eomt.errors import DataError
from napari_eomt.training.split import Split, split_images
from napari_eomt.training.video_choice import frame_of, video_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_eomt.formats.slices import ImagePlace

MIN_FRAMES = 2
"""Of each part: one frame alone tells nothing of how an object goes on."""


@dataclass(frozen=True)
class TimeSplit:
    """How a single video is split: its first frames learn, its last ones check.

    Parameters
    ----------
    n_learn, n_between, n_check : int
        Frames, in their order. Those between are left out: they look nearly as those beside them.
    """

    n_learn: int
    n_between: int
    n_check: int

    def __str__(self) -> str:
        """Say it in words."""
        left_out = "1 is" if self.n_between == 1 else f"{self.n_between} are"
        return (
            f"One video: its first {self.n_learn} frames learn, its last {self.n_check} check; "
            f"{left_out} left out between, for neighbours look nearly the same. Another video "
            "would tell better whether learning helps."
        )


def split_in_time(n_frames: int, val_fraction: float, gap: int) -> TimeSplit | None:
    """Split a single video; None if it is too short, or nothing is to check.

    Parameters
    ----------
    n_frames : int
        That are annotated.
    val_fraction : float
        Of the frames, 0 to below 1.
    gap : int
        Frames that are left out between the parts: a clip's length.
    """
    if val_fraction <= 0:
        return None
    n_check = max(MIN_FRAMES, round(val_fraction * n_frames))
    n_learn = n_frames - gap - n_check
    return TimeSplit(n_learn, gap, n_check) if n_learn >= MIN_FRAMES else None


def why_no_time_split(n_frames: int, gap: int) -> str:
    """Say why a single video all learns, for people."""
    return (
        f"One video of {n_frames} annotated frames: too few to learn from the first and check on "
        f"the last, {gap} of them left out between. All learn, and nothing checks; annotate more "
        "frames, or another video."
    )


def split_videos(
    groups: Mapping[str, str],
    val_fraction: float,
    gap: int,
    copies: Mapping[str, str] | None = None,
) -> Split:
    """Decide which videos learn and which check, as `split_images` does for stacks.

    A single video is split in time, see `split_in_time`; so are its copies, at the same frames.

    Parameters
    ----------
    groups : dict of str to str
        The video of each frame, by its key, see `frame_key`; frames in their order.
    val_fraction : float
        0 to below 1; 0: nothing checks.
    gap : int
        See `split_in_time`.
    copies : dict of str to str, optional
        For videos that are copies of others, the first of these; see `join_copies`.

    Raises
    ------
    DataError
        If there is no frame.
    """
    if not groups:
        raise DataError("There are no frames to learn from. Annotate some.")
    videos = {(copies or {}).get(video, video) for video in groups.values()}
    if len(videos) > 1 or val_fraction <= 0:
        return split_images(groups, val_fraction, copies=copies)
    has_copies = len(set(groups.values())) > 1
    number = {key: frame_of(key) if has_copies else k for k, key in enumerate(groups)}
    frames = sorted(set(number.values()))
    found = split_in_time(len(frames), val_fraction, gap)
    if found is None:
        return Split(tuple(groups), (), (why_no_time_split(len(frames), gap),))
    learn, check = frozenset(frames[: found.n_learn]), frozenset(frames[-found.n_check :])
    train = tuple(key for key in groups if number[key] in learn)
    val = tuple(key for key in groups if number[key] in check)
    return Split(train, val, (str(found),))


def frames_apart(files: Mapping[str, ImagePlace]) -> dict[str, ImagePlace]:
    """Return the files of frames that have one each: of others it does not say which is which.

    Parameters
    ----------
    files : dict of str to (Path or Slice)
        Of the frames of videos, by their keys.
    """
    n_frames = Counter((video_of(key), place) for key, place in files.items())
    return {key: place for key, place in files.items() if n_frames[video_of(key), place] == 1}
