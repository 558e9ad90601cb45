"""What a user asks for becomes one explicit spec, or one clear message."""

from __future__ import annotations

from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import pytest

from seqbench.errors import ConfigError, SeqbenchError, UnknownNameError
from seqbench.resolve import resolve, to_json
from seqbench.spec import Plateau, Request


def plan_of(model="tiny-mlp", task=None, **settings):
    """The plan of a request with settings by path, dots written as double underscores."""
    paths = {path.replace("__", "."): value for path, value in settings.items()}
    return resolve(Request("tiny-sum", model, task or {}, paths))


def test_bare_name_means_the_first_preset():
    """TASK MODEL and TASK MODEL:FIRST are the same experiment."""
    assert plan_of().spec.id == plan_of("tiny-mlp:small").spec.id
    assert plan_of().origin.preset == "small"


def test_every_value_is_explicit():
    """The spec holds every field of the configs."""
    spec = plan_of().spec
    assert spec.model.config == {"hidden": 8, "dropout": 0.1}
    assert spec.task.config == {"length": 16}


def test_recipe_applies_to_its_task_and_preset():
    """The published settings are taken, marked so, and named with their source."""
    plan = plan_of("tiny-mlp:large")
    assert plan.spec.train.learning_rate == 3e-3
    assert plan.spec.model.config == {"hidden": 32, "dropout": 0.2}
    assert (plan.origin.settings, plan.origin.recipe_source) == ("published", "nowhere")


def test_changed_recipe_is_no_longer_published():
    """One setting by hand makes it custom; the same value by hand does not."""
    assert plan_of("tiny-mlp:large", train__epochs=3).origin.settings == "custom"
    assert plan_of("tiny-mlp:large", train__epochs=2).origin.settings == "published"
    assert plan_of("tiny-mlp").origin.settings == "custom"


def test_settings_are_json_or_text():
    """Values from the command line and from TOML mean the same."""
    one = plan_of(model__hidden="12", train__schedule__kind="cosine", train__max_steps="7")
    two = plan_of(model__hidden=12, train__schedule__kind="cosine", train__max_steps=7)
    assert one.spec == two.spec


def test_schedule_can_be_replaced_and_refined():
    """Choosing a kind of schedule brings its own fields, which can then be set."""
    plan = plan_of(train__schedule__kind="plateau", train__schedule__patience=5)
    assert plan.spec.train.schedule == Plateau(patience=5)


WEIGHTS = "ab" * 32


def test_weights_take_what_the_recipe_says_of_the_model():
    """And have no training, so that its settings do not make it custom."""
    plan = resolve(Request("tiny-sum", "tiny-mlp:large"), WEIGHTS)
    assert (plan.spec.train, plan.spec.weights_sha256) == (None, WEIGHTS)
    assert plan.spec.model.config == {"hidden": 32, "dropout": 0.2}
    assert (plan.origin.settings, plan.origin.recipe_source) == ("published", "nowhere")


def test_weights_with_another_model_setting_are_custom():
    """A setting by hand goes over the recipe."""
    plan = resolve(Request("tiny-sum", "tiny-mlp:large", {}, {"model.hidden": 3}), WEIGHTS)
    assert plan.spec.model.config["hidden"] == 3
    assert plan.origin.settings == "custom"


@pytest.mark.parametrize("path", ["train.epochs", "train", "train.schedule.kind"])
def test_weights_have_no_training_to_set(path):
    """It is said that nothing is trained."""
    with pytest.raises(ConfigError, match="nothing is trained"):
        resolve(Request("tiny-sum", "tiny-mlp", {}, {path: 3}), WEIGHTS)


WRONG = {
    "unknown task preset": (Request("tiny-sum:x", "tiny-mlp"), "no preset of 'tiny-sum'"),
    "unknown preset": (Request("tiny-sum", "tiny-mlp:larg"), "did you mean 'large'"),
    "unknown field": (
        Request("tiny-sum", "tiny-mlp", {}, {"model.hiden": 3}),
        "did you mean 'model.hidden'",
    ),
    "unknown root": (Request("tiny-sum", "tiny-mlp", {}, {"modle.hidden": 3}), "'model'"),
    "no root": (Request("tiny-sum", "tiny-mlp", {}, {"hidden": 3}), "no setting of"),
    "unknown task field": (Request("tiny-sum", "tiny-mlp", {"len": 3}), "'task.length'"),
    "wrong type": (
        Request("tiny-sum", "tiny-mlp", {}, {"model.hidden": "many"}),
        "model.hidden cannot be 'many'",
    ),
    "no finite number": (
        Request("tiny-sum", "tiny-mlp", {}, {"model.dropout": "NaN"}),
        "dropout.float cannot be nan: input should be a finite number",
    ),
    "whole group": (Request("tiny-sum", "tiny-mlp", {}, {"model": 3}), "model"),
    "below a value": (Request("tiny-sum", "tiny-mlp", {}, {"model.hidden.x": 3}), "no fields"),
    "negative epochs": (
        Request("tiny-sum", "tiny-mlp", {}, {"train.epochs": -3}),
        "train.epochs cannot be -3",
    ),
    "negative seed": (Request("tiny-sum", "tiny-mlp", seed=-1), "seed"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_request_gets_one_message(case):
    """Each says what was got and what was expected."""
    request, part = WRONG[case]
    with pytest.raises(SeqbenchError) as caught:
        resolve(request)
    assert isinstance(caught.value, ConfigError | UnknownNameError)
    assert part in str(caught.value)


@pytest.mark.parametrize("kind", [Path.iterdir, Any], ids=["type", "value"])
def test_a_config_that_json_cannot_hold_is_refused(kind):
    """By the type of a field, or by what is in it; fields that can be are named."""
    config = make_dataclass("Config", [("gain", kind, abs)], frozen=True)
    with pytest.raises(ConfigError, match="Config cannot be written as JSON") as caught:
        to_json(config())
    assert "numbers, texts" in caught.value.hint
