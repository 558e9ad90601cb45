"""The runs of a suite: those that have no Result yet are done, a search before them if asked."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from seqbench.errors import ConfigError, PluginError, SeqbenchError
from seqbench.executors.local import Work, execute
from seqbench.resolve import Plan, resolve, resolve_child
from seqbench.result import Result, Status, check_writable, write_result
from seqbench.runner import RETRIED, Place, existing, orphaned, prepare_device
from seqbench.spec import Request
from seqbench.suite import Suite, requests_of


class Watcher(Protocol):
    """Is told how a suite goes; nothing it does feeds back."""

    def start(self, total: int) -> None:
        """So many runs are to be done now."""

    def done(self, result: Result) -> None:
        """One run has ended."""


def jobs_at_once(asked: int | None, place: Place) -> int:
    """How many runs are done at once: as many as asked, or as cores allow, or one on a GPU.

    Raises:
        ConfigError: less than one was asked.

    """
    if asked is not None:
        if asked < 1:
            raise ConfigError(f"--jobs cannot be {asked}: expected 1 or more")
        return asked
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // place.threads) if place.device == "cpu" else 1


@dataclass(frozen=True)
class Effort:
    """How a suite is run: where, how many at once, whether failed runs are done again."""

    place: Place
    jobs: int
    watcher: Watcher
    retry_failed: bool = False

    def execute(self, works: Iterable[Work]) -> list[SeqbenchError]:
        """Do those works that have left no Result yet; give what stopped some from being done."""
        missing = [work for work in works if self.is_missing(work)]
        self.watcher.start(len(missing))
        return execute(missing, self.place, self.jobs, self.watcher.done)

    def is_missing(self, work: Work) -> bool:
        """Whether a work is to be done: it has left no Result, or failed and is done again."""
        output_dir = work.results_in(self.place).output_dir
        result = existing(work.plan.spec, output_dir)
        if result is None:
            return True
        return self.retry_failed and result.status in RETRIED


def run_suite(
    suite: Suite, effort: Effort, seeds: tuple[int, ...] | None = None
) -> list[SeqbenchError]:
    """Do all runs of a suite that have no Result yet.

    A plugin that cannot be loaded, or data that are not there, cost only their own runs, which
    leave no Result: the errors are given back.

    Raises:
        SeqbenchError: the suite names what there is not, the device is not there, or a Result
            cannot be written or read.

    """
    requests, errors = _resolvable(requests_of(suite, seeds))
    prepare_device(effort.place)
    check_writable(effort.place.output_dir)
    trials = _trials(suite, requests)
    if trials:
        candidates = itertools.chain.from_iterable(trials.values())
        errors += effort.execute(Work(plan, trial=True) for plan in candidates)
    works = _runs(suite, requests, trials, effort.place)
    for _, generation in itertools.groupby(works, key=lambda work: work.plan.generation):
        errors += effort.execute([work for work in generation if not _orphaned(work, effort)])
    return list({str(error): error for error in errors}.values())


def works_of(
    suite: Suite, place: Place, seeds: tuple[int, ...] | None = None
) -> tuple[list[Work], list[SeqbenchError]]:
    """All works of a suite as ``run_suite`` would do them, trials first; nothing is done.

    As long as trials of a search are missing, the settings of its runs are those of the best so
    far. The errors are of plugins that cannot be loaded.

    Raises:
        SeqbenchError: the suite names what there is not, or a Result cannot be read.

    """
    requests, errors = _resolvable(requests_of(suite, seeds))
    trials = _trials(suite, requests)
    candidates = itertools.chain.from_iterable(trials.values())
    works = [Work(plan, trial=True) for plan in candidates]
    return works + _runs(suite, requests, trials, place), errors


def _runs(
    suite: Suite, requests: list[Request], trials: dict[str, list[Plan]], place: Place
) -> list[Work]:
    """The runs of all requests with the settings that their trials have chosen, each once.

    Parents come before the runs that start from them.
    """
    plans = [_chosen(suite, request, trials, place) for request in requests]
    plans += [parent for plan in plans if (parent := plan.parent)]
    distinct = {plan.spec.id: plan for plan in plans}
    return [Work(plan) for plan in sorted(distinct.values(), key=lambda plan: plan.generation)]


def _orphaned(work: Work, effort: Effort) -> bool:
    """Whether the parent of a run ended badly; it is the run's end too, and is written down."""
    plan, place = work.plan, effort.place
    parent = existing(plan.parent.spec, place.output_dir) if plan.parent else None
    if parent is None or parent.status is Status.OK:
        return False
    if effort.is_missing(work):
        write_result(orphaned(plan, place, parent), place.output_dir)
    return True


def _resolvable(requests: list[Request]) -> tuple[list[Request], list[SeqbenchError]]:
    """The requests whose plugins load, and one error for each plugin that does not."""
    good: list[Request] = []
    errors: dict[str, SeqbenchError] = {}
    for request in requests:
        try:
            resolve(request)
        except PluginError as error:
            errors[str(error)] = error
        else:
            good.append(request)
    return good, list(errors.values())


def _trials(suite: Suite, requests: list[Request]) -> dict[str, list[Plan]]:
    """What a search tries for each request without a published recipe, whatever its seed.

    Every candidate is trained at the first seed within the run's own budget, never tested; the
    run of that seed then goes on from the end of the best candidate's training.
    """
    trials: dict[str, list[Plan]] = {}
    for request in (each.parent or each for each in requests):
        key = _regardless_of_seed(request)
        free = any(path not in request.settings for path in suite.search)
        if free and key not in trials and resolve(request).origin.recipe_source is None:
            first = dataclasses.replace(request, seed=requests[0].seed)
            trials[key] = [resolve(candidate) for candidate in _candidates(suite, first)]
    return trials


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


def _chosen(suite: Suite, request: Request, tried: dict[str, list[Plan]], place: Place) -> Plan:
    """The plan of a request with the settings of its best trial, the first of equals."""
    if request.parent is not None:
        return resolve_child(request, _chosen(suite, request.parent, tried, place))
    trials = tried.get(_regardless_of_seed(request), [])
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
