"""Tracks as a table are read as they were written."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from napari_eomt.errors import DataError, OutputError
from napari_eomt.formats.tracks_csv import COLUMNS, TrackScale, load_tracks_csv, save_tracks_csv
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.structures.tracks import TrackTable


@pytest.fixture
def table():
    table = TrackTable()
    for frame in (0, 1, 3):
        id_map = np.zeros((9, 12), np.uint16)
        id_map[1 : 3 + frame, 2:5] = 1
        id_map[0, 9:11] = 2
        mother = Segment(1, 7, 1 / 3, track_id=9, status=Status.EDITED)
        child = Segment(2, 3, None, track_id=4, parent_track_id=9)
        table.add(frame, Segmentation(id_map, (mother, child) if frame else (mother,)))
    return table


def test_it_comes_back_equal(table, tmp_path):
    assert save_tracks_csv(table, tmp_path / "new" / "t.csv") == 5
    rows = load_tracks_csv(tmp_path / "new" / "t.csv")
    assert rows == tuple(table.iter_rows())
    assert [(row.track_id, row.frame) for row in rows] == [(4, 1), (4, 3), (9, 0), (9, 1), (9, 3)]
    first = rows[2]
    assert (first.y, first.x, first.area, first.score) == (1.5, 3.0, 6, 1 / 3)
    assert (first.category_id, first.status, first.parent) == (7, Status.EDITED, None)
    assert (rows[0].parent, rows[0].score) == (9, None)


def test_any_program_can_read_it_with_units(table, tmp_path):
    path = tmp_path / "t.csv"
    categories = {7: Category(7, 'a "cell", ü'), 3: Category(3, "debris")}
    save_tracks_csv(table, path, categories=categories, scale=TrackScale((0.5, 0.25), "um", 30.0))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [*COLUMNS, "y_um", "x_um", "area_um2", "time_s"]
    assert rows[2]["category"] == 'a "cell", ü'
    found = [float(rows[3][name]) for name in ("y_um", "x_um", "area_um2", "time_s")]
    assert found == [float(rows[3]["y"]) / 2, 0.75, 9 / 8, 30]
    assert load_tracks_csv(path) == tuple(table.iter_rows())
    with pytest.raises(ValueError, match="above 0"):
        TrackScale((0.5, 0))


def test_nothing_is_replaced_unasked(table, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        save_tracks_csv(table, path)
    assert path.read_text() == "mine"
    save_tracks_csv(TrackTable(), path, overwrite=True)
    assert load_tracks_csv(path) == ()
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("column", "value", "match"),
    [
        ("track_id", "4.5", r"t\.csv, line 2: track_id is '4\.5'; it is a whole number\."),
        ("frame", "-1", "frame is '-1'; it is a whole number from 0 on"),
        ("frame", "3", "line 3: track 4 in frame 3 is in line 2 already"),
        ("y", "nan", "y is 'nan'; it is a number"),
        ("x", "", "x is ''"),
        ("area", "0", "area is '0'; it is a whole number from 1 on"),
        ("status", "done", "status is 'done'; it is one of proposed, accepted"),
        ("parent", "p", "parent is 'p'"),
        ("score", "high", "score is 'high'"),
    ],
)
def test_what_is_wrong_is_told(table, tmp_path, column, value, match):
    path = tmp_path / "t.csv"
    save_tracks_csv(table, path)
    lines = path.read_text().splitlines()
    cells = lines[1].split(",")
    cells[COLUMNS.index(column)] = value
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]))
    with pytest.raises(DataError, match=match):
        load_tracks_csv(path)


def test_what_is_no_table_is_told(tmp_path):
    path = tmp_path / "t.csv"
    with pytest.raises(DataError, match="no file"):
        load_tracks_csv(path)
    path.write_text("track_id,frame,y,x\n")
    with pytest.raises(DataError, match="lacks the columns area, category_id, score, status"):
        load_tracks_csv(path)
    path.write_bytes(b"track_id,\xff\n")
    with pytest.raises(DataError, match="no CSV of UTF-8"):
        load_tracks_csv(path)
