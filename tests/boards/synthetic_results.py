"""Results for tests, made through the real classes."""

from __future__ import annotations

import random
from functools import cache

from seqbench.boards import Published
from seqbench.result import (
    Cost,
    Data,
    Metric,
    Origin,
    Packed,
    Plugin,
    Provenance,
    RateChange,
    Result,
    Score,
    Status,
)
from seqbench.spec import Component, RunSpec, TrainSpec

ACCURACY = Metric(name="accuracy", higher_is_better=True)
ERROR = Metric(name="mse", higher_is_better=False)
OFFICIAL = Data(fit_sha256="0f" * 32, test_sha256="0e" * 32, source_sha256="0d" * 32, official=True)
LOSSY = Data(
    fit_sha256="1f" * 32,
    test_sha256="1e" * 32,
    source_sha256="1d" * 32,
    official=False,
    label="JPEG quality 75",
)
COST = Cost(
    parameters=66910,
    flops=104_857_600,
    train_seconds=83.5,
    examples_per_second=1200.0,
    peak_bytes=734_003_200,
    latency_seconds=0.0032,
    throughput=2250.0,
    throughput_batch=64,
)
PROVENANCE = Provenance(
    seqbench="0.1.0",
    task_plugin=Plugin(distribution="seqbench", version="0.1.0", entry_point="t:T"),
    model_plugin=Plugin(distribution="seqbench-tcn", version="0.1.0", entry_point="m:M"),
    packages={"torch": "2.11.0"},
    python="3.11.9",
    platform="Linux",
    commit=None,
    dirty=None,
    device="cpu",
    device_name="A CPU",
    threads=1,
    started_at="2026-01-01T00:00:00+00:00",
    seconds=90.0,
)


def spec_of(task="smnist", model="tcn", seed=0, **fields) -> RunSpec:
    """A spec; ``fields`` are those of RunSpec, or ``task_version`` and the like."""
    versions = {kind: fields.pop(f"{kind}_version", 1) for kind in ("task", "model")}
    configs = {kind: fields.pop(f"{kind}_config", {}) for kind in ("task", "model")}
    if "weights_sha256" not in fields:
        fields.setdefault("train", TrainSpec())
    return RunSpec(
        task=Component(name=task, version=versions["task"], config=configs["task"]),
        model=Component(name=model, version=versions["model"], config=configs["model"]),
        seed=seed,
        **fields,
    )


PUBLISHED = (
    Published(
        model="TCN",
        row="tcn:default",
        task="smnist",
        score=0.99,
        parameters=70000,
        params_source="about, from the paper",
        source="a paper, Table 1",
        source_kind="paper",
    ),
    Published(
        model="Flex|Conv_2",
        row="flexconv:2",
        task="smnist",
        task_variant="another split",
        score=0.996,
        source="a paper, Table 2",
        source_kind="unverified",
        selection="test",
        notes="recalled",
    ),
    Published(model="S4", task="smnist", score=0.9963, source="a log", source_kind="author-log"),
    Published(model="S4", task="pmnist", score=0.987, source="a log", source_kind="author-log"),
)


@cache
def example_scores(run: str, score: float, metric: Metric) -> Packed:
    """Scores of 2,000 examples with about this mean, other ones for each run."""
    draw = random.Random(run)
    if metric.name == "accuracy":
        right = round(2000 * score)
        scores = [1.0] * right + [0.0] * (2000 - right)
        draw.shuffle(scores)
    else:
        scores = [score * draw.expovariate(1.0) for _ in range(200)]
    return Packed.pack(scores)


def result_of(spec=None, score=0.9, **fields) -> Result:
    """A result that ended well with the test score, on official data, unless told otherwise."""
    spec = spec or spec_of()
    origin = {"preset": "default", "settings": "published", **fields.pop("origin", {})}
    defaults = {
        "status": Status.OK,
        "metric": ACCURACY,
        "val": Score(mean=score + 0.005, standard_error=0.003, n=5000),
        "test": Score(mean=score, standard_error=0.002, n=2000),
        "test_scores": example_scores(spec.id, score, fields.get("metric", ACCURACY)),
        "data": OFFICIAL,
        "cost": COST,
        "provenance": PROVENANCE,
    }
    fields = defaults | fields
    return Result(id=spec.id, spec=spec, origin=Origin(**origin), **fields).sealed()


