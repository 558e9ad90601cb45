"""Two sides of results, compared on the test data that they share; needs neither torch nor plugins.

A side is a result, all results of a directory, or a model in a directory.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from seqbench.boards.ranking import SEEDS_FOR_A_RANK
from seqbench.boards.statistics import LEVEL, PairedTest, holm, paired_test
from seqbench.difference import Differences, differences
from seqbench.errors import ResultError, UnknownNameError
from seqbench.result import Cost, Result, read_result, read_results
from seqbench.spec import canonical_json

_NOT_SHOWN = (
    "origin.overrides",
    "origin.trials",
    "provenance.started_at",
    "provenance.seconds",
)
"""What the spec says already, and what differs between any two runs or searches."""


@dataclass(frozen=True)
class Side:
    """What is compared, as it was named; ``whole`` if it is all that a directory holds."""

    name: str
    results: tuple[Result, ...]
    whole: bool = False


@dataclass(frozen=True)
class Runs:
    """Tested runs that differ in nothing but the seed, sorted by it."""

    results: tuple[Result, ...]

    @property
    def first(self) -> Result:
        """The run of the lowest seed."""
        return self.results[0]

    @property
    def name(self) -> str:
        """``MODEL:PRESET``, and where its weights are from if not from a training of its own."""
        spec, origin = self.first.spec, self.first.origin
        tuned = ", fine-tuned" if spec.parent and spec.train else ""
        weights = f", weights {spec.weights_sha256[:8]}" if spec.weights_sha256 else ""
        if origin.weights and origin.weights.selection != "unknown":
            weights += f" selected on {origin.weights.selection}"
        return f"{spec.model.name}:{origin.preset}{spec.origin_title}{tuned}{weights}"

    @property
    def by_hand(self) -> dict[str, object]:
        """What was set by hand in the model's config, by path, as it stands there."""
        config = self.first.spec.model.config
        return {
            path: config.get(path.removeprefix("model."), value)
            for path, value in self.first.origin.overrides.items()
            if path.startswith("model.")
        }

    @property
    def length(self) -> str:
        """How long it was trained, the last training first; of weights from elsewhere unknown."""
        lengths = [train.length for train in self.first.spec.trainings]
        return " after ".join(lengths) or "unknown"

    @property
    def task(self) -> str:
        """The task with its version and config, and the metric."""
        return canonical_json(self.first.spec.task) + canonical_json(self.first.metric)

    @property
    def is_cut(self) -> bool:
        """Whether training had a budget of steps: they stand on boards of their own."""
        return any(result.is_cut for result in self.results)

    @property
    def task_name(self) -> str:
        """``TASK``, with its config if it has any."""
        return self.first.spec.task.title

    @property
    def test_data(self) -> str | None:
        """The fingerprint of the test data."""
        return self.first.data.test_sha256 if self.first.data else None

    @property
    def digests(self) -> tuple[str, ...]:
        """The digests: equal ones are of the same files."""
        return tuple(result.digest for result in self.results)

    @property
    def seeds(self) -> str:
        """The seeds, in order."""
        return ", ".join(str(result.spec.seed) for result in self.results)

    @property
    def scores(self) -> list[float]:
        """The test score of each seed."""
        return [result.test.mean for result in self.results if result.test]

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return math.fsum(self.scores) / len(self.scores)

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; of one seed the standard error over test examples."""
        if len(self.results) > 1:
            return statistics.stdev(self.scores)
        return self.first.test.standard_error if self.first.test else math.nan

    def cost(self, name: str) -> float | None:
        """The median of one of the costs, where every run has it."""
        costs = [getattr(result.cost, name, None) for result in self.results]
        known = [cost for cost in costs if cost is not None]
        return statistics.median(known) if len(known) == len(costs) else None


@dataclass(frozen=True)
class Comparison:
    """Two rows on the same test data; ``p_adjusted`` is Holm's over all that are shown with it."""

    one: Runs
    other: Runs
    test: PairedTest
    p_adjusted: float

    @property
    def better(self) -> Literal["A", "B"] | None:
        """Which side is better at level 0.05 after Holm's adjustment, if either is."""
        if self.p_adjusted >= LEVEL:
            return None
        higher = self.one.first.metric.higher_is_better
        return "A" if (self.test.difference > 0) == higher else "B"

    @property
    def differences(self) -> Differences:
        """What differs but for time and outcome, at the lowest seed of either side.

        Of different plugins it is not said that their code differs.
        """
        one, other = self.one.first, self.other.first
        parts = ("spec", "origin", "data", "provenance")
        found = {
            f"{part}.{path}": pair
            for part in parts
            for path, pair in differences(getattr(one, part), getattr(other, part)).items()
        }
        if one.spec.model.name != other.spec.model.name:  # with settings of their own
            own = "spec.model.config."
            found = {
                k: pair for k, pair in found.items() if not k.startswith(own) or None not in pair
            }
        for plugin in ("provenance.task_plugin", "provenance.model_plugin"):
            if f"{plugin}.distribution" in found:
                found.pop(f"{plugin}.code", None)
        return {path: pair for path, pair in found.items() if not path.startswith(_NOT_SHOWN)}

    @property
    def costs(self) -> Iterator[tuple[str, float | None, float | None]]:
        """The costs of either side, by name."""
        for name in Cost.model_fields:
            one, other = self.one.cost(name), self.other.cost(name)
            if one is not None or other is not None:
                yield name, one, other


