"""The file of a report: written whole or not at all, and read back with what is wrong said."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_eomt import __version__
from napari_eomt.atomic import replacing
from napari_eomt.damaged import first_problem
from napari_eomt.errors import DataError, OutputError
from napari_eomt.formats.json_file import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from typing_extensions import Self


class ReportFile(BaseModel):
    """What reports have in common; `format` tells what kind one is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    called: ClassVar[str]
    wanted: ClassVar[str]
    """Its name, and which file to choose: told to whoever chose another."""

    format: str
    version: str = __version__

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                temporary.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise OutputError(
                f"{path}: the report cannot be written ({error.strerror or error}). Free the "
                "disk, or choose another file."
            ) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read one.

        Raises
        ------
        DataError
            If the file cannot be read, or is no such report.
        """
        raw = read_json(path)
        kind = cls.model_fields["format"].default
        if not isinstance(raw, dict) or raw.get("format") != kind:
            raise DataError(
                f"{path.name} is no {cls.called}: 'format' {kind!r} was expected. Choose "
                f"{cls.wanted}."
            )
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise DataError(
                f"{path.name}: {first_problem(error)}. Was it written by another version "
                f"({raw.get('version')})? Evaluate again."
            ) from error
