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
        SPEC.model_copy(update={"parent": "0123"}),
        SPEC.model_copy(update={"task": Component(name="smnist", version=2)}),
        SPEC.model_copy(update={"train": TrainSpec(schedule=Cosine())}),
    ]
    assert len({spec.id for spec in [SPEC, *others]}) == 5


def test_fields_added_later_change_no_id():
    """A field that is None leaves no trace in the canonical form."""
    text = canonical_json(SPEC)
    assert "max_steps" not in text
    assert json.loads(text)["train"]["batch_size"] == 64


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
