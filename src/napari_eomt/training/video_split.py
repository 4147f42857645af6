"""Which videos learn and which check; a single one is split in time. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_eomt.errors import DataError
from napari_eomt.training.split import Split, split_images

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def split_videos(groups: Mapping[str, str], val_fraction: float, gap: int) -> Split:
    """Decide which videos learn and which check, as `split_images` does for stacks.

    A single video is split in time, see `split_in_time`.

    Parameters
    ----------
    groups : dict of str to str
        The video of each frame, by its key; frames in their order.
    val_fraction : float
        0 to below 1; 0: nothing checks.
    gap : int
        See `split_in_time`.

    Raises
    ------
    DataError
        If there is no frame.
    """
    if not groups:
        raise DataError("There are no frames to learn from. Annotate some.")
    if len(set(groups.values())) > 1 or val_fraction <= 0:
        return split_images(groups, val_fraction)
    keys = tuple(groups)
    found = split_in_time(len(keys), val_fraction, gap)
    if found is None:
        return Split(keys, (), (why_no_time_split(len(keys), gap),))
    return Split(keys[: found.n_learn], keys[-found.n_check :], (str(found),))
