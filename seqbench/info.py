"""What a task or a model is, for people: settings, presets, recipes, source."""

from __future__ import annotations

import dataclasses
from typing import Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from seqbench import registry
from seqbench.errors import UnknownNameError
from seqbench.model import Model, load_model
from seqbench.report import titled
from seqbench.resolve import presets_of
from seqbench.task import Task, load_task


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
    raise UnknownNameError("task or model", name, [*tasks, *models])


def parts_of(name: str, cls: type[Task | Model]) -> list[RenderableType]:
    """What a task or model is: fields, presets, recipes, where it comes from."""
    parts: list[RenderableType] = [f"[bold]{escape(name)}[/bold] version {cls.version}"]
    parts += [escape(text) for text in (cls.description, cls.citation) if text]
    parts.append(_fields_table(cls))
    if cls.presets:
        parts.append(_presets_table(cls))
    recipes = getattr(cls, "recipes", None)
    if recipes:
        table = titled("published recipes", "task", "preset", "settings", "source")
        for (task, preset), recipe in recipes.items():
            settings = recipe.train.model_dump(exclude_defaults=True) | dict(recipe.model)
            table.add_row(task, preset, escape(_settings(settings)), escape(recipe.source))
        parts.append(table)
    if issubclass(cls, Task):
        parts.append(_signature_line(cls))
    return parts


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
