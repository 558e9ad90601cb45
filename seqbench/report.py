"""What the command line shows, as rich tables and lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from seqbench.registry import Entry
from seqbench.result import Result, Status, Weights, result_path
from seqbench.spec import canonical_json
from seqbench.status import DirectoryStatus, Run
from seqbench.suite import load_suite, suite_names

if TYPE_CHECKING:
    from seqbench.compare import Comparison, Runs
    from seqbench.conformance.rule import Outcome
    from seqbench.dispatch import Underway
    from seqbench.estimate import Estimate, Item
    from seqbench.reproduce import Reproduction
    from seqbench.resolve import Plan


def titled(title: str, *columns: str, whole: Collection[str] = ()) -> Table:
    """An empty table that folds what is too wide, but for the columns that stay whole."""
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in whole)
    return table


def entries_table(kind: str, entries: Iterable[Entry], good: str = "") -> Table:
    """Registered names with their distribution; ``good`` is said of those not known as broken."""
    table = titled(f"{kind}s", kind, "distribution", "entry point", "state")
    for entry in entries:
        state = f"[red]broken: {escape(entry.broken)}[/red]" if entry.broken else good
        owner = f"{entry.distribution} {entry.distribution_version}"
        table.add_row(entry.name, owner, escape(entry.value), state)
    return table


def suites_table() -> Table:
    """The suites that come with seqbench."""
    table = titled("suites", "suite", "what it is")
    for name in suite_names():
        table.add_row(name, load_suite(name).description)
    return table


def plan_line(plan: Plan) -> str:
    """A run that is about to be done, in one line."""
    spec = plan.spec
    settings = f"; settings: {escape(plan.origin.settings)}"
    if spec.weights_sha256:
        settings = ""
    elif plan.origin.recipe_source and plan.origin.settings == "published":
        settings += f" ({escape(plan.origin.recipe_source)})"
    above = f" from the weights of {spec.parent.id}" if spec.parent else ""
    how = f"weights {spec.weights_sha256[:8]}" if spec.weights_sha256 else f"seed {spec.seed}"
    return (
        f"run {spec.id}: {spec.task.title}{spec.origin_title}, "
        f"{spec.model.name}:{plan.origin.preset}, {how}{above}{settings}"
    )


def outcome(result: Result) -> str:
    """How a run ended, in a few words."""
    score = result.test or result.val
    if result.status not in (Status.OK, Status.TRIAL, Status.EVALUATED) or score is None:
        reason = (result.error or "").strip().splitlines()
        return f"{result.status}: {reason[0] if reason else ''}"
    which = "test" if result.test else "val"
    return f"{which} {result.metric.name} {score.mean:.4f} \u00b1 {score.standard_error:.4f}"


def done_before(result: Result, changed: Sequence[str], output_dir: Path) -> str:
    """That a run was not done now, when and on what it was, and whose code is another since."""
    ran = result.provenance
    done = (
        f"done before, at {ran.started_at} on {escape(ran.device_name)} "
        f"({ran.device}, threads: {ran.threads})"
    )
    if not changed:
        return done
    return (
        f"{done}\nthe code of {escape(', '.join(changed))} is another now, or changed on the way: "
        "raise the model's or task's `version`, and it is another run; or delete "
        f"{output_dir / result.path}, and it is done again"
    )


def of_other_code(changed: Mapping[str, int]) -> Iterator[str]:
    """How many results of a suite are of other code of a distribution than there is now."""
    for distribution, count in changed.items():
        yield (
            f"{count} results of this suite, trials too, are of other code of "
            f"{escape(distribution)} than there is now, or of several states of it: raise the "
            "model's or task's `version` if that gives other numbers, and their runs are done again"
        )


def result_lines(result: Result, output_dir: Path) -> str:
    """A finished run: score, cost, where its file is."""
    lines = [escape(outcome(result))]
    if result.test:
        lines[0] += f" (standard error over {result.test.n} examples)"
        lines.append(escape(_choice(result)))
    if change := result.rate_change:
        how = "adapted to it" if change.adapted else "unchanged: the model cannot be adapted"
        lines.append(f"at {change.ratio:g} times the sampling rate of its training, {how}")
    if result.test and result.cost:
        flops = "unknown" if result.cost.flops is None else f"{result.cost.flops:,}"
        line = f"{result.cost.parameters:,} parameters, {flops} FLOPs a forward pass"
        seconds, cpu_seconds = result.cost.train_seconds, result.cost.train_cpu_seconds
        line = line if seconds is None else f"{line}, {seconds:.1f} s of training"
        if result.cost.waited:
            line += f", of which it had a core for {cpu_seconds:.1f} s: the machine was busy"
        lines.append(line)
    if result.data and not result.data.official:
        lines.append("the data are not the official ones: never ranked beside official results")
    lines.append(str(output_dir / result_path(result.spec)))
    return "\n".join(lines)


def _choice(result: Result) -> str:
    """How the weights that were tested have been chosen."""
    if result.chosen_epoch is not None:
        return f"epoch {result.chosen_epoch} of {len(result.curve)}, chosen by validation"
    if parent := result.spec.parent:
        return f"the weights of {parent.id}, trained on {parent.task.title}, as they are"
    weights = result.origin.weights or Weights()
    source = " ".join(part for part in (weights.source, weights.run) if part) or "unknown source"
    how = {
        "validation": "chosen by validation",
        "test": "selected on test: the score is an upper bound",
        "unknown": "selection unknown",
    }[weights.selection]
    return f"weights of {source}, {how}; evaluated only, never ranked"


def comparison_parts(
    comparisons: Sequence[Comparison], *, full: bool = False
) -> Iterator[RenderableType]:
    """Scores with their tests; of one pair, or if ``full``, costs and what else differs too."""
    pairs: dict[tuple[str, str], list[Comparison]] = defaultdict(list)
    for each in comparisons:
        pairs[_named(each.one), _named(each.other)].append(each)
    for (one, other), of_pair in sorted(pairs.items()):
        yield _scores_table(f"A: {one}\nB: {other}", of_pair)
        yield ""
    yield " ".join(_comparison_notes(comparisons))
    if not full and len(comparisons) > 1:
        yield "--full shows the costs of every pair, and what else differs."
        return
    for each in comparisons:
        yield from _details(each)


def _comparison_notes(comparisons: Sequence[Comparison]) -> Iterator[str]:
    from seqbench.boards.ranking import SEEDS_FOR_A_RANK

    runs = [runs for each in comparisons for runs in (each.one, each.other)]
    tests = " or ".join(sorted({each.test.test for each in comparisons}))
    several = any(len(each.results) > 1 for each in runs)
    count = f"{len(comparisons)} comparisons" if len(comparisons) > 1 else "one comparison"
    yield (
        f"n: test examples. p: {tests}{', of several seeds approximate' if several else ''}, after "
        f"Holm's adjustment over the {count} shown; better: at level 0.05. This speaks of the "
        "trained networks, not of seeds that were not trained. Scores: mean \u00b1 deviation over "
        "seeds, of one seed \u00b1 standard error over examples; below them the length of training "
        "where A and B differ in it. Of several trainings of a preset the best by validation is "
        f"shown, one of {SEEDS_FOR_A_RANK} seeds before others."
    )
    if any(each.first.spec.weights_sha256 for each in runs):
        yield "Weights were evaluated only: they are never ranked."


def _named(runs: Runs) -> str:
    """With what makes it another network than the preset, and where its settings are from."""
    from seqbench.boards.text import shown_settings

    by_hand = shown_settings(runs.by_hand, "model.")
    seeds = f"seed{'s' if len(runs.results) > 1 else ''} {runs.seeds}"
    settings = ", ".join(sorted({result.origin.settings for result in runs.results}))
    how = "" if runs.first.spec.weights_sha256 else f"; settings: {settings}"
    return f"{' '.join([runs.name, *by_hand])}, {seeds}{how}"


def _scores_table(title: str, comparisons: Iterable[Comparison]) -> Table:
    """Two models on every task that they share."""
    from seqbench.boards.text import p_value

    columns = ("task", "n", "A", "B", "A - B", "p", "better")
    table = titled(escape(title), *columns, whole=columns[1:])
    for each in sorted(comparisons, key=lambda each: each.one.task_name):
        difference = _in_units(each.one, each.test.difference)
        sides = (each.one, each.other)
        alike = each.one.length == each.other.length
        table.add_row(
            escape(each.one.task_name),
            f"{each.test.n:,}",
            *(_mean(runs) if alike else f"{_mean(runs)}\n{runs.length}" for runs in sides),
            difference if difference.startswith("-") else f"+{difference}",
            p_value(each.p_adjusted),
            each.better or "",
        )
    return table


def _details(each: Comparison) -> Iterator[RenderableType]:
    title = f"{each.one.task_name}: {each.one.name} (A), {each.other.name} (B)"
    costs = titled(escape(f"{title}: costs, medians over seeds"), "cost", "A", "B", "B / A")
    for name, one, other in each.costs:
        ratio = f"{other / one:.3g}" if one and other is not None else "-"
        costs.add_row(name, _cost(name, one), _cost(name, other), ratio)
    yield costs
    found = titled(escape(f"{title}: what differs"), "where", "A", "B")
    for path, pair in each.differences.items():
        found.add_row(escape(path), *(escape("-" if v is None else str(v)) for v in pair))
    yield found


def _cost(name: str, value: float | None) -> str:
    """A cost in the unit that its name tells, as boards write it."""
    from seqbench.boards.text import amount, duration

    if value is None:
        return "-"
    if name.endswith("_seconds"):
        return duration(value)
    if name in {"examples_per_second", "throughput"}:
        return amount(value, "/s")
    if name in {"flops", "peak_bytes"}:
        return amount(value, "B" if name == "peak_bytes" else "")
    return f"{value:,.0f}"


def _mean(runs: Runs) -> str:
    return f"{_in_units(runs, runs.mean)} \u00b1 {_in_units(runs, runs.spread)}"


def _in_units(runs: Runs, value: float) -> str:
    """Accuracy in percent, any other metric as it is."""
    return f"{100 * value:.2f}" if runs.first.metric.name == "accuracy" else f"{value:.4g}"


def rule_line(outcome: Outcome) -> str:
    """What came of a rule, and below it how to mend a failure."""
    colour = {"ok": "green", "FAILED": "bold red", "skipped": "yellow"}[outcome.state]
    line = f"  [{colour}]{outcome.state:8}[/{colour}]{outcome.rule:14}{escape(outcome.text)}"
    mend = f"\n          {'to mend':14}{escape(outcome.mend)}" if outcome.mend else ""
    return line.rstrip() + mend


def reproduction_parts(found: Reproduction) -> Iterator[RenderableType]:
    """Whether a result was reproduced, by which rule, and what may be why not."""
    yield f"original: {outcome(found.original)}"
    yield f"again:    {outcome(found.again)}"
    if found.bit_for_bit:
        yield "agrees bit for bit: every score per example, every loss of the curve"
    elif found.test is None:
        yield "does NOT agree: there is no test score this time"
    else:
        yield (
            f"{'agrees' if found.agrees else 'does NOT agree'}, not bit for bit: difference of the "
            f"means {found.test.difference:+.3g}, p = {found.test.p:.2g} by the "
            f"{found.test.test} over the same {found.test.n:,} test examples; agrees from p = 0.05 "
            "on"
        )
    if found.bit_for_bit or not found.reasons:
        return
    table = titled("what differs, where to look for the reason", "where", "original", "again")
    for path, pair in found.reasons.items():
        table.add_row(escape(path), *(escape("-" if v is None else str(v)) for v in pair))
    yield table


def estimate_parts(found: Estimate) -> Iterator[RenderableType]:
    """What would run, a row for all seeds, with what a run takes; then all of it together."""
    from seqbench.boards.text import amount, duration

    columns = ("task", "model", "settings", "seeds", "steps", "a step", "a run", "memory")
    table = titled("what would run", *columns, whole={*columns} - {"task", "settings", "seeds"})
    table.padding = 0
    for column, least in zip(table.columns, (11, 0, 9, 9), strict=False):
        column.min_width = least or None
    rows: dict[str, list[Item]] = defaultdict(list)
    for item in found.items:
        spec = item.work.plan.spec.at_seed(0)
        rows[f"{item.work.trial} {canonical_json(spec)}"].append(item)
    for items in rows.values():
        table.add_row(*map(escape, _row(items, found.items)))
    yield table
    left, lost = found.missing, [i for i in found.missing if isinstance(i.measured, str)]
    if not left:
        yield "nothing is left to do"
        return
    yield (
        f"{len(left)} of {len(found.items)} runs to do: about {duration(found.seconds)} with "
        f"{found.jobs} at once, and up to {amount(found.peak_bytes, 'B')} of memory"
    )
    if lost:
        yield f"{len(lost)} runs could not be measured and are not counted in"
    yield (
        "This is an estimate from a few training steps of each kind of run, made here and now. "
        "Nothing was written."
    )


def _row(items: Sequence[Item], every: Sequence[Item]) -> Iterator[str]:
    """A run or trial with all its seeds; what a run takes is of the seed that takes longest."""
    from seqbench.boards.text import amount, duration

    first = next((item for item in items if item.measured), items[0])
    plan, clock = first.work.plan, first.clock
    train = plan.spec.train
    yield f"{plan.spec.task.title}{plan.spec.origin_title}"
    yield f"{plan.spec.model.name}:{plan.origin.preset}"
    settings = _tried(first, every) if first.work.trial else plan.origin.settings
    length = f", {train.epochs} epoch{'s' if train.epochs != 1 else ''}" if train else ""
    yield f"{settings}{length}"
    seeds: dict[str, list[int]] = defaultdict(list)
    for item in items:
        seeds[item.state].append(item.work.plan.spec.seed)
    yield ", ".join(f"{_numbers(of)} {state}" for state, of in seeds.items())
    yield f"{clock.total_steps:,}" if clock else "-"
    if isinstance(first.measured, str):
        yield from (first.measured, "-", "-")
        return
    yield duration(first.measured.step_seconds if first.measured else None)
    yield duration(max((item.seconds for item in items if item.seconds), default=None))
    yield amount(first.measured.peak_bytes if first.measured else None, "B")


def _tried(trial: Item, every: Iterable[Item]) -> str:
    """What a trial sets that not all trials of the model on the task set alike."""
    plan = trial.work.plan
    beside = [
        other.work.plan.origin.overrides
        for other in every
        if other.work.trial
        and other.work.plan.spec.task == plan.spec.task
        and other.work.plan.spec.model.name == plan.spec.model.name
        and other.work.plan.origin.preset == plan.origin.preset
    ]
    own = plan.origin.overrides.items()
    apart = [(path, value) for path, value in own if any(b.get(path) != value for b in beside)]
    return "trial: " + ", ".join(f"{path.rpartition('.')[2]}={value}" for path, value in apart)


def _numbers(numbers: Sequence[int]) -> str:
    """``0-2`` where they follow each other, else each."""
    first, last = min(numbers), max(numbers)
    if len(numbers) > 2 and sorted(numbers) == list(range(first, last + 1)):
        return f"{first}-{last}"
    return " ".join(map(str, sorted(numbers)))


def status_parts(found: DirectoryStatus, *, every: bool = False) -> Iterator[RenderableType]:
    """How many runs of a directory are in which state, and each that needs a look or is going."""
    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items())
    trials = f"; trials of searches ended: {found.trials}" if found.trials else ""
    yield f"{len(found.runs)} run{'s' if len(found.runs) != 1 else ''}: {counts or 'none'}{trials}"
    shown = [run for run in found.runs if every or run.state not in {Status.OK, Status.EVALUATED}]
    if shown:
        yield runs_table("", shown)


def runs_table(title: str, runs: Iterable[Run]) -> Table:
    """Runs and how far they are, a row each; columns without anything to say are left out."""
    columns = ("run", "state", "epoch", "val", "examples/s", "left")
    rows = [tuple(_cells(run)) for run in runs]
    told = [i for i in range(len(columns)) if any(row[i] for row in rows)]
    table = titled(title, *(columns[i] for i in told))
    for row in rows:
        table.add_row(*(escape(row[i]) for i in told))
    return table


def _cells(run: Run) -> Iterator[str]:
    from seqbench.boards.text import duration

    at = run.position
    yield f"{run.task}, {run.model}, seed {run.seed}" if run.task else run.id
    heard = "" if run.heard_seconds is None else f", heard of {duration(run.heard_seconds)} ago"
    yield f"{run.state}{heard}{f': {run.note}' if run.note else ''}"
    if at is None:
        yield from ("", "", "", "")
        return
    yield f"{at.epoch}/{at.epochs}" if at.epochs else ""
    yield "" if at.val_score is None else f"{at.val_score:.4f}"
    yield "" if at.examples_per_second is None else f"{at.examples_per_second:,.0f}"
    yield duration(at.seconds_left) if at.seconds_left and run.state == "running" else ""


class Counter:
    """Says one line for each run of a suite as it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._done = self._total = 0

    def start(self, total: int) -> None:
        """So many runs are to be done now."""
        self._done, self._total = 0, total
        if total:
            self._console.print(f"{total} runs to do", highlight=False)

    def show(self, underway: Sequence[Underway], waiting: int) -> None:
        """Say nothing: a line that is printed cannot change."""

    def done(self, result: Result) -> None:
        """One run has ended."""
        self._done += 1
        spec, seconds = result.spec, result.provenance.seconds
        self._console.print(
            f"[{self._done}/{self._total}] {spec.task.name} {spec.model.name}:"
            f"{result.origin.preset} seed {spec.seed}: {outcome(result)}  ({seconds:.0f} s)",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


class LiveTable(Counter):
    """The same, above a table of the runs that are being done now."""

    def __init__(self, console: Console, live: Live) -> None:
        super().__init__(console)
        self._live = live

    def show(self, underway: Sequence[Underway], waiting: int) -> None:
        """Put the table up to date, as many rows as there is room for."""
        room = max(1, self._console.size.height - 8)
        title = f"{self._done} of {self._total} ended, {len(underway)} running, {waiting} waiting"
        self._live.update(runs_table(title, map(_underway, underway[:room])), refresh=True)


def _underway(item: Underway) -> Run:
    spec = item.work.plan.spec
    return Run(
        id=spec.id,
        state="running",
        task=f"{spec.task.title}{spec.origin_title}",
        model=f"{spec.model.name}:{item.work.plan.origin.preset}",
        seed=spec.seed,
        position=item.position,
        note="elsewhere" if item.elsewhere else "",
    )


@contextmanager
def watching(console: Console) -> Iterator[Counter]:
    """What shows how a suite goes: a live table on a terminal, plain lines elsewhere."""
    if not console.is_terminal:
        yield Counter(console)
        return
    with Live(console=console, auto_refresh=False, transient=True) as live:
        yield LiveTable(console, live)