def failed(spec=None, status=Status.FAILED, error="ValueError: too bad", **fields) -> Result:
    """A result without a score, as one that ended before it saw its data."""
    nothing = {"val": None, "test": None, "test_scores": None, "data": None, "cost": None}
    return result_of(spec, status=status, error=error, **(nothing | fields))


def seeds(scores, task="smnist", model="tcn", **fields) -> list[Result]:
    """One result a seed, with these scores."""
    names = {name for name in fields if name.endswith(("_version", "_config")) or name == "train"}
    of_spec = {name: fields.pop(name) for name in names}
    return [
        result_of(spec_of(task, model, seed, **of_spec), score, **fields)
        for seed, score in enumerate(scores)
    ]


def at_rates(
    model="flexconv", rates=(1, 0.5), scores=(0.9, 0.8, 0.7, 0.6), *, adapted=True, tuned=None
) -> list[Result]:
    """Two trainings at two rates of a task, and both tested at the other rate: four scores."""
    home, other = ({} if rate == 1 else {"rate": rate} for rate in rates)
    ratio = rates[1] / rates[0]
    parents = [spec_of("wave", model, task_config=config) for config in (home, other)]
    children = [
        spec_of("wave", model, task_config=config, parent=parent, train=tuned)
        for config, parent in zip((other, home), parents, strict=True)
    ]
    changes = [
        RateChange(ratio=ratio, adapted=adapted),
        RateChange(ratio=1 / ratio, adapted=adapted),
    ]
    return [
        *(result_of(spec, score) for spec, score in zip(parents, scores[:2], strict=True)),
        *(
            result_of(spec, score, rate_change=change)
            for spec, score, change in zip(children, scores[2:], changes, strict=True)
        ),
    ]


def everything() -> list[Result]:
    """Results in which every rule of the leaderboard is at work."""
    length = {"task_config": {"length": 100}}
    long = TrainSpec(epochs=40)
    return [
        *seeds([0.991, 0.990, 0.992], model="tcn"),
        *seeds([0.985, 0.984, 0.989], model="gru", origin={"settings": "searched"}),
        *seeds([0.9915, 0.9905], model="flexconv", origin={"preset": "2"}),
        failed(spec_of(model="flexconv", seed=2), Status.TIMEOUT, "stopped after 60 s"),
        *seeds(
            [0.9935],
            model="tcn",
            train=long,
            cost=COST.model_copy(update={"flops": None, "train_seconds": 9000.0}),
            origin={"settings": "custom", "overrides": {"train.epochs": 40}},
        ),
        failed(spec_of(model="rnn"), Status.DIVERGED, "the loss is not finite in epoch 2"),
        failed(spec_of(model="rnn", seed=1), Status.OOM, "OutOfMemoryError: a | b <c>"),
        result_of(
            spec_of(model="ckconv", weights_sha256="ab" * 32),
            0.9931,
            status=Status.EVALUATED,
            val=None,
            origin={"preset": "100k"},
        ),
        result_of(
            spec_of(model="ckconv", weights_sha256="cd" * 32),
            0.9932,
            status=Status.EVALUATED,
            origin={"preset": "1m", "weights": {"source": "someone", "selection": "test"}},
        ),
        result_of(
            spec_of("pmnist", "ckconv", task_version=2, weights_sha256="ef" * 32),
            0.98,
            status=Status.EVALUATED,
            origin={"preset": "1m", "weights": {"source": "seqbench", "selection": "validation"}},
        ),
        *seeds([0.7, 0.72, 0.71], task="scifar10", model="tcn", data=LOSSY),
        *seeds([0.6], task="scifar10", model="gru", data=LOSSY),
        *seeds([0.8], task="scifar10", model="tcn"),
        *seeds([0.3], model="lstm", train=TrainSpec(max_steps=500), origin={"settings": "custom"}),
        *seeds([0.5, 0.25, 0.125], task="adding", model="tcn", metric=ERROR, **length),
        *seeds([0.0123456, 0.01, 0.011], task="adding", model="gru", metric=ERROR, **length),
        *seeds([0.9], task="adding", model="flexconv", metric=ERROR, **length),
        *seeds([0.97], model="gru", model_version=1, task_version=1, task="pmnist"),
        *seeds([0.93], model="gru", model_version=1, task_version=2, task="pmnist"),
    ]
