"""Random edits such as people and models make, and what a document is, to compare."""

from __future__ import annotations

import numpy as np

from napari_eomt.annotation import operations, shapes
from napari_eomt.annotation.document import Document, FrameState
from napari_eomt.annotation.session import Session
from napari_eomt.errors import DataError
from napari_eomt.structures.categories import Category
from napari_eomt.structures.id_maps import areas, boxes
from napari_eomt.structures.segments import Segment, Segmentation, Status

SHAPE = (3, 40, 56)
CATEGORIES = [Category(7, "cell"), Category(3, "debris"), Category(9, "soil", is_thing=False)]


def new_session(**kwargs) -> Session:
    return Session(Document(SHAPE[:1], SHAPE[1:], CATEGORIES), **kwargs)


def proposal(rng, n=6) -> Segmentation:
    """Draw random rectangles, of which the last drawn is on top."""
    id_map = np.zeros(SHAPE[1:], np.uint16)
    for i in range(1, n + 1):
        y, x = rng.integers(0, 34), rng.integers(0, 50)
        id_map[y : y + rng.integers(2, 14), x : x + rng.integers(2, 14)] = i
    where, sizes = boxes(id_map), areas(id_map, n + 1)
    return Segmentation(
        id_map,
        tuple(
            Segment(i, int(rng.choice([7, 3])), float(rng.random()), area=int(sizes[i]), bbox=box)
            for i, box in where.items()
        ),
    )


def state(document):
    """Return all that a document is, as plain values."""
    return (
        document.id_maps.astype(np.int64).tobytes(),
        {(f, s.id): s for f, s in document.iter_segments()},
        dict(document.categories),
        tuple(document.state(frame) for frame in range(document.n_frames)),
    )


def check(document):
    """The table of segments says what the pixels say."""
    for frame in range(document.n_frames):
        id_map = document.id_map(frame)
        sizes, where = areas(id_map, document.next_id), boxes(id_map)
        shown = {
            i: s for i, s in document.segments(frame).items() if s.status is not Status.REJECTED
        }
        assert set(shown) == set(where)
        for i, segment in shown.items():
            assert (segment.id, segment.area, segment.bbox) == (i, sizes[i], where[i])
            assert segment.category_id in document.categories
            assert i < document.next_id


def random_edit(rng, document):
    """Return a random edit that a person or a model could make; None if there is none."""
    frame = int(rng.integers(document.n_frames))
    shown = [(f, s.id) for f, s in document.iter_segments() if s.status is not Status.REJECTED]
    keys = [shown[k] for k in rng.choice(len(shown), min(len(shown), 2), replace=False)]
    here = [key for key in shown if key[0] == frame][:3]
    if rng.random() < 0.15 or not keys:
        return operations.propose(document, frame, proposal(rng))
    mask, origin = rng.random((6, 9)) < 0.7, (int(rng.integers(-3, 38)), int(rng.integers(-3, 53)))
    y0, x0, y1, x1 = document.segments(keys[0][0])[keys[0][1]].bbox
    [tuple(rng.uniform((y0, x0), (y1 - 1, x1 - 1))) for _ in range(4)]
    points = [tuple(rng.uniform(-5, 60, 2)) for _ in range(3)]
    choices = [
        lambda: operations.add(document, frame, mask, origin, Segment(0, 7, status=Status.DRAWN)),
        lambda: operations.repaint(document, keys[0], mask, origin, "Take candidate"),
        lambda: operations.delete(document, keys),
        lambda: operations.reject(document, keys),
        lambda: operations.set_status(document, keys, list(Status)[rng.integers(3)]),
        lambda: operations.recategorise(document, keys, int(rng.choice(list(document.categories)))),
        lambda: operations.set_locked(document, keys, bool(rng.integers(2))),
        lambda: operations.set_note(document, keys, f"note {rng.integers(9)}"),
        lambda: operations.merge(document, here),
        lambda: operations.mark_frame(document, frame, list(FrameState)[rng.integers(4)]),
        lambda: operations.add_categories(document, [Category(int(rng.integers(20, 25)), "new")]),
        lambda: operations.change_category(document, Category(7, f"cell {rng.integers(3)}")),
        lambda: operations.remove_category(document, int(rng.integers(20, 25)), into=7),
        lambda: shapes.split_by_line(document, keys[0], points),
        lambda: shapes.split_by_seeds(
            document, keys[0], [tuple(rng.uniform(0, 40, 2))] * 2 + points
        ),
        lambda: shapes.fill_holes(document, keys),
        lambda: shapes.keep_largest(document, keys),
        lambda: shapes.smooth(document, keys, 1.5),
        lambda: shapes.copy_to(document, keys, frame),
        lambda: shapes.interpolate(document, keys[0][1], 0, 2),
    ]
    try:
        return choices[rng.integers(len(choices))]()
    except (DataError, KeyError):
        return None


def paint(rng, session):
    """Paint as napari does: the pixels first, then it is told."""
    document = session.document
    frame = int(rng.integers(document.n_frames))
    id_map = document.id_map(frame)
    y, x = int(rng.integers(0, 36)), int(rng.integers(0, 50))
    part = id_map[y : y + 4, x : x + 6]
    before = part.copy()
    shown = [i for i, s in document.segments(frame).items() if s.status is not Status.REJECTED]
    there = [0, document.next_id, *shown]
    part[rng.random(part.shape) < 0.8] = rng.choice(there)
    session.record(operations.painted(document, frame, before ^ part, (y, x), 7))
