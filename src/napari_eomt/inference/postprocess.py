"""From the logits of a forward pass to an id map: the face of all post-processing."""

from __future__ import annotations

from napari_eomt.inference.instance import instance_segments
from napari_eomt.inference.panoptic import panoptic_segments
from napari_eomt.inference.query_segments import QuerySegments
from napari_eomt.inference.semantic import SemanticView, semantic_map

__all__ = [
    "QuerySegments",
    "SemanticView",
    "instance_segments",
    "panoptic_segments",
    "semantic_map",
]
