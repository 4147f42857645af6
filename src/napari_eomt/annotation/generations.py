"""The folder of a session: snapshots, and the journals that go on from them.

Generation n is a snapshot and a journal. A journal that has grown long is ended, and the next one
begun at once; its snapshot is written later, from the disk, while edits go on. Until it is whole,
the old snapshot and both journals say the same; then the old ones are removed.
"""

from __future__ import annotations

import re
import shutil
import zlib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pydantic import ValidationError

from napari_eomt.annotation.edits import Edit
from napari_eomt.annotation.files import LABELS, TABLE, load_document, write_content
from napari_eomt.annotation.image_ref import ImageRef  # noqa: TC001 - pydantic reads it
from napari_eomt.annotation.journal import Head, Record, decode, iter_records, read_head
from napari_eomt.annotation.rows import Count, Row, first_error
from napari_eomt.errors import DataError
from napari_eomt.folder_swap import TEMPORARY, swapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_eomt.annotation.content import Content
    from napari_eomt.annotation.document import Document

_NOTE = "snapshot.json"
_NAME = re.compile(r"(snapshot|journal)-(\d{6,})(?:\.bin)?")


class Note(Row):
    """What a snapshot says about itself.

    Parameters
    ----------
    generation : int
    n_unsaved : int
        Steps up to here that are in no file of the person's.
    image : ImageRef
    started : str
        When the session began, in ISO 8601.
    checksums : dict
        CRC-32 of the other files.
    """

    generation: Count
    n_unsaved: Count
    image: ImageRef
    started: str
    checksums: dict[str, Count]


@dataclass(frozen=True)
class State:
    """What the folder of a session holds.

    Parameters
    ----------
    note : Note
        Of the newest snapshot.
    generation : int
        Of the last journal, or the snapshot.
    size : int
        Bytes of the last journal that count.
    n_steps : int
        Edits since the snapshot.
    n_unsaved : int
        Edits that are in no file of the person's.
    n_unread : int
        Bytes of journals after these that are cut off or damaged.
    """

    note: Note
    generation: int
    size: int
    n_steps: int
    n_unsaved: int
    n_unread: int


def snapshot_folder(folder: Path, generation: int) -> Path:
    """Return where the snapshot of a generation lies."""
    return folder / f"snapshot-{generation:06}"


def journal_path(folder: Path, generation: int) -> Path:
    """Return where the journal of a generation lies."""
    return folder / f"journal-{generation:06}.bin"


def generations(folder: Path) -> dict[str, list[int]]:
    """Return which snapshots and journals there are, rising."""
    found: dict[str, list[int]] = {"snapshot": [], "journal": []}
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            match = _NAME.fullmatch(path.name)
            if match is not None:
                found[match[1]].append(int(match[2]))
    return {kind: sorted(numbers) for kind, numbers in found.items()}


def read_state(folder: Path) -> State:
    """Return what a session's folder holds, without taking the steps.

    Raises
    ------
    DataError
        If its snapshot is missing or damaged.
    """
    note = _checked_note(folder, None)
    return _follow(folder, note, None, lambda _: None)


def replay(folder: Path, upto: int | None = None) -> tuple[Document, State]:
    """Return the document as the last whole record left it.

    Parameters
    ----------
    folder : Path
    upto : int, optional
        Journals of this generation and later ones are left out.

    Raises
    ------
    DataError
        If it cannot be restored: nothing is removed or changed.
    """
    note = _checked_note(folder, upto)
    document, _ = load_document(snapshot_folder(folder, note.generation))
    n_taken = 0

    def take(record: Record) -> None:
        nonlocal n_taken
        n_taken += 1
        try:
            edit = decode(record.payload)
            if isinstance(edit, Edit):
                document.apply(edit)
        except (ValueError, LookupError) as error:
            raise DataError(
                f"{folder.name}: step {n_taken} of the journal cannot be taken ({error}). Nothing "
                "was removed; update napari-eomt, or report this with the folder."
            ) from error

    return document, _follow(folder, note, upto, take)


