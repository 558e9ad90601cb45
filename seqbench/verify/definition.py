"""What each version of a built-in task is: its metric, its sizes, the fingerprints of its data."""

from __future__ import annotations

from functools import cache
from importlib import resources

from pydantic import JsonValue, TypeAdapter

from seqbench.result import Data, Metric
from seqbench.spec import Component, Frozen, Signature


class Known(Frozen):
    """The official data of a task with one config."""

    config: dict[str, JsonValue]
    signature: Signature
    data: Data


class Definition(Frozen):
    """One version of a task; ``train``, ``val`` and ``test`` are numbers of examples.

    ``known`` has the presets and what the suites ask for; other configs may be as official.
    """

    version: int
    metric: Metric
    train: int
    val: int
    test: int
    known: tuple[Known, ...]


Definitions = TypeAdapter(dict[str, tuple[Definition, ...]])


@cache
def definitions() -> dict[str, tuple[Definition, ...]]:
    """All versions of all built-in tasks, by name.

    tests/tasks/test_task_laws.py holds the installed tasks against them, and writes them.
    """
    file = resources.files("seqbench") / "tasks" / "definitions.json"
    return Definitions.validate_json(file.read_bytes())


def definition_of(task: Component) -> Definition | None:
    """The definition of this version of a task, if it is a built-in one."""
    versions = definitions().get(task.name, ())
    return next((each for each in versions if each.version == task.version), None)


def known_data(task: Component) -> Known | None:
    """The official data of a task with its config, where they are recorded."""
    definition = definition_of(task)
    known = definition.known if definition else ()
    return next((each for each in known if each.config == task.config), None)
