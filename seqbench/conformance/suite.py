"""A task or a model held to all rules of its interface."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from seqbench import registry
from seqbench.conformance.models import MODEL_RULES, ModelSubject
from seqbench.conformance.rule import Outcome, State, judge
from seqbench.conformance.tasks import TASK_RULES, TaskSubject
from seqbench.errors import ConformanceError, PluginError, UnknownNameError
from seqbench.model import load_model
from seqbench.resolve import presets_of
from seqbench.task import load_task

Subject = TaskSubject | ModelSubject


def named(name: str, data_dir: Path | None = None) -> Subject:
    """What ``NAME`` or ``NAME:PRESET`` stands for: a registered task or else a model.

    Raises:
        UnknownNameError: it is neither, or has no such preset.
        PluginError: it cannot be loaded.

    """
    bare, _, preset = name.partition(":")
    tasks, models = registry.entries(registry.TASKS), registry.entries(registry.MODELS)
    subject: Subject
    if bare in tasks:
        subject = TaskSubject(load_task(bare), tasks[bare], preset or None, data_dir)
    elif bare in models:
        subject = ModelSubject(load_model(bare), models[bare], preset or None)
    else:
        raise UnknownNameError("task or model", bare, [*tasks, *models])
    if preset and preset not in (presets := presets_of(subject.cls)):
        raise UnknownNameError(f"preset of {bare!r}", preset, presets)
    return subject


def hold(subject: Subject) -> Iterator[Outcome]:
    """Hold a task or a model to the rules of its interface, one after the other."""
    if isinstance(subject, TaskSubject):
        return judge(TASK_RULES, subject)
    return judge(MODEL_RULES, subject)


def check(name: str, data_dir: Path | None = None) -> Iterator[Outcome]:
    """``hold`` what a name stands for; a plugin that cannot be loaded is an outcome too.

    Raises:
        UnknownNameError: it is neither a task nor a model, or has no such preset.

    """
    try:
        subject = named(name, data_dir)
    except PluginError as error:
        yield Outcome("load", State.FAILED, error.message, error.hint)
    else:
        yield from hold(subject)


def require(subject: Subject) -> list[Outcome]:
    """What came of each rule.

    Raises:
        ConformanceError: one is broken; the message has all that are, and how to mend them.

    """
    outcomes = list(hold(subject))
    broken = [outcome for outcome in outcomes if outcome.state is State.FAILED]
    if broken:
        name = subject.entry.name if subject.entry else subject.cls.__name__
        raise ConformanceError(
            "\n".join(f"{name} breaks the rule {each.rule!r}: {each.text}" for each in broken),
            "\n      ".join(f"{each.rule}: {each.mend}" for each in broken),
        )
    return outcomes
