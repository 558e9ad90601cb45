"""What the command line shows, as rich tables and lines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

from seqbench.registry import Entry
from seqbench.result import Result, Status, result_path
from seqbench.suite import load_suite, suite_names

if TYPE_CHECKING:
    from seqbench.doctor import Findings
    from seqbench.model import Model
    from seqbench.resolve import Plan
    from seqbench.task import Task


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def entries_table(kind: str, entries: Iterable[Entry], good: str = "") -> Table:
    """Registered names with their distribution; ``good`` is said of those not known as broken."""
    table = _table(f"{kind}s", kind, "distribution", "entry point", "state")
    for entry in entries:
        state = f"[red]broken: {escape(entry.broken)}[/red]" if entry.broken else good
        owner = f"{entry.distribution} {entry.distribution_version}"
        table.add_row(entry.name, owner, escape(entry.value), state)
    return table


def suites_table() -> Table:
    """The suites that come with seqbench."""
    table = _table("suites", "suite", "what it is")
    for name in suite_names():
        table.add_row(name, load_suite(name).description)
    return table


def doctor_tables(findings: Findings) -> list[Table]:
    """Plugins after loading, then the machine."""
    machine = _table("machine", "what", "found")
    for what, found in findings.machine.items():
        machine.add_row(what, escape(found))
    return [
        entries_table("task", findings.tasks, good="ok"),
        entries_table("model", findings.models, good="ok"),
        machine,
    ]


def info_parts(name: str, cls: type[Task | Model]) -> list[RenderableType]:
    """What a task or model is: fields, presets, recipes, where it comes from."""
    parts: list[RenderableType] = [f"[bold]{escape(name)}[/bold] version {cls.version}"]
    parts += [escape(text) for text in (cls.description, cls.citation) if text]
    parts.append(_fields_table(cls))
    if cls.presets:
        parts.append(_presets_table(cls))
    recipes = getattr(cls, "recipes", None)
    if recipes:
        table = _table("published recipes", "task", "preset", "settings", "source")
        for (task, preset), recipe in recipes.items():
            settings = recipe.train.model_dump(exclude_defaults=True) | dict(recipe.model)
            table.add_row(task, preset, escape(_settings(settings)), escape(recipe.source))
        parts.append(table)
    return [*parts, *_signature_lines(cls)]


def _fields_table(cls: type[Task | Model]) -> Table:
    table = _table("config", "field", "type", "default")
    for field in dataclasses.fields(cls.Config):
        default = "" if field.default is dataclasses.MISSING else repr(field.default)
        table.add_row(field.name, escape(str(field.type)), escape(default))
    return table


def _presets_table(cls: type[Task | Model]) -> Table:
    table = _table("presets (the first is the default)", "preset", "differs from the defaults in")
    for preset, config in cls.presets.items():
        values = {
            field.name: getattr(config, field.name)
            for field in dataclasses.fields(cls.Config)
            if getattr(config, field.name) != field.default
        }
        table.add_row(preset, escape(_settings(values)))
    return table


def _signature_lines(cls: type[Task | Model]) -> list[str]:
    if not hasattr(cls, "metric"):
        return []
    signature = cls().signature
    arrow = "higher" if cls.higher_is_better else "lower"
    return [
        f"input {signature.in_channels} x {' x '.join(map(str, signature.shape))}, "
        f"{signature.out_features} outputs at every {signature.target}; "
        f"metric {cls.metric} ({arrow} is better); licence: {escape(cls.licence)}"
    ]


def _settings(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def plan_line(plan: Plan) -> str:
    """A run that is about to be done, in one line."""
    settings = plan.origin.settings
    if plan.origin.recipe_source and settings == "published":
        settings += f" ({plan.origin.recipe_source})"
    spec = plan.spec
    return (
        f"run {spec.id}: {spec.task.name}, {spec.model.name}:{plan.origin.preset}, "
        f"seed {spec.seed}; settings: {escape(settings)}"
    )


def outcome(result: Result) -> str:
    """How a run ended, in a few words."""
    score = result.test or result.val
    if result.status not in (Status.OK, Status.TRIAL, Status.EVALUATED) or score is None:
        reason = (result.error or "").strip().splitlines()
        return f"{result.status}: {reason[-1] if reason else ''}"
    which = "test" if result.test else "val"
    return f"{which} {result.metric.name} {score.mean:.4f} \u00b1 {score.standard_error:.4f}"


def result_lines(result: Result, output_dir: Path) -> str:
    """A finished run: score, cost, where its file is."""
    lines = [escape(outcome(result))]
    if result.test:
        lines[0] += f" (standard error over {result.test.n} examples)"
        lines.append(f"epoch {result.chosen_epoch} of {len(result.curve)}, chosen by validation")
    if result.cost and result.cost.train_seconds:
        flops = "unknown" if result.cost.flops is None else f"{result.cost.flops:,}"
        lines.append(
            f"{result.cost.parameters:,} parameters, {flops} FLOPs a forward pass, "
            f"{result.cost.train_seconds:.1f} s of training"
        )
    if result.data and not result.data.official:
        lines.append("the data are not the official ones: never ranked beside official results")
    lines.append(str(output_dir / result_path(result.spec)))
    return "\n".join(lines)


class Counter:
    """Says one line for each run of a suite as it ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._done = 0

    def start(self, total: int) -> None:
        """So many runs are to be done now."""
        self._done, self._total = 0, total
        if total:
            self._console.print(f"{total} runs to do", highlight=False)

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
