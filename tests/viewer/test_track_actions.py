"""What can be done to tracks: one step each, said in words, on what is selected in any frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_eomt.annotation.edits import Edit, SegmentChange
from napari_eomt.annotation.track_choices import Purpose, track_choices
from napari_eomt.annotation.tracks import TrackIndex
from napari_eomt.errors import DataError
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.viewer import track_actions as tracks
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.viewer.place import Place
from napari_eomt.viewer.results import Results

H, W, SIDE = 40, 60, 8
ROWS = {1: 2, 2: 14, 3: 26}
N_FRAMES = 8


def made(presence, viewer=None):
    """Return a place with squares that move to the right; by track, the frames they are in."""
    viewer = ViewerModel() if viewer is None else viewer
    image = viewer.add_image(np.zeros((N_FRAMES, H, W), np.uint8), name="cells")
    roles, categories = guess_roles(image), [Category(7, "cell"), Category(3, "debris")]
    result = Results(viewer).create("key", image, roles, LayerSource(image, roles), categories)
    for frame in range(N_FRAMES):
        fill(result.document, frame, [i for i, frames in presence.items() if frame in frames])
    result.view.layer.refresh()
    place = Place(viewer, result)
    place.show_frame(0)
    return place


def fill(document, frame, ids):
    changes = []
    for i in ids:
        box = (ROWS[i], 3 * frame, ROWS[i] + SIDE, 3 * frame + SIDE)
        document.id_map(frame)[box[0] : box[2], box[1] : box[3]] = i
        segment = Segment(i, 7, score=0.8, track_id=i, area=SIDE**2, bbox=box)
        changes.append(SegmentChange(frame, None, segment))
    document.apply(Edit("", segments=tuple(changes)), pixels=False)


ALL = range(N_FRAMES)


@pytest.fixture
def place():
    return made({1: ALL, 2: ALL, 3: (0, 1, 2, 6, 7)})


def state(place):
    document = place.result.document
    return document.id_maps.copy(), dict(TrackIndex.of(document).numbers)


def undoes(place, before, n_steps):
    """Check that the last thing done was one step, and that it can be taken back."""
    session = place.result.session
    assert session.n_steps == n_steps + 1
    place.result.view.undo()
    id_maps, numbers = state(place)
    np.testing.assert_array_equal(id_maps, before[0])
    assert numbers == before[1]
    place.result.view.redo()


def rows_of(place, number):
    """Return in which row of the image a track is, by frame."""
    document, index = place.result.document, TrackIndex.of(place.result.document)
    return {
        f: int(np.argwhere(document.id_map(f) == i)[0, 0]) for f, i in index.members[number].items()
    }


def test_going_along_a_track(place):
    session = place.result.session
    session.select([(2, 3)])
    place.show_frame(2)
    assert tracks.next_in_track(place) == "3 in frame 6"
    assert (place.frame, session.selection) == (6, {(6, 3)})
    assert tracks.previous_in_track(place) == "3 in frame 2"
    assert tracks.track_end(place) == "3 ends in frame 7"
    assert tracks.next_in_track(place) == "3 ends in frame 7."
    assert tracks.track_start(place) == "3 begins in frame 0"
    assert tracks.previous_in_track(place) == "3 begins in frame 0."
    assert tracks.next_gap(place) == "3 is away for 3 frames, from frame 3 on"
    assert (place.frame, session.selection) == (3, {(2, 3)})
    assert tracks.next_gap(place) == "3 is away for 3 frames, from frame 3 on", "around the end"
    session.select([(0, 1)])
    assert "no gap" in tracks.next_gap(place)


def test_the_object_under_the_cursor_is_meant_where_none_is_selected(place):
    place.viewer.cursor.position = tuple(place.result.view.layer.data_to_world((0, 16, 3)))
    assert tracks.track_end(place) == "2 ends in frame 7"
    place.result.session.select([])
    place.viewer.cursor.position = (7, 39, 59)
    with pytest.raises(DataError, match="No track is meant"):
        tracks.track_end(place)


def test_swapping_from_here_on(place):
    session, before, n = place.result.session, state(place), place.result.session.n_steps
    session.select([(0, 1), (0, 2)])
    place.show_frame(4)
    assert tracks.swap(place) == "Swap 1 and 2 from frame 4"
    assert rows_of(place, 1) == {f: ROWS[1] if f < 4 else ROWS[2] for f in ALL}
    assert session.selection == {(4, 1), (4, 2)}
    undoes(place, before, n)
    session.select([(6, 3)])
    with pytest.raises(DataError, match="Click one, and the other with Shift"):
        tracks.swap(place)


def test_cutting_joining_and_going_on_as_another(place):
    session, before, n = place.result.session, state(place), place.result.session.n_steps
    session.select([(5, 1)])
    place.show_frame(5)
    assert tracks.cut(place) == "Cut 1 at frame 5: from there it is 4"
    assert session.selection == {(5, 4)}
    undoes(place, before, n)
    session.select([(5, 4), (2, 3)])
    with pytest.raises(DataError, match="cannot be one"):
        tracks.join(place)
    session.select([(5, 4), (2, 1)])
    assert tracks.join(place) == "Join 4 and 1"
    assert list(rows_of(place, 1)) == list(ALL)
    session.select([(6, 2)])
    place.show_frame(6)
    with pytest.raises(DataError, match="Swap them"):
        tracks.change_identity(place, 1)
    session.select([(7, 1)])
    place.show_frame(5)
    tracks.delete_from(place)
    session.select([(6, 2)])
    place.show_frame(6)
    assert tracks.change_identity(place, 1) == "Make 2 be 1 from frame 6"
    assert rows_of(place, 1)[7] == ROWS[2]
    assert session.selection == {(6, 1)}


def test_whole_tracks_are_deleted_accepted_and_recategorised(place):
    document, session = place.result.document, place.result.session
    before, n = state(place), session.n_steps
    session.select([(0, 1), (0, 2)])
    place.show_frame(3)
    assert tracks.delete_from(place) == "Delete tracks 1, 2 from frame 3"
    assert session.selection == {(2, 1), (2, 2)}
    undoes(place, before, n)
    place.result.view.undo()
    session.select([(0, 3)])
    assert tracks.delete_track(place) == "Delete track 3"
    assert 3 not in TrackIndex.of(document).members
    undoes(place, before, n)
    place.result.view.undo()
    session.select([(0, 3)])
    assert tracks.accept_track(place) == "Accepted track 3 in 5 frames"
    assert session.undo_name == "Accept track 3"
    assert all(document.segments(f)[3].status is Status.ACCEPTED for f in (0, 1, 2, 6, 7))
    assert document.segments(0)[1].status is Status.PROPOSED
    assert "decided already" in tracks.accept_track(place)
    assert tracks.recategorise_track(place, 3) == "track 3 is debris now, in 5 frames"
    assert {document.segments(f)[3].category_id for f in (0, 1, 2, 6, 7)} == {3}
    assert "already" in tracks.recategorise_track(place, 3)


def test_a_track_comes_from_one_that_began_before():
    place = made({1: range(4), 2: range(4, 8), 3: ALL})
    place.result.session.select([(4, 2), (0, 1)])
    assert tracks.came_from(place) == "2 came from 1"
    assert place.result.document.segments(7)[2].parent_track_id == 1
    place.result.session.select([(0, 1), (0, 3)])
    with pytest.raises(DataError, match="begins in frame 0"):
        tracks.came_from(place)


def test_the_nearest_tracks_are_offered_first():
    place = made({1: range(4), 2: (0, 1, 4, 5, 6, 7), 3: range(4, 8)})
    document = place.result.document
    index = TrackIndex.of(document)

    def offered(number, frame, purpose):
        return [c.number for c in track_choices(document, index, number, frame, purpose)]

    assert offered(1, 1, Purpose.SWAP) == [2]
    assert offered(2, 5, Purpose.SWAP) == [3]
    assert offered(3, 4, Purpose.IDENTITY) == [1]
    assert offered(2, 4, Purpose.IDENTITY) == [1]
    assert offered(3, 4, Purpose.JOIN) == [1]
    assert offered(2, 4, Purpose.JOIN) == []
    assert offered(3, 4, Purpose.PARENT) == [2, 1]
    (choice,) = track_choices(document, index, 1, 1, Purpose.SWAP)
    assert (choice.frame, choice.distance) == (1, ROWS[2] - ROWS[1])


def test_segments_that_were_never_tracked_are_tracks_by_their_id():
    place = made({1: ALL})
    document = place.result.document
    changes = tuple(
        SegmentChange(f, s, replace(s, track_id=None)) for f, s in document.iter_segments()
    )
    document.apply(Edit("", segments=changes))
    place.result.session.select([(2, 1)])
    place.show_frame(4)
    assert tracks.cut(place) == "Cut 1 at frame 4: from there it is 2"
    assert place.result.session.selection == {(4, 2)}
    alone = Segmentation(np.zeros((H, W), np.uint16), ())
    place.result.propose(0, alone, "Segment")
    assert 0 not in TrackIndex.of(document).members[1]
