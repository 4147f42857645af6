"""Saves objects of a Labels layer from napari's own menu: COCO, documents, label images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_eomt.errors import DataError

if TYPE_CHECKING:
    from napari.types import FullLayerData

    from napari_eomt.annotation.document import Document

CATEGORY = "object"
"""Of every id in a layer that is not ours."""


def write(path: str, layers: list[FullLayerData]) -> list[str]:
    """Write the objects of a Labels layer, and its image if that is selected as well.

    A layer of ours is written with all that is known about its objects; into the dataset that it
    was read from, nothing but what was changed becomes different. Of other layers each id is an
    object of one category.

    Parameters
    ----------
    path : str
        NAME.json for COCO, NAME.eomt for a document, NAME.tif for a label image with its table.
    layers : list of (data, attributes, kind)
        A Labels layer, and perhaps an image.

    Returns
    -------
    list of str
        What was written.

    Raises
    ------
    DataError
        If the layers cannot be written so.
    OutputError
        If the disk is full, or the place cannot be written.
    """
    out = Path(path)
    labels = next((layer for layer in layers if layer[2] == "labels"), None)
    image = next((layer for layer in layers if layer[2] == "image"), None)
    if labels is None:
        raise DataError("There is no Labels layer among the layers. Select the one to save.")
    document = _document_of(labels)
    name = str((image or labels)[1].get("name") or "image")
    if out.suffix == ".eomt":
        from napari_eomt.annotation.files import save_document
        from napari_eomt.annotation.image_ref import ImageRef

        ref = None if image is None else ImageRef.of(_array(image), name)
        save_document(document, out, ref, overwrite=True)
        return [str(out)]
    if out.suffix.lower() in (".tif", ".tiff"):
        from napari_eomt.formats.id_images import save_id_image

        save_id_image(document, out, overwrite=True)
        return [str(out), str(out.with_suffix(".json"))]
    if out.suffix.lower() == ".json":
        return _to_coco(document, out, image, name)
    raise DataError(f"{out.name}: objects are written as .json (COCO), .eomt or .tif. Choose one.")


def _to_coco(document: Document, out: Path, image: FullLayerData | None, name: str) -> list[str]:
    from napari_eomt.formats.coco_file import CocoFile
    from napari_eomt.formats.dataset import Dataset, load_dataset

    origin = document.origin
    is_here = origin is not None and Path(origin.path).resolve() == out.resolve()
    if is_here and out.is_file():
        with load_dataset(out) as dataset:
            dataset.add(None, document, frames=range(document.n_frames))
            dataset.save()
        return [str(out)]
    if image is None:
        return _annotations_alone(document, out, name)
    pixels = _frames_first(_array(image), document, bool(image[1].get("rgb")))
    # napari has asked whether a file that is there may be replaced.
    with Dataset(out, CocoFile()) as dataset:
        added = dataset.add(pixels, document, name=name, frames=range(document.n_frames))
        dataset.save()
        return [str(out), *(str(dataset.image_path(i)) for i in added.image_ids)]


def _annotations_alone(document: Document, out: Path, name: str) -> list[str]:
    from tempfile import TemporaryDirectory

    from napari_eomt.annotation.files import SUFFIX, save_document
    from napari_eomt.annotation.image_ref import ImageRef
    from napari_eomt.annotation.rows import plain_text
    from napari_eomt.formats.convert import convert
    from napari_eomt.formats.safe_paths import safe_stem

    shape = (*document.frame_shape, *document.image_shape)
    ref = ImageRef(name=plain_text(name), shape=shape, dtype="", fingerprint="")
    with TemporaryDirectory(prefix="napari-eomt-") as stage:
        folder = Path(stage) / f"{safe_stem(name)}{SUFFIX}"
        save_document(document, folder, ref)
        convert(folder, out, "coco", overwrite=True)
    return [str(out)]


def _document_of(layer: FullLayerData) -> Document:
    """Return a layer's document as it is now; of a layer that is not ours, a new one."""
    import numpy as np

    from napari_eomt.annotation.document import Document
    from napari_eomt.structures.categories import Category
    from napari_eomt.viewer.dataset_metadata import DOCUMENT
    from napari_eomt.viewer.dataset_sessions import reconcile
    from napari_eomt.viewer.result_layer import METADATA_KEY

    data, about, _ = layer
    ours = about.get("metadata", {}).get(METADATA_KEY)
    known = ours.get(DOCUMENT) if isinstance(ours, dict) else None
    ids = np.asarray(data[0] if about.get("multiscale") else data)
    if isinstance(known, Document) and known.id_maps.size == ids.size:
        document = known.copy()
        if not np.array_equal(document.id_maps.ravel(), ids.ravel()):
            document.hold(int(ids.max(initial=0)))
            document.id_maps[...] = ids.reshape(document.id_maps.shape)
        reconcile(document)
        return document
    if ids.ndim < 2 or int(ids.min(initial=0)) < 0:
        raise DataError(
            f"The layer {about.get('name')} is {ids.shape}, with ids from {ids.min(initial=0)}; "
            "images of ids from 0 were expected. Choose another layer."
        )
    document = Document(
        ids.shape[:-2], (int(ids.shape[-2]), int(ids.shape[-1])), [Category(1, CATEGORY)]
    )
    document.hold(int(ids.max(initial=0)))
    document.id_maps[...] = ids
    reconcile(document)
    return document


def _array(image: FullLayerData) -> Any:
    data, about, _ = image
    return data[0] if about.get("multiscale") else data


def _frames_first(data: Any, document: Document, is_rgb: bool) -> Any:
    """Return an image with its channels, if it has an axis of them, behind the pixels."""
    import numpy as np

    n = len(document.frame_shape)
    if not is_rgb and data.ndim == n + 3 and data.shape[-2:] == document.image_shape:
        return np.moveaxis(data, n, -1)
    return data
