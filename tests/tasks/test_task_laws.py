"""Laws that every built-in task obeys.

`python tests/tasks/test_task_laws.py`, with SEQBENCH_DATA set, adds to definitions.json what is
not there: versions, presets and what the suites ask for. What is there stays, because the file
says what a version of a task is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import seqbench.tasks
from seqbench import registry
from seqbench.resolve import config_from, resolve, to_json
from seqbench.result import Data, Metric
from seqbench.spec import Component
from seqbench.suite import load_suite, requests_of, suite_names
from seqbench.task import IGNORED, FitData, Split, Task, fingerprint, load_task
from seqbench.tasks._generated import GeneratedTask
from seqbench.tasks._images import ImageTask
from seqbench.tasks.cifar10 import CIFAR10
from seqbench.tasks.digits import SDigits
from seqbench.verify.definition import (
    Definition,
    Definitions,
    Known,
    definition_of,
    definitions,
    known_data,
)

DEFINITIONS = Path(seqbench.tasks.__file__).with_name("definitions.json")
NAMES = [n for n, e in registry.entries(registry.TASKS).items() if e.distribution == "seqbench"]
IMAGES = [name for name in NAMES if issubclass(load_task(name), ImageTask)]
EMBEDDED = [name for name in NAMES if name not in IMAGES]


def data_of(task: Task, fit: FitData, test: Split) -> Data:
    """What a Result says of data."""
    return Data(
        fit_sha256=fingerprint([fit.train, fit.val], task.constants),
        test_sha256=fingerprint([test], task.constants),
        source_sha256=fit.train.source.sha256,
        test_source_sha256=test.source.sha256,
        official=fit.train.source.official and test.source.official,
    )


@dataclass(frozen=True)
class Case:
    """A task of the default config with all its data."""

    task: Task
    fit: FitData
    test: Split

    @property
    def splits(self) -> tuple[Split, Split, Split]:
        return self.fit.train, self.fit.val, self.test


@cache
def load(name: str, data_dir: Path | None) -> Case:
    """The task and its data, made once."""
    task = load_task(name)(data_dir=data_dir)
    return Case(task, task.fit_data(), task.test_data())


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    """Every built-in task; those on images where their data are at hand."""
    data_dir = request.getfixturevalue("data_dir") if request.param in IMAGES else None
    return load(request.param, data_dir)


def component_of(task: Task) -> Component:
    """How a spec names the task."""
    return Component(name=task.name, version=task.version, config=to_json(task.config))


def metric_of(task: Task) -> Metric:
    """How a Result names its score."""
    return Metric(name=task.metric, higher_is_better=task.higher_is_better)


def sizes(task: Task) -> tuple[int, int, int]:
    """Train, validation, test, by PROTOCOL."""
    if isinstance(task, GeneratedTask):
        return 10_000, 1_000, 1_000
    if isinstance(task, SDigits):
        return 1_197, 300, 300
    assert isinstance(task, ImageTask)
    return (45_000 if task.images is CIFAR10 else 55_000), 5_000, 10_000


def perfect(task: Task, y: Tensor) -> Tensor:
    """The output that is right everywhere."""
    if task.metric == "mse":
        return y[:, None]
    classes = torch.arange(task.signature.out_features)
    return (y.long().clamp(min=0).unsqueeze(1) == classes.view(1, -1, *[1] * (y.ndim - 1))).float()


def test_the_registered_name_is_the_tasks_own(case: Case) -> None:
    """A class knows the name it is registered by, its source and its licence."""
    assert load_task(case.task.name) is type(case.task)
    assert all((case.task.description, case.task.citation, case.task.licence))
    assert case.task.version >= 1


def test_splits_have_the_sizes_of_the_protocol(case: Case) -> None:
    """Train, validation and test are as many as the definition says."""
    assert tuple(len(split) for split in case.splits) == sizes(case.task)
    assert all(len(split.x) == len(split.y) for split in case.splits)


def test_data_are_compact(case: Case) -> None:
    """Inputs are kept in at most two bytes a number, in one block."""
    for split in case.splits:
        assert split.x.dtype in (torch.uint8, torch.int16)
        assert split.x.is_contiguous()


def test_encode_gives_what_the_signature_says(case: Case) -> None:
    """A batch is float32 (batch, channel, time), finite, of the signature's channels and length."""
    signature = case.task.signature
    x = case.task.encode(case.test.x[:7])
    assert x.dtype == torch.float32
    assert x.shape == (7, signature.in_channels, *signature.shape)
    assert x.isfinite().all()


