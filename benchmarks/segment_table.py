"""How long it takes from a person's decision until table, layer and features show it.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/segment_table.py

Medians, in one run, of a real window with the Correct page: an edit is over when it is in the
layer, its features and the table (call), and when the window has drawn all of it (drawn). Then the
table by itself with 50,000 rows; sorting is compared with Qt's own proxy model. Times are CPU time
of the window's thread, so that other programs do not count.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from time import thread_time

os.environ["NAPARI_CONFIG"] = ""
os.environ.setdefault("NAPARI_EOMT_CONFIG_DIR", tempfile.mkdtemp())

import napari
import numpy as np
from qtpy.QtCore import QSortFilterProxyModel, Qt
from qtpy.QtWidgets import QApplication

from napari_eomt.annotation import operations
from napari_eomt.structures.categories import Category
from napari_eomt.structures.segments import Segment, Segmentation, Status
from napari_eomt.viewer.image_source import LayerSource, guess_roles
from napari_eomt.viewer.results import Results
from napari_eomt.widgets.annotate import AnnotatePage
from napari_eomt.widgets.current import Current
from napari_eomt.widgets.segment_model import NAMES

CATEGORIES = [Category(i, f"category {i}") for i in range(1, 11)]


def grid_of_objects(side: int, n: int) -> Segmentation:
    """Draw n squares with a gap between them."""
    per_row = int(np.ceil(np.sqrt(n)))
    step = side // per_row
    id_map = np.zeros((side, side), np.uint16)
    segments = []
    rng = np.random.default_rng(0)
    for k in range(n):
        y, x = divmod(k, per_row)
        y, x = y * step, x * step
        size = max(1, step - 2)
        id_map[y : y + size, x : x + size] = k + 1
        segments.append(
            Segment(
                k + 1,
                int(rng.integers(1, 11)),
                float(rng.random()),
                area=size * size,
                bbox=(y, x, y + size, x + size),
            )
        )
    return Segmentation(id_map, tuple(segments))


class Bench:
    """A window with the Correct page and one result."""

    def __init__(self, side: int, n: int) -> None:
        self.viewer = napari.Viewer(show=True)
        self.results = Results(self.viewer)
        self.current = Current(self.viewer, self.results)
        self.page = AnnotatePage(self.viewer, self.current)
        self.viewer.window.add_dock_widget(self.page, area="right")
        image = self.viewer.add_image(np.zeros((side, side), np.uint8))
        roles = guess_roles(image)
        source = LayerSource(image, roles)
        self.result = self.results.create("bench", image, roles, source, CATEGORIES)
        self.current.follow(image, roles)
        self.result.propose(0, grid_of_objects(side, n), "Segment")
        self.result.view.show_table()
        self.viewer.layers.selection.active = self.result.view.layer
        self.page.resize(320, 900)
        self.settle()

    def settle(self) -> None:
        for _ in range(20):
            QApplication.processEvents()

    def time(self, name: str, what, times: int = 15) -> None:
        calls, drawn = [], []
        for k in range(times):
            self.settle()
            start = thread_time()
            what(k)
            calls.append((thread_time() - start) * 1000)
            QApplication.processEvents()
            drawn.append((thread_time() - start) * 1000)
        print(
            f"{name:44s} call {statistics.median(calls):7.1f}   drawn "
            f"{statistics.median(drawn):7.1f} ms"
        )

    def close(self) -> None:
        self.page.close_events()
        self.current.close()
        self.results.close()
        self.viewer.close()


def edits(bench: Bench) -> None:
    session, document = bench.result.session, bench.result.document
    all_keys = [(0, i) for i in document.segments(0)]
    bench.time("select 1", lambda k: session.select([(0, 100 + k)]))
    bench.time("select all", lambda k: session.select(all_keys if k % 2 == 0 else []))
    session.select([])
    for by_category in (False, True):
        bench.result.view.color_by_category(by_category)
        start = 200 + 1000 * by_category
        print("coloured by category" if by_category else "coloured each by itself")

        def do(edit, first=start):
            return lambda k: session.do(edit(first + k))

        bench.time(
            "  recategorise 1",
            do(lambda i: operations.recategorise(document, [(0, i)], 1 + i % 10)),
        )
        bench.time(
            "  accept 1", do(lambda i: operations.set_status(document, [(0, i)], Status.ACCEPTED))
        )
        bench.time("  delete 1", do(lambda i: operations.delete(document, [(0, i)])))
        bench.time("  undo it", lambda k: session.undo())
        keys = all_keys[1000:2000]
        bench.time(
            "  recategorise 1,000",
            lambda k, keys=keys: session.do(operations.recategorise(document, keys, 1 + k % 10)),
            5,
        )
        bench.time(
            "  rename a category",
            lambda k: session.do(operations.change_category(document, Category(1, f"renamed {k}"))),
            5,
        )


def table(bench: Bench) -> None:
    model, view = bench.page.table.model, bench.page.table.view
    score, category = NAMES.index("score"), NAMES.index("category")
    up, down = Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder
    bench.time("sort by score", lambda k: model.sort(score, down if k % 2 else up))
    bench.time("sort by category", lambda k: model.sort(category, down if k % 2 else up))
    bench.time("find words", lambda k: _find(bench, f"category {1 + k % 9}"))
    _find(bench, "")
    bar = view.verticalScrollBar()
    bench.time("scroll a page", lambda k: bar.setValue(bar.value() + bar.pageStep()), 50)
    bench.time(
        "select all rows", lambda k: view.selectAll() if k % 2 == 0 else view.clearSelection()
    )
    proxy = QSortFilterProxyModel()
    proxy.setSourceModel(model)
    bench.time(
        "sort by score, by Qt's proxy model", lambda k: proxy.sort(score, up if k % 2 else down), 3
    )


def _find(bench: Bench, words: str) -> None:
    bench.page.table.filter.text.setText(words)
    bench.page.table.filter.changed.emit()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048, help="side of the image, px")
    parser.add_argument("--objects", type=int, default=5_000)
    parser.add_argument("--rows", type=int, default=50_000)
    args = parser.parse_args()
    bench = Bench(args.size, args.objects)
    print(f"{args.objects:,} objects in {args.size} x {args.size} px")
    edits(bench)
    bench.close()
    bench = Bench(2 * args.size, args.rows)
    print(f"{args.rows:,} rows")
    table(bench)
    bench.time(
        "accept 1",
        lambda k: bench.result.session.do(
            operations.set_status(bench.result.document, [(0, 100 + k)], Status.ACCEPTED)
        ),
    )
    bench.close()


if __name__ == "__main__":
    main()
