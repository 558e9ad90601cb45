"""The runs of a suite: those that have no Result yet are done, a search before them if asked."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from seqbench.dispatch import Executor, Orders, Watcher, dispatch
from seqbench.errors import ConfigError, PluginError, SeqbenchError
from seqbench.executors.local import LocalExecutor, slots
from seqbench.home import Home
from seqbench.loggers import check_loggers
from seqbench.resolve import Plan, resolve, resolve_child
from seqbench.result import Result, check_writable
from seqbench.runner import Place, prepare_device
from seqbench.spec import Request
from seqbench.suite import Suite, requests_of
from seqbench.work import Work


def jobs_at_once(asked: int | None, place: Place) -> int:
    """How many runs are done at once: as many as asked, or as cores allow, or one on each GPU.

    Raises:
        ConfigError: less than one was asked.

    """
    if asked is not None:
        if asked < 1:
            raise ConfigError(f"--jobs cannot be {asked}: expected 1 or more")
        return asked
    return slots(place)


def on_ray(
    place: Place, jobs: int | None, address: str | None
) -> Callable[[Sequence[Work]], Executor]:
    """What does runs on a Ray cluster, as many at once as asked or as the cluster has room for.

    Raises:
        ConfigError: Ray is not installed.

    """
    try:
        from seqbench.executors.ray import RayExecutor
    except ModuleNotFoundError as error:
        raise ConfigError(
            "Ray is not installed",
            'pip install ".[ray]" in a checkout of seqbench, here and on every node',
        ) from error
    return lambda _: RayExecutor(place, jobs, address)


@dataclass(frozen=True)
class Effort:
    """How a suite is run: where, how many at once, for how long, whether failed runs again.

    ``time_limit`` is in seconds a run, all its sittings together; the suite's own if it is
    ``None``. ``home`` is where Results are sent as they come. ``executor`` makes what does the
    runs; it is this machine by default.
    """

    place: Place
    jobs: int
    watcher: Watcher
    retry_failed: bool = False
    time_limit: float | None = None
    home: Home | None = None
    executor: Callable[[Sequence[Work]], Executor] | None = None

    @property
    def orders(self) -> Orders:
        """What holds for every run."""
        return Orders(self.place, self.retry_failed, self.time_limit)

    def execute(self, works: Sequence[Work]) -> list[SeqbenchError]:
        """Do those works that have left no Result yet; give what stopped some from being done."""
        if self.executor is None:
            executor: Executor = LocalExecutor(self.place, self.jobs, works)
        else:
            executor = self.executor(works)
        watcher = _Sending(self.watcher, self.home) if self.home else self.watcher
        return dispatch(works, executor, self.orders, watcher)

    def is_missing(self, work: Work) -> bool:
        """Whether a work is to be done: it has left no Result, or failed and is done again."""
        return not self.orders.keeps(work.result(self.place))


class _Sending:
    """Sends every Result home as it comes, and tells another watcher."""

    def __init__(self, watcher: Watcher, home: Home) -> None:
        self.start, self.show = watcher.start, watcher.show
        self._watcher = watcher
        self._home = home

    def done(self, result: Result) -> None:
        """One run has ended. What cannot be sent now is sent with the next."""
        self._home.send()
        self._watcher.done(result)


def run_suite(
    suite: Suite, effort: Effort, seeds: tuple[int, ...] | None = None
) -> list[SeqbenchError]:
    """Do all runs of a suite that have no Result yet.

    A plugin that cannot be loaded, or data that are not there, cost only their own runs, which
    leave no Result: the errors are given back.

    Raises:
        SeqbenchError: the suite names what there is not, the device or a logger is not there, the
            output directory cannot be written, or the Result of a trial cannot be read.

    """
    requests, errors = _resolvable(requests_of(suite, seeds))
    if effort.time_limit is None:
        effort = dataclasses.replace(effort, time_limit=suite.time_limit_seconds)
    if effort.executor is None:
        prepare_device(effort.place, computes=False)
    check_loggers(effort.place.loggers)
    check_writable(effort.place.output_dir)
    trials = _trials(suite, requests)
    if trials:
        candidates = itertools.chain.from_iterable(trials.values())
        errors += effort.execute([Work(plan, trial=True) for plan in candidates])
    searched = [each for each in requests if _is_searched(each, trials, effort.place)]
    errors += effort.execute(_runs(suite, searched, trials, effort.place))
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
    """What a search tries for each request that is no published recipe, whatever its seed.

    Every candidate is trained at the suite's first seed within the run's own budget, never tested;
    the run of that seed then goes on from the end of the best candidate's training.
    """
    trials: dict[str, list[Plan]] = {}
    for request in (each.parent or each for each in requests):
        key = _regardless_of_seed(request)
        free = any(path not in request.settings for path in suite.search)
        if free and key not in trials and resolve(request).origin.settings != "published":
            first = dataclasses.replace(request, seed=suite.seeds[0])
            trials[key] = [resolve(candidate) for candidate in _candidates(suite, first)]
    return trials


def _is_searched(request: Request, tried: dict[str, list[Plan]], place: Place) -> bool:
    """Whether no trial is missing: the best of some would be another choice than that of all."""
    trials = tried.get(_regardless_of_seed(request.parent or request), [])
    return all(Work(plan, trial=True).result(place) for plan in trials)


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
    results = [Work(plan, trial=True).result(place) for plan in trials]
    best = max(range(len(trials)), key=lambda index: (_merit(results[index]), -index))
    plan = resolve(_candidates(suite, request)[best])
    ids = tuple(trial.spec.id for trial in trials)
    return Plan(plan.spec, plan.origin.model_copy(update={"settings": "searched", "trials": ids}))


def _merit(trial: Result | None) -> float:
    """The validation score of a trial, larger is better; a failed trial is worst."""
    if trial is None or trial.val is None:
        return float("-inf")
    return trial.val.mean if trial.metric.higher_is_better else -trial.val.mean
