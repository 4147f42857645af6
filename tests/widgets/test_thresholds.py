from __future__ import annotations

import pytest

from napari_eomt.models.catalog import catalog, entry_card, find_model
from napari_eomt.widgets.thresholds import in_words, recommended, to_move

PANOPTIC = entry_card(catalog()["eomt-large-coco-panoptic-640"])
VIDEO = entry_card(catalog()["videomt-large-ovis"])
NUCLEI = find_model("nuclei-nano")
DEFAULTS = {"score_threshold": 0.5, "mask_threshold": 0.5, "overlap_threshold": 0.8}


@pytest.mark.parametrize(
    ("card", "task", "score"),
    [
        (NUCLEI, "instance", 0.5),
        (PANOPTIC, "panoptic", 0.8),
        (PANOPTIC, None, 0.8),
        (PANOPTIC, "instance", 0.5),
        (VIDEO, "instance", 0.3),
    ],
)
def test_recommended_for_the_task_that_the_model_was_trained_for(card, task, score):
    assert recommended(card, task) == DEFAULTS | {"score_threshold": score}


def test_what_the_user_has_moved_stays():
    before, after = DEFAULTS, recommended(PANOPTIC, "panoptic")
    assert to_move(DEFAULTS, before, after) == {"score_threshold": 0.8}
    assert to_move(DEFAULTS | {"score_threshold": 0.6}, before, after) == {}
    assert to_move(DEFAULTS | {"mask_threshold": 0.6}, before, after) == {"score_threshold": 0.8}
    # And back again.
    assert to_move(after, after, before) == {"score_threshold": 0.5}
    assert in_words({"score_threshold": 0.8, "overlap_threshold": 0.25}) == (
        "score 0.80, visible part 0.25"
    )
