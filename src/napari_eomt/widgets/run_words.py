"""What the command says of its options, in the words of the page. No Qt, no torch."""

from __future__ import annotations

import re

from napari_eomt.training.params import TrainParams

_OPTION = re.compile(
    r"(?<![\w-])`?--([a-z][a-z-]*[a-z])`?(?: (true|false|none|[a-z]*\d\w*(?:\.\w+)*))?"
)
"""An option and, if one follows, a value: fp32, 4, true."""


def on_the_page(text: str) -> str:
    """Return what a training says, with the page's own controls in place of options.

    "or with --precision fp32" becomes 'or with "Precision" fp32 under Advanced'. Options that the
    page does not have stay.

    Parameters
    ----------
    text : str
    """
    return _OPTION.sub(_control, text)


def _control(match: re.Match[str]) -> str:
    option, value = match.groups()
    if option == "resume":
        return "Resume" + (f" {value}" if value else "")
    info = TrainParams.model_fields.get(option.replace("-", "_"))
    if info is None:
        return match.group()
    return f'"{info.title}"' + (f" {value}" if value else "") + " under Advanced"
