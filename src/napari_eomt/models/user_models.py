"""Models that the user added: folders with a name, remembered from one start to the next."""

from __future__ import annotations

import json
import logging
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from napari_eomt.atomic import replacing
from napari_eomt.damaged import first_problem, set_aside
from napari_eomt.errors import ModelError, OutputError
from napari_eomt.models.card import read_card
from napari_eomt.models.catalog import bundled_names, catalog
from napari_eomt.settings import CONFIG_DIR_VARIABLE, config_dir, keep_old_folders, old_folders

_log = logging.getLogger(__name__)

VERSION = 1


def _plain_name(name: str) -> str:
    # Whatever can be typed after --model without being taken for a path or an option.
    if not name.strip() or name != name.strip() or not name.isprintable() or len(name) > 100:
        raise ValueError("a name is 1 to 100 printable characters, without spaces around it")
    if any(sign in name for sign in "/\\") or name[0] in "-.~":
        raise ValueError("a name has no / or \\, and does not begin with -, . or ~")
    return name


class UserModel(BaseModel):
    """A model that the user added."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, AfterValidator(_plain_name)]
    folder: Path = Field(description="In transformers' layout.")
    added: date
    note: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether the model is no longer in its folder, or its disk is away."""
        return not (self.folder / "config.json").is_file()


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = VERSION
    models: tuple[UserModel, ...] = ()


def models_file() -> Path:
    """Return the file that the user's models are remembered in."""
    return config_dir() / "models.json"


def user_models() -> dict[str, UserModel]:
    """Return the models that the user added, by name, in the order of adding.

    Also those whose folder is missing: the disk may come back. A file that cannot be used is set
    aside as ``models.json.bad``, with a warning; one of a newer version is left alone.
    """
    path = models_file()
    try:
        return {row.name: row for row in _read(path).models}
    except _NewerVersionError as error:
        _log.warning("%s; the models that it names are not listed.", error)
    except OSError as error:
        _log.warning("%s cannot be read (%s); no models are listed.", path, error.strerror)
    except (ValueError, TypeError) as error:
        where = set_aside(path)
        _log.warning(
            "%s is damaged (%s); %s, no models are listed.", path, first_problem(error), where
        )
    return {}


def add_user_model(folder: Path, name: str | None = None, note: str = "") -> UserModel:
    """Remember the model in a folder; one that is remembered already is returned as it is.

    Parameters
    ----------
    folder : Path
        In transformers' layout.
    name : str, optional
        By default the folder's name, with a number if that is taken.
    note : str, optional

    Raises
    ------
    ModelError
        If the folder is no model, the name is taken or is none, or the folder has another name.
    OutputError
        If the list cannot be written.
    """
    folder = folder.expanduser().resolve()
    read_card(folder)
    rows = user_models()
    for row in rows.values():
        if row.folder == folder:
            if name in (None, row.name):
                return row
            raise ModelError(
                f"{folder} is already there as {row.name!r}. Remove that first to call it {name!r}."
            )
    row = _row(_free_name(folder, rows) if name is None else name, folder, date.today(), note)
    _check_free(row.name, rows)
    _save([*rows.values(), row])
    return row


def remove_user_model(name: str) -> UserModel:
    """Forget a model, and return it; its folder stays as it is.

    Raises
    ------
    ModelError
        If the user added no model of this name.
    OutputError
        If the list cannot be written.
    """
    rows = user_models()
    row = _known(name, rows)
    _save([other for other in rows.values() if other is not row])
    return row


def rename_user_model(name: str, new_name: str) -> UserModel:
    """Call a model by another name, and return it.

    Raises
    ------
    ModelError
        If the user added no model of this name, or the new name is taken or is none.
    OutputError
        If the list cannot be written.
    """
    rows = user_models()
    old = _known(name, rows)
    row = _row(new_name, old.folder, old.added, old.note)
    _check_free(row.name, {key: other for key, other in rows.items() if other is not old})
    _save([row if other is old else other for other in rows.values()])
    return row


def adopt_old_folders() -> tuple[Path, ...]:
    """Add the folders that earlier versions kept in the settings, once.

    Returns
    -------
    tuple of Path
        Those that hold no model, or whose disk is away; they stay in the settings for next time.

    Raises
    ------
    OutputError
        If the list or the settings cannot be written.
    """
    folders = old_folders()
    left = []
    for folder in folders:
        try:
            add_user_model(folder)
        except ModelError:
            left.append(folder)
    if len(left) < len(folders):
        keep_old_folders(left)
    return tuple(left)


def _row(name: str, folder: Path, added: date, note: str) -> UserModel:
    try:
        return UserModel(name=name, folder=folder, added=added, note=note)
    except ValidationError as error:
        raise ModelError(f"{name!r} cannot be a model's name: {first_problem(error)}.") from error


def _known(name: str, rows: dict[str, UserModel]) -> UserModel:
    if name not in rows:
        listed = f"one of {', '.join(rows)}" if rows else "but you have added none"
        raise ModelError(f"You have added no model {name!r}: expected {listed}.")
    return rows[name]


def _check_free(name: str, rows: dict[str, UserModel]) -> None:
    taken = dict.fromkeys(rows, "one of your models")
    taken |= dict.fromkeys(catalog(), "a published model")
    taken |= dict.fromkeys(bundled_names(), "a bundled model")
    # File systems and people do not tell them apart either.
    lower = {known.lower(): kind for known, kind in taken.items()}
    if name.lower() in lower:
        raise ModelError(
            f"The name {name!r} is taken by {lower[name.lower()]}. Choose another one."
        )


def _free_name(folder: Path, rows: dict[str, UserModel]) -> str:
    taken = {known.lower() for known in (*rows, *catalog(), *bundled_names())}
    stem = folder.name.strip().lstrip("-.~") or "model"
    name, number = stem, 1
    while name.lower() in taken:
        number += 1
        name = f"{stem}-{number}"
    return name


class _NewerVersionError(Exception):
    """The file was written by a newer version of the plugin."""


def _read(path: Path) -> _File:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return _File()
    if not isinstance(content, dict):
        raise ValueError(f"expected a JSON object, found {type(content).__name__}")
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise _NewerVersionError(f"{path} was written by a newer version of napari-eomt")
    return _File(**content)


def _save(rows: list[UserModel]) -> None:
    path = models_file()
    content: dict[str, Any] = _File(models=tuple(rows)).model_dump(mode="json")
    try:
        try:
            _read(path)
        except _NewerVersionError as error:
            raise OutputError(
                f"{error}, and would lose what this version does not know. Update napari-eomt, "
                f"or name another folder with {CONFIG_DIR_VARIABLE}."
            ) from error
        except ValueError:
            pass  # could not be set aside, with a warning; what it says is lost either way
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{path}: the list of your models cannot be written ({error.strerror or error}). "
            f"Free the disk, or name another folder with {CONFIG_DIR_VARIABLE}."
        ) from error
