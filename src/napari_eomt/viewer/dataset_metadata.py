"""What layers of annotated images carry in their metadata."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_eomt.viewer.result_layer import METADATA_KEY

if TYPE_CHECKING:
    from napari_eomt.annotation.document import Document

DOCUMENT = "document"
"""The document itself, whose id maps the layer shows."""
OPENED = "opened"
"""What an image and its objects that were opened together have in common."""
FILE = "file"
"""What they were opened from."""


def ours(layer: Any) -> dict[str, Any]:
    """Return what of a layer's metadata is ours."""
    found = layer.metadata.get(METADATA_KEY)
    return found if isinstance(found, dict) else {}


def with_ours(layer: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Return a layer's metadata with ours replaced."""
    metadata: dict[str, Any] = layer.metadata | {METADATA_KEY: values}
    return metadata


def origin_metadata(document: Document) -> dict[str, Any]:
    """Return where a document was read from."""
    origin = document.origin
    if origin is None:
        return {}
    found: dict[str, Any] = {"dataset": origin.path, "image_ids": list(origin.image_ids)}
    return found if origin.video_id is None else found | {"video_id": origin.video_id}
