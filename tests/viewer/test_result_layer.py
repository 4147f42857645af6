"""The Labels layer lies on its image, and shows what the document holds."""

from __future__ import annotations

import itertools

import dask.array as da
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_eomt.annotation import operations
from napari_eomt.annotation.document import Document
from napari_eomt.annotation.session import Session
from napari_eomt.structures.axes import AxisRoles
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation
from napari_eomt.viewer.colormaps import category_colors
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.viewer.result_layer import ResultLayer

CATEGORIES = [Category(7, "cell"), Category(3, "sky", is_thing=False)]
H, W = 12, 16
ROTATED = np.array([[0.8, -0.6], [0.6, 0.8]])


def made(viewer, shape, roles=None, **options):
    """Return an image layer and its result, which is in the viewer."""
    data = options.pop("data", None)
    if data is None:
        data = np.zeros(shape, np.uint8)
    image = viewer.add_image(data, **options)
    roles = guess_roles(image) if roles is None else roles
    source = LayerSource(image, roles)
    document = Document(source.frame_shape, source.image_shape, CATEGORIES)
    result = ResultLayer(image, roles, Session(document))
    viewer.add_layer(result.layer)
    return image, result


def propose(result, frame, id_map, category_ids=(7, 3)):
    id_map = np.asarray(id_map, np.uint16)
    segments = tuple(
        Segment(int(i), category_ids[(i - 1) % len(category_ids)], 0.75, area=int(n))
        for i, n in zip(*np.unique(id_map[id_map > 0], return_counts=True), strict=True)
    )
    edit = operations.propose(result.document, frame, Segmentation(id_map, segments))
    result.session.do(edit)


def square(y, x, i=1):
    id_map = np.zeros((H, W), np.uint16)
    id_map[y : y + 3, x : x + 3] = i
    return id_map


def value_at(layer, viewer, y, x, image):
    """Return the label that the viewer shows over a pixel of the image's shown frame."""
    point = np.array(viewer.dims.point, float)
    # In the last two dimensions the mouse, in the others the sliders.
    here = np.array(image.world_to_data(point), float)[-image.ndim :]
    here[-2:] = y, x
    world = np.array(point)
    world[-image.ndim :] = image.data_to_world(here)
    return layer.get_value(
        world, view_direction=None, dims_displayed=list(viewer.dims.displayed), world=True
    )


GEOMETRIES = {
    "plain": {},
    "scaled": {"scale": (0.5, 0.25)},
    "moved": {"scale": (2, 3), "translate": (-4, 10)},
    "turned": {"rotate": 30, "translate": (1, 2)},
    "sheared": {"shear": [0.4], "scale": (1, 2)},
    "affine": {"affine": np.array([[0.9, 0.2, 5], [-0.3, 1.1, -2], [0, 0, 1]])},
    "all": {
        "scale": (2, 0.5),
        "translate": (3, -1),
        "rotate": ROTATED,
        "shear": [0.2],
        "affine": np.array([[0, 1.5, 5], [1, 0, -2], [0, 0, 1]]),
    },
}
LEADING = {
    "2d": ((), None),
    "frames": ((5,), None),
    "two axes": ((2, 5), None),
    "channels": ((3,), AxisRoles((), 1, 2, 0)),
    "channels in frames": ((5, 3), AxisRoles((0,), 2, 3, 1)),
    "channels of frames": ((3, 5), AxisRoles((1,), 2, 3, 0)),
    "channels between": ((2, 3, 5), AxisRoles((0, 2), 3, 4, 1)),
    "channels last": ((2, 5, 3), AxisRoles((0, 1), 3, 4, 2)),
}


