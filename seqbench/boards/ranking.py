"""From results to the leaderboard: a pure function that does not depend on their order."""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from seqbench.boards.board import (
    Board,
    Budget,
    Leaderboard,
    Row,
    SeedScore,
    Settings,
    Standing,
    row_id,
)
from seqbench.boards.comparisons import beside, compared
from seqbench.boards.overall import overall_tables
from seqbench.boards.published import Published
from seqbench.boards.statistics import example_scores
from seqbench.boards.text import marks_of, settings_apart, shown_settings
from seqbench.boards.transfer import transfer_tables
from seqbench.result import Cost, Metric, Result, Score, Status, Weights
from seqbench.spec import Component, RunSpec, canonical_json

SEEDS_FOR_A_RANK = 3

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class _Data(NamedTuple):
    """Which data a run was made on; ``None`` for what it did not get to see."""

    fit: str | None
    test: str | None
    official: bool | None


class _Place(NamedTuple):
    """Which board a row belongs to."""

    tasks: tuple[str, ...]
    metric: str
    data: _Data
    budget: Budget
    superseded: bool


class _Run(NamedTuple):
    """A result, the row it belongs to, and the data that it is compared on."""

    result: Result
    row: str
    data: _Data


_Group = Sequence[Result]
"""Results that differ in nothing but the seed, by seed."""


RunKey = tuple[str, str | None, str | None, bool | None]
"""A run on a board: its id, the fingerprints of the board's data, whether they are official."""


def counted(results: Iterable[Result]) -> dict[RunKey, Result]:
    """The results that stand in the rows of ``rank``, each by its run and board."""
    runs = _distinct([result for result in results if result.status is not Status.TRIAL])
    return {(run.result.id, *run.data): run.result for run in runs}


def rank(results: Iterable[Result], published: Sequence[Published] = ()) -> Leaderboard:
    """The leaderboard of results, by the strict protocol; published numbers stand beside them.

    Trials of a search are no results and are left out. Of several results of one run on the same
    data, the earliest counts, one that ended well before others.
    """
    runs = _distinct([result for result in results if result.status is not Status.TRIAL])
    newest = _newest(run.result for run in runs)
    places: dict[_Place, list[_Group]] = defaultdict(list)
    for (_, data), group in _grouped(runs, lambda run: (run.row, run.data)).items():
        same = [run.result for run in group]
        spec = same[0].spec
        place = _Place(
            tasks=tuple(map(canonical_json, spec.tasks)),
            metric=canonical_json(same[0].metric),
            data=data,
            budget=_budget(same),
            superseded=any(part.version < newest[key] for key, part in _versioned(spec)),
        )
        places[place].append(same)
    boards = {place: beside(_board(place, groups), published) for place, groups in places.items()}
    current = _entitled(board for place, board in boards.items() if not place.superseded)
    return Leaderboard(
        overall=overall_tables([board for board in current if not board.trained_on]),
        transfers=transfer_tables(current),
        boards=current,
        superseded=_entitled(board for place, board in boards.items() if place.superseded),
    )


# Which results belong together


