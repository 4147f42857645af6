"""What stays from one start to the next: defaults < the user's file < the environment."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import platformdirs
from pydantic import Field, PositiveInt, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as SourceError

from napari_eomt.atomic import replacing
from napari_eomt.damaged import first_problem, set_aside
from napari_eomt.errors import OutputError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable

_log = logging.getLogger(__name__)

CONFIG_DIR_VARIABLE = "NAPARI_EOMT_CONFIG_DIR"
CACHE_DIR_VARIABLE = "NAPARI_EOMT_CACHE_DIR"

_FOLDERS = "folders"


class Settings(BaseSettings):
    """The user's settings.

    A value in the environment, such as ``NAPARI_EOMT_DEVICE=cpu``, goes before everything else;
    lists and objects are given as JSON. To change a setting, use ``model_copy(update=...)``.
    """

    model_config = SettingsConfigDict(env_prefix="NAPARI_EOMT_", frozen=True, extra="ignore")

    model: str | None = Field(
        None, description="Name or folder of the model; by default the bundled one."
    )
    input_sizes: dict[str, PositiveInt] = Field(
        default_factory=dict,
        description="Input size in px, by the names of models that do not run at their own.",
    )
    compiled: tuple[str, ...] = Field((), description="Names of models that run compiled.")
    device: str = Field("auto", description="Where models run: auto, cpu, cuda, cuda:1, mps.")
    dtype: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="Precision of models; auto is bf16 on CUDA, fp32 elsewhere."
    )
    proposals_bytes: int = Field(
        2 * 2**30, ge=0, description="Memory for proposals that are kept, in bytes."
    )
    trunk_bytes: int = Field(
        2**30,
        ge=0,
        description="Disk, in bytes, for what the first blocks of models have made of images: "
        "segmenting these again after a quick learn runs the last blocks alone; 0 is off.",
    )
    predict: dict[str, Any] = Field(
        default_factory=dict, description="The prediction's parameters as last used."
    )
    track: dict[str, Any] = Field(
        default_factory=dict, description="The tracking's parameters as last used."
    )
    track_videos: bool = Field(
        True, description="Track objects through the frames with models of videos."
    )
    track_images: bool = Field(False, description="The same with models of images.")
    outlines: bool = Field(False, description="Show objects as outlines instead of filled.")
    by_category: bool = Field(False, description="Colour objects by their category.")
    export: dict[str, Any] = Field(
        default_factory=dict, description="The values of the Export page as last used."
    )
    train: dict[str, Any] = Field(
        default_factory=dict, description="The values of the Learn page as last used."
    )
    page: str = Field(
        "segment", description="Page of the dock that is open: segment, correct, learn, export."
    )
    open_folds: tuple[str, ...] = Field((), description="Parts of the dock that are unfolded.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment before the file's values, which come as arguments."""
        return env_settings, init_settings


def config_dir() -> Path:
    """Return the folder of the settings; NAPARI_EOMT_CONFIG_DIR names another."""
    chosen = os.environ.get(CONFIG_DIR_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_config_path("napari-eomt", appauthor=False)


def cache_dir() -> Path:
    """Return the folder of what can be made again; NAPARI_EOMT_CACHE_DIR names another."""
    chosen = os.environ.get(CACHE_DIR_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("napari-eomt", appauthor=False)


def settings_file() -> Path:
    """Return the file of the settings."""
    return config_dir() / "settings.json"


def load_settings() -> Settings:
    """Read the settings.

    A file that cannot be used is set aside as ``settings.json.bad``, with a warning, and the
    defaults are taken: no damaged file keeps the plugin from starting.

    Raises
    ------
    SettingsError
        If a value in the environment makes no sense.
    """
    path = settings_file()
    try:
        # Without the file first, so that what is wrong after this is the file.
        defaults = Settings()
    except (ValidationError, SourceError) as error:
        raise SettingsError(
            f"The environment's NAPARI_EOMT_… variables cannot be used: {first_problem(error)}. "
            "Correct or unset the variable."
        ) from error
    try:
        return Settings(**_read(path))
    except OSError as error:
        _log.warning("%s cannot be read (%s); defaults are used.", path, error.strerror)
    except (ValueError, TypeError) as error:
        where = set_aside(path)
        _log.warning(
            "%s is damaged (%s); %s, defaults are used.", path, first_problem(error), where
        )
    return defaults


def save_settings(settings: Settings) -> None:
    """Write the settings, whole or not at all.

    What only the environment says is not written. Keys of the file that this version does not
    know are kept: another version may have written them.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    content = _read_or_empty()
    from_environment = Settings().model_dump(mode="json", exclude_unset=True)
    for key, value in settings.model_dump(mode="json").items():
        if key not in from_environment or from_environment[key] != value:
            content[key] = value
    _write(content)


def old_folders() -> tuple[Path, ...]:
    """Return the folders of models that earlier versions kept in the settings' file."""
    folders = _read_or_empty().get(_FOLDERS)
    return tuple(Path(str(folder)) for folder in folders) if isinstance(folders, list) else ()


def keep_old_folders(folders: Iterable[Path]) -> None:
    """Let the settings' file name these folders, and no others, as `old_folders`.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    content = _read_or_empty()
    content.pop(_FOLDERS, None)
    left = [str(folder) for folder in folders]
    _write(content | ({_FOLDERS: left} if left else {}))


def _read_or_empty() -> dict[str, Any]:
    try:
        return _read(settings_file())
    except (OSError, ValueError):
        return {}


def _write(content: dict[str, Any]) -> None:
    path = settings_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{path}: the settings cannot be written ({error.strerror or error}). Free the disk, "
            f"or name another folder with {CONFIG_DIR_VARIABLE}."
        ) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    if not isinstance(content, dict):
        raise ValueError(f"expected a JSON object, found {type(content).__name__}")
    return content
