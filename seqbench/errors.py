"""The errors that a user can cause and mend; everything else is a bug and keeps its traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class SeqbenchError(Exception):
    """An expected failure: *what happened, what was got, what was expected*, and a hint.

    The command line prints ``message`` and ``hint`` and exits with 2.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class UnknownNameError(SeqbenchError):
    """A name that nothing answers to; offers the nearest ones and what there is."""

    def __init__(
        self,
        kind: str,
        name: str,
        known: Iterable[str],
        hint: str = "",
        near: Sequence[str] = (),
    ) -> None:
        known = sorted(known)
        lowered = {each.lower(): each for each in known}
        close = difflib.get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)
        near = near or [lowered[each] for each in close]
        message = f"no {kind} named {name!r}"
        if near:
            message += f"; did you mean {' or '.join(repr(n) for n in near)}?"
        super().__init__(message, hint or f"there {_are(kind, known)}")


class ConfigError(SeqbenchError):
    """A setting that does not exist, or a value of the wrong type or out of range."""


class PluginError(SeqbenchError):
    """A plugin that cannot be used: it does not import, is of the wrong type, or clashes."""


class DataError(SeqbenchError):
    """Data that is missing, damaged, or not what the task is defined on."""


class ModelError(SeqbenchError):
    """A model that does not do what its signature asks, such as an output of the wrong shape."""


class ConformanceError(SeqbenchError):
    """A task or model that breaks a promise of its interface."""


class ResultError(SeqbenchError):
    """A result or checkpoint file that cannot be read or does not hold together."""


class OutputError(SeqbenchError):
    """An output directory that cannot be written."""


def _are(kind: str, known: list[str]) -> str:
    if not known:
        return f"is no {kind} at all"
    if len(known) == 1:
        return f"is only {known[0]}"
    return f"are: {', '.join(known)}"
