import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_eomt.errors import DataError
from napari_eomt.inference.inputs import find_images
from napari_eomt.inference.sources import open_source
from napari_eomt.tiff_stack import known_axes, read_frame, read_header


def stack(*shape, dtype=np.uint16):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def frames_of(path, axes=None):
    with open_source(path, axes) as source:
        return [source.frame(i) for i in range(source.n_frames)], source


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp"])
def test_rgb_pictures_are_read_as_they_are(suffix, tmp_path):
    image = stack(20, 30, 3, dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(image).save(path, **({"lossless": True} if suffix == "webp" else {}))
    (frame,), source = frames_of(path)
    np.testing.assert_array_equal(frame, image)
    assert (source.name, source.stack_shape) == (path.name, ())


@pytest.mark.parametrize(
    ("mode", "shape", "dtype"),
    [
        ("1", (5, 6), bool),
        ("L", (5, 6), np.uint8),
        ("I;16", (5, 6), np.uint16),
        ("LA", (5, 6), np.uint8),
        ("P", (5, 6, 3), np.uint8),
        ("RGBA", (5, 6, 4), np.uint8),
    ],
)
def test_every_kind_of_png(mode, shape, dtype, tmp_path):
    Image.new(mode, (6, 5)).save(tmp_path / "a.png")
    (frame,), _ = frames_of(tmp_path / "a.png")
    assert (frame.shape, frame.dtype) == (shape, dtype)


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    Image.new("CMYK", (6, 5)).save(tmp_path / "a.jpg")
    assert frames_of(tmp_path / "a.jpg")[0][0].shape == (5, 6, 3)


def test_an_animation_is_a_stack(tmp_path):
    pictures = [Image.new("RGB", (6, 5), (60 * k, 0, 0)) for k in range(4)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:])
    frames, source = frames_of(tmp_path / "a.gif")
    assert [int(frame[0, 0, 0]) for frame in frames] == [0, 60, 120, 180]
    assert (source.stack_shape, source.stack_names) == ((4,), ("T",))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize(
    ("axes", "shape", "kind"),
    [
        ("ZYX", (4, 10, 12), "ome"),
        ("TZCYX", (2, 3, 2, 10, 12), "ome"),
        ("ZCYX", (3, 2, 10, 12), "imagej"),
        ("TYXS", (2, 10, 12, 3), "imagej"),
        ("TYX", (4, 10, 12), "shaped"),
        ("CYX", (2, 10, 12), "shaped"),
    ],
)
def test_tiff_stacks_follow_their_metadata(axes, shape, kind, compression, byteorder, tmp_path):
    data = stack(*shape, dtype=np.uint8 if "S" in axes else np.uint16)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        data,
        metadata={"axes": axes},
        compression=compression,
        # ImageJ's files are big-endian, whatever is asked.
        byteorder=None if kind == "imagej" else byteorder,
        photometric="rgb" if "S" in axes else "minisblack",
        ome=kind == "ome",
        imagej=kind == "imagej",
    )
    frames, source = frames_of(path)
    leading = [k for k, name in enumerate(axes) if name in "TZ"]
    assert source.stack_names == tuple(axes[k] for k in leading)
    assert source.stack_shape == tuple(shape[k] for k in leading)
    moved = data.reshape(-1, *shape[len(leading) :])
    if "C" in axes:
        moved = np.moveaxis(moved, 1, -1)
    np.testing.assert_array_equal(np.stack(frames), moved)


def test_pages_of_a_stack_are_read_one_at_a_time(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", stack(5, 10, 12), compression="zlib")
    read = []
    original = tifffile.TiffPage.asarray
    monkeypatch.setattr(
        tifffile.TiffPage, "asarray", lambda page: [read.append(page.index), original(page)][1]
    )
    monkeypatch.setattr(
        tifffile.TiffFrame,
        "asarray",
        lambda page: [read.append(page.index), original(page)][1],
        raising=False,
    )
    with open_source(tmp_path / "a.tif") as source:
        source.frame(3)
    assert read == [3]


def test_lzw_is_read_without_another_package(tmp_path):
    pages = [Image.fromarray(stack(10, 12, dtype=np.uint8) + k) for k in range(3)]
    pages[0].save(
        tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw"
    )
    frames, _ = frames_of(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.stack(frames), [np.asarray(page) for page in pages])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "CMYK"])