def write_snapshot(
    folder: Path,
    generation: int,
    content: Content,
    n_unsaved: int,
    image: ImageRef,
    started: str,
    on_page: Callable[[int], None] = lambda _: None,
) -> None:
    """Write the snapshot of a generation, whole or not at all, and remove what came before it.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with swapping(snapshot_folder(folder, generation)) as temporary:
        write_content(content, temporary, image, on_page)
        note = Note(
            generation=generation,
            n_unsaved=n_unsaved,
            image=image,
            started=started,
            checksums={name: _checksum(temporary / name) for name in (TABLE, LABELS)},
        )
        (temporary / _NOTE).write_text(note.model_dump_json(), encoding="utf-8")
    remove_before(folder, generation)


def remove_before(folder: Path, generation: int) -> None:
    """Remove older generations, and what was being written when a process died."""
    for kind, numbers in generations(folder).items():
        for number in numbers:
            if number < generation:
                where = snapshot_folder if kind == "snapshot" else journal_path
                _remove(where(folder, number))
    for path in folder.glob(f"{TEMPORARY}*"):
        _remove(path)


def keep_unread(folder: Path, state: State) -> None:
    """Set journals aside whose end is damaged: the session goes on without what is in it.

    Raises
    ------
    OSError
        If they cannot be copied.
    """
    if not state.n_unread:
        return
    for number in generations(folder)["journal"]:
        if number >= state.generation:
            path = journal_path(folder, number)
            stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S")
            shutil.copyfile(path, path.with_name(f"damaged-{stamp}-{path.name}"))


def _follow(folder: Path, note: Note, upto: int | None, take: Callable[[Record], None]) -> State:
    """Go through the journals from a snapshot on, as far as they are whole and fit together."""
    numbers = generations(folder)["journal"]
    numbers = [n for n in numbers if n >= note.generation and (upto is None or n < upto)]
    generation, size = note.generation, 0
    n_steps, n_unsaved = 0, note.n_unsaved
    n_bytes = sum(journal_path(folder, number).stat().st_size for number in numbers)
    for number, end in _chain(folder, note.generation, numbers):
        generation, size = number, 0
        path = journal_path(folder, number)
        for k, record in enumerate(iter_records(path)):
            if end is not None and record.end > end:
                break
            size = record.end
            if k:  # the first is the head
                take(record)
                n_steps += record.is_edit
                n_unsaved = 0 if record.is_saved else n_unsaved + record.is_edit
        if end is not None and size < end:
            n_bytes -= size
            break
        # What lies after the end was left out before, on purpose, and set aside.
        n_bytes -= size if end is None else path.stat().st_size
    return State(note, generation, size, n_steps, n_unsaved, n_bytes)


def _chain(folder: Path, first: int, numbers: list[int]) -> Iterator[tuple[int, int | None]]:
    """Yield the journals that go on from each other, and how many bytes of each count."""
    for k, number in enumerate(numbers):
        head = _head(journal_path(folder, number))
        if number != first + k or head is None or head.generation != number:
            return
        # One that follows none begins with a snapshot of its own, which was not finished.
        if k and head.follows is None:
            return
        after = journal_path(folder, number + 1)
        next_head = _head(after) if after.exists() else None
        yield number, None if next_head is None else next_head.follows


def _head(path: Path) -> Head | None:
    try:
        return read_head(path)
    except ValueError as error:
        raise DataError(
            f"{path.parent.name}/{path.name} cannot be read ({error}). Update napari-eomt."
        ) from error


def _checked_note(folder: Path, upto: int | None) -> Note:
    """Return what the newest snapshot says, if it is whole."""
    numbers = [n for n in generations(folder)["snapshot"] if upto is None or n <= upto]
    if not numbers:
        raise DataError(
            f"{folder.name} has no snapshot: the crash came before it was written. There is "
            "nothing to restore; nothing was removed."
        )
    snapshot = snapshot_folder(folder, numbers[-1])
    where = f"{folder.name}/{snapshot.name}"
    try:
        note = Note.model_validate_json((snapshot / _NOTE).read_bytes())
        wrong = [n for n in (TABLE, LABELS) if _checksum(snapshot / n) != note.checksums.get(n)]
    except ValidationError as error:
        raise _damaged(where, f"{_NOTE}: {first_error(error)}") from error
    except OSError as error:
        raise _damaged(where, error.strerror or str(error)) from error
    if wrong or note.generation != numbers[-1]:
        raise _damaged(where, f"{wrong[0] if wrong else _NOTE} is not as it was written")
    return note


def _damaged(where: str, what: str) -> DataError:
    return DataError(
        f"{where} is damaged ({what}). Nothing was removed: the journal beside it holds the steps "
        "since then. Restore the folder from a copy, or discard it."
    )


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(2**20):
            value = zlib.crc32(block, value)
    return value


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
