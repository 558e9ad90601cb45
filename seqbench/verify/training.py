"""Whether a learning curve is one that its spec allows, and the chosen epoch is the best of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from seqbench.result import Epoch, Result, Status, cpu_seconds_of
from seqbench.schedule import Clock, learning_rate_factor
from seqbench.spec import TrainSpec
from seqbench.verify.definition import definition_of
from seqbench.verify.problem import Problem, unequal

_FINISHED = (Status.OK, Status.TRIAL)


def check_curve(result: Result) -> Iterator[Problem]:
    """Epochs, steps and learning rates follow from the spec; a finished run has all of them."""
    train, curve = result.spec.train, result.curve
    if train is None or not curve:
        return
    epochs = [point.epoch for point in curve]
    if epochs != list(range(1, len(curve) + 1)):
        yield Problem("curve.epoch", epochs, f"1 to {len(curve)}, one after the other")
        return
    yield from _points(result)
    if curve[0].steps < 1:
        yield Problem("curve[1].steps", curve[0].steps, "at least one step")
        return
    clock = _clock(result, train)
    yield from _steps(curve, clock)
    if result.status in _FINISHED and clock.steps_after(len(curve)) != clock.total_steps:
        ended = clock.steps_after(len(curve))
        yield Problem("curve", f"an end at step {ended}", f"{clock.total_steps} steps, by the spec")
    yield from _learning_rates(result, train, clock)


def _points(result: Result) -> Iterator[Problem]:
    """Every number of every epoch is there; only the last one of a diverged run may lack some."""
    whole = result.curve[:-1] if result.status is Status.DIVERGED else result.curve
    for point in result.curve:
        if point.train_seconds <= 0:
            found = point.train_seconds
            yield Problem(f"curve[{point.epoch}].train_seconds", found, "more than zero")
    for point in whole:
        if None in {point.train_loss, point.val_loss, point.val_score}:
            yield Problem(f"curve[{point.epoch}]", "no finite loss or score", "finite ones")


def _clock(result: Result, train: TrainSpec) -> Clock:
    """The clock of the task's definition; of another task, what the first epoch says."""
    if definition := definition_of(result.spec.task):
        return Clock.of(train, definition.train)
    return Clock.of(train, result.curve[0].steps * train.batch_size)


def _steps(curve: Sequence[Epoch], clock: Clock) -> Iterator[Problem]:
    for point in curve:
        why = f"epoch {point.epoch} with {clock.steps_per_epoch} steps an epoch"
        where = f"curve[{point.epoch}].steps"
        yield from unequal(where, point.steps, clock.steps_after(point.epoch), why)


def _learning_rates(result: Result, train: TrainSpec, clock: Clock) -> Iterator[Problem]:
    """The rate of each epoch's last step: of the parameters that learn at the spec's own rate."""
    if len(result.curve) == 1 and definition_of(result.spec.task) is None:
        return  # how long a whole epoch is remains unknown, and so the warm-up
    if not math.isfinite(train.warmup_epochs * clock.steps_per_epoch):
        yield Problem("spec.train.warmup_epochs", train.warmup_epochs, "a number of epochs")
        return
    scores = [point.val_score for point in result.curve if point.val_score is not None]
    for point in result.curve:
        factor = learning_rate_factor(
            train,
            clock,
            clock.steps_after(point.epoch) - 1,
            scores[: point.epoch - 1],
            higher_is_better=result.metric.higher_is_better,
        )
        where = f"curve[{point.epoch}].learning_rate"
        expected = train.learning_rate * factor
        yield from unequal(where, point.learning_rate, expected, "by the spec's schedule")


def check_choice(result: Result) -> Iterator[Problem]:
    """The chosen epoch is the first of the best by validation; the validation score is its own."""
    scores = [point.val_score for point in result.curve]
    if result.status not in _FINISHED or not scores or None in scores:
        return
    known = [score for score in scores if score is not None]
    best = max(known) if result.metric.higher_is_better else min(known)
    epoch = 1 + known.index(best)
    if result.chosen_epoch != epoch:
        yield Problem("chosen_epoch", result.chosen_epoch, f"{epoch}, the first of the best")
        return
    if result.val is not None:
        yield from unequal("val.mean", result.val.mean, best, f"epoch {epoch} of the curve")
    learned = result.curve[epoch - 1].learned
    if result.learned is not None and learned is not None and result.learned != learned:
        yield Problem("learned", "other numbers", f"those of epoch {epoch} of the curve")


def check_training_cost(result: Result) -> Iterator[Problem]:
    """Seconds of training are the sums over the curve, examples a second follow from them."""
    train, cost = result.spec.train, result.cost
    if cost is None or cost.train_seconds is None:
        return
    if train is None or not result.curve:
        yield Problem("cost.train_seconds", cost.train_seconds, "none without a learning curve")
        return
    seconds = math.fsum(point.train_seconds for point in result.curve)
    yield from unequal("cost.train_seconds", cost.train_seconds, seconds, "sum over the curve")
    cpu_seconds, where = cpu_seconds_of(result.curve), "cost.train_cpu_seconds"
    if cpu_seconds is not None:
        yield from unequal(where, cost.train_cpu_seconds, cpu_seconds, "sum over the curve")
    elif cost.train_cpu_seconds is not None:
        yield Problem(where, cost.train_cpu_seconds, "none: not every epoch has them")
    definition = definition_of(result.spec.task)
    if definition is None or seconds <= 0:
        return
    steps = result.curve[-1].steps
    examples = min(len(result.curve) * definition.train, steps * train.batch_size)
    rate = examples / seconds
    why = f"{examples} examples in {seconds:.6g} s"
    yield from unequal("cost.examples_per_second", cost.examples_per_second, rate, why)
