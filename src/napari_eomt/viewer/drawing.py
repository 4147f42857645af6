"""Begin the objects of an image by hand, without a run of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from napari_eomt.structures.categories import Category
from napari_eomt.viewer.image_source import LayerSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_eomt.structures.axes import AxisRoles
    from napari_eomt.viewer.results import Result, Results

HINT = "Draw: each number of the layer is an object. M takes the next number, 1 erases, 2 draws."


def start_drawing(
    viewer: ViewerModel,
    results: Results,
    image: Image,
    roles: AxisRoles,
    categories: Iterable[Category],
) -> Result:
    """Make an empty result of an image, and take the brush.

    Parameters
    ----------
    viewer : ViewerModel
    results : Results
    image : napari.layers.Image
    roles : AxisRoles
    categories : iterable of Category
        The first is that of the brush. Without any there is one of the name "object".

    Raises
    ------
    DataError
        If the image cannot be read.
    """
    source = LayerSource(image, roles)
    found = list(categories) or [Category(1, "object")]
    result = results.create(uuid4().hex, image, roles, source, found)
    layer = result.view.layer
    viewer.layers.selection.active = layer
    layer.selected_label = result.document.next_id
    layer.mode = "paint"
    return result
