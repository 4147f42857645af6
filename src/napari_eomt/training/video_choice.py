"""Which frames of videos are checked on and shown, and what their keys say. No torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_eomt.training.check_samples import MAX_SAMPLES

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_CHECKED = 200
"""Of more frames so many check, in runs of frames that follow each other."""

_MIN_RUN = 20

_OF = ":"
"""Between the video and the frame in a key: that of an image has none."""


def frame_key(video: str | int, frame: int) -> str:
    """Return the key of a frame of a video."""
    return f"{video}{_OF}{frame}"


def video_of(key: str) -> str:
    """Return the video of a key; empty if it is that of an image."""
    return key.rpartition(_OF)[0]


def frame_of(key: str) -> int:
    """Return the number of a frame in its video, by its key."""
    return int(key.rpartition(_OF)[2])


def n_videos(keys: Sequence[str]) -> int:
    """Count the videos of some keys: 0 if they are of images."""
    return len({video_of(key) for key in keys} - {""})


def shown_frames(keys: Sequence[str]) -> list[str]:
    """Return the frames of which is kept what a check finds: of each video the middle one.

    Parameters
    ----------
    keys : sequence of str
        Of the frames that check.
    """
    videos: dict[str, list[str]] = {}
    for k in checked_frames([video_of(key) for key in keys], MAX_CHECKED):
        videos.setdefault(video_of(keys[k]), []).append(keys[k])
    return [frames[len(frames) // 2] for frames in videos.values()][:MAX_SAMPLES]


def checked_frames(groups: Sequence[str], at_most: int) -> list[int]:
    """Return which frames are looked at, rising: of each video the first ones.

    Parameters
    ----------
    groups : sequence of str
        The video of each frame.
    at_most : int
        Of many videos of many frames, some are left out, evenly.
    """
    videos: dict[str, list[int]] = {}
    for k, group in enumerate(groups):
        videos.setdefault(group, []).append(k)
    names = list(videos)
    n_videos = min(len(names), max(1, at_most // _MIN_RUN))
    chosen = [names[k] for k in np.linspace(0, len(names) - 1, n_videos).astype(int)]
    length = at_most // n_videos
    return sorted(k for name in chosen for k in videos[name][:length])