def widened(geometry, n_leading):
    """Give the leading axes a geometry of their own."""
    wide = dict(geometry)
    if not n_leading:
        return wide
    n = n_leading + 2
    wide["scale"] = [*np.arange(2.0, 2 + n_leading), *geometry.get("scale", (1, 1))]
    wide["translate"] = [*np.arange(n_leading) * 3.0 - 2, *geometry.get("translate", (0, 0))]
    for name, size in (("rotate", n), ("affine", n + 1)):
        if name in geometry:
            small = geometry[name]
            if not isinstance(small, np.ndarray):
                angle = np.deg2rad(small)
                small = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            wide[name] = np.eye(size)
            wide[name][n_leading:, n_leading:] = small
    if "shear" in geometry:
        upper = np.eye(n)
        upper[-2, -1] = geometry["shear"][0]
        wide["shear"] = upper[np.triu_indices(n, 1)]
    return wide


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("leading", LEADING)
def test_the_same_pixel_is_at_the_same_place(leading, geometry):
    viewer = ViewerModel()
    shape, roles = LEADING[leading]
    image, result = made(viewer, (*shape, H, W), roles, **widened(GEOMETRIES[geometry], len(shape)))
    roles = result._roles
    # A square in each frame, elsewhere in each.
    frames = list(np.ndindex(*result.document.frame_shape))
    for i in range(len(frames)):
        propose(result, i, square(1 + i % 8, 2 + i))
    for steps in np.ndindex(*shape):
        for axis, step in enumerate(steps):
            start = image.data_to_world((0.0,) * image.ndim)[axis]
            viewer.dims.set_point(axis, start + image.scale[axis] * step)
        assert image._data_slice.point[: len(shape)] == pytest.approx(steps)
        i = frames.index(tuple(steps[axis] for axis in roles.frames))
        y, x = 1 + i % 8, 2 + i
        segment_id = result.document.id_map(i)[y, x]
        assert segment_id > 0
        for dy, dx in itertools.product((-1, 0, 2, 3), repeat=2):
            expected = segment_id if {dy, dx} <= {0, 2} else 0
            assert value_at(result.layer, viewer, y + dy, x + dx, image) == expected
    # The layer is no longer than its image in any direction.
    assert viewer.layers.extent.world == pytest.approx(image.extent.world)


def test_an_image_in_colour_and_a_pyramid():
    viewer = ViewerModel()
    scale = (0.5, 2)
    image, result = made(viewer, (H, W, 3), rgb=True, scale=scale, translate=(4, 5))
    propose(result, 0, square(2, 3))
    assert result.layer.data.shape == (H, W)
    assert value_at(result.layer, viewer, 3, 4, image) == 1
    levels = [np.zeros((64, 80), np.uint8), np.zeros((32, 40), np.uint8)]
    image, result = made(viewer, None, data=levels, multiscale=True, scale=scale)
    assert result.layer.data.shape == (64, 80)
    assert not result.layer.multiscale
    assert result.layer.data_to_world((63, 79)) == pytest.approx((31.5, 158))


@pytest.mark.parametrize("dtype", [np.uint16, np.float64])
def test_lazy_images_of_any_dtype(dtype):
    viewer = ViewerModel()
    lazy = da.zeros((4, H, W), dtype=dtype, chunks=(1, H, W))
    image, result = made(viewer, None, data=lazy, contrast_limits=(0, 1))
    propose(result, 2, square(0, 0))
    viewer.dims.set_point(0, 2)
    assert value_at(result.layer, viewer, 1, 1, image) == 1
    viewer.dims.set_point(0, 1)
    assert value_at(result.layer, viewer, 1, 1, image) == 0


def test_units_and_names_of_axes_are_the_images():
    viewer = ViewerModel()
    options = {"units": ("s", "um", "um"), "axis_labels": ("t", "y", "x")}
    image, result = made(viewer, (4, H, W), name="plate", **options)
    assert result.layer.units == image.units
    assert result.layer.axis_labels == ("t", "y", "x")
    assert result.layer.name == "plate segments"
    assert result.layer.metadata["napari_eomt"] == {"image": "plate"}
    options = {"units": ("nm", "um", "um"), "axis_labels": ("c", "y", "x")}
    image, result = made(viewer, (4, H, W), **options)
    assert result.layer.units == image.units[1:]
    assert result.layer.axis_labels == ("y", "x")


def test_images_of_several_dimensions_in_one_viewer():
    """A flat result is shown at every step of the other image's slider."""
    viewer = ViewerModel()
    stack, over_time = made(viewer, (4, H, W))
    flat, single = made(viewer, (H, W))
    propose(over_time, 1, square(0, 0))
    propose(single, 0, square(6, 6))
    for t in range(4):
        viewer.dims.set_point(0, t)
        assert value_at(single.layer, viewer, 7, 7, flat) == 1
        assert value_at(over_time.layer, viewer, 1, 1, stack) == (t == 1)
        assert value_at(single.layer, viewer, 1, 1, flat) == 0


def features(result):
    return result.layer.features.set_index("index")


def test_the_table_is_the_documents():
    viewer = ViewerModel()
    _, result = made(viewer, (H, W))
    assert len(result.layer.features) == 0
    assert list(result.layer.features) == ["index", "category", "score", "status", "area"]
    propose(result, 0, square(0, 0) + square(5, 5, 2))
    table = features(result)
    assert table["category"].to_dict() == {1: "cell", 2: "sky"}
    assert table.loc[1].to_dict() == {
        "category": "cell",
        "score": 0.75,
        "status": "proposed",
        "area": 9,
    }
    propose(result, 0, np.zeros((H, W)))
    assert len(result.layer.features) == 0