def test_lzw_is_read_as_it_is_stored(mode, tmp_path):
    picture = Image.fromarray(stack(10, 12, 3, dtype=np.uint8)).convert(mode)
    found = []
    for compression in (None, "tiff_lzw"):
        path = tmp_path / f"{compression}.tif"
        picture.save(path, save_all=True, append_images=[picture], compression=compression)
        found.append(np.stack(frames_of(path)[0]))
    np.testing.assert_array_equal(*found)
    assert found[0].dtype == found[1].dtype


def test_pages_have_any_size(tmp_path, monkeypatch):
    pixels = stack(10, 12, dtype=np.uint8)
    page = Image.fromarray(pixels)
    page.save(tmp_path / "a.tif", save_all=True, append_images=[page], compression="tiff_lzw")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # more than twice as many are an error
    frames, _ = frames_of(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.stack(frames), [pixels, pixels])
    assert Image.MAX_IMAGE_PIXELS == 10


def test_axes_given_win_over_the_file(tmp_path):
    data = stack(3, 10, 12)
    tifffile.imwrite(tmp_path / "a.tif", data, metadata={"axes": "ZYX"})
    (frame,), _ = frames_of(tmp_path / "a.tif", "CYX")
    np.testing.assert_array_equal(frame, np.moveaxis(data, 0, -1))
    single = stack(1, 1, 3, 10, 12)
    tifffile.imwrite(tmp_path / "b.tif", single, ome=True, metadata={"axes": "TZCYX"})
    frames, source = frames_of(tmp_path / "b.tif", "TZCYX")
    assert (len(frames), frames[0].shape, source.stack_shape) == (1, (10, 12, 3), (1, 1))


def test_three_frames_without_names_come_with_a_note(tmp_path):
    np.save(tmp_path / "a.npy", stack(3, 10, 12))
    frames, source = frames_of(tmp_path / "a.npy")
    assert len(frames) == 3
    assert "--axes CYX" in source.notes[0]