def test_encoding_a_batch_encodes_each_example(case: Case) -> None:
    """An example's encoding does not depend on the others of its batch."""
    x = case.test.x[:5]
    alone = torch.cat([case.task.encode(example) for example in x.split(1)])
    assert torch.equal(case.task.encode(x), alone)


def test_encoded_in_inference_mode_then_trained(case: Case) -> None:
    """Validating before training leaves nothing behind that training cannot use."""
    with torch.inference_mode():
        case.task.encode(case.test.x[:2])
    weight = torch.ones((), requires_grad=True)
    (case.task.encode(case.test.x[:2]) * weight).sum().backward()
    assert weight.grad is not None


def test_targets_are_in_range(case: Case) -> None:
    """Classes are from 0 to out_features - 1, a step that is not scored is marked, one is."""
    signature = case.task.signature
    for split in case.splits:
        y = split.y
        steps = signature.shape if signature.target == "step" else ()
        assert y.shape == (len(split), *steps)
        if case.task.metric == "mse":
            assert y.dtype == torch.float32
            continue
        scored = y != IGNORED
        assert scored.flatten(1).any(dim=1).all() if steps else scored.all()
        assert y[scored].min() >= 0
        assert y[scored].max() < signature.out_features


def test_a_perfect_answer_has_the_best_score(case: Case) -> None:
    """Being right everywhere scores 1, or has no error, with the least loss."""
    task, y = case.task, case.test.y[:100]
    score = task.score(perfect(task, y), y)
    assert score.shape == (100,)
    assert torch.all(score == (1 if task.higher_is_better else 0))
    assert task.loss(100 * perfect(task, y) if task.higher_is_better else y[:, None], y) < 1e-6


def test_an_answer_at_random_is_right_by_chance(case: Case) -> None:
    """Random classes score one in out_features, the best constant sum errs by 1/6; +- 4 errors."""
    task, y = case.task, case.test.y
    generator = torch.Generator().manual_seed(0)
    shape = (len(y), task.signature.out_features, *y.shape[1:])
    regression = task.metric == "mse"
    y_hat = torch.ones(shape) if regression else torch.rand(shape, generator=generator)
    chance = 1 / 6 if regression else 1 / task.signature.out_features
    score = task.score(y_hat, y).double()
    assert abs(score.mean() - chance) < 4 * score.std() / len(y) ** 0.5


def test_loss_has_a_gradient(case: Case) -> None:
    """The loss of an output is a finite number that can be descended."""
    task, y = case.task, case.test.y[:8]
    shape = (8, task.signature.out_features, *y.shape[1:])
    y_hat = torch.zeros(shape, requires_grad=True)
    loss = task.loss(y_hat, y)
    loss.backward()
    assert loss.shape == ()
    assert y_hat.grad is not None
    assert y_hat.grad.abs().sum() > 0


def test_a_task_is_what_its_version_is_defined_as(case: Case) -> None:
    """Metric, sizes and signature are those that results are verified against."""
    task = case.task
    definition = definition_of(component_of(task))
    known = known_data(component_of(task))
    assert definition is not None
    assert known is not None
    assert definition.metric == metric_of(task)
    assert (definition.train, definition.val, definition.test) == sizes(task)
    assert known.signature == task.signature


def test_data_are_those_of_the_version(case: Case) -> None:
    """Data, permutations and constants are what the definition says, on any machine."""
    known = known_data(component_of(case.task))
    assert known is not None
    found = data_of(case.task, case.fit, case.test)
    if found.source_sha256 != known.data.source_sha256:
        pytest.skip("the data here are not those that the recorded fingerprints are of")
    assert found == known.data