def test_the_table_of_a_stack_names_the_frames():
    viewer = ViewerModel()
    _, result = made(viewer, (3, H, W))
    propose(result, 2, square(0, 0))
    propose(result, 0, square(0, 0) + square(5, 5, 2))
    assert features(result)["frame"].to_dict() == {1: 2, 2: 0, 3: 0}


def test_only_the_shown_frame_is_redrawn():
    viewer = ViewerModel()
    _, result = made(viewer, (3, H, W))
    viewer.dims.set_point(0, 1)
    redrawn = []
    result.layer.events.set_data.connect(lambda: redrawn.append(1))
    propose(result, 2, square(0, 0))
    assert redrawn == []
    propose(result, 1, square(0, 0))
    assert len(redrawn) == 1
    # Seen from the side, or in 3D, all frames are.
    viewer.dims.ndisplay = 3
    redrawn.clear()
    propose(result, 2, square(4, 4))
    assert len(redrawn) == 1


@pytest.mark.parametrize("shape", [(H, W), (3, H, W)])
def test_ids_past_16_bits_widen_the_layer(shape):
    viewer = ViewerModel()
    _, result = made(viewer, shape)
    frame = result.document.n_frames - 1
    propose(result, frame, square(0, 0))
    result.document.hold(65_535)
    viewer.dims.set_point(0, frame)
    assert result.layer.data.dtype == np.uint16
    propose(result, frame, square(0, 0) + square(5, 5, 2))
    assert result.layer.data.dtype == np.uint32
    assert result.is_intact
    assert set(features(result).index) == {1, 65_536}
    result.layer.paint((*[frame] * (len(shape) - 2), 10, 10), 70_000)
    assert features(result).loc[70_000, "status"] == "drawn"
    assert result.document.id_map(frame)[10, 10] == 70_000
    result.layer.undo()
    assert 70_000 not in features(result).index


def test_objects_are_coloured_by_their_category_when_asked():
    viewer = ViewerModel()
    _, result = made(viewer, (H, W))
    propose(result, 0, square(0, 0) + square(5, 5, 2) + square(0, 9, 3))
    colors = category_colors(CATEGORIES)

    def color(segment_id):
        return tuple(round(float(part), 3) for part in result.layer.get_color(segment_id))

    result.color_by_category(True)
    for segment_id, category_id in ((1, 7), (2, 3), (3, 7)):
        assert color(segment_id) == pytest.approx((*colors[category_id], 1), abs=1e-3)
    # What is drawn later has its colour at once; it becomes the first category.
    result.layer.paint((10, 1), 9)
    assert color(9) == color(1)
    result.color_by_category(False)
    assert len({color(i) for i in (1, 2, 3)}) == 3


def test_ids_past_16_bits_are_shown_whatever_the_colours():
    viewer = ViewerModel()
    _, result = made(viewer, (H, W))
    result.color_by_category(True)
    result.document.hold(65_535)
    propose(result, 0, square(0, 0) + square(5, 5, 2))
    result.layer.paint((10, 1), 70_000)
    assert result.layer.get_color(70_000)[-1] == 1
    assert set(features(result).index) == {65_536, 65_537, 70_000}


@pytest.mark.parametrize(
    "other",
    [
        lambda layer: layer.data.copy(),
        lambda layer: layer.data.astype(np.uint32),
        lambda layer: layer.data[1],
        lambda layer: layer.data[:, ::-1],
        lambda layer: layer.data[:2],
        lambda layer: da.from_array(layer.data.copy(), chunks=(1, H, W)),
        lambda layer: np.zeros((9, 3, H, W), np.uint16),
    ],
)
def test_other_data_in_the_layer_ends_the_bond(other):
    viewer = ViewerModel()
    _, result = made(viewer, (3, H, W))
    propose(result, 1, square(0, 0))
    assert result.is_intact
    before = result.document.segmentation(1)
    result.layer.data = other(result.layer)
    assert not result.is_intact
    if isinstance(result.layer.data, np.ndarray):
        # Painting in it is nobody's business.
        at = np.array(result.layer.data.shape) - 1
        result.layer.paint(tuple(at), 5)
        assert result.layer.data[tuple(at)] == 5
        result.layer.undo()
        assert result.layer.data[tuple(at)] == 0, "its own history is napari's"
    assert result.document.segments(1) == before.by_id()
    assert list(result.document.iter_segments()) == [(1, before.segments[0])]


def test_a_closed_result_follows_nothing():
    viewer = ViewerModel()
    _, result = made(viewer, (H, W))
    result.close()
    result.layer.paint((5, 5), 3)
    result.layer.undo()
    assert not result.document.segments(0)