def side(name: str, directory: Path) -> Side:
    """What a name stands for: a result file, a directory, or else a model below ``directory``.

    Raises:
        ConfigError: ``directory`` is a file or a folder of one task.
        ResultError: a file is damaged, or nothing there was tested.
        UnknownNameError: there is no such file or model.

    """
    path = Path(name)
    if path.is_file():
        return _tested(name, [read_result(path)])
    if path.is_dir():
        return _tested(name, _all_of(path), whole=True)
    if name.endswith(".json") or len(path.parts) > 1:
        raise ResultError(f"no such file or directory: {name}", "expected one, or MODEL[:PRESET]")
    results = _all_of(directory)
    model, _, preset = name.partition(":")
    named = [
        result
        for result in results
        if result.spec.model.name == model and preset in {"", result.origin.preset}
    ]
    if not named:
        known = {result.spec.model.name for result in results}
        known |= {f"{result.spec.model.name}:{result.origin.preset}" for result in results}
        raise UnknownNameError(f"file, directory or model below {directory}", name, known)
    return _tested(name, named)


def _all_of(directory: Path) -> list[Result]:
    results, errors = read_results(directory)
    if errors:
        raise errors[0]
    if not results:
        raise ResultError(
            f"there are no results below {directory}",
            "expected results/TASK/*.json in it; --in DIR says where a MODEL is looked up",
        )
    return results


def _tested(name: str, results: Iterable[Result], *, whole: bool = False) -> Side:
    tested = tuple(result for result in results if result.test and result.test_scores)
    if not tested:
        raise ResultError(f"{name} has no test scores per example", "compare runs that ended well")
    return Side(name, tested, whole)


def compare(one: Side, other: Side, tasks: Collection[str] = ()) -> list[Comparison]:
    """Every pair on common test data: of equal names between two directories, else each with each.

    Of several trainings of one model and preset the best by validation stands for it, one with
    seeds enough for a rank before others, and of those with a number of steps another: these are
    compared with whole trainings only where there are no two alike.

    ``tasks`` are names of tasks, and ``FIELD=VALUE`` of their configs: of several names, or values
    of a field, any is meant. Without any it is all tasks.

    Raises:
        ResultError: there is nothing to compare, or only on different test data.
        UnknownNameError: no result of either side is of such a task.

    """
    one, other = _limited(one, other, tasks)
    ones, others = _contenders(one.results), _contenders(other.results)
    pairs = [
        (mine, theirs)
        for mine in ones
        for theirs in others
        if mine.task == theirs.task
        and mine.digests != theirs.digests
        and (one.results != other.results or mine.name < theirs.name)
        and (mine.name == theirs.name or not (one.whole and other.whole))
    ]
    same_data = [(mine, theirs) for mine, theirs in pairs if mine.test_data == theirs.test_data]
    alike = [pair for pair in same_data if pair[0].is_cut == pair[1].is_cut]
    known = {(mine.task, mine.test_data) for mine, _ in alike}
    same_data = [
        pair
        for pair in same_data
        if pair in alike or (pair[0].task, pair[0].test_data) not in known
    ]
    if not same_data:
        raise _nothing(one, other, pairs)
    tests = [paired_test(_scores(mine), _scores(theirs)) for mine, theirs in same_data]
    adjusted = holm([test.p for test in tests])
    return [
        Comparison(mine, theirs, test, p)
        for (mine, theirs), test, p in zip(same_data, tests, adjusted, strict=True)
    ]


