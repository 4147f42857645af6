"""Reports as plain text: a table for people, and what changed between two of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_eomt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_eomt.evaluation.report import Report

_FIGURES = (
    ("AP@0.5", "ap50"),
    ("AP@[.5:.95]", "ap"),
    ("F1", "f1"),
    ("precision", "precision"),
    ("recall", "recall"),
    ("PQ", "pq"),
    ("SQ", "sq"),
    ("RQ", "rq"),
    ("PQ things", "pq_things"),
    ("PQ stuff", "pq_stuff"),
    ("mIoU", "miou"),
    ("IoU", "iou"),
    ("COCO AP", "coco_ap"),
    ("edits/100", "edits_per_100"),
)
_ROWS = 30
"""Categories that a table shows at most, of a dataset with more the most frequent."""


def report_table(report: Report) -> str:
    """Return a report as text: figures from 0 to 1, a dash where there is nothing to tell."""
    rows = [("all", report.total), *report.by_kind.items()]
    what = "areas" if report.task == "semantic" else "objects"
    parts = [
        (
            f"{report.prediction} on {report.dataset}: {report.total.n_images} images, "
            f"{report.total.n_truth} {what}, {report.total.n_found} found"
        ),
        _table("", [(name, scores.n_images, scores) for name, scores in rows], "images"),
    ]
    counted = [c for c in report.by_category if c.n_truth or c.n_found or c.iou is not None]
    if len(report.by_category) > 1 and counted:
        most = sorted(counted, key=lambda c: -c.n_truth)[:_ROWS]
        parts.append(_table("category", [(c.name, c.n_truth, c) for c in most], "segments"))
        if len(counted) > len(most):
            parts.append(f"… and {len(counted) - len(most)} categories more, in the JSON")
    if report.coco is not None:
        c = report.coco
        parts.append(
            f"COCO, {c.max_detections} detections: AP {_number(c.ap)}, AP50 {_number(c.ap50)}, "
            f"AP75 {_number(c.ap75)}; small {_number(c.ap_small)}, medium {_number(c.ap_medium)}, "
            f"large {_number(c.ap_large)}; AR {_number(c.ar)}"
        )
    if report.total.edits is not None:
        kinds = ", ".join(f"{n} {name}" for name, n in report.total.edits.items() if n)
        parts.append(f"To make it right: {report.total.n_edits} edits ({kinds or 'none'})")
    parts += [f"Note: {note}" for note in report.notes]
    return "\n".join(parts)


def comparison_table(before: Report, after: Report) -> str:
    """Return what changed from one report to another, of the same images.

    Raises
    ------
    DataError
        If they are of different images, or tasks.
    """
    old, new = ({image.name: image for image in r.images} for r in (before, after))
    other = sorted(old.keys() ^ new.keys())
    if other or before.task != after.task:
        why = (
            f"{len(other)} images are in one of them alone, such as {other[0]}"
            if other
            else f"one is {before.task}, the other {after.task}"
        )
        raise DataError(f"The reports cannot be compared: {why}. Evaluate both on the same.")
    rows = [("all", before.total, after.total)]
    rows += [
        (kind, before.by_kind[kind], after.by_kind[kind])
        for kind in after.by_kind
        if kind in before.by_kind
    ]
    names = {c.id: c for c in before.by_category}
    if len(after.by_category) > 1:
        rows += [(c.name, names[c.id], c) for c in after.by_category if c.id in names]  # type: ignore[misc]
    figures = _told([one for _, *both in rows for one in both])
    lines = [["", *(name for name, _ in figures)]]
    lines += [
        [name, *(_change(_value(a, field), _value(b, field)) for _, field in figures)]
        for name, a, b in rows
    ]
    figure = "miou" if after.task == "semantic" else "ap"
    steps = [(_value(new[n], figure) or 0) - (_value(old[n], figure) or 0) for n in new]
    n_better, n_worse = sum(s > 0 for s in steps), sum(s < 0 for s in steps)
    return "\n".join(
        [
            f"{before.prediction} → {after.prediction} on {after.dataset}",
            _aligned(lines),
            (
                f"{n_better} images are better, {n_worse} worse, {len(steps) - n_better - n_worse} "
                "as before"
            ),
        ]
    )


def _table(title: str, rows: Sequence[tuple[str, int, Any]], count: str) -> str:
    figures = _told([scores for _, _, scores in rows])
    lines = [[title, count, *(name for name, _ in figures)]]
    lines += [
        [name, str(n), *(_figure(field, _value(scores, field)) for _, field in figures)]
        for name, n, scores in rows
    ]
    return _aligned(lines)


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if k == 0 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _told(scores: Sequence[Any]) -> list[tuple[str, str]]:
    """Return the figures that there are; PQ of things is told where there is stuff as well."""
    found = [f for f in _FIGURES if any(_value(one, f[1]) is not None for one in scores)]
    has_stuff = any(field == "pq_stuff" for _, field in found)
    return [f for f in found if has_stuff or f[1] != "pq_things"]


def _value(scores: Any, field: str) -> float | None:
    value: float | None = getattr(scores, field, None)
    return value


def _figure(field: str, value: float | None) -> str:
    return f"{value:.1f}" if field == "edits_per_100" and value is not None else _number(value)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _change(before: float | None, after: float | None) -> str:
    if before is None or after is None:
        return f"{_number(before)} → {_number(after)}"
    return f"{before:.3f} → {after:.3f} ({after - before:+.3f})"
