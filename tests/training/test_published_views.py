"""Random views against the published recipe, written down step by step on the whole image.

Colours, a flip, the scale, padding, a crop; masks by the nearest pixel; drawn again if empty.
"""

import numpy as np
import pytest
from PIL import Image
from tests.training.images import NUCLEUS, nuclei, sample_set, segments_of, whole_card

from napari_eomt.structures.segments import Segmentation
from napari_eomt.structures.tiles import Tile
from napari_eomt.training.augment import ColorChange, ColorJitter
from napari_eomt.training.image_cache import ReadyImage
from napari_eomt.training.labels import match_categories
from napari_eomt.training.params import full
from napari_eomt.training.samples import make_sample
from napari_eomt.training.truth import truth_of
from napari_eomt.training.views import View

SIZE = 96
CARD = whole_card(input_size=SIZE)


def photograph(shape):
    """Return smooth colours, so that rounding is all that resizing before or after changes."""
    y, x = np.mgrid[: shape[0], : shape[1]] / max(shape)
    rgb = np.stack((90 + 80 * y, 60 + 90 * x, 160 - 70 * x * y), axis=2)
    return rgb.astype(np.uint8)


def published(rgb, id_map, change, is_flipped, canvas, corner):
    """Return pixels and ids of a crop, all of it done to the whole image in the published order."""
    rgb = change.apply(rgb)
    if is_flipped:
        rgb, id_map = rgb[:, ::-1], id_map[:, ::-1]
    height, width = canvas
    rgb = np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR))
    ids = Image.fromarray(id_map.astype(np.int32)).resize((width, height), Image.Resampling.NEAREST)
    padded = np.zeros((max(height, SIZE), max(width, SIZE), 3), np.uint8)
    padded_ids = np.zeros(padded.shape[:2], int)
    padded[:height, :width], padded_ids[:height, :width] = rgb, np.asarray(ids)
    part = np.s_[corner[0] : corner[0] + SIZE, corner[1] : corner[1] + SIZE]
    return padded[part], padded_ids[part]


@pytest.mark.parametrize("is_flipped", [False, True])
@pytest.mark.parametrize(
    ("canvas", "corner"),
    [((45, 72), (0, 0)), ((150, 240), (17, 101)), ((60, 96), (0, 0)), ((180, 288), (84, 192))],
)
def test_a_view_is_what_the_published_steps_make_of_the_whole(canvas, corner, is_flipped):
    shape = (75, 120)
    rgb, (_, segmentation) = photograph(shape), nuclei(shape, 7)
    truth = truth_of(segmentation, match_categories([], [NUCLEUS]), "instance")
    # The contrast is about the mean of what is seen, which a whole image has another one of.
    change = ColorChange(brightness=1.1, saturation=0.7, hue=0.03)
    pixels, ids = published(rgb, segmentation.id_map, change, is_flipped, canvas, corner)
    y, x = corner
    height, width = min(SIZE, canvas[0] - y), min(SIZE, canvas[1] - x)
    # A crop of the mirror image is the mirror image of the crop on the other side.
    left = canvas[1] - x - width if is_flipped else x
    view = View(canvas, Tile(y, left, y + height, left + width), 4 if is_flipped else 0)
    sample = make_sample(ReadyImage.of(rgb, truth), view, CARD, change)
    assert np.abs(sample.pixels.astype(int) - pixels).max() <= 4
    assert not sample.pixels[height:].any()
    assert not sample.pixels[:, width:].any()
    found = np.append(0, sample.ids)[sample.id_map]
    # Where a middle falls on a border between pixels, the mirror image takes the other one.
    assert (found != ids).mean() < (0.03 if is_flipped else 1e-9)


@pytest.mark.parametrize(("task", "low"), [("instance", 0.1), ("panoptic", 0.1), ("semantic", 0.5)])
def test_scales_are_drawn_evenly_from_the_published_range(task, low):
    whole = np.ones((50, 80), np.uint16)  # seen wherever one looks: nothing is drawn again
    images = {"a": (photograph((50, 80)), Segmentation(whole, segments_of(whole)))}
    model = CARD.model_copy(update={"tasks": (task,)})
    samples = sample_set(images, full(views_per_image=600), model)
    # Fitted into the input the longer side is as long as it.
    scales = np.array([samples.at(k).view.canvas[1] for k in range(600)]) / SIZE
    assert low - 0.01 <= scales.min() < low + 0.05
    assert 1.93 < scales.max() <= 2.01
    quarters = np.histogram(scales, bins=4, range=(low, 2))[0] / 600
    assert np.abs(quarters - 0.25).max() < 0.07


def test_crops_start_anywhere_alike():
    whole = np.ones((50, 50), np.uint16)
    images = {"a": (photograph((50, 50)), Segmentation(whole, segments_of(whole)))}
    samples = sample_set(images, full(views_per_image=400, scale_jitter=(2, 2)), CARD)
    tiles = [samples.at(k).view.tile for k in range(400)]
    for starts in ([t.y0 for t in tiles], [t.x0 for t in tiles]):
        assert min(starts) < 5
        assert max(starts) > 91  # the last is 96
        thirds = np.histogram(starts, bins=3, range=(0, 97))[0] / 400
        assert np.abs(thirds - 1 / 3).max() < 0.09


def test_a_view_of_nothing_is_drawn_again_of_the_same_image():
    id_map = np.zeros((120, 120), np.uint16)
    id_map[100:112, 5:17] = 1
    images = {
        "a": (photograph((120, 120)), Segmentation(id_map, segments_of(id_map))),
        "b": (photograph((120, 120)), Segmentation(np.zeros_like(id_map), ())),
    }
    params = full(views_per_image=60, empty_views=0.0, scale_jitter=(1.5, 2))
    samples = sample_set(images, params, CARD)
    seen = [samples.at(k) for k in range(120)]
    assert [s.key for s in seen].count("a") == 60
    assert all(len(s.labels) for s in seen if s.key == "a")
    assert not any(len(s.labels) for s in seen if s.key == "b")  # legal, unlike as published


def test_full_trainings_change_colours_as_published_and_quick_ones_not():
    assert ColorJitter.of(full()) == ColorJitter(32 / 255, 0.5, 0.5, 0.05)
    assert full().has_color_jitter
    assert not full(brightness=0, contrast_jitter=0, saturation=0, hue=0).has_color_jitter
