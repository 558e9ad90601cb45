"""What an error of a plugin or a value means, in one line; needs no torch."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from pydantic import ValidationError

from seqbench.errors import UnknownNameError
from seqbench.spec import Frozen

SHORT = {"lr": "learning_rate", "wd": "weight_decay", "bs": "batch_size"}
"""What people call some settings."""

_CORE = Path(__file__).parent
_LIBRARIES = (
    *(f"{os.sep}{name}{os.sep}" for name in ("torch", "lightning", "pydantic")),
    "importlib",
)
"""Parts of the paths of files through which a plugin is called, or which it calls."""


def plugin_lines(error: BaseException) -> list[traceback.FrameSummary]:
    """The lines of plugins that an error went through, the last called last."""
    return [
        f for f in traceback.extract_tb(error.__traceback__) if _is_of_a_plugin(Path(f.filename))
    ]


def _is_of_a_plugin(path: Path) -> bool:
    if path.is_relative_to(_CORE):
        return path.is_relative_to(_CORE / "tasks")
    return not any(part in str(path) for part in _LIBRARIES)


def in_one_line(error: BaseException) -> str:
    """An error by its type and message; of refused values the first."""
    if isinstance(error, ValidationError):
        return refused_value(error, error.title)
    return f"{type(error).__name__}: {error}"


def refused_value(error: ValidationError, where: str) -> str:
    """The first value that is refused, by its path below ``where``, and what is taken."""
    first = error.errors()[0]
    *above, name = [where, *(str(part) for part in first["loc"])]
    if first["type"] == "extra_forbidden":
        fields = _fields(error.title) if len(above) == 1 else []
        near = [SHORT[name]] if SHORT.get(name) in fields else []
        return UnknownNameError(f"field of {'.'.join(above)}", name, fields, near=near).message
    said = first["msg"]
    path = ".".join([*above, name])
    return f"{path} cannot be {first['input']!r}: {said[0].lower()}{said[1:]}"


def _fields(title: str) -> list[str]:
    """The fields of a value class that is called so."""
    return [
        field
        for cls in Frozen.__subclasses__()
        if cls.__name__ == title
        for field in cls.model_fields
    ]
