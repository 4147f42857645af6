"""Annotated images as layers for napari, with what a session needs to go on with them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from napari_eomt.annotation.files import load_document
from napari_eomt.errors import EomtError
from napari_eomt.formats.ctc import read_ctc
from napari_eomt.formats.ctc_images import challenge_images, find_frames
from napari_eomt.inference.sources import open_source
from napari_eomt.viewer.dataset_frames import DatasetFrames
from napari_eomt.viewer.dataset_metadata import DOCUMENT, FILE, OPENED, origin_metadata
from napari_eomt.viewer.features import FeatureTable
from napari_eomt.viewer.image_layer import image_layer
from napari_eomt.viewer.result_layer import METADATA_KEY

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.types import LayerDataTuple

    from napari_eomt.annotation.document import Document
    from napari_eomt.annotation.image_ref import ImageRef
    from napari_eomt.viewer.dataset_open import Item, OpenDataset


def item_layers(dataset: OpenDataset, item: Item) -> list[LayerDataTuple]:
    """Return the layers of an image of a dataset, of a stack, or of a video.

    Raises
    ------
    DataError
        If an image is not there, or an annotation cannot be drawn.
    """
    image = image_layer(dataset.source(item))
    return _layers(image, dataset.document(item), dataset.path)


def document_layers(folder: Path) -> tuple[list[LayerDataTuple], str]:
    """Return the layers of a document, and what to know about them, if anything.

    The image is looked for where it was, and beside the document. Without it there are only the
    objects.

    Raises
    ------
    DataError
        If the document is damaged.
    """
    document, ref = load_document(folder)
    image = _image_of(folder, ref, document)
    if image is not None:
        return _layers(image, document, folder), ""
    name = folder.stem if ref is None else ref.name
    return [_objects(name, document)], (
        f"The image {name} of this document was not found. Open it, and then the document under "
        "Correct → Open in the EoMT dock, to go on with it."
    )


def track_layers(table: Path) -> tuple[list[LayerDataTuple], str]:
    """Return the layers of tracks of the Cell Tracking Challenge, and what to know about them.

    The images are looked for where the challenge has them: those of ``01_GT/TRA`` and ``01_RES`` in
    ``01``. Without them there are only the objects.

    Raises
    ------
    DataError
        If the table and its label images cannot be read, or do not fit each other.
    """
    document = read_ctc(table)
    folder = challenge_images(table)
    name = table.parent.name if folder is None else folder.name
    if folder is None:
        return [_objects(name, document)], (
            f"The images of {table.parent} were not found, the objects alone are open."
        )
    (n_frames,), (height, width) = document.frame_shape, document.image_shape
    paths = find_frames(folder)
    if len(paths) != n_frames:
        return [_objects(name, document)], (
            f"{folder} has {len(paths)} images, {table.name} tells of {n_frames} frames: the "
            "objects alone are open."
        )
    size = {"height": height, "width": width}
    records = [{"id": k, "file_name": p.name, **size} for k, p in enumerate(paths)]
    frames = DatasetFrames(paths[0], name, records, is_stack=True)
    return _layers(image_layer(frames), document, table), ""


def _objects(name: str, document: Document) -> LayerDataTuple:
    about = {"name": f"{name} segments", **_described(document, {})}
    return document.id_maps, about, "labels"


def _layers(image: Image, document: Document, path: Path) -> list[LayerDataTuple]:
    opened = {OPENED: uuid4().hex, FILE: str(path)} | origin_metadata(document)
    about = {"name": image.name, "rgb": image.rgb, "axis_labels": image.axis_labels}
    if image.rgb is False:
        about["contrast_limits"] = image.contrast_limits
    labels = {"name": f"{image.name} segments", **_described(document, opened)}
    n = len(document.frame_shape) + 2
    labels["axis_labels"] = image.axis_labels[-n:]
    return [
        (image.data, about | {"metadata": {METADATA_KEY: opened}}, "image"),
        (document.id_maps, labels, "labels"),
    ]


def _described(document: Document, opened: dict[str, Any]) -> dict[str, Any]:
    return {
        "features": FeatureTable(document).frame(),
        "metadata": {METADATA_KEY: opened | {DOCUMENT: document}},
    }


def _image_of(folder: Path, ref: ImageRef | None, document: Document) -> Image | None:
    beside = folder.with_suffix("")
    places = [] if ref is None or ref.path is None else [Path(ref.path)]
    if ref is not None:
        # A document that has been moved, along with its image.
        places += [folder.parent / Path(ref.path or ref.name).name, folder.parent / ref.name]
    places += sorted(p for p in folder.parent.glob(f"{beside.name}.*") if p != folder)
    for path in dict.fromkeys(places):
        with suppress(EomtError):
            if path.is_file() or path.suffix == ".zarr":
                source = open_source(path)
                fits = (source.stack_shape, source.roles.frame_shape(source.shape)) == (
                    document.frame_shape,
                    document.image_shape,
                )
                if fits:
                    return image_layer(source)
                source.close()
    return None
