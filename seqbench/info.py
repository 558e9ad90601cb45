"""What a task, a model or training is, for people: settings, presets, recipes, source."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any, get_args

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from seqbench import registry
from seqbench.difference import differences
from seqbench.errors import UnknownNameError
from seqbench.model import Model, load_model
from seqbench.report import titled
from seqbench.resolve import presets_of
from seqbench.spec import Schedule, TrainSpec
from seqbench.task import Task, load_task

TRAIN = "train"
"""Asks for what training can be set to."""


def about(name: str) -> list[RenderableType]:
    """What to show of a task, a model or ``train``.

    Raises:
        UnknownNameError: it is none of them.
        PluginError: it cannot be loaded.

    """
    return list(_train_parts()) if name == TRAIN else parts_of(name, find(name))


def find(name: str) -> type[Task | Model]:
    """The task or model class of a name.

    Raises:
        UnknownNameError: it is neither.
        PluginError: it cannot be loaded.

    """
    tasks, models = registry.entries(registry.TASKS), registry.entries(registry.MODELS)
    name = name.partition(":")[0]
    if name in tasks:
        return load_task(name)
    if name in models:
        return load_model(name)
    raise UnknownNameError("task or model", name, [*tasks, *models, TRAIN])


def parts_of(name: str, cls: type[Task | Model]) -> list[RenderableType]:
    """What a task or model is: fields, presets, recipes, where it comes from."""
    parts: list[RenderableType] = [f"[bold]{escape(name)}[/bold] version {cls.version}"]
    parts += [escape(text) for text in (cls.description, cls.citation) if text]
    parts.append(_fields_table(cls))
    if cls.presets:
        parts.append(_presets_table(cls))
    recipes = getattr(cls, "recipes", None)
    if recipes:
        columns = ("task", "preset", "differs from the defaults in", "source")
        table = titled("published recipes", *columns)
        for (task, preset), recipe in recipes.items():
            train = differences(recipe.train, TrainSpec())
            settings = {path: value for path, (value, _) in train.items()} | dict(recipe.model)
            table.add_row(task, preset, escape(_settings(settings)), escape(recipe.source))
        parts.append(table)
    if issubclass(cls, Task):
        parts.append(_signature_line(cls))
    return parts


def _train_parts() -> Iterator[RenderableType]:
    """The settings of training, those of each schedule under its kind."""
    yield "[bold]train[/bold], what `--set train.NAME=VALUE`, suites and recipes can set"
    paragraphs = (inspect.getdoc(TrainSpec) or "").replace("``", "`").split("\n\n")
    yield escape("\n\n".join(" ".join(lines.split("\n")) for lines in paragraphs))
    table = titled("settings", "name", "type", "default")
    for name, field in TrainSpec.model_fields.items():
        if name != "schedule":
            table.add_row(name, _type(TrainSpec, name), escape(repr(field.default)))
    kinds = get_args(get_args(Schedule)[0])
    names = [kind.model_fields["kind"].default for kind in kinds]
    table.add_row("schedule.kind", ", ".join(map(repr, names)), repr(TrainSpec().schedule.kind))
    for kind, of in zip(kinds, names, strict=True):
        for name, field in kind.model_fields.items():
            if name != "kind":
                default = f"{field.default!r} (of {of!r})"
                table.add_row(f"schedule.{name}", _type(kind, name), escape(default))
    yield table


def _type(cls: type, name: str) -> str:
    return escape(str(inspect.get_annotations(cls)[name]))


def _fields_table(cls: type[Task | Model]) -> Table:
    default = _default(cls)
    table = titled("config", "field", "type", "default")
    for field in dataclasses.fields(cls.Config):
        value = repr(getattr(default, field.name))
        table.add_row(field.name, escape(str(field.type)), escape(value))
    return table


def _default(cls: type[Task | Model]) -> Any:
    """The config of a run that says nothing else."""
    return next(iter(presets_of(cls).values()))


def _presets_table(cls: type[Task | Model]) -> Table:
    columns = ("preset", "differs from the default in", "parameters on smnist")
    default = _default(cls)
    counts = getattr(cls, "parameter_counts", {})
    table = titled("presets (the first is the default)", *columns[: 3 if counts else 2])
    for preset, config in cls.presets.items():
        values = {
            field.name: getattr(config, field.name)
            for field in dataclasses.fields(cls.Config)
            if getattr(config, field.name) != getattr(default, field.name)
        }
        count = [f"{counts[preset]:,}" if preset in counts else "-"] if counts else []
        table.add_row(preset, escape(_settings(values)), *count)
    return table


def _signature_line(cls: type[Task]) -> str:
    signature = cls(_default(cls)).signature
    arrow = "higher" if cls.higher_is_better else "lower"
    shape = " x ".join(map(str, (signature.in_channels, *signature.shape)))
    return (
        f"input {shape}, {signature.out_features} outputs a {signature.target}; "
        f"metric {cls.metric} ({arrow} is better); licence: {escape(cls.licence)}"
    )


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
