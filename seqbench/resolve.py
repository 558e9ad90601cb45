"""From what a user asks for to a RunSpec in which every value is explicit."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError

from seqbench.errors import ConfigError, PluginError, UnknownNameError
from seqbench.explain import SHORT, refused_value
from seqbench.model import Model, load_model
from seqbench.result import Origin, Result
from seqbench.spec import Component, Request, RunSpec, TrainSpec
from seqbench.task import Task, load_task

_SCHEDULE_KIND = "train.schedule.kind"


@dataclass(frozen=True)
class Plan:
    """A run that is ready to be done: its spec, and how the spec came about."""

    spec: RunSpec
    origin: Origin

    @property
    def parent(self) -> Plan | None:
        """The run whose weights this one starts from, if it does."""
        if self.spec.parent is None:
            return None
        if self.origin.parent is None:
            raise ConfigError(f"run {self.spec.id} has a parent, but not the origin of one")
        return Plan(self.spec.parent, self.origin.parent)

    @property
    def generation(self) -> int:
        """How many runs stand before it."""
        return 1 + self.parent.generation if self.parent else 0


def resolve(request: Request, weights_sha256: str | None = None) -> Plan:
    """The one experiment that a request means.

    A published recipe for the task and preset is taken where the model has one; the settings of
    the request go over it. With ``weights_sha256`` the experiment is to evaluate those weights:
    only what the recipe says of the model matters then, and there are no settings of training.
    A request with a parent is resolved by ``resolve_child``.

    Raises:
        UnknownNameError: no such task, model, preset or setting.
        ConfigError: a value of the wrong type or out of range.
        PluginError: the task or the model cannot be loaded.

    """
    if request.seed < 0:
        raise ConfigError(f"the seed cannot be {request.seed}: expected 0 or more")
    if request.parent is not None:
        return resolve_child(request, resolve(request.parent))
    task, task_preset, task_values = _named(load_task, request.task)
    model, preset, model_values = _named(load_model, request.model)
    recipe = model.recipes.get((task.name, preset))
    published = {"model": model_values | dict(recipe.model if recipe else {})}
    if weights_sha256 is None:
        published["train"] = (recipe.train if recipe else TrainSpec()).model_dump(mode="json")
    else:
        _check_nothing_of_training(request.settings)
    overrides = {path: _value(value) for path, value in request.settings.items()}
    component, task_overrides = _task_asked(request, task, task_values)
    chosen = _override(published, overrides, "a run")
    model_name = request.model.partition(":")[0]
    spec = RunSpec(
        task=component,
        model=_component(model, model_name, chosen["model"], "model"),
        train=_train_spec(chosen["train"]) if weights_sha256 is None else None,
        weights_sha256=weights_sha256,
        seed=request.seed,
    )
    as_published = (
        recipe is not None
        and spec.model == _component(model, model_name, published["model"], "model")
        and spec.train in (None, recipe.train)
    )
    origin = Origin(
        preset=preset,
        task_preset=task_preset,
        settings="published" if as_published else "custom",
        recipe_source=recipe.source if recipe else None,
        overrides=overrides | task_overrides,
    )
    return Plan(spec, origin)


def resolve_from(request: Request, result: Result, seed: int | None = None) -> Plan:
    """The run that a request means, from the weights of a result's run; ``seed`` is what was asked.

    Raises:
        UnknownNameError, ConfigError, PluginError: as ``resolve_child``; or another seed is asked.

    """
    if seed not in {None, result.spec.seed}:
        raise ConfigError(
            f"the seed cannot be {seed}: a run has its parent's, which is {result.spec.seed}"
        )
    return resolve_child(request, Plan(result.spec, result.origin))


def resolve_child(request: Request, parent: Plan) -> Plan:
    """The run that a request means, from the weights of another one.

    The model and the seed are the parent's. Training further is as the parent's last training,
    but for the settings of the request.

    Raises:
        UnknownNameError: no such task, preset or setting.
        ConfigError: a value of the wrong type or out of range, another model than the parent's,
            or a parent that is no training.
        PluginError: the task cannot be loaded.

    """
    spec, origin = parent.spec, parent.origin
    if spec.train is None:
        raise ConfigError(
            f"run {spec.id} trained nothing, so that it has no weights to start from",
            "name the run that trained them as the parent",
        )
    if request.model not in {spec.model.name, f"{spec.model.name}:{origin.preset}"}:
        raise ConfigError(
            f"the parent {spec.id} is of the model {spec.model.name}:{origin.preset}, not "
            f"{request.model}"
        )
    task, task_preset, task_values = _named(load_task, request.task)
    component, task_overrides = _task_asked(request, task, task_values)
    overrides = {path: _value(value) for path, value in request.settings.items()}
    for path in overrides:
        if not request.trained or path.partition(".")[0] != "train":
            raise ConfigError(
                f"{path} cannot be set: "
                + ("the model is the parent's" if request.trained else "nothing is trained"),
            )
    chosen = _override({"train": spec.train.model_dump(mode="json")}, overrides, "a run")
    child = RunSpec(
        task=component,
        model=spec.model,
        train=_train_spec(chosen["train"]) if request.trained else None,
        parent=spec,
        seed=spec.seed,
    )
    of_model = {path: v for path, v in origin.overrides.items() if path.startswith("model.")}
    return Plan(
        child,
        Origin(
            preset=origin.preset,
            task_preset=task_preset,
            settings="custom" if request.trained else origin.settings,
            recipe_source=None if request.trained else origin.recipe_source,
            overrides=of_model | overrides | task_overrides,
            parent=origin,
        ),
    )


def presets_of(cls: type[Task | Model]) -> Mapping[str, Any]:
    """The named configs of a task or model class, the default first.

    Raises:
        PluginError: none is named, and a field of the config has no default.

    """
    if cls.presets:
        return cls.presets
    try:
        return {"default": cls.Config()}
    except TypeError as error:
        raise PluginError(
            f"Config() of {cls.__name__} is refused: {error}; expected a default for every field",
            "give every field one",
        ) from error


def config_from(cls: type[Task | Model], values: Mapping[str, Any], where: str) -> Any:
    """The config of a task or model class, from JSON values, checked field by field.

    Raises:
        ConfigError: a value of the wrong type or out of range, or a field of no type of JSON's.

    """
    try:
        return TypeAdapter(cls.Config).validate_python(dict(values))
    except ValidationError as error:
        raise _wrong_value(error, where) from None
    except PydanticUserError as error:
        raise _not_json(cls.Config, error) from None


def to_json(config: Any) -> dict[str, Any]:
    """A config as JSON values.

    Raises:
        ConfigError: it holds something else.

    """
    try:
        values: dict[str, Any] = TypeAdapter(type(config)).dump_python(
            config, mode="json", warnings=False
        )
    except (PydanticUserError, PydanticSerializationError) as error:
        raise _not_json(type(config), error) from None
    return values


def _not_json(config: type, error: Exception) -> ConfigError:
    return ConfigError(
        f"{config.__name__} cannot be written as JSON: {str(error).splitlines()[0]}",
        "let fields be numbers, texts, truth values, None, or tuples and dataclasses of them",
    )


def _named(load: Callable[[str], Any], text: str) -> tuple[Any, str, dict[str, Any]]:
    """Class, preset and config of ``NAME`` or ``NAME:PRESET``."""
    name, _, preset = text.partition(":")
    cls = load(name)
    presets = presets_of(cls)
    preset = preset or next(iter(presets))
    if preset not in presets:
        raise UnknownNameError(f"preset of {name!r}", preset, presets)
    return cls, preset, to_json(presets[preset])


def _task_asked(
    request: Request, task: type[Task], values: dict[str, Any]
) -> tuple[Component, dict[str, Any]]:
    """The task with the settings of a request, and these by path."""
    overrides = {f"task.{name}": _value(value) for name, value in request.task_settings.items()}
    chosen = _override({"task": values}, overrides, f"task {task.name!r}")
    return _component(task, task.name, chosen["task"], "task"), overrides


def _component(cls: type[Task | Model], name: str, values: dict[str, Any], where: str) -> Component:
    config = config_from(cls, values, where)
    try:
        component = Component(name=name, version=cls.version, config=to_json(config))
    except ValidationError as error:
        raise _wrong_value(error, where, name) from None
    if config_from(cls, component.config, where) != config:
        raise ConfigError(
            f"{where} {name!r} is set to None where that is not the default",
            "a field of a config that may be None has None as its default",
        )
    return component


def _check_nothing_of_training(settings: Mapping[str, Any]) -> None:
    for path in settings:
        if path.partition(".")[0] == "train":
            raise ConfigError(
                f"{path} cannot be set: weights that are there are evaluated, nothing is trained",
                "only fields of the model can be set, as model.FIELD=VALUE",
            )


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
    # Another kind of schedule brings its own fields, which the settings after it refine.
    for path, value in sorted(overrides.items(), key=lambda item: item[0] != _SCHEDULE_KIND):
        at: Any = merged
        *parents, last = path.split(".")
        for i, part in enumerate(parents):
            at = _step(at, part, path, ".".join(parents[:i]), owner)
        if isinstance(at, dict) and last not in at and (near := _meant(last, merged)):
            raise UnknownNameError(
                f"setting of {owner}", path, near, "settings are named by their whole path", near
            )
        before = _step(at, last, path, ".".join(parents), owner)
        if isinstance(before, dict):
            fields = ", ".join(f"{path}.{field}" for field in before)
            raise ConfigError(f"cannot set {path!r} as a whole", f"set one of {fields}")
        if isinstance(value, bool) and not isinstance(before, bool | str | None):
            raise ConfigError(f"{path} cannot be {value!r}: expected a number")
        if path == _SCHEDULE_KIND:
            merged["train"]["schedule"] = _train_spec({"schedule": {"kind": value}}).model_dump(
                mode="json"
            )["schedule"]
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


def _meant(name: str, settings: Mapping[str, Any], above: str = "") -> list[str]:
    """The paths of settings that end in a name, or in what it is short for."""
    meant = {name, SHORT.get(name, name)}
    found = [f"{above}{field}" for field in settings if field in meant]
    for field, value in settings.items():
        if isinstance(value, dict):
            found += _meant(name, value, f"{above}{field}.")
    return found


def _train_spec(values: dict[str, Any]) -> TrainSpec:
    try:
        return TrainSpec.model_validate(values)
    except ValidationError as error:
        raise _wrong_value(error, "train", "train") from None


def _wrong_value(error: ValidationError, where: str, name: str = "NAME") -> ConfigError:
    return ConfigError(
        refused_value(error, where),
        f"`seqbench info {name}` lists every field with its type and default",
    )
