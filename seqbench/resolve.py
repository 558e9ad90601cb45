"""From what a user asks for to a RunSpec in which every value is explicit."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from seqbench.errors import ConfigError, UnknownNameError
from seqbench.model import Model, Recipe, load_model
from seqbench.result import Origin
from seqbench.spec import Component, Request, RunSpec, TrainSpec
from seqbench.task import Task, load_task


@dataclass(frozen=True)
class Plan:
    """A run that is ready to be done: its spec, and how the spec came about."""

    spec: RunSpec
    origin: Origin


def resolve(request: Request) -> Plan:
    """The one experiment that a request means.

    A published recipe for the task and preset is taken where the model has one; the settings of
    the request go over it.

    Raises:
        UnknownNameError: no such task, model, preset or setting.
        ConfigError: a value of the wrong type or out of range.
        PluginError: the task or the model cannot be loaded.

    """
    task, task_preset, task_config = _named_config(load_task, request.task)
    model, preset, model_config = _named_config(load_model, request.model)
    recipe = model.recipes.get((task.name, preset))
    published = _settings_of(model_config, recipe)
    overrides = {path: _value(value) for path, value in request.settings.items()}
    model_name = request.model.partition(":")[0]
    chosen = _override(published, overrides, f"model {model_name!r}")
    task_overrides = {f"task.{k}": _value(v) for k, v in request.task_settings.items()}
    of_task = _override({"task": to_json(task_config)}, task_overrides, f"task {task.name!r}")
    spec = RunSpec(
        task=Component(
            name=task.name,
            version=task.version,
            config=to_json(config_from(task, of_task["task"], "task")),
        ),
        model=Component(
            name=model_name,
            version=model.version,
            config=to_json(config_from(model, chosen["model"], "model")),
        ),
        train=_train_spec(chosen["train"]),
        seed=request.seed,
    )
    unchanged = spec.model.config == published["model"] and spec.train == _train_spec(
        published["train"]
    )
    return Plan(
        spec=spec,
        origin=Origin(
            preset=preset,
            task_preset=task_preset,
            settings="published" if recipe and unchanged else "custom",
            recipe_source=recipe.source if recipe else None,
            overrides=overrides | task_overrides,
        ),
    )


def presets_of(cls: type[Task | Model]) -> Mapping[str, Any]:
    """The named configs of a task or model class, the default first."""
    return cls.presets or {"default": cls.Config()}


def config_from(cls: type[Task | Model], values: Mapping[str, Any], where: str) -> Any:
    """The config of a task or model class, from JSON values, checked field by field.

    Raises:
        ConfigError: a value of the wrong type or out of range.

    """
    try:
        return TypeAdapter(cls.Config).validate_python(dict(values))
    except ValidationError as error:
        raise _wrong_value(error, where) from None


def to_json(config: Any) -> dict[str, Any]:
    """A config as JSON values."""
    values: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    return values


def _named_config(load: Any, text: str) -> tuple[Any, str, Any]:
    name, _, preset = text.partition(":")
    cls = load(name)
    presets = presets_of(cls)
    preset = preset or next(iter(presets))
    if preset not in presets:
        raise UnknownNameError(f"preset of {name!r}", preset, presets)
    return cls, preset, presets[preset]


def _settings_of(config: Any, recipe: Recipe | None) -> dict[str, Any]:
    model, train = to_json(config), TrainSpec()
    if recipe:
        model = to_json(dataclasses.replace(config, **recipe.model))
        train = recipe.train
    return {"model": model, "train": train.model_dump(mode="json")}


def _value(value: Any) -> Any:
    """JSON where a string spells it; any other string is itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return None if value in ("none", "None") else value


def _override(base: dict[str, Any], overrides: Mapping[str, Any], owner: str) -> dict[str, Any]:
    merged: dict[str, Any] = json.loads(json.dumps(base))
    for path, value in overrides.items():
        at = merged
        *parents, last = path.split(".")
        for i, part in enumerate(parents):
            at = _step(at, part, path, ".".join(parents[:i]), owner)
        _step(at, last, path, ".".join(parents), owner)
        if path == "train.schedule.kind":
            merged["train"]["schedule"] = {"kind": value}
        else:
            at[last] = value
    return merged


def _step(at: Any, part: str, path: str, above: str, owner: str) -> Any:
    if not isinstance(at, dict):
        raise ConfigError(f"cannot set {path!r}: {above!r} is a value and has no fields")
    if part not in at:
        known = [f"{above}.{name}" if above else name for name in at]
        asked = f"{above}.{part}" if above else part
        raise UnknownNameError(f"setting of {owner}", asked, known)
    return at[part]


def _train_spec(values: dict[str, Any]) -> TrainSpec:
    try:
        return TrainSpec.model_validate(values)
    except ValidationError as error:
        raise _wrong_value(error, "train") from None


def _wrong_value(error: ValidationError, where: str) -> ConfigError:
    first = error.errors()[0]
    path = ".".join([where, *(str(part) for part in first["loc"])])
    return ConfigError(
        f"{path} cannot be {first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}",
        "`seqbench info NAME` lists every field with its type and default",
    )