def test_several_images_in_a_tiff_come_with_a_note(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        tiff.write(stack(10, 12))
        tiff.write(stack(5, 6))
    (frame,), source = frames_of(tmp_path / "a.tif")
    assert frame.shape == (10, 12)
    assert "first of 2" in source.notes[0]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_arrays_and_ome_zarr(zarr_format, tmp_path):
    data = stack(2, 3, 10, 12)
    array = zarr.create_array(
        tmp_path / "plain.zarr", data=data, chunks=(1, 1, 5, 6), zarr_format=zarr_format
    )
    frames, source = frames_of(tmp_path / "plain.zarr")
    np.testing.assert_array_equal(np.stack(frames), data.reshape(6, 10, 12))
    assert source.stack_shape == (2, 3)

    group = zarr.create_group(tmp_path / "ome.zarr", zarr_format=zarr_format)
    group.create_array("0", data=data, chunks=array.chunks)
    group.create_array("1", data=data[:, :, ::2, ::2])
    scales = [
        {
            "axes": [
                {"name": "t", "type": "time"},
                {"name": "c", "type": "channel"},
                {"name": "y", "type": "space"},
                {"name": "x", "type": "space"},
            ],
            "datasets": [{"path": "0"}, {"path": "1"}],
        }
    ]
    meta = {"multiscales": scales}
    group.attrs.update(meta if zarr_format == 2 else {"ome": {"version": "0.5", **meta}})
    frames, source = frames_of(tmp_path / "ome.zarr")
    np.testing.assert_array_equal(np.stack(frames), np.moveaxis(data, 1, -1))
    assert (source.stack_shape, source.stack_names) == ((2,), ("T",))


def text_as(name):
    def write(folder):
        (folder / name).write_text("No image, but a text.\n" * 20)
        return folder / name

    write.__name__ = name
    return write


def cut(name, share, **options):
    def write(folder):
        noise = np.random.default_rng(0).integers(0, 255, (200, 200)).astype(np.uint8)
        path = folder / name
        if name.endswith("tif"):
            tifffile.imwrite(path, np.stack([noise] * 5), metadata=None, **options)
        else:
            Image.fromarray(noise).save(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    write.__name__ = f"{name} cut to {share}"
    return write


def empty(folder):
    (folder / "a.png").write_bytes(b"")
    return folder / "a.png"


def pickled(folder):
    np.save(folder / "a.npy", np.array([{"a": 1}], object), allow_pickle=True)
    return folder / "a.npy"


def zarr_group(folder):
    zarr.create_group(folder / "g.zarr").create_group("inner")
    return folder / "g.zarr"


def one_axis(folder):
    np.save(folder / "a.npy", np.arange(5))
    return folder / "a.npy"


def a_folder(folder):
    return folder


@pytest.mark.parametrize(
    "bad",
    [
        text_as("a.png"),
        text_as("a.tif"),
        text_as("a.npy"),
        text_as("a.txt"),
        text_as("a.jpg"),
        empty,
        cut("a.tif", 0.5),
        cut("a.tif", 0.5, compression="zlib"),
        cut("a.tif", 0.001),
        cut("a.png", 0.5),
        cut("a.jpg", 0.5),
        pickled,
        zarr_group,
        one_axis,
        a_folder,
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_the_file(bad, tmp_path, recwarn):
    path = bad(tmp_path)
    with pytest.raises(DataError) as caught:
        frames_of(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert not [str(warning.message) for warning in recwarn.list]


def test_axes_that_do_not_fit_are_an_error(tmp_path):
    np.save(tmp_path / "a.npy", stack(5, 10, 12, 3))
    with pytest.raises(DataError, match="YXC are 3, but the image has 4"):
        open_source(tmp_path / "a.npy", "YXC")


def test_find_images(tmp_path, monkeypatch):
    for name in ("b.png", "a.TIF", ".hidden.png", "notes.txt", "sub/c.png", "out/a.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    zarr.create_array(tmp_path / "z.zarr", shape=(2, 2), dtype="u1")
    out = tmp_path / "out"

    def found(*inputs, **options):
        images, errors = find_images(inputs, out=out, **options)
        assert not errors
        return [path.relative_to(tmp_path).as_posix() for path in images]

    assert found(str(tmp_path)) == ["a.TIF", "b.png", "z.zarr"]
    assert found(str(tmp_path), recursive=True) == ["a.TIF", "b.png", "sub/c.png", "z.zarr"]
    assert found(str(tmp_path / "*.png"), str(tmp_path / "b.png")) == ["b.png"]
    assert found(str(tmp_path / "**" / "c*")) == ["sub/c.png"]
    assert found(str(tmp_path / "z.zarr")) == ["z.zarr"]
    monkeypatch.chdir(tmp_path)
    assert [path.as_posix() for path in find_images(["s*/*.png"])[0]] == ["sub/c.png"]


def test_inputs_that_name_nothing_are_one_error_each(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.png").write_bytes(b"")
    given = [str(tmp_path / name) for name in ("nix.png", "*.gif", "sub", "b.png")]
    images, errors = find_images(given)
    assert images == [tmp_path / "b.png"]
    assert [str(e).split(": ")[1].split()[0] for e in errors] == ["there", "no", "holds"]
    _, (error,) = find_images([str(tmp_path)], out=tmp_path)
    assert "--out" in str(error)


@pytest.mark.parametrize(
    ("names", "is_known"),
    [
        ("TYX", True),
        ("tyx", True),
        ("YX", True),
        ("XY", True),
        ("QZYX", True),
        ("QYX", False),
        ("QQYX", False),
        ("TTYX", False),
        ("tTYX", False),
        ("TX", False),
        ("", False),
    ],
)
def test_names_tell_what_an_axis_is_or_nothing(names, is_known):
    assert known_axes(names) == (tuple(names) if is_known else ())


@pytest.mark.parametrize("axes", ["TYX", "QYX", "CYX", "YXC", "ZQYX", "QQYX", "YX", "XY"])
def test_a_dataset_reads_the_axes_of_a_file_as_a_prediction_does(axes, tmp_path):
    path = tmp_path / "a.tif"
    data = stack(*range(5, 5 + len(axes)), dtype=np.uint16)
    tifffile.imwrite(path, data, metadata={"axes": axes})
    header = read_header(path)
    with open_source(path) as source:
        assert (header.roles, header.n_frames) == (source.roles, source.n_frames)
        for k in range(source.n_frames):
            np.testing.assert_array_equal(read_frame(path, header, k), source.frame(k))