def _limited(one: Side, other: Side, tasks: Collection[str]) -> tuple[Side, Side]:
    """Both sides with their results of some tasks alone."""
    known = {name for side in (one, other) for result in side.results for name in _names(result)}
    wanted: dict[str, set[str]] = defaultdict(set)
    for name in tasks:
        if name not in known:
            raise UnknownNameError("task or FIELD=VALUE of these results", name, known)
        field, equals, _ = name.partition("=")
        wanted[field if equals else ""].add(name)

    def limited(side: Side) -> Side:
        kept = (r for r in side.results if all(_names(r) & any_of for any_of in wanted.values()))
        return replace(side, results=tuple(kept))

    return limited(one), limited(other)


def _names(result: Result) -> set[str]:
    """What names a task: itself, and the fields of its config as they are shown."""
    task = result.spec.task
    return {task.name, *(f"{field}={value}" for field, value in task.config.items())}


def _contenders(results: Sequence[Result]) -> list[Runs]:
    """The preferred runs of each model and preset on each task and data, in order."""
    same: dict[str, dict[str, Result]] = defaultdict(dict)
    for result in results:
        spec = result.spec.at_seed(0)
        data = result.data.test_sha256 if result.data else None
        same[f"{canonical_json(spec)} {data}"].setdefault(result.id, result)
    best: dict[tuple[str, str | None, str, bool], Runs] = {}
    for group in same.values():
        runs = Runs(tuple(sorted(group.values(), key=lambda result: result.spec.seed)))
        key = (runs.task, runs.test_data, runs.name, runs.is_cut)
        best[key] = max(best.get(key, runs), runs, key=_merit)
    return [best[key] for key in sorted(best, key=str)]


def _merit(runs: Runs) -> tuple[bool, float]:
    vals = [result.val.mean for result in runs.results if result.val]
    mean = math.fsum(vals) / len(vals) if vals else -math.inf
    val = mean if runs.first.metric.higher_is_better or not vals else -mean
    return len(runs.results) >= SEEDS_FOR_A_RANK, val


def _scores(runs: Runs) -> list[list[float]]:
    return [result.test_scores.unpack() for result in runs.results if result.test_scores]


def _nothing(one: Side, other: Side, pairs: Sequence[tuple[Runs, Runs]]) -> ResultError:
    """Why no pair is left."""
    if pairs:
        mine, theirs = pairs[0]
        return ResultError(
            f"the test data differ: {one.name} is on {_data(mine)}, {other.name} on "
            f"{_data(theirs)}",
            "scores on different examples say nothing of the difference between two models",
        )
    if one.results and one.results == other.results:
        return ResultError(
            "there is nothing to compare: both sides are the same results",
            "name two files (of two trainings of one preset, say), two directories or two models",
        )
    return ResultError(
        f"there is nothing to compare: {one.name} has {_tasks(one)}, {other.name} has "
        f"{_tasks(other)}",
        "expected two different results of one task with one config and version; two directories "
        "are compared model by model, by MODEL:PRESET",
    )


def _data(runs: Runs) -> str:
    data = runs.first.data
    kind = "official" if data and data.official else (data and data.label) or "not official"
    return f"{runs.task_name} {str(runs.test_data)[:8]} ({kind})"


def _tasks(of: Side) -> str:
    found = [Runs((result,)) for result in of.results]
    on = {f"{runs.name} on {runs.task_name} v{runs.first.spec.task.version}" for runs in found}
    return ", ".join(sorted(on)) or "nothing"
