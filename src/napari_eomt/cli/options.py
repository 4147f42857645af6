"""What commands share: options made from a params class, and errors as one clear line."""

from __future__ import annotations

import inspect
import os
import signal
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Literal, TypeVar

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from napari_eomt.errors import DataError, EomtError

Params = TypeVar("Params", bound=BaseModel)

Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")]

Device = Annotated[
    str | None,
    typer.Option(help="auto, cpu, cuda, cuda:1, mps. By default that of the settings: auto."),
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"] | None,
    typer.Option(help="Precision. By default that of the settings: auto."),
]
InputSize = Annotated[
    int | None,
    typer.Option(
        help="Side of the square that the model sees, a multiple of its patch (mostly 16). "
        "Smaller is faster, larger shows more detail. By default what it was trained at.",
        metavar="PX",
    ),
]

BAD_INPUT = 2
INTERRUPTED = 130


@contextmanager
def clear_errors(debug: bool) -> Iterator[None]:
    """Show an error that is meant for the user as one line, and exit with 2; Ctrl-C with 130."""
    try:
        yield
    except EomtError as error:
        if debug:
            raise
        say_error(error)
        raise typer.Exit(BAD_INPUT) from error
    except KeyboardInterrupt as error:
        typer.echo("stopped", err=True)
        raise typer.Exit(INTERRUPTED) from error
    except BrokenPipeError as error:
        # The reader of our output has gone (`| head`); flushing at exit must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise typer.Exit(1) from error


@contextmanager
def clean_stop() -> Iterator[None]:
    """Let a batch system's stop (SIGTERM) end as Ctrl-C does: with nothing half written."""

    def stop(*_: object) -> None:
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def say_error(error: EomtError) -> None:
    """Write an error on stderr, in one line."""
    typer.echo("error: " + " ".join(str(error).split()), err=True)


def with_params(
    model: type[BaseModel], **others: type[BaseModel]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each field of a params class.

    The command takes them as one argument, ``params``. Values are checked by the class alone;
    title, range, unit and default in ``--help`` are read from it.

    Parameters
    ----------
    model : type
    **others : type
        Further params classes, by the names of the arguments that they become; no two of them
        have a field of one name.
    """
    classes = {"params": model, **others}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**values: Any) -> None:
            given = {
                argument: {name: values.pop(name) for name in one.model_fields}
                for argument, one in classes.items()
            }
            debug = bool(values.get("debug"))
            with clear_errors(debug):
                parsed = {a: parse_params(one, given[a]) for a, one in classes.items()}
            command(**parsed, **values)

        # typer reads a command's signature; get_type_hints must not see the wrapper's.
        hints = typing.get_type_hints(command, include_extras=True)
        parameters = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if name not in classes
        ]
        parameters += [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[str | None, _option(name, field)],
            )
            for one in classes.values()
            for name, field in one.model_fields.items()
        ]
        run.__doc__ = command.__doc__
        run.__name__ = command.__name__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def parse_params(model: type[Params], given: Mapping[str, str | None]) -> Params:
    """Read a params class from what was typed, field by field; None is the default.

    Raises
    ------
    DataError
        If a value makes no sense; says which.
    """
    values: dict[str, Any] = {}
    for name, text in given.items():
        if text is not None:
            is_tuple = _is_tuple(model.model_fields[name])
            values[name] = tuple(text.replace(",", " ").split()) if is_tuple else text
    try:
        return model(**values)
    except ValidationError as error:
        found = error.errors()[0]
        field = str(found["loc"][0]) if found["loc"] else ""
        option = f"--{_flag(field)} {given[field]}: " if field in given else ""
        message = str(found["msg"]).removeprefix("Value error, ")
        expected = f" Expected {_kind(model.model_fields[field])}." if field in given else ""
        raise DataError(f"{option}{message}.{expected}") from error


def _option(name: str, field: FieldInfo) -> Any:
    default = field.get_default(call_default_factory=True)
    shown = None if default is None or default is PydanticUndefined else str(default)
    text = field.description or field.title or ""
    if shown is not None:
        text = f"{text} [default: {shown}]"
    return typer.Option(
        f"--{_flag(name)}",
        help=text,
        metavar=_kind(field),
        rich_help_panel="What to look for, and how",
        show_default=False,
    )


def _flag(name: str) -> str:
    return name.replace("_", "-")


def _kind(field: FieldInfo) -> str:
    """Say in a few characters what a field takes, with its range and unit."""
    extra = field.json_schema_extra
    unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
    return " ".join(part for part in (_type(field.annotation), _range(field), unit) if part)


def _type(annotation: Any) -> str:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return "|".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return "|".join(_type(arg) for arg in args if arg is not type(None))
    if origin is tuple:
        several = "…" if args[-1] is Ellipsis else ""
        return ",".join(_type(arg) for arg in args if arg is not Ellipsis) + several
    return {int: "INT", float: "NUMBER", str: "TEXT", bool: "BOOL"}.get(annotation, "VALUE")


def _range(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign}{getattr(item, name):g}"
        for item in field.metadata
        for name, sign in signs.items()
        if hasattr(item, name)
    ]
    return ",".join(found)


def _is_tuple(field: FieldInfo) -> bool:
    kinds = (field.annotation, *typing.get_args(field.annotation))
    return any(typing.get_origin(kind) is tuple for kind in kinds)
