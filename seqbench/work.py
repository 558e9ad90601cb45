"""A run that is to be done, as those who hand out work and those who do it see it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from seqbench import registry
from seqbench.resolve import Plan
from seqbench.result import Result, Status
from seqbench.runner import Place, attempt, existing, failure, record_failure, results_in
from seqbench.spec import TrainSpec, canonical_json
from seqbench.train import Progress

_OF_LENGTH = TrainSpec()
"""What decides how many steps there are and what they learn, not what one costs."""


@dataclass(frozen=True)
class Work:
    """One run to be done: in full, or as a trial of a search (which sees no test data)."""

    plan: Plan
    trial: bool = False

    @cached_property
    def id(self) -> str:
        """The id of the run."""
        return self.plan.spec.id

    @cached_property
    def kind(self) -> str:
        """What a step costs the same for, in time and memory."""
        spec = self.plan.spec
        length = {
            name: getattr(_OF_LENGTH, name)
            for name in ("learning_rate", "epochs", "max_steps", "schedule", "warmup_epochs")
        }
        costs = spec.train.model_copy(update=length) if spec.train else None
        return canonical_json(spec.at_seed(0).model_copy(update={"train": costs}))

    def result(self, place: Place) -> Result | None:
        """The Result that it left, if it did.

        Raises:
            ResultError: there is a file, but it is damaged.

        """
        return existing(self.plan.spec, results_in(place, trial=self.trial))

    def attempt(self, place: Place, progress: Progress | None) -> Result:
        """Do it; whatever a plugin raises is a Result too.

        Raises:
            SeqbenchError: it cannot be done here and now; no Result is written.

        """
        return attempt(self.plan, place, progress, trial=self.trial)

    def failed(
        self,
        place: Place,
        status: Status,
        error: str,
        seconds: float,
        time_limit: float | None = None,
    ) -> Result:
        """Write the Result of having ended without one, unless there is one after all.

        Raises:
            BusyError: another process is doing it.
            SeqbenchError: it cannot be written.

        """
        result = failure(self.plan, place, status, error, seconds)
        if time_limit is not None:
            result = result.model_copy(update={"time_limit_seconds": time_limit})
        return record_failure(result, place, trial=self.trial)


def modules_of(plans: Iterable[Plan]) -> list[str]:
    """The modules of all tasks and models, for a fork server to import once."""
    specs = [plan.spec for plan in plans]
    entries = [registry.entries(registry.TASKS)[spec.task.name] for spec in specs]
    entries += [registry.entries(registry.MODELS)[spec.model.name] for spec in specs]
    return sorted({entry.value.partition(":")[0] for entry in entries})
