"""Write docs/reference/keys.md from the table of actions that the dock's keys are made from.

Run after a change of an action: ``.venv/bin/python scripts/make_key_table.py``.
"""

from __future__ import annotations

from pathlib import Path

from napari_eomt.viewer.keymap import ACTIONS, N_CATEGORY_KEYS, Action

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "keys.md"
HEAD = """\
<!-- Written by scripts/make_key_table.py: change the table of actions, not this page. -->

# The keys

What the dock's keys do, while the canvas has the keyboard; the same page is **F1** in the program,
to search and to print. They are letters that napari leaves free; its own keep their meaning.
"""


def page() -> str:
    """Return the page: a table for each group of actions."""
    groups: dict[str, list[str]] = {}
    for action in ACTIONS:
        if not action.name.startswith("category_"):
            row = _row(action)
        elif action.name == "category_1":
            keys = f"**Alt+1** … **Alt+{N_CATEGORY_KEYS}**"
            row = f"| {keys} | Category | Give the objects a category; with none, draw in it. |"
        else:
            continue
        groups.setdefault(action.group, []).append(row)
    parts = [HEAD]
    for group, rows in groups.items():
        parts.append(
            f"## {group}\n\n| key | does | more |\n|---|---|---|\n" + "\n".join(rows) + "\n"
        )
    return "\n".join(parts)


def _row(action: Action) -> str:
    keys = " or ".join(f"**{key}**" for key in action.keys)
    return f"| {keys} | {action.title} | {action.tooltip} |"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE)
