"""A spec is one experiment and has one name."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from seqbench.spec import Component, Cosine, Plateau, RunSpec, TrainSpec, canonical_json

SPEC = RunSpec(
    task=Component(name="smnist", version=1),
    model=Component(name="tcn", version=1, config={"levels": 8, "dropout": 0.05}),
    train=TrainSpec(schedule=Plateau(factor=0.2, patience=20)),
    seed=3,
)


def test_survives_json():
    """Reading what was written gives an equal spec with the same id."""
    again = RunSpec.model_validate_json(SPEC.model_dump_json())
    assert again == SPEC
    assert again.id == SPEC.id


def test_id_never_changes():
    """Ids of committed results stay valid: this one is written down."""
    assert SPEC.id == "ef89f039f53fc930"


def test_every_field_is_part_of_the_id():
    """Two specs that differ anywhere have different ids."""
    others = [
        SPEC.model_copy(update={"seed": 4}),
        SPEC.model_copy(update={"parent": SPEC}),
        SPEC.model_copy(update={"parent": SPEC, "train": None}),
        SPEC.model_copy(update={"task": Component(name="smnist", version=2)}),
        SPEC.model_copy(update={"train": TrainSpec(schedule=Cosine())}),
    ]
    assert len({spec.id for spec in [SPEC, *others]}) == 6


def test_fields_added_later_change_no_id():
    """A field that is None leaves no trace in the canonical form."""
    text = canonical_json(SPEC)
    assert "max_steps" not in text
    assert json.loads(text)["train"]["batch_size"] == 64


def test_config_fields_that_are_none_are_not_there():
    """A field of a config that was added later changes neither value nor name of older ones."""
    config = {"levels": 8, "dropout": 0.05, "added": None}
    model = Component.model_validate({"name": "tcn", "version": 1, "config": config})
    assert model == SPEC.model
    assert model.title == "tcn (dropout=0.05, levels=8)"


def test_order_of_fields_does_not_matter():
    """Canonical means canonical."""
    data = SPEC.model_dump(mode="json")
    assert canonical_json(dict(reversed(data.items()))) == canonical_json(SPEC)


def test_is_frozen():
    """A spec cannot be changed after it was named."""
    with pytest.raises(ValidationError):
        SPEC.seed = 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": -1},
        {"epochs": 0},
        {"learning_rate": float("nan")},
        {"learning_rate": 0},
        {"batch_size": 2.5},
        {"optimizer": "lion"},
        {"momentum": 0.9},
        {"schedule": {"kind": "plateau", "factor": 5}},
    ],
)
def test_refuses_nonsense(wrong):
    """Values out of range, of the wrong type, or unknown are refused."""
    with pytest.raises(ValidationError):
        TrainSpec.model_validate(wrong)


def test_trains_or_evaluates():
    """A spec either trains or names weights; not both, not neither."""
    parts = {"task": SPEC.task, "model": SPEC.model}
    with pytest.raises(ValidationError):
        RunSpec(**parts)
    with pytest.raises(ValidationError):
        RunSpec(**parts, train=TrainSpec(), weights_sha256="00")


def test_length_is_of_what_ends_training():
    """A number of steps if there is one, else of epochs."""
    lengths = [TrainSpec(epochs=1), TrainSpec(epochs=10), TrainSpec(epochs=10, max_steps=2370)]
    assert [train.length for train in lengths] == ["1 epoch", "10 epochs", "2,370 steps"]


def child(**fields):
    """What a spec with a parent is made of, tested as it is."""
    return (
        {"task": Component(name="pmnist", version=1), "model": SPEC.model, "seed": 3}
        | {"parent": SPEC}
        | fields
    )


def test_a_parent_stands_whole_in_the_spec():
    """Read from a file, it is the same experiment, whether tested as it is or trained further."""
    for train in (None, TrainSpec(epochs=1)):
        spec = RunSpec(**child(train=train))
        again = RunSpec.model_validate_json(canonical_json(spec))
        assert again == spec
        assert again.id == spec.id
        assert again.parent.id == SPEC.id


def test_a_parent_may_have_a_parent():
    """Fine-tuned weights can be tested elsewhere; all trainings are known, the last one first."""
    tuned = RunSpec(**child(train=TrainSpec(epochs=1)))
    tested = RunSpec(**child(parent=tuned))
    assert tested.trainings == (tuned.train, SPEC.train)
    assert tested.at_seed(7).parent.parent.seed == 7
    assert tested.at_seed(7).at_seed(3) == tested


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"weights_sha256": "00"}, "not both"),
        ({"seed": 4}, "the seed of its `parent`"),
        ({"model": Component(name="tcn", version=1)}, "the model of its `parent`"),
        ({"model": SPEC.model.model_copy(update={"version": 2})}, "the model of its `parent`"),
        ({"parent": RunSpec(**child())}, "is a training"),
        (
            {"parent": RunSpec(**child(parent=None, weights_sha256="00"))},
            "is a training",
        ),
    ],
)
def test_a_parent_is_a_training_of_the_same_network(fields, what):
    """Of the same model and seed, and its weights come from nowhere else."""
    with pytest.raises(ValidationError, match=what):
        RunSpec(**child(**fields))
