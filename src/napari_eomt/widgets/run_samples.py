"""What a run has found on its check images, as pictures. No Qt, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_eomt.training.check_samples import SAMPLES, load_samples
from napari_eomt.training.runs import REPORTS
from napari_eomt.training.video_choice import shown_frames, video_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from napari_eomt.structures.frames import Frame
    from napari_eomt.structures.segments import IdMap
    from napari_eomt.widgets.run_tail import RunNews

Side = Literal["before", "after"]


class CheckImage:
    """An image of a dataset, or a frame of a video, as a source of one frame.

    It is read in the thread that asks for it.

    Parameters
    ----------
    dataset : str
        Its COCO file, or what else a training is given.
    key : str
        Of the image.
    name : str
    """

    n_frames = 1

    def __init__(self, dataset: str, key: str, name: str) -> None:
        self._dataset, self.key, self.name = dataset, key, name
        self.pixels: Frame | None = None
        """As they were read last."""

    def frame(self, index: int) -> Frame:
        """Read it."""
        from napari_eomt.evaluation.truth import open_truth
        from napari_eomt.training.opened import open_dataset

        if video_of(self.key):
            self.pixels = open_dataset(self._dataset).source.frame(self.key)
        else:
            self.pixels = open_truth(self._dataset).image(int(self.key))
        return self.pixels


@dataclass(frozen=True, eq=False)
class Picture:
    """An image with the outlines of what was found.

    Parameters
    ----------
    pixels : (h, w, 3) uint8
    caption : str
    """

    pixels: npt.NDArray[np.uint8]
    caption: str


def offered(news: RunNews) -> list[tuple[str, str]]:
    """Return the check images of a run that can be looked at: the key, and the name of each.

    Of each of the first videos one frame, in which the checks have kept what they found.
    """
    split = news.split
    if split is None:
        return []
    is_video = any(video_of(key) for key in split.val)
    keys = shown_frames(split.val) if is_video else split.val
    return [(key, split.val_name(key)) for key in keys]


def short_name(key: str, name: str) -> str:
    """Return the name of an image without the folders that nobody needs to read.

    Of a frame the folder stays, which is its video's.
    """
    n_parts = 2 if video_of(key) else 1
    return "/".join(name.split("/")[-n_parts:])


def is_no_better(news: RunNews) -> bool:
    """Whether there were checks, and all said that the model of the start is the best."""
    return news.best is not None and news.best[0] == 0


def step_after(news: RunNews) -> int:
    """Return of which step a run's result is: as it goes the last check's, then the best."""
    if news.is_running or is_no_better(news):
        return int(news.checks[-1]["step"]) if news.checks else 0
    return news.best[0] if news.best is not None else news.step


def kept_pictures(news: RunNews, image: CheckImage, side_px: int) -> dict[Side, Picture]:
    """Return what the checks of a run have found on an image; empty if it is not one they keep.

    Parameters
    ----------
    news : RunNews
    image : CheckImage
        Read if that was not done before.
    side_px : int
        Most pixels of a side of a picture.

    Raises
    ------
    EomtError
        If a file is damaged, or the image cannot be read.
    """
    reports = news.folder / REPORTS
    is_last = news.is_running or is_no_better(news)
    step, found = step_after(news), {}
    names: tuple[tuple[Side, str, str], ...] = (
        ("before", "before", "before"),
        ("after", "last" if is_last else "best", when(news, step)),
    )
    for side, name, words in names:
        sample = load_samples(reports / f"{name}{SAMPLES}").get(image.key)
        if sample is None or (side == "after" and not step):
            continue
        frame = image.frame(0) if image.pixels is None else image.pixels
        picture = draw(frame[:: sample.step, :: sample.step], sample.id_map, side_px)
        found[side] = Picture(picture, f"{words}: {objects_text(sample.n_objects)}")
    return found


def when(news: RunNews, step: int) -> str:
    """Return of when a result is: "now (step 20)"."""
    return f"{'now' if news.is_running else 'after'} (step {step:,})"


def draw(frame: Frame, id_map: IdMap | Any, side_px: int) -> npt.NDArray[np.uint8]:
    """Return an image with the outlines of objects."""
    from napari_eomt.models.catalog import DEFAULT_MODEL, find_model
    from napari_eomt.viewer.thumbnails import thumbnail

    # How the picture looks depends on no model.
    return thumbnail(frame, id_map, find_model(DEFAULT_MODEL), side_px)


def objects_text(n: int) -> str:
    """Return a count in words."""
    return "1 object" if n == 1 else f"{n:,} objects"
