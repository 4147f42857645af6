"""Clips: the same for the same seed, seen alike in all frames, each object one throughout."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.training.drawn_videos import params, save_model, save_videos

from napari_eomt.models.card import read_card
from napari_eomt.structures.tiles import Tile
from napari_eomt.synthetic_video import drawn_tracks
from napari_eomt.training.augment import oriented
from napari_eomt.training.batches import to_batch
from napari_eomt.training.clip_samples import ClipSet, make_clip
from napari_eomt.training.image_cache import ReadyImage
from napari_eomt.training.labels import match_categories
from napari_eomt.training.opened import open_dataset
from napari_eomt.training.truth import Truth
from napari_eomt.training.views import View

N_VIDEOS, N_FRAMES = 3, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_videos(tmp_path_factory.mktemp("data") / "set", N_VIDEOS, N_FRAMES)


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    return read_card(save_model(tmp_path_factory.mktemp("models") / "video"))


def clip_set(folder, card, **changes):
    source = open_dataset(folder).source
    labels = match_categories(card.categories, source.categories)
    keys = [entry.key for entry in source.entries]
    return ClipSet(source, keys, labels, params(**changes), card)


def test_a_clip_is_frames_of_one_video_with_their_true_objects(folder, card):
    clips = clip_set(folder, card, clip_stride=2)
    assert len(clips) == N_VIDEOS * 2  # three frames each
    shown = set()
    for k in range(40):
        clip = clips.at(k)
        keys = [frame.key.split(":") for frame in clip.frames]
        video, frames = keys[0][0], [int(t) for _, t in keys]
        assert {v for v, _ in keys} == {video}
        shown |= {(video, t) for t in frames}
        truth = drawn_tracks(N_FRAMES, (64, 64), 2, seed=int(video) - 1).ids
        orientation = clip.frames[0].view.orientation
        for t, frame in zip(frames, clip.frames, strict=True):
            assert frame.view == clip.frames[0].view
            np.testing.assert_array_equal(frame.ids, clip.frames[0].ids)
            table = np.array([0, *frame.ids])
            expected = oriented(truth[t], orientation)
            np.testing.assert_array_equal(table[frame.id_map], expected)
        expected = [[(truth[t] == i).any() for t in frames] for i in clip.frames[0].ids]
        np.testing.assert_array_equal(clip.visible, np.reshape(expected, (-1, len(frames))))
        assert clip.visible.any(1).all()
    assert len(shown) == N_VIDEOS * N_FRAMES


def test_clips_are_the_same_for_the_same_seed(folder, card):
    options = {"views": "random", "still_clips": 0.5, "clip_stride": 2}
    for k in (0, 3, 17):
        one, other = (clip_set(folder, card, **options).at(k) for _ in range(2))
        for a, b in zip(one.frames, other.frames, strict=True):
            np.testing.assert_array_equal(a.pixels, b.pixels)
            np.testing.assert_array_equal(a.id_map, b.id_map)
    first, second = (clip_set(folder, card, seed=seed).at(0) for seed in (0, 1))
    assert not np.array_equal(first.frames[0].pixels, second.frames[0].pixels)


def test_still_clips_are_one_frame_that_drifts(folder, card):
    clip = clip_set(folder, card, still_clips=1.0).at(0)
    assert len({frame.key for frame in clip.frames}) == 1
    assert not np.array_equal(clip.frames[0].pixels, clip.frames[1].pixels)
    assert clip.frames[0].geometry is None  # it does not come again
    # What is annotated moves with what is seen.
    for frame in clip.frames:
        bright = frame.pixels.max(-1) > 120
        assert (bright == (frame.id_map > 0)).mean() > 0.97


def test_more_objects_than_queries_leave_the_smallest_ignored(card):
    rows = np.zeros((2, 64, 64), np.uint16)
    rows[0, :, :10], rows[0, :, 20:24], rows[1, :, :10], rows[1, :, 40:60] = 1, 2, 1, 2
    images = [
        ReadyImage.of(
            np.zeros((64, 64, 3), np.uint8),
            Truth(frame, np.zeros(2, int), np.array([1, 2]), np.zeros((2, 4), int), None, None),
        )
        for frame in rows
    ]
    # The second row of each frame is another object: 5, gone afterwards, and 7, not there yet.
    tracks = [np.array([3, 5]), np.array([3, 7])]
    view = View((64, 64), Tile(0, 0, 64, 64))
    clip = make_clip(images, tracks, view, card.model_copy(update={"n_queries": 2}))
    assert clip.frames[0].ids.tolist() == [3, 7]
    assert clip.visible.tolist() == [[True, True], [False, True]]
    assert clip.n_surplus == 1
    np.testing.assert_array_equal(clip.frames[0].ignore, rows[0] == 2)
    assert clip.frames[1].ignore is None
    np.testing.assert_array_equal(clip.frames[1].id_map, rows[1])


def test_a_batch_folds_frames_into_clips(folder, card):
    clips = clip_set(folder, card)
    both = [clips.at(0), clips.at(1)]
    batch = to_batch(both, card, torch.device("cpu"))
    assert batch.pixels.shape == (2, 3, 3, 64, 64)
    assert len(batch.targets) == 6
    assert [seen.shape[1] for seen in batch.visible] == [3, 3]
    alone = to_batch([both[1].frames[2]], card, torch.device("cpu"))
    assert alone.visible is None
    torch.testing.assert_close(batch.pixels[1, 2], alone.pixels[0], rtol=0, atol=0)
    assert torch.equal(batch.targets[5].rows, alone.targets[0].rows)
