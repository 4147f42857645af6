from __future__ import annotations

import threading
import time
from importlib.util import find_spec

import dask.array as da
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_eomt.errors import DataError
from napari_eomt.inference.video_files import VideoFile
from napari_eomt.inference.video_frames import iter_ahead, iter_frames, open_frames
from napari_eomt.synthetic import moving_objects

needs_av = pytest.mark.skipif(find_spec("av") is None, reason="av, of the extra video, is missing")


@pytest.fixture(scope="module")
def clip():
    return moving_objects(12, (48, 64), 3, seed=2)[0]


def save_film(path, clip):
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(path.suffix, "libx264")
    frames = np.repeat(clip[..., None], 3, -1)
    iio.imwrite(path, frames, plugin="pyav", codec=codec, fps=10)
    return path


def read(source, **how):
    pairs = list(iter_frames(source, **how))
    return [i for i, _ in pairs], [np.asarray(frame) for _, frame in pairs]


def test_arrays_lists_stacks_and_folders_give_the_same_frames(clip, tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", clip, metadata={"axes": "TYX"})
    np.save(tmp_path / "stack.npy", clip)
    folder = tmp_path / "frames"
    folder.mkdir()
    for t, frame in enumerate(clip):
        Image.fromarray(frame).save(folder / f"t{t}.png")  # t10 sorts before t2
    paths = [folder / f"t{t}.png" for t in range(len(clip))]
    sources = [
        clip, da.from_array(clip, chunks=(1, 48, 64)), list(clip), paths, [str(p) for p in paths],
        iter(clip), tmp_path / "stack.tif", str(tmp_path / "stack.npy"), folder,
        str(folder / "t*.png"), open_frames(clip),
    ]  # fmt: skip
    for source in sources:
        numbers, frames = read(source)
        assert numbers == list(range(12))
        np.testing.assert_array_equal(frames, clip)
    for source in (clip, folder, list(clip), iter(clip)):
        numbers, frames = read(source, frames=[2, 5, 11])
        assert numbers == [2, 5, 11]
        np.testing.assert_array_equal(frames, clip[[2, 5, 11]])
    for source in (clip, folder, iter(clip)):
        assert read(source, start=9)[0] == [9, 10, 11]


def test_colour_frames_keep_their_channels(clip):
    colour = np.repeat(clip[..., None], 3, -1)
    assert [f.shape for f in read(colour)[1]] == [(48, 64, 3)] * 12
    assert [f.shape for f in read(list(colour))[1]] == [(48, 64, 3)] * 12


def test_a_lazy_array_is_computed_frame_by_frame(clip):
    computed = []

    def block(block_info=None):
        ((t, _), _, _) = block_info[None]["array-location"]
        computed.append(t)
        return clip[t : t + 1]

    lazy = da.map_blocks(block, chunks=((1,) * 12, (48,), (64,)), dtype=np.uint8)
    frames = iter_frames(lazy)
    for t in range(3):
        number, frame = next(frames)
        assert number == t
        np.testing.assert_array_equal(frame, clip[t])
        assert sorted(set(computed)) == list(range(t + 1))


@needs_av
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi", ".mov"])
def test_films_are_read_frame_by_frame(clip, tmp_path, suffix):
    path = save_film(tmp_path / f"film{suffix}", clip)
    numbers, frames = read(path)
    assert numbers == list(range(12))
    # Films lose detail, and not the objects.
    assert np.abs(np.array(frames)[..., 0].astype(int) - clip).mean(axis=(1, 2)).max() < 12
    with VideoFile(path) as film:
        assert film.n_frames == 12
        for t in (3, 4, 11, 0, 7):
            np.testing.assert_array_equal(film.frame(t), frames[t])
        with pytest.raises(DataError, match="ends after 12 frames; frame 12 was asked for"):
            film.frame(12)
    assert read(path, start=10)[0] == [10, 11]
    assert read(path, frames=[1, 6])[0] == [1, 6]


@needs_av
def test_films_are_not_decoded_ahead(clip, tmp_path, monkeypatch):
    path = save_film(tmp_path / "film.mkv", clip)
    with VideoFile(path) as film:
        next(film.iter_from())
        assert film.n_told is None
        assert film._next == 1
        assert len(list(film.iter_from())) == 12
        assert film.n_told == 12


def test_what_is_missing_for_films_is_told(tmp_path, monkeypatch):
    (tmp_path / "film.mp4").write_bytes(b"no film")
    monkeypatch.setattr("napari_eomt.inference.video_files.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install \"napari-eomt\[video\]\""):
        open_frames(tmp_path / "film.mp4")


@needs_av
def test_bad_films_are_one_line(clip, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film")
    with pytest.raises(DataError, match=r"bad\.mp4: cannot be read as a video"):
        open_frames(bad)
    path = save_film(tmp_path / "film.mkv", clip)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(DataError, match=r"film\.mkv"):
        open_frames(path).frame(11)
    with pytest.raises(DataError, match="no such file"):
        open_frames(tmp_path / "nix.mp4")


def test_errors_name_the_frame_and_the_file(clip, tmp_path):
    for t in range(3):
        Image.fromarray(clip[t]).save(tmp_path / f"{t}.png")
    (tmp_path / "1.png").write_text("no image")
    frames = iter_frames(tmp_path)
    next(frames)
    with pytest.raises(DataError, match=r"Frame 1: .*1\.png: .*not an image"):
        next(frames)
    with pytest.raises(DataError, match="no frame in an empty list"):
        open_frames([])
    with pytest.raises(DataError, match="cannot be read from int"):
        open_frames(3)
    tifffile.imwrite(tmp_path / "stack.tif", clip)
    with pytest.raises(DataError, match=r"Frame 0: .*holds 12 frames"):
        next(iter_frames([tmp_path / "stack.tif"]))

    def fails():
        raise RuntimeError("the disk has gone")

    lazy = da.from_delayed(__import__("dask").delayed(fails)(), (1, 8, 8), np.uint8)
    with pytest.raises(DataError, match=r"Frame 0 cannot be read \(the disk has gone\)"):
        next(iter_frames(lazy))


def test_no_more_is_read_ahead_than_asked_for():
    n_taken = 0

    def items():
        nonlocal n_taken
        for i in range(100):
            n_taken += 1
            yield i

    ahead = iter_ahead(items(), 3)
    for i in range(5):
        assert next(ahead) == i
        time.sleep(0.02)  # whatever the thread would like to do
        # Three wait, one is in the thread's hand.
        assert n_taken <= i + 1 + 4
    ahead.close()


def frames_threads():
    return [t for t in threading.enumerate() if t.name == "frames ahead"]


@pytest.mark.parametrize("n", [0, 1, 4])
def test_closing_ends_the_reading(n):
    is_closed = []

    def items():
        try:
            yield from range(100)
        finally:
            is_closed.append(True)

    ahead = iter_ahead(items(), n)
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    ahead.close()
    assert is_closed == [True]
    assert not frames_threads()
    assert list(iter_ahead(range(7), n)) == list(range(7))
    assert not frames_threads()


@pytest.mark.parametrize("n", [0, 1, 4])
def test_errors_come_in_their_turn(n):
    def items():
        yield 0
        yield 1
        raise DataError("Frame 2 is bad.")

    ahead = iter_ahead(items(), n)
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(DataError, match="Frame 2"):
        next(ahead)
    assert not frames_threads()


def test_a_negative_number_is_told():
    with pytest.raises(ValueError, match="-1 frames"):
        iter_ahead([], -1)
