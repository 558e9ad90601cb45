"""The runs of a suite: those that have no Result yet are done, a search before them if asked."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from seqbench.errors import PluginError
from seqbench.executors.local import Work, execute
from seqbench.resolve import Plan, resolve
from seqbench.result import Result, Status, check_writable, result_path
from seqbench.run import Place, existing
from seqbench.spec import Request
from seqbench.suite import Suite, requests_of


class Watcher(Protocol):
    """Is told how a suite goes; nothing it does feeds back."""

    def start(self, total: int) -> None:
        """So many runs are to be done now."""

    def done(self, result: Result) -> None:
        """One run has ended."""


@dataclass(frozen=True)
class Effort:
    """How a suite is run: where, how many at once, whether failed runs are done again."""

    place: Place
    jobs: int
    watcher: Watcher
    retry_failed: bool = False

    def execute(self, works: Iterable[Work]) -> None:
        """Do those works that have left no Result yet."""
        missing = [work for work in works if self._is_missing(work)]
        self.watcher.start(len(missing))
        execute(missing, self.place, self.jobs, self.watcher.done)

    def _is_missing(self, work: Work) -> bool:
        output_dir = work.results_in(self.place).output_dir
        result = existing(work.plan.spec, output_dir)
        if result is None:
            return True
        if self.retry_failed and result.status in (Status.FAILED, Status.OOM, Status.TIMEOUT):
            (output_dir / result_path(work.plan.spec)).unlink()
            return True
        return False


def run_suite(
    suite: Suite, effort: Effort, seeds: tuple[int, ...] | None = None
) -> list[PluginError]:
    """Do all runs of a suite that have no Result yet.

    A plugin that cannot be loaded costs only its own runs: its error is given back.

    Raises:
        SeqbenchError: the suite names what there is not, or a Result cannot be written or read.

    """
    requests, errors = _resolvable(requests_of(suite, seeds))
    check_writable(effort.place.output_dir)
    plans = _searched(suite, requests, effort) if suite.search else map(resolve, requests)
    distinct = {plan.spec.id: plan for plan in plans}
    effort.execute(Work(plan) for plan in distinct.values())
    return errors


def _resolvable(requests: list[Request]) -> tuple[list[Request], list[PluginError]]:
    """The requests whose plugins load, and one error for each plugin that does not."""
    good, errors = [], {}
    for request in requests:
        try:
            resolve(request)
        except PluginError as error:
            errors[str(error)] = error
        else:
            good.append(request)
    return good, list(errors.values())


def _searched(suite: Suite, requests: list[Request], effort: Effort) -> list[Plan]:
    """Plans with the settings that the search chose, where there is no published recipe.

    Every candidate is trained at the first seed within the run's own budget, never tested; the
    run of that seed then goes on from the end of the best candidate's training.
    """
    trials: dict[str, list[Plan]] = {}
    for request in requests:
        key = _regardless_of_seed(request)
        if key not in trials and resolve(request).origin.settings != "published":
            first = dataclasses.replace(request, seed=requests[0].seed)
            trials[key] = [resolve(candidate) for candidate in _candidates(suite, first)]
    effort.execute(Work(plan, trial=True) for plans in trials.values() for plan in plans)
    return [
        _chosen(suite, request, trials.get(_regardless_of_seed(request), []), effort.place)
        for request in requests
    ]


def _regardless_of_seed(request: Request) -> str:
    return repr(dataclasses.replace(request, seed=0))


def _candidates(suite: Suite, request: Request) -> list[Request]:
    """The request with every combination of searched values; what it sets itself stays."""
    free = {path: values for path, values in suite.search.items() if path not in request.settings}
    return [
        dataclasses.replace(
            request, settings={**request.settings, **dict(zip(free, values, strict=True))}
        )
        for values in itertools.product(*free.values())
    ]


def _chosen(suite: Suite, request: Request, trials: list[Plan], place: Place) -> Plan:
    """The plan of a request with the settings of its best trial, the first of equals."""
    if not trials:
        return resolve(request)
    results = [
        existing(plan.spec, Work(plan, trial=True).results_in(place).output_dir) for plan in trials
    ]
    best = max(range(len(trials)), key=lambda index: (_merit(results[index]), -index))
    plan = resolve(_candidates(suite, request)[best])
    ids = tuple(trial.spec.id for trial in trials)
    return Plan(plan.spec, plan.origin.model_copy(update={"settings": "searched", "trials": ids}))


def _merit(trial: Result | None) -> float:
    """The validation score of a trial, larger is better; a failed trial is worst."""
    if trial is None or trial.val is None:
        return float("-inf")
    return trial.val.mean if trial.metric.higher_is_better else -trial.val.mean
