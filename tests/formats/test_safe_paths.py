import os
from pathlib import Path

import pytest

from napari_eomt.errors import DataError
from napari_eomt.formats.safe_paths import folded, free_stem, inside, safe_stem

UNSAFE = [
    "",
    "..",
    "../a.png",
    "a/../../b.png",
    "a\\..\\..\\b.png",
    "/etc/passwd",
    "\\windows\\a.png",
    "\\\\server\\share\\a.png",
    "//server/share/a.png",
    "C:\\a.png",
    "c:a.png",
    "C:/a.png",
    "a\0.png",
    "a\n.png",
    "con.png",
    "NUL",
    "sub/com1.tif",
    "aux .png",
    "a.",
    "a ",
    "sub./a.png",
    "a//b.png",
    "a/",
    ".",
    "a/.",
    "x" * 5000,
    "\ud800.png",
]


@pytest.mark.parametrize("name", UNSAFE, ids=[ascii(name)[:20] for name in UNSAFE])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    if name == "\ud800.png" and os.name == "nt":
        pytest.skip("Windows takes halves of surrogate pairs in names.")
    with pytest.raises(DataError, match="Image 7: the file_name"):
        inside(tmp_path, name, 7)


@pytest.mark.parametrize(
    "name",
    ["a.png", "train2017/0001.jpg", "a\\b.png", "./a.png", "Bär (1).tif", "..a.png", "conical.png"],
)
def test_an_ordinary_name_is_a_path_in_the_folder(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name) == tmp_path.joinpath(*name.replace("\\", "/").split("/"))


@pytest.mark.skipif(os.name == "nt", reason="links take rights on Windows")
def test_links_are_followed_to_see_where_they_lead(tmp_path: Path) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    (data / "images").mkdir(parents=True)
    other.mkdir()
    (data / "out").symlink_to(other)
    (data / "in").symlink_to(data / "images")
    (data / "loop").symlink_to(data / "loop")
    assert inside(data, "in/a.png") == data / "in" / "a.png"
    for name in ("out/a.png", "out"):
        with pytest.raises(DataError, match="leads out"):
            inside(data, name)
    (tmp_path / "link").symlink_to(data)  # to the dataset itself, which is fine
    assert inside(tmp_path / "link", "a.png") == tmp_path / "link" / "a.png"


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("nuclei", "nuclei"),
        ("a/b:c*?", "a_b_c_"),
        ("  .hidden. ", "hidden"),
        ("...", "image"),
        ("con", "_con"),
        ("Lpt1.x", "_Lpt1.x"),
        ("x" * 300, "x" * 100),
        ("a\u0308", "ä"),
    ],
)
def test_a_stem_is_one_that_every_system_takes(tmp_path: Path, name: str, stem: str) -> None:
    assert safe_stem(name) == stem
    assert inside(tmp_path, f"{stem}.png").name == f"{stem}.png"


def test_a_stem_of_wide_characters_fits_the_file_system(tmp_path: Path) -> None:
    stem = safe_stem("細胞" * 200)
    (tmp_path / f"{stem}_t0001_z0001_22.png").write_bytes(b"")
    assert len(stem) > 40


def test_free_stems_count_up_and_do_not_differ_in_case_alone() -> None:
    taken = {folded("Cells"), folded("cells_2")}
    assert free_stem("cells", lambda s: s in taken) == "cells_3"
    assert free_stem("nuclei", lambda s: s in taken) == "nuclei"
