"""What an error of a plugin or a value means, in one line; needs no torch."""

from __future__ import annotations

from pydantic import ValidationError

from seqbench.errors import SeqbenchError, UnknownNameError
from seqbench.spec import Frozen

SHORT = {"lr": "learning_rate", "wd": "weight_decay", "bs": "batch_size"}
"""What people call some settings."""


def in_one_line(error: BaseException) -> str:
    """An error by its type and message; of refused values the first, of many lines too."""
    if isinstance(error, ValidationError):
        return refused_value(error, error.title)
    if isinstance(error, SeqbenchError):  # its hint is the next line
        return f"{type(error).__name__}: {error}"
    message = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {message}"


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
