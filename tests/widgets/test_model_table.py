from __future__ import annotations

import pytest
from qtpy.QtCore import Qt

from napari_eomt.models.catalog import catalog
from napari_eomt.widgets.model_library import ModelLibrary
from napari_eomt.widgets.model_table import (
    COLUMNS,
    NAME_ROLE,
    ModelTable,
    SortedModels,
    TableFilter,
    state_of,
)

LARGE = "eomt-large-coco-panoptic-640"
UP, DOWN = Qt.SortOrder.AscendingOrder, Qt.SortOrder.DescendingOrder


@pytest.fixture
def models(hub, qtbot):
    library = ModelLibrary()
    table = ModelTable(library)
    models = SortedModels(table)
    models.library = library  # keeps it alive
    yield models
    library.close()


def shown(models, column="model", role=NAME_ROLE):
    k = list(COLUMNS).index(column)
    return [models.index(row, k).data(role) for row in range(models.rowCount())]


@pytest.mark.parametrize(
    ("wanted", "n_found", "example"),
    [
        (TableFilter(), 30, "nuclei-nano"),
        (TableFilter(every_format=True), 45, "eomt-dinov3-small-coco-panoptic-640-delta"),
        (TableFilter("nucleus"), 1, "nuclei-nano"),
        (TableFilter("DOG panoptic coco"), 10, LARGE),
        (TableFilter("vit-s dinov3"), 1, "eomt-dinov3-small-coco-panoptic-640"),
        (TableFilter("regions cityscapes"), 1, "eomt-large-cityscapes-semantic-1024"),
        (TableFilter("zebrafish"), 0, None),
        (TableFilter(task="semantic", video=False), 17, "eomt-large-ade20k-semantic-512"),
        (TableFilter(video=True), 8, "videomt-large-ovis"),
        (TableFilter(only_here=True), 1, "nuclei-nano"),
    ],
)
def test_search_and_filters(models, wanted, n_found, example):
    models.show_only(wanted)
    found = shown(models)
    assert len(found) == n_found
    assert example is None or example in found


def test_dog_is_found_by_its_category_alone(models):
    models.show_only(TableFilter("dog"))
    found = shown(models)
    assert LARGE in found
    assert "eomt-large-cityscapes-semantic-1024" not in found


@pytest.mark.parametrize("order", [UP, DOWN])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("size", lambda entry: entry.n_bytes),
        ("parameters", lambda entry: entry.n_parameters),
        ("input", lambda entry: entry.input_size),
        ("speed", lambda entry: entry.speed and entry.speed.images_per_second),
    ],
)
def test_numbers_are_sorted_as_numbers_and_what_has_none_is_last(models, column, value, order):
    models.sort(list(COLUMNS).index(column), order)
    entries = catalog()
    values = [value(entries[name]) for name in shown(models) if name in entries]
    known = [v for v in values if v is not None]
    assert values == known + [None] * (len(values) - len(known))
    assert known == sorted(known, reverse=order == DOWN)


@pytest.mark.parametrize("order", [UP, DOWN])
def test_scores_are_sorted_within_what_they_compare_in(models, order):
    models.sort(list(COLUMNS).index("score"), order)
    entries = catalog()
    scores = [entries[name].score if name in entries else None for name in shown(models)]
    assert scores[-1] is None, "the bundled model has no published score"
    groups = [f"{score.dataset} {score.metric}" for score in scores if score]
    assert groups == sorted(groups)
    for group in set(groups):
        of_group = [s.value for s in scores if s and f"{s.dataset} {s.metric}" == group]
        assert of_group == sorted(of_group, reverse=order == DOWN)


def test_cells_say_what_is_known(models):
    models.show_only(TableFilter(LARGE))
    cells = [shown(models, column, Qt.ItemDataRole.DisplayRole)[0] for column in COLUMNS]
    assert cells == [
        "EoMT-L COCO panoptic 640",
        "both",
        "640",
        "317 M",
        "1.3 GB",
        "PQ 56.0",
        "128",
        "not here",
    ]
    (tip,) = shown(models, "speed", Qt.ItemDataRole.ToolTipRole)
    assert "H100" in tip
    (tip,) = shown(models, "task", Qt.ItemDataRole.ToolTipRole)
    assert "panoptic segmentation" in tip


def test_states(models):
    rows = {row.name: state_of(row) for row in models.library.rows}
    assert rows["nuclei-nano"] == "bundled"
    assert rows[LARGE] == "not here"
    assert rows["eomt-dinov3-small-coco-panoptic-640-delta"] == "gated"
