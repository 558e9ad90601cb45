"""What a rule is, and what comes of it."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Generic, TypeVar

from seqbench.errors import SeqbenchError
from seqbench.registry import plugin_lines

T = TypeVar("T")


class Broken(Exception):  # noqa: N818  (a finding; the rule's name says the rest)
    """A promise that is broken: what was found, what was expected, and how to mend it."""

    def __init__(self, found: str, expected: str, mend: str) -> None:
        super().__init__(found, expected, mend)
        self.found, self.expected, self.mend = found, expected, mend


class NotApplicable(Exception):  # noqa: N818  (no failure)
    """A promise that is not made here, or cannot be looked into; says why."""


@dataclass(frozen=True)
class Rule(Generic[T]):
    """One promise of an interface.

    ``check`` says in a few words what it saw (nothing: its docstring says what holds), or raises
    ``Broken`` or ``NotApplicable``. Where a rule that is ``needed`` does not hold, those after it
    have nothing to look at.
    """

    name: str
    check: Callable[[T], str]
    needed: bool = False


class State(StrEnum):
    """What came of a rule."""

    OK = "ok"
    FAILED = "FAILED"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Outcome:
    """What came of a rule, in words; ``mend`` says how to mend a failure."""

    rule: str
    state: State
    text: str
    mend: str = ""


def judge(rules: Sequence[Rule[T]], subject: T) -> Iterator[Outcome]:
    """Hold a subject to rules, one after the other; whatever it raises is an outcome."""
    for done, rule in enumerate(rules, start=1):
        outcome = _judge(rule, subject)
        yield outcome
        if rule.needed and outcome.state is not State.OK:
            if others := ", ".join(other.name for other in rules[done:]):
                yield Outcome("the others", State.SKIPPED, f"{others}: they take {rule.name!r}")
            return


def _judge(rule: Rule[T], subject: T) -> Outcome:
    try:
        promise = (rule.check.__doc__ or "").partition("\n")[0].replace("``", "`")
        seen = rule.check(subject) or promise
        return Outcome(rule.name, State.OK, seen)
    except NotApplicable as reason:
        return Outcome(rule.name, State.SKIPPED, str(reason))
    except Exception as error:  # a plugin may raise anything
        broken = as_broken(error)
        text = f"{broken.found}; expected {broken.expected}"
        return Outcome(rule.name, State.FAILED, text, broken.mend)


def as_broken(error: Exception) -> Broken:
    """An error as a finding, which it may be already."""
    if isinstance(error, Broken):
        return error
    return Broken(f"it ends in {describe(error)}", "no error", "mend what the error names")


def describe(error: Exception) -> str:
    """An error in one line: type, the first line of its message, the plugin's line behind it."""
    if isinstance(error, SeqbenchError):
        return f"{type(error).__name__}: {error.message}"
    line = (plugin_lines(error) or traceback.extract_tb(error.__traceback__))[-1]
    where = f"{Path(line.filename).name}, line {line.lineno}"
    message = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {message} ({where})"