@pytest.mark.parametrize("name", [*EMBEDDED, "npcifar10"])
def test_loading_again_gives_the_same(name: str, request: pytest.FixtureRequest) -> None:
    """Nothing is drawn at run time, whatever the state of the global generators."""
    data_dir = request.getfixturevalue("data_dir") if name in IMAGES else None
    first = load(name, data_dir)
    np.random.seed(1)  # noqa: NPY002  (the global state is what is shown not to matter)
    torch.manual_seed(1)
    task = load_task(name)(data_dir=data_dir)
    again = data_of(task, task.fit_data(), task.test_data())
    assert again == data_of(first.task, first.fit, first.test)


@pytest.mark.parametrize("name", EMBEDDED)
def test_splits_share_no_example(name: str) -> None:
    """What is validated or tested on was not trained on."""
    rows = [{example.tobytes() for example in split.x.numpy()} for split in load(name, None).splits]
    assert not rows[0] & rows[1]
    assert not rows[0] & rows[2]
    assert not rows[1] & rows[2]


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_data_are_official(name: str) -> None:
    """A task that makes or ships its data vouches for them."""
    assert all(split.source.official for split in load(name, None).splits)


@pytest.mark.parametrize("name", ["smnist", "scifar10"])
def test_training_data_come_without_the_test_files(
    name: str, data_dir: Path, tmp_path: Path
) -> None:
    """Only the test call reads the test files: without them, fit data are the same."""
    cls = load_task(name)
    assert issubclass(cls, ImageTask)
    folder = cls.images.hosted.folder
    (tmp_path / folder).mkdir()
    for file in (data_dir / folder).glob("train-*"):
        (tmp_path / folder / file.name).symlink_to(file)
    fit = cls(data_dir=tmp_path).fit_data()
    assert torch.equal(fit.train.x, load(name, data_dir).fit.train.x)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_suites_ask_for_is_recorded(name: str) -> None:
    """So that `verify` knows the official data of their results: see the head of this file."""
    cls = load_task(name)
    components = [component_of(cls(config)) for config in configs_of(cls)]
    known = [each.config for each in definition_of(components[0]).known]
    assert [each.config for each in components if each.config not in known] == []


def configs_of(cls: type[Task]) -> list[Any]:
    """The default config, the presets, and what the suites ask for, each once."""
    configs = [cls.Config(), *cls.presets.values()]
    configs += [config_from(cls, task.config, "task") for task in asked() if task.name == cls.name]
    return list(dict.fromkeys(configs))


@cache
def asked() -> list[Component]:
    """The tasks of all suites' runs."""
    return [
        task
        for suite in map(load_suite, suite_names())
        for request in requests_of(suite)
        for task in resolve(request).spec.tasks
    ]


def completed(cls: type[Task], before: Definition | None) -> Definition:
    """The definition of a task's version, with the configs that were not in it."""
    tasks = [cls(config) for config in configs_of(cls)]
    recorded = before.known if before else ()
    there = [known.config for known in recorded]
    missing = [task for task in tasks if component_of(task).config not in there]
    new = [
        Known(
            config=component_of(task).config,
            signature=task.signature,
            data=data_of(task, task.fit_data(), task.test_data()),
        )
        for task in missing
    ]
    train, val, test = sizes(tasks[0])
    return Definition(
        version=cls.version,
        metric=metric_of(tasks[0]),
        train=train,
        val=val,
        test=test,
        known=(*recorded, *new),
    )


def main() -> None:
    """Complete the definitions of the built-in tasks."""
    table = definitions() if DEFINITIONS.exists() else {}
    for name in NAMES:
        cls = load_task(name)
        versions = {each.version: each for each in table.get(name, ())}
        versions[cls.version] = completed(cls, versions.get(cls.version))
        table[name] = tuple(versions[version] for version in sorted(versions))
    DEFINITIONS.write_bytes(Definitions.dump_json(table, indent=1, exclude_none=True) + b"\n")


if __name__ == "__main__":
    main()
