"""What a training says, in the words of the page."""

from __future__ import annotations

import pytest

from napari_eomt.training.params import TrainParams
from napari_eomt.widgets.run_process import LOG, failure_of
from napari_eomt.widgets.run_words import on_the_page


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("or with --precision fp32.", 'or with "Precision" fp32 under Advanced.'),
        ("choose --gradient-checkpointing true, or", 'choose "{}" true under Advanced, or'),
        ("Free the disk; `--resume` goes on.", "Free the disk; Resume goes on."),
        ("Go on with it (--resume), or", "Go on with it (Resume), or"),
        ("Choose another folder for --out.", "Choose another folder for --out."),
        ("a file called x--y.png -- a-b", "a file called x--y.png -- a-b"),
    ],
)
def test_options_become_controls(said, shown):
    title = TrainParams.model_fields["gradient_checkpointing"].title
    assert on_the_page(said) == shown.format(title)


def test_a_failure_speaks_of_the_page_and_its_details_are_as_they_were(tmp_path):
    said = "error: Step 3: the loss is not finite. Begin a new run with --precision fp32."
    (tmp_path / LOG).write_text(said)
    message, details = failure_of(tmp_path, 2)
    assert message.endswith('Begin a new run with "Precision" fp32 under Advanced.')
    assert details == said
