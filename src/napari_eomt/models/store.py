"""Which published models are on this computer, where, how large; and getting them here.

A model in transformers' format stays in the hub's cache. One in another format (the original
repository's, or the difference to its backbone) is converted once; the result lives in
`models_dir`. Downloading needs no torch and converting does: the window calls `download`; the
worker and the command line call `prepare` or, for both, `fetch`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import platformdirs
from filelock import FileLock, Timeout

from napari_eomt.atomic import replacing
from napari_eomt.errors import ModelError
from napari_eomt.models.card import Sidecar
from napari_eomt.models.catalog import category_list
from napari_eomt.models.catalog_entry import CatalogEntry, Format
from napari_eomt.models.hub_cache import (
    cached_bytes,
    cached_folder,
    check_space,
    delete_cached,
    tree_bytes,
)
from napari_eomt.models.hub_errors import clear_disk_errors
from napari_eomt.models.hub_watch import POLL, Watch
from napari_eomt.models.hub_watch import Progress as Progress

MODELS_DIR_VARIABLE = "NAPARI_EOMT_MODELS_DIR"

OnProgress: TypeAlias = Callable[[Progress], None]
IsCancelled: TypeAlias = Callable[[], bool]

_SOURCE = "napari_eomt_source.json"
_BASE_REVISION = "main"
_NAME = re.compile(r"[A-Za-z0-9_][\w.+-]*")


class Published(Protocol):
    """What of a catalog entry says where the model is, and what to do with it."""

    @property
    def name(self) -> str: ...
    @property
    def hub_id(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def format(self) -> Format: ...
    @property
    def files(self) -> tuple[str, ...]: ...
    @property
    def base(self) -> str | None: ...


@dataclass(frozen=True)
class HubModel:
    """A model of the hub that no catalog lists, by its repository alone."""

    hub_id: str
    revision: str = "main"
    format: Format = "transformers"
    files: tuple[str, ...] = ()
    base: str | None = None

    @property
    def name(self) -> str:
        """The repository's, as the name of a folder."""
        return self.hub_id.replace("/", "--")


