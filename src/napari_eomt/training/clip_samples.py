"""From tracked videos to the clips that a step learns from: the same for the same seed. No torch.

A clip is seen alike in all of its frames: one place, one zoom, one orientation, one change of
colours. What is annotated has one label and one place among the clip's objects in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from napari_eomt.structures.id_maps import id_dtype
from napari_eomt.training.augment import oriented, padded
from napari_eomt.training.clip_views import draw_drift, draw_frames
from napari_eomt.training.samples import CACHE_BYTES, Sample, SampleSet
from napari_eomt.training.video_sources import VideoSource
from napari_eomt.training.views import cut_nearest, cut_pixels, present

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.models.card import ModelCard
    from napari_eomt.training.augment import ColorChange
    from napari_eomt.training.clip_views import Drift
    from napari_eomt.training.image_cache import ReadyImage
    from napari_eomt.training.labels import LabelMap
    from napari_eomt.training.params import TrainParams
    from napari_eomt.training.sources import ImageSource
    from napari_eomt.training.views import View

_ORDER, _SAMPLE = 0, 1


@dataclass(frozen=True, eq=False)
class ClipSample:
    """Some frames of a video, as the model is to learn them.

    Parameters
    ----------
    frames : tuple of T Sample
        All with the labels and ids of the clip's objects, in the same order, also where they
        cannot be seen.
    visible : (n, T) bool
        Where each of the objects has a pixel; all have one somewhere.
    """

    frames: tuple[Sample, ...]
    visible: npt.NDArray[np.bool_]

    @property
    def key(self) -> str:
        """Of the first frame, in its source."""
        return self.frames[0].key

    @property
    def n_surplus(self) -> int:
        """Objects that are ignored because the model has too few queries."""
        return self.frames[0].n_surplus


class ClipSet(SampleSet):
    """The clips of some videos, epoch by epoch; see `SampleSet`.

    An epoch has as many clips as it takes to show each frame about once. Single images are videos
    of one frame, which drift; so are frames of videos, as often as `still_clips` says.

    Parameters
    ----------
    source, keys, labels, params, card, cache_bytes
        As of `SampleSet`; keys are those of frames.
    """

    def __init__(
        self,
        source: ImageSource,
        keys: Sequence[str],
        labels: LabelMap,
        params: TrainParams,
        card: ModelCard,
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        super().__init__(source, keys, labels, params, card, cache_bytes=cache_bytes)
        videos: dict[str, list[str]] = {}
        is_video = isinstance(source, VideoSource)
        for key, entry in self._entries.items():
            videos.setdefault(entry.group if is_video else key, []).append(key)
        self._videos = {name: tuple(frames) for name, frames in videos.items()}
        self._clips: list[list[tuple[str, View | None]]] = []
        for name, frames in self._videos.items():
            shape, size = self._entries[frames[0]].shape, self._size_of(name)
            views = self._views_of(shape, size)
            n_clips = ceil(len(frames) / params.clip_length)
            self._clips.append([(name, view) for view in views for _ in range(n_clips)])
        self._n = sum(map(len, self._clips))
        self._clip_order = lru_cache(maxsize=2)(self._draw_clip_order)

    def at(self, number: int) -> ClipSample:  # type: ignore[override]
        """Return a clip of the endless row of epochs, from 0."""
        return self.clip(*divmod(number, self._n))

    def clip(self, epoch: int, k: int) -> ClipSample:
        """Return clip k of an epoch.

        Raises
        ------
        DataError
            If a frame cannot be read, or its annotations are of another size.
        """
        name, view = self._clip_order(epoch)[k]
        keys, length = self._videos[name], self._params.clip_length
        rng = np.random.default_rng([self._params.seed, epoch, k, _SAMPLE])
        orientation, change = self._draw_changes(rng)
        chosen = draw_frames(rng, len(keys), length, self._params.clip_stride)
        is_still = rng.random() < self._params.still_clips or len(keys) == 1
        drifts = draw_drift(rng, length) if is_still else None
        if drifts is not None:
            chosen = [chosen[int(rng.integers(length))]] * length
        images = [self._images.get(keys[frame]) for frame in chosen]
        is_fixed = view is not None and change is None and drifts is None
        if view is None:
            truth = images[int(rng.integers(length))].truth
            zoom = self._look.base_zoom(truth.shape, self._size_of(name))
            view = self._random.draw(rng, truth, zoom)
        view = replace(view, orientation=orientation)
        return make_clip(
            images,
            [self._tracks_of(image) for image in images],
            view,
            self._card,
            change,
            drifts,
            keys=[keys[frame] for frame in chosen],
            is_fixed=is_fixed,
        )

    def _size_of(self, video: str) -> float | None:
        """Return the median size of a video's objects, so that all frames have one zoom."""
        known = [self.survey.object_sizes.get(key) for key in self._videos[video]]
        sizes = [size for size in known if size is not None]
        return float(np.median(sizes)) if sizes else None

    def _tracks_of(self, image: ReadyImage) -> npt.NDArray[np.int64]:
        """Return a number for each object of an image, below 0 for regions: those of a label."""
        truth = image.truth
        things = np.array([category.is_thing for category in self._labels.categories], bool)
        is_region = ~things[truth.labels] | (self._task == "semantic")
        return np.where(is_region, -1 - truth.labels, truth.ids)

    def _draw_clip_order(self, epoch: int) -> list[tuple[str, View | None]]:
        """Shuffle all clips: those of a video are spread over the epoch."""
        rng = np.random.default_rng([self._params.seed, epoch, 0, _ORDER])
        clips = [clip for video in self._clips for clip in video]
        return [clips[i] for i in rng.permutation(len(clips))]


