"""A viewer with an image, a result of known objects, and what the pages follow."""

from __future__ import annotations

import numpy as np
from qtpy.QtWidgets import QApplication

from napari_eomt.annotation.operations import propose
from napari_eomt.structures.axes import AxisRoles
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation
from napari_eomt.viewer.image_source import LayerSource
from napari_eomt.viewer.results import Results
from napari_eomt.widgets.current import Current

H, W = 60, 80
BOXES = {1: (5, 5, 25, 25), 2: (5, 25, 25, 45), 3: (30, 5, 55, 45), 4: (30, 50, 40, 60)}
SCORES = {1: 0.9, 2: 0.3, 3: 0.6, 4: None}
CATEGORIES = (Category(7, "cell"), Category(3, "debris"), Category(9, "soil", is_thing=False))


def segmentation() -> Segmentation:
    """Return four rectangles: three cells and one of debris, which is the third."""
    id_map = np.zeros((H, W), np.uint16)
    segments = []
    for i, (y0, x0, y1, x1) in BOXES.items():
        id_map[y0:y1, x0:x1] = i
        area = (y1 - y0) * (x1 - x0)
        category = 3 if i == 3 else 7
        segments.append(Segment(i, category, SCORES[i], area=area, bbox=(y0, x0, y1, x1)))
    return Segmentation(id_map, tuple(segments))


class ResultBench:
    """What the dock makes of a viewer, without the dock.

    Ids run on from frame to frame: those of frame 1 are 5 to 8.

    Parameters
    ----------
    viewer : ViewerModel
    n_frames : int
        0 is a single image.
    size : (H, W)
        Of an image; one of another size than these objects' begins without any.
    options
        Of the image layer: its scale, its rotation.
    """

    def __init__(self, viewer, n_frames=0, *, size=(H, W), **options):
        self.viewer = viewer
        shape = (n_frames, *size) if n_frames else size
        self.image = viewer.add_image(np.zeros(shape, np.uint8), name="image", **options)
        self.roles = AxisRoles((0,), 1, 2) if n_frames else AxisRoles((), 0, 1)
        if n_frames:
            viewer.dims.set_point(0, 0)
        self.results = Results(viewer)
        self.current = Current(viewer, self.results)
        self.current.follow(self.image, self.roles)
        self.make(n_frames if size == (H, W) else None)

    def make(self, n_frames=0, categories=CATEGORIES):
        source = LayerSource(self.image, self.roles)
        result = self.results.create("key", self.image, self.roles, source, categories)
        n_proposed = 0 if n_frames is None else max(1, n_frames)
        for frame in range(n_proposed):
            result.session.do(propose(result.document, frame, segmentation()))
        return result

    @property
    def result(self):
        return self.current.result

    @property
    def session(self):
        return self.current.session

    @property
    def document(self):
        return self.current.document

    @property
    def layer(self):
        return self.result.view.layer

    def segment(self, i, frame=0):
        return self.document.segments(frame)[i]

    def close(self):
        self.current.close()
        self.results.close()


def settle():
    for _ in range(5):
        QApplication.processEvents()
