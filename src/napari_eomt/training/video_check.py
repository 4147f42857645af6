"""Whether learning helps on videos: objects found frame by frame, and each as one throughout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_eomt.errors import DataError
from napari_eomt.evaluation.evaluate import iter_evaluate
from napari_eomt.evaluation.predictions import Predicted
from napari_eomt.evaluation.truth import Truth
from napari_eomt.evaluation.undecided import DecidedTruth
from napari_eomt.evaluation.video_frames import iter_overlaps
from napari_eomt.evaluation.video_identity import IdentityCounter, IdentityQuality
from napari_eomt.formats.coco_file import CocoFile
from napari_eomt.inference.plan import task_of
from napari_eomt.inference.progress import result_of
from napari_eomt.inference.track_params import TrackParams
from napari_eomt.inference.video import VideoTracker
from napari_eomt.models.load import load_segmenter
from napari_eomt.training.check_samples import CheckSample
from napari_eomt.training.video_choice import MAX_CHECKED, checked_frames, shown_frames

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_eomt.evaluation.report import Report
    from napari_eomt.inference.params import PredictParams
    from napari_eomt.inference.progress import Progress
    from napari_eomt.models.segmenter import Segmenter
    from napari_eomt.structures.segments import Segmentation
    from napari_eomt.training.params import TrainParams
    from napari_eomt.training.video_opened import Videos


class VideoTruth(Truth):
    """The frames of videos as images that are evaluated, one video after the other.

    Parameters
    ----------
    videos : Videos
    keys : sequence of str
        Of the frames.
    """

    void = "background"

    def __init__(self, videos: Videos, keys: Sequence[str]) -> None:
        by_key = {entry.key: entry for entry in videos.source.entries}
        self.keys = tuple(keys)
        entries = [by_key[key] for key in keys]
        images = [
            {"id": i, "file_name": entry.name, "height": entry.shape[0], "width": entry.shape[1]}
            for i, entry in enumerate(entries)
        ]
        categories = [
            {"id": c.id, "name": c.name, "isthing": int(c.is_thing)}
            for c in videos.source.categories
        ]
        super().__init__(videos.path, CocoFile(categories, images))
        self.source = videos.source
        self.groups = tuple(entry.group for entry in entries)

    def image(self, image_id: int) -> npt.NDArray[Any]:
        """Read the pixels of a frame."""
        return self.source.frame(self.keys[image_id])

    def segmentation(self, image_id: int) -> Segmentation:
        """Read the tracks of a frame."""
        return self.source.segmentation(self.keys[image_id])


class VideoChecker:
    """Runs models through videos as a user would, and measures them.

    Parameters
    ----------
    videos : Videos
    keys : sequence of str
        Of the frames that check.
    params : TrainParams
        Resolved.
    device : str
    """

    def __init__(
        self, videos: Videos, keys: Sequence[str], params: TrainParams, device: str
    ) -> None:
        self._params, self._device = params, device
        self.notes: list[str] = []
        kept = checked_frames(VideoTruth(videos, keys).groups, MAX_CHECKED)
        if len(kept) < len(keys):
            self.notes.append(f"Of {len(keys)} frames that check {len(kept)} are looked at.")
        self._frames = VideoTruth(videos, [keys[k] for k in kept])
        self._truth: Truth = self._frames
        if params.undecided == "ignore" and _has_undecided(self._frames):  # as in learning
            self._truth = DecidedTruth(self._frames)
        self._shown = frozenset(shown_frames(keys))
        self.samples: dict[str, CheckSample] = {}
        """What the last check has found on a frame of each of its first videos, by their keys."""

    def iter_check(self, folder: Path) -> Generator[Progress, None, Report]:
        """Measure the model in a folder; each step is progress and a place to stop.

        Raises
        ------
        EomtError
            If the model or a frame cannot be used.
        """
        segmenter = load_segmenter(folder, self._device, self._params.precision)
        params = self._params.look()
        self.samples = {}
        source = _Tracked(segmenter, self._frames, self._truth, params, self._shown, self.samples)
        report = yield from iter_evaluate(
            self._truth,
            source,
            task=task_of(params, segmenter.card),
            name=folder.name,
            params=params,
        )
        total = report.total.model_copy(update={"idf1": source.quality().idf1})
        return report.model_copy(update={"total": total})


class _Tracked:
    """A model that goes through videos, and how well it keeps identities, counted on the way."""

    def __init__(
        self,
        segmenter: Segmenter,
        frames: VideoTruth,
        truth: Truth,
        params: PredictParams,
        shown: Collection[str],
        samples: dict[str, CheckSample],
    ) -> None:
        self._segmenter, self._frames, self._truth = segmenter, frames, truth
        self._params, self._shown, self._samples = params, shown, samples
        # Who a query follows is to be learnt, also what comes back late: no track is given up.
        self._track = TrackParams()
        self._tracker: VideoTracker | None = None
        self._counters: list[IdentityCounter] = []
        self._last = -1

    def of(self, image_id: int) -> Predicted:
        """Track the next frame; asked for in the order of the videos."""
        groups = self._frames.groups
        is_next = image_id == self._last + 1 and image_id > 0
        if self._tracker is None or not is_next or groups[image_id] != groups[image_id - 1]:
            self._tracker = VideoTracker(self._segmenter, self._params, self._track)
            self._counters.append(IdentityCounter())
        self._last = image_id
        try:
            found = result_of(self._tracker.iter_frame(self._frames.image(image_id))).segmentation
        except DataError as error:  # which does not know the frame's name
            raise DataError(f"{self._frames.name(image_id)}: {error}") from error
        key = self._frames.keys[image_id]
        if key in self._shown:
            self._samples[key] = CheckSample.of(found)
        known = self._truth.segmentation(image_id)
        nobody = [s.id for s in known.segments if s.is_crowd]
        self._counters[-1].add(next(iter_overlaps([known], [found], nobody)))
        return Predicted(found, None, self._segmenter.card.categories)

    def quality(self) -> IdentityQuality:
        """Return the quality over all videos: each by itself, added up."""
        parts = [counter.quality() for counter in self._counters]
        return IdentityQuality(
            sum(q.tp for q in parts), sum(q.fp for q in parts), sum(q.fn for q in parts)
        )


def _has_undecided(truth: VideoTruth) -> bool:
    return any(
        not segment.is_locked
        for image_id in truth.image_ids
        for segment in truth.segmentation(image_id).segments
    )