def make_clip(
    images: Sequence[ReadyImage],
    tracks: Sequence[npt.NDArray[np.int64]],
    view: View,
    card: ModelCard,
    change: ColorChange | None = None,
    drifts: Sequence[Drift] | None = None,
    *,
    keys: Sequence[str] = (),
    is_fixed: bool = True,
) -> ClipSample:
    """Cut one view out of the frames of a clip.

    Objects that no frame shows there are left out. If there are more than the model has queries,
    those that have the fewest pixels over the clip are ignored.

    Parameters
    ----------
    images : sequence of T ReadyImage
        Of one size.
    tracks : sequence of T (m,) int64
        What each frame's objects are called in all frames.
    view : View
    card : ModelCard
    change : ColorChange, optional
        The same for all frames.
    drifts : sequence of T Drift, optional
        How each frame is moved after it was cut.
    keys : sequence of T str
        Of the frames.
    is_fixed : bool
        Whether each of these views comes again.
    """
    names, inverse = np.unique(np.concatenate(tracks), return_inverse=True)
    rows_of = np.split(inverse, np.cumsum([len(one) for one in tracks])[:-1])
    labels = np.zeros(len(names), np.int64)
    for image, rows in zip(reversed(images), reversed(rows_of), strict=True):
        labels[rows] = image.truth.labels  # as the first frame says that shows it
    cuts, ignores = [], []
    areas = np.zeros((len(names), len(images)), np.int64)
    for t, (image, rows) in enumerate(zip(images, rows_of, strict=True)):
        truth = image.truth
        cut = cut_nearest(truth.rows, view)
        ignore = None if truth.ignore is None else cut_nearest(truth.ignore, view)
        if drifts is not None:
            cut = drifts[t].nearest(cut)
            ignore = None if ignore is None else drifts[t].nearest(ignore)
        np.add.at(areas[:, t], rows, present(cut, len(truth)))
        cuts.append(cut)
        ignores.append(ignore)
    total = areas.sum(1)
    shown = np.flatnonzero(total)
    kept = np.sort(shown[np.argsort(-total[shown], kind="stable")[: card.n_queries]])
    n_surplus = len(shown) - len(kept)
    place = np.zeros(len(names), id_dtype(len(kept)))
    place[kept] = np.arange(1, len(kept) + 1)
    frames = []
    for t, (image, rows) in enumerate(zip(images, rows_of, strict=True)):
        pixels = cut_pixels(image.rgb, view)
        if change is not None:
            pixels = change.apply(pixels)
        if drifts is not None:
            pixels = drifts[t].pixels(pixels)
        cut, ignore = cuts[t], ignores[t]
        table = np.concatenate((np.zeros(1, place.dtype), place[rows]))
        id_map = table[cut]
        if n_surplus:
            surplus = (cut > 0) & (id_map == 0)
            ignore = surplus if ignore is None else ignore | surplus
        if ignore is not None:
            turned = padded(oriented(ignore, view.orientation), card.input_size)
            ignore = turned if ignore.any() else None
        frames.append(
            Sample(
                padded(oriented(pixels, view.orientation), card.input_size),
                padded(oriented(id_map, view.orientation), card.input_size),
                labels[kept],
                names[kept],
                ignore,
                keys[t] if keys else "",
                view,
                [*view.geometry, card.input_size] if is_fixed else None,
                image.content,
                n_surplus,
            )
        )
    return ClipSample(tuple(frames), areas[kept] > 0)