def _grouped(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups: dict[K, list[T]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def _distinct(results: Sequence[Result]) -> list[_Run]:
    """One result a run and data, sorted by seed and id."""

    def preference(run: _Run) -> tuple[bool, str, str]:
        late = run.result.status is not Status.OK
        return late, run.result.provenance.started_at, run.result.compute_digest()

    tasks = _grouped(results, lambda result: canonical_json(result.spec.task)).values()
    runs = [run for same_task in tasks for run in _with_data(same_task)]
    groups = _grouped(runs, lambda run: (run.result.id, run.data)).values()
    chosen = [group[0] if len(group) == 1 else min(group, key=preference) for group in groups]
    return sorted(chosen, key=lambda run: (run.result.spec.seed, run.result.id))


def _row_id(result: Result) -> str:
    return row_id(result.spec, result.metric)


def _versioned(spec: RunSpec) -> list[tuple[tuple[str, str], Component]]:
    tasks = [(("task", task.name), task) for task in spec.tasks]
    return [*tasks, (("model", spec.model.name), spec.model)]


def _newest(results: Iterable[Result]) -> dict[tuple[str, str], int]:
    """The newest version that there are results of, by task and by model."""
    newest: dict[tuple[str, str], int] = defaultdict(int)
    for result in results:
        for key, part in _versioned(result.spec):
            newest[key] = max(newest[key], part.version)
    return newest


def _with_data(results: Sequence[Result]) -> list[_Run]:
    """The results of one task, each with its data."""
    seen: dict[Metric, dict[_Data, set[str]]] = defaultdict(lambda: defaultdict(set))
    rows = [_row_id(result) for result in results]
    for result, row in zip(results, rows, strict=True):
        if result.data:
            seen[result.metric][_seen(result)].add(row)
    return [
        _Run(result, row, _data_of(result, row, seen[result.metric]))
        for result, row in zip(results, rows, strict=True)
    ]


def _data_of(result: Result, row: str, seen: Mapping[_Data, Collection[str]]) -> _Data:
    """The data of a result of a row, given the data that there are results of, and which rows.

    A run that ended before it saw all its data is put with the runs it would have been compared
    with: those of its own row if there are any, on official data if there are several.
    """
    known = _seen(result)
    if known.test is not None:
        return known
    comparable = [data for data in seen if known.fit in {None, data.fit}]
    whole = [data for data in comparable if data.test is not None] or comparable
    same_row = [data for data in whole if row in seen[data]]
    return min(
        same_row or whole, key=lambda data: (not data.official, *map(str, data)), default=known
    )


def _seen(result: Result) -> _Data:
    if result.data is None:
        return _Data(None, None, None)
    return _Data(result.data.fit_sha256, result.data.test_sha256, result.data.official)


def _budget(group: _Group) -> Budget:
    """Whether the training is a whole one or cut at a number of steps."""
    return "steps" if any(run.is_cut for run in _scored(group) or group) else "full"


def _settings(group: _Group) -> Settings:
    marks = [run.origin.settings for run in _scored(group) or group]
    return max(marks, key=("published", "searched", "custom").index)


# Rows


def _row(group: _Group, *, superseded: bool) -> Row:
    ended_well = [run for run in group if run.status is Status.OK and run.test]
    scored = _scored(group)
    scores = tuple(_seed_score(run, run.test) for run in scored if run.test)
    tests = [score.test for score in scores]
    vals = [score.val for score in scores if score.val is not None]
    origin = min((run.origin for run in scored or group), key=canonical_json)
    spec = group[0].spec
    return Row(
        id=_row_id(group[0]),
        name=_name(spec.model, origin.preset, origin.overrides),
        variant=None,
        standing=Standing.SUPERSEDED if superseded else _standing(ended_well, scored),
        model=spec.model,
        preset=origin.preset,
        overrides=origin.overrides,
        settings=_settings(group),
        recipe_source=origin.recipe_source,
        train=spec.train,
        weights_sha256=spec.weights_sha256,
        weights=(origin.weights or Weights()) if spec.weights_sha256 else None,
        parent=spec.parent.at_seed(0) if spec.parent else None,
        rate_change=next((run.rate_change for run in scored), None),
        runs=tuple(run.id for run in group),
        scores=scores,
        mean=_mean(tests),
        sd=statistics.stdev(tests) if len(tests) > 1 else None,
        standard_error=scores[0].standard_error if len(scores) == 1 else None,
        val_mean=_mean(vals),
        cost=_cost(scored or group),
        statuses=dict(sorted(Counter(run.status.value for run in group).items())),
        cause=next(
            (_first_line(run.error) for run in group if run not in scored and run.error), None
        ),
        machines=tuple(sorted({_machine(run) for run in group})),
    )


def _scored(group: _Group) -> list[Result]:
    """The runs that ended well, or else those that only evaluated weights."""
    tested = [run for run in group if run.test]
    ended_well = [run for run in tested if run.status is Status.OK]
    return ended_well or [run for run in tested if run.status is Status.EVALUATED]


def _seed_score(run: Result, test: Score) -> SeedScore:
    return SeedScore(
        run=run.id,
        seed=run.spec.seed,
        val=run.val.mean if run.val else None,
        test=test.mean,
        standard_error=test.standard_error,
        n=test.n,
    )


def _standing(ended_well: Sequence[Result], scored: Sequence[Result]) -> Standing:
    if len(ended_well) >= SEEDS_FOR_A_RANK:
        return Standing.RANKED
    if ended_well:
        return Standing.PROVISIONAL
    return Standing.EVALUATED if scored else Standing.FAILED


def _name(model: Component, preset: str, overrides: Mapping[str, object]) -> str:
    """``MODEL:PRESET``, with what was set by hand in the model's config, as it stands there."""
    values = {
        path: model.config.get(path.removeprefix("model."), v) for path, v in overrides.items()
    }
    return " ".join([f"{model.name}:{preset}", *shown_settings(values, "model.")])


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _machine(run: Result) -> str:
    provenance = run.provenance
    threads = f"{provenance.threads} thread{'s' if provenance.threads != 1 else ''}"
    return f"{provenance.device_name} ({provenance.device}, {threads})"


def _cost(group: _Group) -> Cost | None:
    costs = [run.cost for run in group if run.cost]
    if not costs:
        return None
    flops = [cost.flops for cost in costs if cost.flops is not None]
    cpu_seconds = [c.train_cpu_seconds for c in costs if c.train_cpu_seconds is not None]
    peaks = [cost.peak_bytes for cost in costs if cost.peak_bytes is not None]
    batches = {cost.throughput_batch for cost in costs}
    return Cost(
        parameters=statistics.median_low(cost.parameters for cost in costs),
        flops=statistics.median_low(flops) if len(flops) == len(costs) else None,
        train_seconds=_median(cost.train_seconds for cost in costs),
        train_cpu_seconds=_median(cpu_seconds) if len(cpu_seconds) == len(costs) else None,
        examples_per_second=_median(cost.examples_per_second for cost in costs),
        peak_bytes=max(peaks, default=None),
        latency_seconds=_median(cost.latency_seconds for cost in costs),
        throughput=_median(cost.throughput for cost in costs),
        throughput_batch=batches.pop() if len(batches) == 1 else None,
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


# Boards


def _board(place: _Place, groups: Sequence[_Group]) -> Board:
    runs = [run for group in groups for run in group]
    first = runs[0]
    labels = {run.data.label for run in runs if run.data and run.data.label}
    board = Board(
        title=_title(place, first.spec),
        task=first.spec.task,
        trained_on=first.spec.tasks[1:],
        metric=first.metric,
        budget=place.budget,
        official=place.data.official,
        fingerprint=place.data.fit,
        test_fingerprint=place.data.test,
        label=min(labels, default=None),
        rows=(),
    )
    rows = [_row(group, superseded=place.superseded) for group in groups]
    scores = {
        row.id: example_scores(_scored(group)) for row, group in zip(rows, groups, strict=True)
    }
    ordered = board.model_copy(update={"rows": _ordered(board, _told_apart(rows))})
    return compared(ordered, scores)


def _title(place: _Place, spec: RunSpec) -> str:
    """The task, marked by the fingerprint if the data are not official, with its config."""
    task = spec.task
    mark = f"@{place.data.fit[:8]}" if place.data.official is False and place.data.fit else ""
    title = task.model_copy(update={"name": f"{task.name}{mark}"}).title + spec.origin_title
    return f"{title}, step budget" if place.budget == "steps" else title


def _told_apart(rows: Sequence[Row]) -> list[Row]:
    """Rows of one name get what else is different: training settings, weights, version."""
    told = []
    for group in _grouped(rows, lambda row: row.name).values():
        variants = [_variant(row, group) for row in group]
        for row, variant in zip(group, variants, strict=True):
            twice = variants.count(variant) > 1
            marks = [*variant, f"#{row.id[:4]}"] if twice else variant
            told.append(row.model_copy(update={"variant": " ".join(marks) or None}))
    return told


def _variant(row: Row, group: Sequence[Row]) -> list[str]:
    tuned = row.parent is not None and row.train is not None
    marks = ["fine-tuned"] if tuned else []
    if tuned:
        marks += shown_settings(row.overrides, "train.")
    else:
        marks += settings_apart(row, group, "train.")
    if len({other.model.version for other in group}) > 1:
        marks.append(f"v{row.model.version}")
    return marks + marks_of(row)


def _ordered(board: Board, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Competing rows by score, then evaluated ones, then those without a score."""
    sign = -1 if board.metric.higher_is_better else 1
    order = [Standing.EVALUATED, Standing.SUPERSEDED, Standing.FAILED]

    def key(row: Row) -> tuple[int, bool, float, str]:
        after = 0 if row.competes else 1 + order.index(row.standing)
        return after, row.mean is None, sign * (row.mean or 0.0), row.label

    competing = [row for row in rows if row.competes]
    ranked = [row for row in rows if row.standing is Standing.RANKED]
    return tuple(
        row.model_copy(
            update={
                "rank": _place_among(board, row, ranked) if row in ranked else None,
                "position": _place_among(board, row, competing) if row.competes else None,
            }
        )
        for row in sorted(rows, key=key)
    )


def _place_among(board: Board, row: Row, rows: Sequence[Row]) -> int:
    """One more than there are strictly better rows, so that ties share a place."""
    scores = [other.mean for other in rows if other.mean is not None]
    return 1 + sum(board.better(score, row.mean) for score in scores if row.mean is not None)


def _entitled(boards: Iterable[Board]) -> tuple[Board, ...]:
    """Boards in order of their titles, numbers by value, each with a title of its own."""

    def order(board: Board) -> tuple[list[str | int], str]:
        parts = re.split(r"(\d+)", board.title)
        head = board.model_copy(update={"rows": (), "groups": (), "published": ()})
        return [int(part) if part.isdecimal() else part for part in parts], canonical_json(head)

    ordered = sorted(boards, key=order)
    titles = [board.title for board in ordered]
    return tuple(
        board
        if titles.count(board.title) == 1
        else board.model_copy(update={"title": f"{board.title} {_distinction(board)}"})
        for board in ordered
    )


def _distinction(board: Board) -> str:
    prints = [(print_ or "unknown")[:8] for print_ in (board.fingerprint, board.test_fingerprint)]
    return f"[{board.metric.name}, version {board.task.version}, data {' / '.join(prints)}]"
