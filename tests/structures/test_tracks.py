"""Tracks are what their frames say, however the frames come."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from napari_eomt.errors import DataError
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.structures.tracks import TrackTable, centroids


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    frames = np.zeros((6, 20, 31), np.uint16)
    for frame in frames:
        for i in rng.permutation([2, 5, 700])[:2]:
            y, x = rng.integers(0, 15, 2)
            frame[y : y + 6, x : x + rng.integers(1, 9)] = i
    frames[2] = 0
    return frames


def test_centroids_equal_their_definition(labels):
    for frame in labels:
        found = centroids(frame)
        assert set(found) == set(np.unique(frame).tolist()) - {0}
        for i, (y, x, area) in found.items():
            np.testing.assert_allclose((y, x), ndimage.center_of_mass(frame == i))
            assert area == (frame == i).sum()
    assert centroids(np.zeros((0, 4), np.uint16)) == {}


def test_tracks_of_labels(labels):
    tracks = TrackTable.from_labels(labels, category_id=3, parents={5: 2}).tracks()
    assert [t.track_id for t in tracks] == [i for i in (2, 5, 700) if (labels == i).any()]
    for track in tracks:
        present = [f for f in range(6) if (labels[f] == track.track_id).any()]
        assert track.frames.tolist() == present
        assert (track.begin, track.end) == (present[0], present[-1])
        absent = [f for first, stop in track.gaps for f in range(first, stop)]
        assert absent == sorted(set(range(track.begin, track.end)) - set(present))
        assert track.areas.tolist() == [(labels[f] == track.track_id).sum() for f in present]
        assert (track.category_id, track.score) == (3, None)
        assert track.parent == (2 if track.track_id == 5 else None)
        for frame, middle in zip(track.frames, track.centroids, strict=True):
            np.testing.assert_allclose(
                middle, ndimage.center_of_mass(labels[frame] == track.track_id)
            )


def segmentation(*segments, shape=(8, 20)):
    """Return a frame in which segment i lies in column i."""
    id_map = np.zeros(shape, np.uint16)
    for segment in segments:
        id_map[1:4, segment.id] = segment.id
    return Segmentation(id_map, segments)


def test_of_several_categories_and_scores_one_is_chosen():
    table = TrackTable()
    for frame, (category, score) in enumerate([(7, 0.2), (9, None), (9, 0.6)]):
        table.add(frame, segmentation(Segment(frame + 1, category, score, track_id=4)))
    (track,) = table.tracks()
    assert (track.category_id, track.score) == (9, pytest.approx(0.4))
    assert track.centroids.tolist() == [[2, 1], [2, 2], [2, 3]]


def test_what_has_no_track_or_no_pixel_is_left_out():
    table = TrackTable()
    first = segmentation(Segment(1, 1), Segment(2, 1, track_id=8))
    hidden = (Segment(3, 1, track_id=9), Segment(2, 1, track_id=5, status=Status.REJECTED))
    table.add(0, Segmentation(first.id_map, (*first.segments[:1], *hidden)))
    assert table.tracks() == ()
    assert table.points().data.shape == (0, 4)


def test_a_frame_comes_again_and_goes(labels):
    table = TrackTable.from_labels(labels)
    before = table.points().data
    other = TrackTable.from_labels(labels)
    other.add(3, segmentation(Segment(1, 1, track_id=1)))
    assert 1 in other.points().data[:, 0]
    other.remove(3)
    assert 3 not in other.points().data[:, 1]
    ids = [int(i) for i in np.unique(labels[3]) if i]
    other.add(3, Segmentation(labels[3], tuple(Segment(i, 1, track_id=i) for i in ids)))
    np.testing.assert_array_equal(other.points().data, before)


def test_two_of_one_track_in_a_frame_are_told():
    pair = segmentation(Segment(1, 1, track_id=4), Segment(2, 1, track_id=4))
    with pytest.raises(DataError, match=r"Frame 3 has two objects of track 4: 1 and 2\."):
        TrackTable().add(3, pair)


def test_napari_takes_the_points(labels):
    from napari.layers import Tracks

    table = TrackTable.from_labels(labels, parents={5: 2, 2: 99})
    points = table.points()
    assert points.graph == {5: [2]}  # 99 is nowhere
    order = np.lexsort((points.data[:, 1], points.data[:, 0]))
    np.testing.assert_array_equal(order, np.arange(len(order)))
    layer = Tracks(points.data, graph=points.graph, properties=points.properties)
    np.testing.assert_array_equal(layer.data, points.data)
    assert layer.graph == {5: [2]}
    np.testing.assert_array_equal(layer.properties["area"], points.properties["area"])


def test_segments_tell_parents():
    table = TrackTable()
    mother, child = Segment(1, 1, track_id=1), Segment(2, 1, track_id=2, parent_track_id=1)
    table.add(0, segmentation(mother))
    table.add(1, segmentation(child, replace(child, id=3, track_id=3)))
    assert [t.parent for t in table.tracks()] == [None, 1, 1]
    assert table.points().graph == {2: [1], 3: [1]}


def test_real_tracks_are_as_their_table_says(data_dir):
    folder = data_dir / "tracks" / "t98g_left"
    tracks = TrackTable.from_labels(tifffile.imread(folder / "tracks.tif")).tracks()
    rows = np.genfromtxt(folder / "tracks.csv", delimiter=",", names=True)
    assert [t.track_id for t in tracks] == rows["id"].tolist()
    for track, row in zip(tracks, rows, strict=True):
        assert (track.begin, track.end) == (row["begin"], row["end"])
        assert len(track.frames) == row["frames"]
        assert sum(stop - first for first, stop in track.gaps) == row["gaps"]
        assert np.median(track.areas) == pytest.approx(row["median_area"], abs=1)
