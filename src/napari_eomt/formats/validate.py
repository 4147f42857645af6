"""All that is wrong with a file of annotations, as a list: nothing is changed."""

from __future__ import annotations

import reprlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_eomt.annotation.files import SUFFIX, TABLE, load_document
from napari_eomt.errors import DataError
from napari_eomt.formats.coco_checks import n_frames
from napari_eomt.formats.coco_file import CocoFile, load_coco
from napari_eomt.formats.coco_masks import mask_of
from napari_eomt.formats.coco_panoptic import PanopticFile, load_panoptic, read_panoptic
from napari_eomt.formats.ctc import read_ctc
from napari_eomt.formats.ctc_table import find_ctc
from napari_eomt.formats.detect import Format, detect, json_in
from napari_eomt.formats.id_images import find_id_images, read_id_image
from napari_eomt.structures.rle import Rle, areas, boxes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path
    from typing import TypeAlias

    from napari_eomt.formats.coco_checks import Record

    OnItem: TypeAlias = Callable[[int, int, str], None]

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Parameters
    ----------
    severity : {"error", "warning"}
        An error is left out when the file is read, or keeps it from being read. With a warning it
        is read as it is, but other programs may see something else in it.
    message : str
        What, where, and what was expected.
    """

    severity: Severity
    message: str


def validate(
    path: Path,
    form: Format | None = None,
    *,
    folder: Path | None = None,
    on_item: OnItem = lambda *_: None,
) -> list[Finding]:
    """Look for all that is wrong with annotations.

    Parameters
    ----------
    path : Path
        As `convert` takes it.
    form : str, optional
        Its format; by default found out.
    folder : Path, optional
        Of the PNGs of a panoptic dataset.
    on_item : callable
        Called before each image with how many are done, how many there are, and its name.

    Returns
    -------
    list of Finding
        Errors first.

    Raises
    ------
    DataError
        If it is of no known format, or there is nothing.
    """
    found = form or detect(path)
    findings: list[Finding] = []
    try:
        findings += _FORMS[found](path, folder, on_item)
    except DataError as error:
        findings.append(Finding("error", str(error)))
    return sorted(dict.fromkeys(findings), key=lambda finding: finding.severity)


def _json(path: Path) -> Path:
    found = json_in(path) if path.is_dir() else path
    if found is None:
        raise DataError(f"{path} has no JSON of annotations. Name it.")
    return found


def _coco(path: Path, _: Path | None, on_item: OnItem) -> list[Finding]:
    file = load_coco(_json(path), skip_invalid=True)
    findings = [Finding("error", str(problem)) for problem in file.problems]
    findings += _names(file)
    owners = [*file.images, *file.videos]
    for k, owner in enumerate(owners):
        on_item(k, len(owners), str(owner.get("file_name", owner["id"])))
        size = (owner["height"], owner["width"])
        if k < len(file.images):
            findings += _masks(file.annotations_of(owner["id"]), size)
            continue
        records = file.annotations_of_video(owner["id"])
        for frame in range(n_frames(owner)):
            findings += _masks([_at(record, frame) for record in records], size, frame)
    return findings


def _at(record: Record, frame: int) -> Record:
    """Return what an annotation of a video says of a frame, as if it were of an image."""
    found: Record = {"id": record["id"], "image_id": record["video_id"]}
    for name, of_one in (("segmentations", "segmentation"), ("areas", "area"), ("bboxes", "bbox")):
        values = record.get(name)
        found[of_one] = values[frame] if isinstance(values, list) else None
    return found


def _masks(
    records: Iterable[Record], size: tuple[int, int], frame: int | None = None
) -> Iterator[Finding]:
    """Compare areas and boxes with the masks."""
    there: list[tuple[Record, Rle]] = []
    for record in records:
        try:
            mask = mask_of(record, size)
        except DataError as error:
            yield Finding("error", str(error))
            continue
        if mask is not None:
            there.append((record, mask))
    masks = [mask for _, mask in there]
    measures = zip(there, areas(masks).tolist(), boxes(masks).tolist(), strict=True)
    for (record, _), area, (y0, x0, y1, x1) in measures:
        where = f"annotation {record['id']}" + ("" if frame is None else f", frame {frame}")
        if not area:
            yield Finding("warning", f"{where}: its mask has no pixel")
            continue
        # Areas of polygons are often those of their outlines: a tenth, and a pixel or two.
        said = record.get("area")
        if said is not None and abs(said - area) > 2 + 0.1 * area:
            yield Finding("warning", f"{where}: area is {said}, its mask has {area} pixels")
        said = record.get("bbox")
        expected = [x0, y0, x1 - x0, y1 - y0]
        if said is not None and any(abs(a - b) > 2 for a, b in zip(said, expected, strict=True)):
            yield Finding(
                "warning", f"{where}: bbox is {reprlib.repr(said)}, its mask lies in {expected}"
            )


def _names(file: CocoFile) -> Iterator[Finding]:
    for section, key in (("images", "file_name"), ("categories", "name")):
        rows: list[dict[str, Any]] = getattr(file, section)
        # Of one file there may be several frames.
        counts = Counter((row[key], str(row.get("frame"))) for row in rows if row.get(key))
        for (name, _), n in counts.items():
            if n > 1:
                yield Finding("warning", f"'{section}' has {n} of the {key} {name!r}")
    used = Counter(r["image_id"] for r in file.annotations if "image_id" in r)
    if file.annotations and file.images:
        n_empty = sum(image["id"] not in used for image in file.images)
        if n_empty:
            yield Finding("warning", f"{n_empty} of {len(file.images)} images have no annotation")


def _panoptic(path: Path, folder: Path | None, on_item: OnItem) -> list[Finding]:
    panoptic: PanopticFile = load_panoptic(_json(path), folder, skip_invalid=True)
    findings = [Finding("error", str(problem)) for problem in panoptic.file.problems]
    findings += _names(panoptic.file)
    images = panoptic.file.images
    for k, image in enumerate(images):
        on_item(k, len(images), str(image.get("file_name", image["id"])))
        problems: list[str] = []
        try:
            document = read_panoptic(panoptic, [image["id"]], problems)
        except DataError as error:
            findings.append(Finding("error", str(error)))
            continue
        findings += [Finding("error", problem) for problem in problems]
        shown = {s.annotation_id: s for _, s in document.iter_segments()}
        for info in (panoptic.annotation_of(image["id"]) or {}).get("segments_info", ()):
            segment = shown.get(info["id"])
            if segment is None:
                continue
            y0, x0, y1, x1 = segment.bbox
            real = {"area": segment.area, "bbox": [x0, y0, x1 - x0, y1 - y0]}
            for name, value in real.items():
                if info.get(name) not in (None, value):
                    findings.append(
                        Finding(
                            "warning",
                            f"image {image['id']}, segment {info['id']}: {name} is "
                            f"{reprlib.repr(info[name])}, in the PNG {value}",
                        )
                    )
    return findings


def _labels(path: Path, _: Path | None, on_item: OnItem) -> list[Finding]:
    findings = []
    paths = find_id_images(path)
    for k, one in enumerate(paths):
        on_item(k, len(paths), one.name)
        problems: list[str] = []
        notes: list[str] = []
        try:
            read_id_image(one, skip_invalid=True, problems=problems, notes=notes)
        except DataError as error:
            findings.append(Finding("error", str(error)))
        findings += [Finding("error", problem) for problem in problems]
        findings += [Finding("warning", note) for note in notes]
    return findings


def _ctc(path: Path, _: Path | None, on_item: OnItem) -> list[Finding]:
    findings = []
    tables = find_ctc(path)
    for k, table in enumerate(tables):
        on_item(k, len(tables), table.parent.name)
        problems: list[str] = []
        try:
            read_ctc(table, skip_invalid=True, problems=problems)
        except DataError as error:
            findings.append(Finding("error", str(error)))
        findings += [Finding("error", problem) for problem in problems]
    return findings


def _documents(path: Path, _: Path | None, on_item: OnItem) -> list[Finding]:
    is_one = (path / TABLE).is_file()
    paths = [path] if is_one else sorted(p.parent for p in path.rglob(f"*{SUFFIX}/{TABLE}"))
    findings = []
    for k, one in enumerate(paths):
        on_item(k, len(paths), one.name)
        try:
            load_document(one)
        except DataError as error:
            findings.append(Finding("error", str(error)))
    return findings


_FORMS: dict[Format, Any] = {
    "coco": _coco,
    "ytvis": _coco,
    "panoptic": _panoptic,
    "labels": _labels,
    "ctc": _ctc,
    "eomt": _documents,
}
