"""What a suite would run, how long that would take and in how much memory, before it is run."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass

from seqbench.errors import SeqbenchError
from seqbench.execute import Effort, works_of
from seqbench.measure import Measured, measure_all
from seqbench.runner import batch_size, prepare_device
from seqbench.schedule import Clock
from seqbench.suite import Suite
from seqbench.verify.definition import definition_of
from seqbench.work import Work


@dataclass(frozen=True)
class Item:
    """One run or trial of a suite: what is left of it, and what one like it was measured to take.

    ``state`` is ``to do``, or how it ended if it is not to be done (again); ``measured`` is
    ``None`` then, and a text if it could not be measured. ``trained``: a trial of the same spec
    comes before it, and leaves only the test.
    """

    work: Work
    state: str
    measured: Measured | str | None
    trained: bool

    @property
    def clock(self) -> Clock | None:
        """Its steps, where the number of training examples is known."""
        train, definition = self.work.plan.spec.train, definition_of(self.work.plan.spec.task)
        if train is None:
            return None
        if isinstance(self.measured, Measured):
            return Clock.of(train, self.measured.train_examples)
        return Clock.of(train, definition.train) if definition else None

    @property
    def seconds(self) -> float | None:
        """How long it would take by itself."""
        measured, clock = self.measured, self.clock
        if not isinstance(measured, Measured):
            return None
        definition = definition_of(self.work.plan.spec.task)
        test_examples = definition.test if definition else measured.val_examples
        seconds = measured.ready_seconds
        if not self.trained:
            epochs = math.ceil(clock.total_steps / clock.steps_per_epoch) if clock else 1
            seconds += clock.total_steps * measured.step_seconds if clock else 0.0
            seconds += epochs * self._batches(measured.val_examples) * measured.batch_seconds
        if not self.work.trial:
            seconds += self._batches(test_examples) * measured.batch_seconds
            seconds += measured.closing_seconds
        return seconds

    def _batches(self, examples: int) -> int:
        return math.ceil(examples / batch_size(self.work.plan.spec))


@dataclass(frozen=True)
class Estimate:
    """All runs of a suite, trials first, of which ``jobs`` run at once."""

    items: tuple[Item, ...]
    jobs: int

    @property
    def missing(self) -> list[Item]:
        """What is to be done."""
        return [item for item in self.items if item.measured is not None]

    @property
    def seconds(self) -> float:
        """How long it takes until the last run has ended; trials end before runs begin."""
        return sum(
            makespan(
                (item.seconds or 0.0 for item in self.missing if item.work.trial == trial),
                self.jobs,
            )
            for trial in (True, False)
        )

    @property
    def peak_bytes(self) -> int:
        """The memory of the largest runs that may be there at once, each with its libraries."""
        peaks = [
            item.measured.peak_bytes or 0
            for item in self.missing
            if isinstance(item.measured, Measured)
        ]
        return sum(heapq.nlargest(self.jobs, peaks))


def makespan(seconds: Iterable[float], jobs: int) -> float:
    """When the last of some works ends, if the next one starts as soon as a place is free."""
    ends = [0.0] * jobs
    for each in seconds:
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def estimate(
    suite: Suite, effort: Effort, seeds: tuple[int, ...] | None = None
) -> tuple[Estimate, list[SeqbenchError]]:
    """Measure a few steps of each kind of run that is left to do; no Result is written.

    Runs that differ in seed, learning rate or length alone take as long a step. The errors are of
    plugins that cannot be loaded.

    Raises:
        SeqbenchError: the suite names what there is not, the device is not there, or a Result
            cannot be read.

    """
    works, errors = works_of(suite, effort.place, seeds)
    prepare_device(effort.place, computes=False)
    to_do = [effort.is_missing(work) for work in works]
    kinds = {w.kind: w.plan for w, missing in zip(works, to_do, strict=True) if missing}
    outcomes = measure_all(list(kinds.values()), effort.place, effort.jobs)
    measured = dict(zip(kinds, outcomes, strict=True))
    trials = {work.plan.spec.id for work in works if work.trial}
    items = [
        Item(
            work=work,
            state="to do" if missing else _ended(work, effort),
            measured=measured[work.kind] if missing else None,
            trained=not work.trial and work.plan.spec.id in trials,
        )
        for work, missing in zip(works, to_do, strict=True)
    ]
    return Estimate(tuple(items), effort.jobs), errors


def _ended(work: Work, effort: Effort) -> str:
    result = work.result(effort.place)
    return result.status.value if result else ""
