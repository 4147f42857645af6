"""Some videos of a dataset as datasets of their own, in the format that they had; no torch."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_eomt.annotation.files import load_document, save_document
from napari_eomt.formats.coco_file import save_coco
from napari_eomt.formats.safe_paths import inside
from napari_eomt.training.video_ctc import CtcSource
from napari_eomt.training.video_documents import DocumentVideos, NumberedFrames
from napari_eomt.training.video_sources import YtvisSource
from napari_eomt.viewer.train_dataset import CHECK, FOLDERS, LEARN
from napari_eomt.viewer.train_folder import IMAGES, link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_eomt.training.split import Choice
    from napari_eomt.training.video_sources import VideoSource
    from napari_eomt.viewer.train_dataset import Tell


def write_parts(
    source: VideoSource, of: Mapping[str, Choice], folder: Path, tell: Tell
) -> tuple[Path, Path | None]:
    """Write the videos that learn, and those that check.

    Frames are linked where the disk allows it, else copied.

    Parameters
    ----------
    source : VideoSource
        Of files.
    of : dict of str to {"train", "val", "none"}
        What each video is for.
    folder : Path
    tell : callable
        Told of frames.

    Returns
    -------
    Path
        Of what is learnt from.
    Path or None
        Of what checks.

    Raises
    ------
    EomtError
        If a file is not there, or cannot be written.
    """
    wanted: dict[Choice, set[str]] = {
        part: {video for video, one in of.items() if one == part} for part in FOLDERS
    }
    write: Any
    if isinstance(source, YtvisSource):
        write = _write_ytvis
    elif isinstance(source, CtcSource):
        write = _write_ctc
    elif isinstance(source, DocumentVideos):
        write = _write_documents
    else:
        raise TypeError(f"{type(source).__name__} is not of files")
    learn = write(source, wanted["train"], "train", folder, tell)
    return learn, write(source, wanted["val"], "val", folder, tell) if wanted["val"] else None


def _write_ytvis(
    source: YtvisSource, videos: set[str], part: Choice, folder: Path, tell: Tell
) -> Path:
    files = source.files
    for k, entry in enumerate(source.entries):
        if entry.group in videos:
            tell(k, len(files), entry.name)
            link(files[entry.key], inside(folder / IMAGES, entry.name))
    ids = {source.id_of(video) for video in videos}
    file = source.coco
    kept = replace(file, videos=[record for record in file.videos if record["id"] in ids])
    path = folder / {"train": LEARN, "val": CHECK}[part]
    save_coco(kept, path, (r for r in file.annotations if r.get("video_id") in ids))
    return path


def _write_ctc(source: CtcSource, videos: set[str], part: Choice, folder: Path, tell: Tell) -> Path:
    target = folder / FOLDERS[part]
    files = source.files
    for k, entry in enumerate(source.entries):
        if entry.group in videos:
            tell(k, len(files), entry.name)
            path = files[entry.key]
            link(path, target / entry.group / IMAGES / path.name)
    for video in videos:
        table = source.tables[video]
        images = set(files.values())
        for path in table.parent.iterdir():
            if path.is_file() and path not in images:
                link(path, target / video / path.name)
    return target


def _write_documents(
    source: DocumentVideos, videos: set[str], part: Choice, folder: Path, tell: Tell
) -> Path:
    """Write documents anew: they know where their pixels are, wherever they themselves lie."""
    target = folder / FOLDERS[part]
    target.mkdir(parents=True, exist_ok=True)
    for k, video in enumerate(sorted(videos)):
        tell(k, len(videos), video)
        place = source.documents[video]
        document, ref = load_document(place)
        pixels = source.pixels_of(video)
        if isinstance(pixels, NumberedFrames):
            for path in pixels.files.values():
                link(path, target / video / path.name)
        elif ref is not None:
            ref = ref.model_copy(update={"path": str(Path(pixels.path).resolve())})
        elif pixels.path.is_file():
            link(pixels.path, target / pixels.path.name)
        else:
            shutil.copytree(pixels.path, target / pixels.path.name)
        save_document(document, target / place.name, ref)
    return target
