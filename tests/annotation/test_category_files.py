"""Lists of categories are read as they are written, and what is wrong is said."""

from __future__ import annotations

import json

import pytest

from napari_eomt.annotation import category_files
from napari_eomt.annotation.category_files import load_categories, new_categories
from napari_eomt.errors import DataError
from napari_eomt.structures.categories import Category

COCO = {
    "images": [],
    "annotations": [],
    "categories": [
        {"id": 90, "name": "toothbrush", "supercategory": "indoor"},
        {"id": 1, "name": "person", "isthing": 1, "color": [220, 20, 60]},
        {"id": 200, "name": "rug-merged", "isthing": 0, "color": [250, 141, 255]},
    ],
}


def written(tmp_path, content, name="list.json"):
    path = tmp_path / name
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def test_cocos_own(tmp_path):
    found = load_categories(written(tmp_path, COCO))
    assert found.categories == (
        Category(90, "toothbrush"),
        Category(1, "person", color="#DC143C"),
        Category(200, "rug-merged", is_thing=False, color="#FA8DFF"),
    )
    assert found.has_ids
    assert found.notes == ()
    # The list alone is read as well.
    assert load_categories(written(tmp_path, COCO["categories"])) == found


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (["cell", "debris"], "list.json"),
        ("cell\n\n# what else is there\n  debris \r\n", "list.txt"),
        ("\ufeffcell\ndebris", "list.csv"),
        ({"categories": ["cell", "debris"]}, "list.json"),
    ],
)
def test_plain_names_are_numbered(tmp_path, content, name):
    found = load_categories(written(tmp_path, content, name))
    assert found.categories == (Category(1, "cell"), Category(2, "debris"))
    assert not found.has_ids


@pytest.mark.parametrize(
    "content", [{"0": "cell", "-3": "debris"}, {"cell": 0, "debris": -3}], ids=["names", "ids"]
)
def test_names_by_id_keep_their_ids(tmp_path, content):
    found = load_categories(written(tmp_path, content))
    assert found.categories == (Category(0, "cell"), Category(-3, "debris"))
    assert found.has_ids


def test_duplicates_are_left_out_and_said(tmp_path):
    content = [
        {"id": 1, "name": "cell"},
        {"id": 2, "name": "Cell"},
        {"id": 1, "name": "debris"},
        {"id": 4, "name": "  "},
    ]
    found = load_categories(written(tmp_path, content))
    assert found.categories == (Category(1, "cell"),)
    assert found.notes == (
        "Cell is in the file twice",
        "debris: the id 1 is cell in the file already",
        "id 4 has no name",
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1, 2]", "entry 0 is 1, expected a name"),
        ('["a", {"id": 1, "name": "b"}]', "some entries have an id and some have none"),
        ('[{"id": "1", "name": "b"}]', 'has the id "1", expected a whole number'),
        ('[{"id": true, "name": "b"}]', "has the id true, expected a whole number"),
        ('{"cell": [1]}', "is [1], expected COCO"),
        ("{", "line 1, column 2"),
        ("3", "holds a int, expected"),
        ("[]", "has no categories"),
        ('{"categories": []}', "has no categories"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path, content, said):
    with pytest.raises(DataError) as error:
        load_categories(written(tmp_path, content))
    assert said in str(error.value)
    assert "list.json" in str(error.value)


def test_no_text_and_no_file(tmp_path):
    path = tmp_path / "image.txt"
    path.write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(DataError, match="no text in UTF-8"):
        load_categories(path)
    with pytest.raises(DataError, match="cannot be read"):
        load_categories(tmp_path / "gone.json")
    with pytest.raises(DataError, match="has no categories"):
        load_categories(written(tmp_path, "\n\n", "empty.txt"))


def test_lists_beyond_all_measure(tmp_path, monkeypatch):
    monkeypatch.setattr(category_files, "MAX_CATEGORIES", 3)
    with pytest.raises(DataError, match="has 4 categories, more than 3"):
        load_categories(written(tmp_path, ["a", "b", "c", "d"]))
    monkeypatch.setattr(category_files, "MAX_BYTES", 3)
    with pytest.raises(DataError, match="MiB"):
        load_categories(written(tmp_path, ["a", "b"]))


def test_ids_that_are_taken_are_not_given_again(tmp_path):
    known = {c.id: c for c in (Category(1, "person"), Category(5, "rug-merged"))}
    added, notes = new_categories(load_categories(written(tmp_path, COCO)), known)
    assert added == [Category(90, "toothbrush")]
    assert notes == ["rug-merged: there is one already, with id 5", "1 was there already"]
    known = {1: Category(1, "cell")}
    added, notes = new_categories(load_categories(written(tmp_path, COCO)), known)
    assert [c.id for c in added] == [90, 200]
    assert notes == ["person: its id 1 is cell here"]


def test_names_alone_take_the_next_free_ids(tmp_path):
    known = {c.id: c for c in (Category(1, "cell"), Category(41, "soil"))}
    found = load_categories(written(tmp_path, ["debris", "Cell", "dust"]))
    added, notes = new_categories(found, known)
    assert added == [Category(42, "debris"), Category(43, "dust")]
    assert notes == ["1 was there already"]
