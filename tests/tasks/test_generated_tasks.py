"""What each generated task asks, and the settings it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.random import RandomState

from seqbench.errors import ConfigError
from seqbench.task import IGNORED
from seqbench.tasks.adding import Adding, AddingConfig
from seqbench.tasks.copy_memory import CopyMemory, CopyMemoryConfig
from seqbench.tasks.induction import Induction, InductionConfig
from seqbench.tasks.mqar import MQAR, MQARConfig
from seqbench.tasks.selective_copy import SelectiveCopy, SelectiveCopyConfig

TASKS = [CopyMemory, Adding, SelectiveCopy, MQAR, Induction]


def test_copy_memory_asks_for_the_first_values_at_the_end() -> None:
    """Values, blank, delimiter; zero is right until the values are asked for."""
    x, y = CopyMemory(CopyMemoryConfig(length=5, memory=3)).generate(RandomState(0), 50)
    assert x.shape == y.shape == (50, 11)
    assert np.isin(x[:, :3], range(1, 9)).all()
    assert (x[:, 3:7] == 0).all()
    assert (x[:, 7:] == 9).all()
    assert (y[:, :8] == 0).all()
    assert (y[:, 8:] == x[:, :3]).all()


def test_copy_memory_scores_memory_alone() -> None:
    """Zeros everywhere are right at almost every step, and score nothing."""
    task = CopyMemory()
    y = task.test_data().y[:20]
    zeros = torch.zeros(20, 10, y.shape[1])
    zeros[:, 0] = 1
    assert task.score(zeros, y).max() == 0
    assert task.loss(50 * zeros, y) < 50 * 10 / 120 + 0.01


def test_adding_asks_for_the_sum_of_the_marked_numbers() -> None:
    """Exactly two steps are marked, numbers are in [0, 1), the target is their exact sum."""
    task = Adding(AddingConfig(length=17))
    data = task.test_data()
    numbers, marks = task.encode(data.x).unbind(dim=1)
    assert set(marks.unique().tolist()) == {0, 1}
    assert torch.all(marks.sum(dim=1) == 2)
    assert numbers.min() > 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.01
    assert torch.equal((numbers * marks).sum(dim=1), data.y)
    assert marks.mean(dim=0).min() > 0.05  # any step may be marked


def test_selective_copy_asks_for_the_data_in_order() -> None:
    """What is not noise is asked for at the markers, in its order."""
    task = SelectiveCopy(SelectiveCopyConfig(length=20, memory=4, vocabulary=10))
    x, y = task.generate(RandomState(0), 200)
    read, asked = x[:, :20], y[:, 20:]
    assert (x[:, 20:] == 9).all()
    assert (y[:, :20] == IGNORED).all()
    assert all((row[row != 0] == want).all() for row, want in zip(read, asked, strict=True))
    assert ((read != 0).mean(axis=0) > 0.1).all()  # data may stand at any step


def test_mqar_asks_each_key_once_for_its_value() -> None:
    """At each query the key of a pair stands again, and its value is the target."""
    task = MQAR(MQARConfig(length=40, pairs=5, vocabulary=30))
    x, y = task.generate(RandomState(0), 100)
    for tokens, targets in zip(x, y, strict=True):
        value_of = dict(zip(tokens[:10:2], tokens[1:10:2], strict=True))
        asked = np.flatnonzero(targets != IGNORED)
        assert sorted(tokens[asked]) == sorted(value_of)
        assert all(value_of[tokens[t]] == targets[t] for t in asked)
        assert (asked >= 10).all()
        assert (asked % 2 == 0).all()
        assert (np.delete(tokens[10:], asked - 10) == 0).all()
    assert x[:, :10:2].min() >= 1
    assert x[:, :10:2].max() < 15 <= x[:, 1:10:2].min()


def test_mqar_gaps_follow_the_power_law() -> None:
    """With one pair the gap i is as frequent as i^(a - 1)."""
    task = MQAR(MQARConfig(length=10, pairs=1, vocabulary=8))
    _, y = task.generate(RandomState(0), 20_000)
    gaps = (y != IGNORED).argmax(axis=1) // 2 - 1
    law = np.arange(1, 5) ** (0.01 - 1)
    assert np.allclose(np.bincount(gaps) / 20_000, law / law.sum(), atol=0.015)


def test_induction_asks_for_what_followed_the_trigger() -> None:
    """The trigger stands twice, the second time at the end; the answer followed the first."""
    x, y = Induction(InductionConfig(length=12, vocabulary=6)).generate(RandomState(0), 500)
    first = (x == 5).argmax(axis=1)
    assert ((x == 5).sum(axis=1) == 2).all()
    assert (x[:, -1] == 5).all()
    assert (x[np.arange(500), first + 1] == y).all()
    assert set(first) == set(range(9))
    assert set(y) == set(range(5))


@pytest.mark.parametrize("task", TASKS)
def test_one_seed_gives_one_stream(task: type) -> None:
    """The same seed gives the same examples, another seed others."""
    (x, _), (same, _), (other, _) = (task().generate(RandomState(s), 9) for s in (3, 3, 4))
    assert (x == same).all()
    assert (x != other).any()


@pytest.mark.parametrize("task", TASKS)
def test_presets_fit_their_task(task: type) -> None:
    """Every preset is a config from which examples of the signature's length can be made."""
    assert task.presets
    for config in task.presets.values():
        made = task(config)
        x, _ = made.generate(RandomState(0), 2)
        assert made.encode(torch.from_numpy(x)).shape[2:] == made.signature.shape


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (CopyMemoryConfig, {"length": 0}),
        (CopyMemoryConfig, {"memory": 0}),
        (AddingConfig, {"length": 1}),
        (SelectiveCopyConfig, {"length": 4, "memory": 5}),
        (SelectiveCopyConfig, {"vocabulary": 2}),
        (MQARConfig, {"length": 14}),
        (MQARConfig, {"length": 65}),
        (MQARConfig, {"vocabulary": 33}),
        (MQARConfig, {"vocabulary": 8}),
        (MQARConfig, {"vocabulary": 2**16}),
        (InductionConfig, {"length": 3}),
    ],
)
def test_settings_out_of_range_are_refused(
    config: Callable[..., Any], settings: dict[str, int]
) -> None:
    """The error names the setting, what it is and what was expected."""
    with pytest.raises(ConfigError, match=r"(length|memory|vocabulary) is \d+; expected"):
        config(**settings)


@pytest.mark.parametrize(
    "task",
    [
        CopyMemory(CopyMemoryConfig(length=1, memory=1)),
        Adding(AddingConfig(length=2)),
        SelectiveCopy(SelectiveCopyConfig(length=1, memory=1, vocabulary=3)),
        MQAR(MQARConfig(length=4, pairs=1, vocabulary=4)),
        Induction(InductionConfig(length=4, vocabulary=3)),
    ],
    ids=lambda task: task.name,
)
def test_the_smallest_settings_work(task: Any) -> None:
    """At the ends of the ranges there are still examples."""
    x, y = task.generate(RandomState(0), 3)
    assert task.encode(torch.from_numpy(x)).shape[2:] == task.signature.shape
    assert len(x) == len(y) == 3