def models_dir() -> Path:
    """Return the folder of converted models; NAPARI_EOMT_MODELS_DIR names another."""
    chosen = os.environ.get(MODELS_DIR_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_data_path("napari-eomt", appauthor=False) / "models"


def local_folder(entry: Published) -> Path | None:
    """Return the folder that the model can be loaded from, if it is here; asks no network."""
    converted = _converted(entry)
    if _source_of(converted) == _source(entry):
        return converted
    if entry.format != "transformers":
        return None
    folder = cached_folder(entry.hub_id, entry.revision, entry.files)
    return folder if folder is not None and not _needs_converting(folder) else None


def is_downloaded(entry: Published) -> bool:
    """Say whether nothing needs the network any more; converting may still be to do."""
    if local_folder(entry) is not None:
        return True
    if cached_folder(entry.hub_id, entry.revision, entry.files) is None:
        return False
    return entry.base is None or cached_folder(entry.base, _BASE_REVISION) is not None


def download(
    entry: Published,
    *,
    token: str | None = None,
    on_progress: OnProgress | None = None,
    is_cancelled: IsCancelled | None = None,
) -> None:
    """Bring a model's files here, and its backbone's if it is the difference to one; no torch.

    Raises
    ------
    DownloadError
        If they cannot be fetched; what was fetched is kept.
    """
    if is_downloaded(entry):
        return
    from napari_eomt.models.hub import fetch_snapshot  # 0.2 s, which the window need not pay

    wanted = [(entry.hub_id, entry.revision, entry.files)]
    if entry.base is not None:
        # First: it is the one that asks for a licence.
        wanted.insert(0, (entry.base, _BASE_REVISION, ()))
    for repo_id, revision, files in wanted:
        fetch_snapshot(
            repo_id,
            revision,
            files,
            token=token,
            on_progress=on_progress,
            is_cancelled=is_cancelled,
        )


def prepare(
    entry: Published,
    *,
    on_progress: OnProgress | None = None,
    is_cancelled: IsCancelled | None = None,
) -> Path:
    """Convert a model that was downloaded, if its format asks for it; imports torch then.

    Returns
    -------
    Path
        The folder to load it from.

    Raises
    ------
    ModelError
        If it is not here, or cannot be converted. Converting itself cannot be cancelled, waiting
        for another program that converts the same model can.
    """
    watch = Watch(on_progress, is_cancelled)
    folder = local_folder(entry)
    if folder is not None:
        return folder
    with clear_disk_errors(models_dir()), _locked(entry, watch):
        folder = local_folder(entry)  # another program was faster
        return folder if folder is not None else convert_fetched(entry, watch)


def fetch(
    entry: Published,
    *,
    token: str | None = None,
    on_progress: OnProgress | None = None,
    is_cancelled: IsCancelled | None = None,
) -> Path:
    """Bring a model here, ready to load: `download`, then `prepare`; see there."""
    download(entry, token=token, on_progress=on_progress, is_cancelled=is_cancelled)
    return prepare(entry, on_progress=on_progress, is_cancelled=is_cancelled)


def delete(entry: Published) -> int:
    """Delete a model from this computer, converted and as downloaded; return the bytes freed.

    A backbone that it was merged with stays: other models and programs use it too.

    Raises
    ------
    DownloadError
        If something cannot be deleted.
    """
    converted = _converted(entry)
    n_bytes = tree_bytes(converted)
    with clear_disk_errors(converted):
        if converted.exists():
            shutil.rmtree(converted)
    return n_bytes + delete_cached(entry.hub_id, entry.revision, entry.files)


def disk_size(entry: Published) -> int:
    """Count the bytes that a model takes on this computer, which `delete` would free."""
    return tree_bytes(_converted(entry)) + cached_bytes(entry.hub_id, entry.revision, entry.files)


def convert_fetched(entry: Published, watch: Watch | None = None) -> Path:
    """Convert what was downloaded into `models_dir`, whole or not at all; imports torch.

    Raises
    ------
    ModelError
        If it is not here, or cannot be converted.
    """
    from napari_eomt.models.convert import to_transformers

    fetched = cached_folder(entry.hub_id, entry.revision, entry.files)
    base = None if entry.base is None else cached_folder(entry.base, _BASE_REVISION)
    if fetched is None or (entry.base is not None and base is None):
        raise ModelError(
            f"{entry.name} is not on this computer. Run `napari-eomt download {entry.name}` first."
        )
    checkpoint = _checkpoint(entry, fetched)
    watch = watch or Watch()
    watch.total = checkpoint.stat().st_size
    out = _converted(entry)
    check_space(out, watch.total, f"Converting {entry.name}")
    # In its own folder first: what an interruption leaves is no model, and goes the next time.
    growing = out.with_name(f".converting-{entry.name}")
    if growing.exists():
        shutil.rmtree(growing)
    growing.mkdir(parents=True)
    watch.show(checkpoint.name, "converting")
    try:
        to_transformers(checkpoint, growing / "model", base=base, **_known(entry))
        source = growing / "model" / _SOURCE
        with replacing(source) as temporary:
            temporary.write_text(json.dumps(_source(entry), indent=2) + "\n", encoding="utf-8")
        if out.exists():  # of another revision
            shutil.rmtree(out)
        (growing / "model").replace(out)
    finally:
        shutil.rmtree(growing, ignore_errors=True)
    watch.done = watch.total
    watch.show(checkpoint.name, "converting")
    return out


def _checkpoint(entry: Published, fetched: Path) -> Path:
    """Return the file of the weights, among what was fetched."""
    names = entry.files or tuple(sorted(path.name for path in fetched.iterdir()))
    weights = [n for n in names if n.endswith((".safetensors", ".bin", ".pth", ".pt", ".ckpt"))]
    if not weights:
        raise ModelError(
            f"{entry.name}: none of its files, {', '.join(names)}, holds weights. Correct its row "
            "in the catalog."
        )
    return fetched / weights[0]


def _known(entry: Published) -> dict[str, Any]:
    """Return what is known beyond the weights, as `to_transformers` takes it."""
    # Semantic models are trained on windows of the image, the others on the padded whole.
    if not isinstance(entry, CatalogEntry):
        return {"image_mode": "split" if "semantic" in entry.hub_id.lower() else "pad"}
    categories = category_list(entry.categories)
    return {
        "image_mode": "split" if entry.tasks[0] == "semantic" else "pad",
        # Other weights hold positions, whose number says it.
        "input_size": entry.input_size if entry.architecture == "eomt_dinov3" else None,
        "category_names": [category.name for category in categories],
        "sidecar": Sidecar(
            title=entry.title,
            licence=entry.licence,
            tasks=entry.tasks,
            category_ids=tuple(category.id for category in categories),
            stuff=tuple(k for k, category in enumerate(categories) if not category.is_thing),
            thresholds=entry.thresholds,
        ),
    }


def _needs_converting(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    weights = {"model.safetensors", "model.safetensors.index.json"}
    return "config.json" not in names or not names & weights


def _converted(entry: Published) -> Path:
    if not _NAME.fullmatch(entry.name):
        raise ModelError(
            f"{entry.name!r} cannot name a model: use letters, digits, '-', '_' and '.'."
        )
    return models_dir() / entry.name


def _source(entry: Published) -> dict[str, Any]:
    """Return what a converted model was made of: another revision is another model."""
    return {
        "hub_id": entry.hub_id,
        "revision": entry.revision,
        "files": list(entry.files),
        "base": entry.base,
    }


def _source_of(converted: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((converted / _SOURCE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@contextmanager
def _locked(entry: Published, watch: Watch) -> Iterator[None]:
    """Keep other programs from converting the same model meanwhile; wait for one that does."""
    models_dir().mkdir(parents=True, exist_ok=True)
    lock = FileLock(models_dir() / f".{entry.name}.lock")
    while True:
        try:
            lock.acquire(timeout=POLL)
            break
        except Timeout:
            watch.check()
            watch.show(entry.name, "waiting")
    try:
        yield
    finally:
        lock.release()
