"""What no result shows by itself: duplicates, copies, and results that contradict each other."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from pathlib import Path

from seqbench.result import Result, Status
from seqbench.spec import canonical_json
from seqbench.verify.problem import Problem, warning

Results = Mapping[Path, Result]
Found = tuple[Path, Problem]


def check_between(results: Results) -> Iterator[Found]:
    """Everything that takes several results to see."""
    yield from _duplicates(results)
    yield from _copies(results, "test_scores", _test_outcome)
    yield from _copies(results, "curve", _curve_outcome)
    yield from _contradictions(results, "data.fit_sha256", _source, _fit_data)
    yield from _contradictions(results, "data.test_sha256", _test_source, _test_data)
    yield from _contradictions(results, "cost.parameters", _network, _parameters)


def _groups(results: Results, key: Callable[[Result], Hashable | None]) -> list[list[Path]]:
    """Paths of results with the same key, in order; those without a key are in none."""
    groups: dict[Hashable, list[Path]] = defaultdict(list)
    for path, result in results.items():
        if (found := key(result)) is not None:
            groups[found].append(path)
    return list(groups.values())


def _duplicates(results: Results) -> Iterator[Found]:
    for first, *others in _groups(results, lambda result: result.id):
        for path in others:
            yield path, Problem("id", f"{results[path].id} again", f"it in {first.name} alone")


def _copies(
    results: Results, where: str, outcome: Callable[[Result], Hashable | None]
) -> Iterator[Found]:
    """Runs that ended in the same bits.

    Two trainings that differ in seed, or in the name of the model or task, cannot. Otherwise they
    can: of two budgets the best epoch may be the same, a setting or a version may change nothing
    here, and a run's own weights may be evaluated.
    """
    for first, *others in _groups(results, outcome):
        for path in others:
            one, other = results[first].spec, results[path].spec
            if one == other:
                continue
            keys = [(spec.seed, spec.model.name, spec.task.name) for spec in (one, other)]
            differs = keys[0] != keys[1]
            trained = one.train is not None and other.train is not None
            found, expected = f"the same as of {first.name}", "the outcome of its own run"
            make = Problem if differs and trained else warning
            yield path, make(where, found, expected)


def _test_outcome(result: Result) -> Hashable | None:
    """Scores and loss: two constant answers have equal scores, but not equal losses."""
    if result.test_scores is None or result.test_loss is None:
        return None
    return result.test_scores.data, result.test_loss


def _curve_outcome(result: Result) -> Hashable | None:
    losses = tuple((point.train_loss, point.val_loss) for point in result.curve)
    return losses if losses and None not in losses[0] else None


def _contradictions(
    results: Results,
    where: str,
    key: Callable[[Result], Hashable | None],
    value: Callable[[Result], Hashable | None],
) -> Iterator[Found]:
    """Results that must agree on a value and do not; the most frequent one is the expected."""
    for group in _groups(results, key):
        values = {path: value(results[path]) for path in group}
        known = {path: found for path, found in values.items() if found is not None}
        if len(set(known.values())) < 2:
            continue
        usual, _ = Counter(known.values()).most_common(1)[0]
        witness = next(path for path, found in known.items() if found == usual)
        for path, found in known.items():
            if found != usual:
                yield path, Problem(where, found, f"{usual}, as in {witness.name}")


def _source(result: Result) -> Hashable | None:
    """Training data by task: the official ones are one, others are told by their source."""
    if result.data is None:
        return None
    source = "official" if result.data.official else result.data.source_sha256
    return canonical_json(result.spec.task), source


def _test_source(result: Result) -> Hashable | None:
    if result.data is None or result.data.test_source_sha256 is None:
        return None
    source = "official" if result.data.official else result.data.test_source_sha256
    return canonical_json(result.spec.task), source


def _fit_data(result: Result) -> Hashable | None:
    return result.data and result.data.fit_sha256


def _test_data(result: Result) -> Hashable | None:
    return result.data and result.data.test_sha256


def _network(result: Result) -> Hashable | None:
    if result.signature is None:
        return None
    made_for = result.spec.tasks[-1] if result.spec.parent else result.signature
    return canonical_json(result.spec.model), canonical_json(made_for)


def _parameters(result: Result) -> Hashable | None:
    return result.cost and result.cost.parameters


def check_parents(results: Results) -> Iterator[Found]:
    """A parent's result is there, ended well, and the origin of it is as the child says."""
    by_id = {result.id: result for result in results.values()}
    for path, result in results.items():
        if result.spec.parent is None:
            if result.rate_change is not None:
                yield path, Problem("rate_change", "a change", "none without a parent")
            continue
        parent = by_id.get(result.spec.parent.id)
        if parent is None:
            yield path, warning("spec.parent", "no result of it", f"{result.spec.parent.id} too")
        elif parent.status is not Status.OK and result.status is Status.OK:
            yield path, Problem("spec.parent", f"one that {parent.status}", "one that ended well")
        elif parent.origin != result.origin.parent:
            yield path, Problem("origin.parent", "another", f"the origin of {parent.id}")
        elif result.data and parent.data and result.data.official > parent.data.official:
            yield path, Problem("data.official", "true", f"false, as of the parent {parent.id}")


def check_searches(results: Results, trials: Results) -> Iterator[Found]:
    """Settings marked as searched are those of the best of the trials, by validation."""
    by_id = {trial.id: trial for trial in trials.values()}
    searched = {
        path: result
        for path, result in results.items()
        if result.origin.settings == "searched" and not result.spec.parent
    }
    if len(searched) > 1 and not trials:
        found = f"no trials of {len(searched)} results"
        yield Path("results"), warning("origin.trials", found, "all of them, below trials/results")
        return
    for path, result in searched.items():
        tried = [by_id[each] for each in result.origin.trials if each in by_id]
        if not tried or len(tried) < len(result.origin.trials):
            found = f"{len(tried)} of {len(result.origin.trials)} trials"
            yield path, warning("origin.trials", found, "all of them, below trials/results")
            continue
        fit = {trial.data.fit_sha256 for trial in tried if trial.data}
        if result.data and (other := fit - {result.data.fit_sha256}):
            yield path, Problem("origin.trials", f"trials on other data, {min(other)}", "the run's")
        best = max(tried, key=_merit)
        as_best = best.spec.model_copy(update={"seed": result.spec.seed})
        if as_best != result.spec:
            expected = f"the settings of {best.id}, the best trial by validation"
            yield path, Problem("origin.trials", "other settings", expected)


def _merit(trial: Result) -> float:
    """The validation score, larger is better; a trial that did not end well is worst."""
    if trial.val is None or trial.status not in {Status.TRIAL, Status.OK}:
        return float("-inf")
    return trial.val.mean if trial.metric.higher_is_better else -trial.val.mean
