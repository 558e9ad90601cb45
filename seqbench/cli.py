"""The command line: parses, calls, prints; nothing else. Imports torch only where it must."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from seqbench import __version__
from seqbench.errors import ConfigError, SeqbenchError

if TYPE_CHECKING:
    from seqbench.compare_with import Neighbours
    from seqbench.files import Location
    from seqbench.home import Home
    from seqbench.result import Result

app = typer.Typer(
    name="seqbench",
    help="How well does a sequence model handle long-range structure, and at what cost?",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

OutputDir = Annotated[
    str,
    typer.Option(
        help="Where results and checkpoints go; or a URL for results, with checkpoints in runs."
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        help="Where data sets lie (mnist/, cifar10/, ...) or are downloaded to.",
        envvar="SEQBENCH_DATA",
    ),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:N or mps.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting by path, as model.FIELD=VALUE or train.FIELD=VALUE."),
]
ModelSettings = Annotated[
    list[str] | None, typer.Option("--set", help="A setting of the model, as model.FIELD=VALUE.")
]
Threads = Annotated[int, typer.Option(help="Threads within an operator.")]
Loggers = Annotated[
    list[str] | None,
    typer.Option(
        "--logger", help="Tell tensorboard, wandb or mlflow of every epoch too; repeatable."
    ),
]
ModelName = Annotated[
    str | None, typer.Argument(help="MODEL or MODEL:PRESET; left out with --from-file.")
]
FromFile = Annotated[
    str | None,
    typer.Option(help="A model in a file: FILE.py, FILE.py:CLASS or FILE.py:CLASS:PRESET."),
]
ParentResult = Annotated[
    Path | None, typer.Option(help="The file of the result whose weights to start from.")
]
TaskSettings = Annotated[
    list[str] | None, typer.Option("--task", help="A field of the task's config, FIELD=VALUE.")
]


_TRY_AGAIN = "what is not the model's fault can be done again by the same command"
_HINTS = {
    "diverged": "a lower train.learning_rate or a train.gradient_clip is another run; so is a "
    "mended model, by a higher `version` (`seqbench check` tries one)",
    "failed": "when it is mended, the same command does it again",
    "oom": "a train.micro_batch_size takes less memory, and is another run",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; an expected failure prints one message and exits with 2."""
    try:
        app(args=argv)
    except SeqbenchError as error:
        _complain(error)
        sys.exit(2)


@contextmanager
def _interruptible(
    then: str = "the same command continues where this one ended",
) -> Iterator[None]:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"\nstopped; {then}", err=True)
        raise typer.Exit(130) from None


@contextmanager
def _results_go(output_dir: str) -> Iterator[tuple[Path, Home | None]]:
    """The directory of a run, whose results are fetched from a URL before and sent there after."""
    from urllib.parse import quote

    from seqbench.files import location
    from seqbench.home import Home

    place = location(output_dir)
    if isinstance(place, Path):
        yield place, None
        return
    home = Home(place, Path("runs") / quote(place, safe=""))
    for error in home.fetch():
        _complain(error)
    try:
        yield home.directory, home
    finally:
        unsent = home.send()
        for error in unsent:
            _complain(error)
    if unsent:
        raise typer.Exit(2)


def _complain(error: SeqbenchError) -> None:
    console = Console(stderr=True, soft_wrap=True)
    console.print(f"error: {error.message}", style="bold red", markup=False, highlight=False)
    if error.hint:
        console.print(f"hint: {error.hint}", markup=False, highlight=False)


@app.callback(invoke_without_command=True)
def _top(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        typer.echo(f"seqbench {__version__}")
        raise typer.Exit


@app.command("list")
def list_() -> None:
    """List tasks, models and suites; plugins are not imported (`doctor` does that)."""
    from seqbench import registry, report

    for kind, group in (("task", registry.TASKS), ("model", registry.MODELS)):
        Console().print(report.entries_table(kind, registry.entries(group).values()))
    Console().print(report.suites_table())
    Console().print("`seqbench doctor` loads every plugin and shows what is broken.")


@app.command()
def doctor() -> None:
    """Load every plugin and show what works, what is broken and why, and what this machine has."""
    from seqbench.doctor import examine, tables_of

    findings = examine()
    for table in tables_of(findings):
        Console().print(table)
    if findings.broken:
        raise typer.Exit(1)


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="A task or a model; or `train`, for its settings.")],
) -> None:
    """Show what a task, a model or training is: settings, presets, recipes, source."""
    from seqbench.info import about

    for part in about(name):
        Console().print(part)


@app.command()
def run(  # noqa: PLR0913, PLR0917  (options)
    task: Annotated[str, typer.Argument(help="TASK or TASK:PRESET.")],
    model: ModelName = None,
    from_file: FromFile = None,
    set_: Settings = None,
    task_set: TaskSettings = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Decides initialisation, order and dropout; default: 0, the parent's."),
    ] = None,
    parent: ParentResult = None,
    epochs: Annotated[int | None, typer.Option(help="The same as --set train.epochs=N.")] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="The same as --set train.max_steps=N.")
    ] = None,
    device: Device = "cpu",
    threads: Threads = 1,
    output_dir: OutputDir = "runs",
    data_dir: DataDir = None,
    logger: Loggers = None,
    compare_with: Annotated[
        str | None,
        typer.Option(help="Show the result beside those of MODEL,MODEL:PRESET,... on the task."),
    ] = None,
    results: Annotated[
        list[Path] | None,
        typer.Option(help="Where --compare-with looks beside the output directory; repeatable."),
    ] = None,
) -> None:
    """Train and test one model on one task; the same command again continues it.

    With --parent the weights of that result's run are trained further, as they were trained but
    for what is set; it is run before if they are not in the output directory.
    """
    from seqbench import report
    from seqbench.from_file import model_named
    from seqbench.progress import shown
    from seqbench.resolve import resolve, resolve_from
    from seqbench.result import Status, read_result
    from seqbench.runner import Place, attempt, existing
    from seqbench.source import changed_since
    from seqbench.spec import Request

    pairs = list(set_ or [])
    pairs += [f"train.epochs={epochs}"] if epochs is not None else []
    pairs += [f"train.max_steps={max_steps}"] if max_steps is not None else []
    settings = _pairs("--set", pairs)
    name = model_named(model, from_file)
    request = Request(task, name, _pairs("--task", task_set), settings, seed or 0)
    plan = resolve_from(request, read_result(parent), seed) if parent else resolve(request)
    console = Console()
    with _results_go(output_dir) as (directory, _):
        others = _neighbours(compare_with, results, directory)
        place = Place(directory, data_dir, device, threads, tuple(logger or ()))
        console.print(report.plan_line(plan), highlight=False, soft_wrap=True)
        before = existing(plan.spec, directory)
        with _interruptible(), shown(console) as progress:
            result = attempt(plan, place, progress, refusals=(SeqbenchError,))
        if before and before.provenance == result.provenance:
            console.print(
                report.done_before(result, changed_since(result), directory),
                highlight=False,
                soft_wrap=True,
            )
        console.print(report.result_lines(result, directory), highlight=False, soft_wrap=True)
        if others and result.test:
            _compare(result, others, directory, console)
    if result.status is not Status.OK:
        typer.echo(f"hint: {_HINTS.get(result.status, _TRY_AGAIN)}", err=True)
        raise typer.Exit(2)


def _neighbours(
    compare_with: str | None, results: list[Path] | None, output_dir: Path
) -> Neighbours | None:
    from seqbench.compare_with import neighbours

    if compare_with is None:
        if results:
            raise ConfigError("--results says where --compare-with looks, which is not given")
        return None
    return neighbours(compare_with, [output_dir, *(results or [])])


def _compare(result: Result, others: Neighbours, output_dir: Path, console: Console) -> None:
    from seqbench.boards import terminal

    for part in terminal(others.beside(result)):
        console.print(part)
    for error in others.unreadable:
        _complain(error)
    for command in others.missing(result, output_dir):
        console.print(f"no result yet; make it by: {command}", highlight=False, soft_wrap=True)


@app.command()
def evaluate(  # noqa: PLR0913, PLR0917  (options)
    task: Annotated[str, typer.Argument(help="TASK or TASK:PRESET.")],
    model: ModelName = None,
    weights: Annotated[
        Path | None, typer.Option(help="A .safetensors file, or a .pt file of a state dict.")
    ] = None,
    parent: ParentResult = None,
    from_file: FromFile = None,
    set_: ModelSettings = None,
    task_set: TaskSettings = None,
    device: Device = "cpu",
    threads: Threads = 1,
    output_dir: OutputDir = "runs",
    data_dir: DataDir = None,
) -> None:
    """Test trained weights on a task, without training.

    Weights of a file are shown on leaderboards, never ranked. Those of a result's run (--parent)
    stand on boards of their own; it is run before if they are not in the output directory.
    """
    from seqbench import report
    from seqbench.from_file import model_named
    from seqbench.progress import shown
    from seqbench.resolve import resolve, resolve_from
    from seqbench.result import read_result
    from seqbench.runner import Place, run_evaluation
    from seqbench.runner import run as run_plan
    from seqbench.spec import Request
    from seqbench.weights import read_weights

    if (weights is None) == (parent is None):
        raise ConfigError("expected --weights FILE or --parent RESULT.json, one of them")
    file = read_weights(weights) if weights else None
    name = model_named(model, from_file)
    settings = _pairs("--task", task_set), _pairs("--set", set_)
    request = Request(task, name, *settings, trained=False)
    if parent:
        plan = resolve_from(request, read_result(parent))
    else:
        plan = resolve(request, file.sha256 if file else None)
    console = Console()
    console.print(report.plan_line(plan), highlight=False, soft_wrap=True)
    with _results_go(output_dir) as (directory, _):
        place = Place(directory, data_dir, device, threads)
        if file:
            with _interruptible("nothing was written"):
                result = run_evaluation(plan, place, file)
        else:
            with _interruptible(), shown(console) as progress:
                result = run_plan(plan, place, progress)
        console.print(report.result_lines(result, directory), highlight=False, soft_wrap=True)


@app.command()
def leaderboard(  # noqa: PLR0913, PLR0917  (options)
    suite: Annotated[str, typer.Argument(help="A suite's name, or a path to a .toml file.")],
    jobs: Annotated[
        int | None, typer.Option(help="Runs at once; default: as cores allow, one on each GPU.")
    ] = None,
    seed: Annotated[
        list[int] | None, typer.Option(help="These seeds instead of the suite's; repeatable.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Only the suite's runs of this task, with this model, or of tasks with this "
            "FIELD=VALUE; repeatable."
        ),
    ] = None,
    device: Device = "cpu",
    executor: Annotated[
        Literal["local", "ray"],
        typer.Option(help="Where runs are done: on this machine, or on a Ray cluster."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Of the Ray cluster; default: RAY_ADDRESS, or one started here."),
    ] = None,
    output_dir: Annotated[
        str | None,
        typer.Option(help="Where results and pages go, a directory or a URL; default: runs/SUITE."),
    ] = None,
    data_dir: DataDir = None,
    logger: Loggers = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            help="Seconds that a run may take, all its sittings together; what it then leaves "
            "has the status timeout. Default: the suite's, or none."
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Do failed runs again.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only list what would run, and estimate time and memory from a few training "
            "steps of each model on each task; no result is written.",
        ),
    ] = False,
) -> None:
    """Do all runs of a suite that have no result yet, then rank and render."""
    from seqbench.suite import load_suite

    what = load_suite(suite).only(only or ())  # before torch is imported, which takes seconds

    from seqbench import report
    from seqbench.estimate import estimate
    from seqbench.execute import Effort, jobs_at_once, on_ray, run_suite, works_of
    from seqbench.runner import Place
    from seqbench.source import changed_since

    console = Console()
    with _results_go(output_dir or f"runs/{what.name}") as (directory, home):
        place = Place(directory, data_dir, device, what.threads, tuple(logger or ()))
        counter = report.Counter(console)
        effort = Effort(
            place, jobs_at_once(jobs, place), counter, retry_failed, _limit(time_limit), home
        )
        if executor == "ray":
            effort = replace(effort, executor=on_ray(place, jobs, address))
        elif address is not None:
            raise ConfigError("--address is of a Ray cluster", "say --executor ray")
        if dry_run:
            with _interruptible("nothing was written"), console.status("measuring"):
                found, errors = estimate(what, effort, tuple(seed or ()))
            for part in report.estimate_parts(found):
                console.print(part, highlight=False, soft_wrap=True)
        else:
            with _interruptible(), report.watching(console) as watcher:
                effort = replace(effort, watcher=watcher)
                errors = run_suite(what, effort, tuple(seed or ()))
        for error in errors:
            _complain(error)
        if not dry_run:
            _render(directory, home.url if home else directory, console)
            works, _ = works_of(what, place, tuple(seed or ()))
            results = (result for work in works if (result := work.result(place)))
            changed = Counter(name for result in results for name in changed_since(result))
            for line in report.of_other_code(changed):
                console.print(line, highlight=False, soft_wrap=True)
    if errors:
        raise typer.Exit(2)


def _limit(seconds: float | None) -> float | None:
    if seconds is not None and not seconds > 0:
        raise ConfigError(f"--time-limit cannot be {seconds}: expected more than 0 seconds")
    return seconds


@app.command()
def status(
    directory: Annotated[str, typer.Argument(help="A directory of runs, or the URL of results.")],
    every: Annotated[bool, typer.Option("--all", help="List runs that ended well too.")] = False,
) -> None:
    """Show what every run of a directory is doing: running, interrupted, failed and why.

    A run is stale if its process has not been heard of for a minute; any runner may go on with it.
    """
    from seqbench import report
    from seqbench.files import location
    from seqbench.status import status_of

    found = status_of(location(directory))
    for part in report.status_parts(found, every=every):
        Console().print(part, highlight=False)
    for error in found.unreadable:
        _complain(error)
    if found.unreadable:
        raise typer.Exit(2)


@app.command()
def render(
    directory: Annotated[str, typer.Argument(help="A directory with results, or its URL.")],
    output_dir: Annotated[
        str | None, typer.Option(help="Where pages go; default: beside the results.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if the pages there are stale.")
    ] = False,
) -> None:
    """Rank the results of a directory and write index.html, leaderboard.json and other pages."""
    from seqbench.files import location

    results, pages = location(directory), location(output_dir or directory)
    if not check:
        _render(results, pages, Console())
    elif isinstance(pages, Path):
        _check_pages(results, pages)
    else:
        raise ConfigError(f"--check cannot be of pages at {pages}", "expected a directory")


def _check_pages(directory: Location, output_dir: Path) -> None:
    from seqbench.boards import stale_pages

    stale, unreadable = stale_pages(directory, output_dir)
    for error in unreadable:
        _complain(error)
    for path in stale:
        what = "is not what its results give" if path.exists() else "is missing"
        typer.echo(f"{path} {what}: render it again", err=True)
    if stale or unreadable:
        raise typer.Exit(1)


def _render(directory: Location, output_dir: Location, console: Console) -> None:
    from seqbench.boards import terminal, write_leaderboard

    board, unreadable = write_leaderboard(directory, output_dir)
    for part in terminal(board):
        console.print(part)
    for error in unreadable:
        _complain(error)
    wrote = f"wrote {output_dir}/index.html, and beside it the same as leaderboard.*"
    console.print(wrote, highlight=False, soft_wrap=True)
    if unreadable:
        raise typer.Exit(2)


@app.command()
def new(
    kind: Annotated[Literal["model", "task"], typer.Argument(help="What to make.")],
    name: Annotated[str, typer.Argument(help="What it is called: small letters, digits, dashes.")],
    output_dir: Annotated[Path, typer.Option(help="Where its folder goes.")] = Path(),
) -> None:
    """Write a complete plugin with a small working model or task, in a folder seqbench-NAME."""
    from seqbench.scaffold import new_plugin

    folder = new_plugin(kind, name, output_dir)
    typer.echo(f"wrote {folder}; next:")
    typer.echo(f"  pip install -e {shlex.quote(str(folder.resolve()))}")
    typer.echo(f"  seqbench check {name}")
    trial = f"sdigits {name} --epochs 20" if kind == "model" else f"{name} MODEL --epochs 5"
    typer.echo(f"  seqbench run {trial}")


@app.command()
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Tasks or models, NAME or NAME:PRESET; without any, all that are installed."
        ),
    ] = None,
    from_file: FromFile = None,
    data_dir: DataDir = None,
) -> None:
    """Hold tasks and models to the promises of their interface, one line a rule.

    Exits with 1 if one is broken, and says how to mend it. Nothing is downloaded: a task whose
    data are not there is skipped.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    from seqbench import registry, report
    from seqbench.conformance.rule import State
    from seqbench.conformance.suite import check as check_name
    from seqbench.from_file import add_model

    chosen = [*(names or []), *([add_model(from_file)] if from_file else [])]
    chosen = chosen or [*registry.entries(registry.TASKS), *registry.entries(registry.MODELS)]
    broken = 0
    for name in chosen:
        typer.echo(name)
        for outcome in check_name(name, data_dir):
            Console().print(report.rule_line(outcome), highlight=False, soft_wrap=True)
            broken += outcome.state is State.FAILED
    if broken:
        typer.echo(f"{broken} broken {'rule' if broken == 1 else 'rules'}", err=True)
        raise typer.Exit(1)


@app.command()
def compare(
    a: Annotated[
        str,
        typer.Argument(
            help="A result file, a directory, or MODEL[:PRESET]; without a preset all it has."
        ),
    ],
    b: Annotated[str, typer.Argument(help="What to compare it with, named likewise.")],
    in_: Annotated[Path, typer.Option("--in", help="Where a MODEL is looked up.")] = Path("runs"),
    full: Annotated[
        bool, typer.Option("--full", help="Costs and what differs of every pair, if it is not one.")
    ] = False,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Only on this task, or on tasks with this FIELD=VALUE; repeatable. p is adjusted "
            "over what is shown."
        ),
    ] = None,
) -> None:
    """Compare two sides on the test data they share: scores, paired tests, what differs.

    Two directories are compared model by model; otherwise each of A with each of B, task by task.
    Three models take a call for each two; a MODEL and a directory compare it with all in there.
    """
    from seqbench import report
    from seqbench.compare import compare as compare_sides
    from seqbench.compare import side

    found = compare_sides(side(a, in_), side(b, in_), task or ())
    for part in report.comparison_parts(found, full=full):
        Console().print(part, highlight=False)


@app.command()
def inspect(  # noqa: PLR0913, PLR0917  (options)
    result: Annotated[Path, typer.Argument(help="The file of a result.")],
    weights: Annotated[
        Path | None,
        typer.Option(help="The run's weights; default: where the run left them, beside results/."),
    ] = None,
    from_file: FromFile = None,
    examples: Annotated[
        int, typer.Option(min=1, help="Of the validation split, for the receptive field.")
    ] = 256,
    threads: Threads = 1,
    output_dir: Annotated[
        Path | None, typer.Option(help="Where the page goes; default: inspected/RUN.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Draw what a run's network learned: kernels, masks, spectra, its effective receptive field.

    Writes one HTML page, and every figure as SVG and PNG.
    """
    from seqbench.from_file import add_model
    from seqbench.inspection import inspect as inspect_result
    from seqbench.inspection import write_inspection
    from seqbench.result import read_result
    from seqbench.runner import Place

    run = read_result(result)
    if from_file is not None:
        add_model(from_file)
    place = Place(result.resolve().parent.parent.parent, data_dir, "cpu", threads)
    with _interruptible("nothing was written"):
        inspection = inspect_result(run, place, weights, examples)
        page = write_inspection(inspection, output_dir or Path("inspected") / run.id)
    Console().print(f"{page}", highlight=False, soft_wrap=True)


@app.command()
def reproduce(  # noqa: PLR0913, PLR0917  (options)
    result: Annotated[Path, typer.Argument(help="The file of a result.")],
    weights: Annotated[
        Path | None, typer.Option(help="The weights, for a result that only evaluated some.")
    ] = None,
    from_file: FromFile = None,
    device: Annotated[str | None, typer.Option(help="Default: as the result says.")] = None,
    threads: Annotated[int | None, typer.Option(help="Default: as the result says.")] = None,
    output_dir: Annotated[
        Path, typer.Option(help="Where the new result goes; never over the original.")
    ] = Path("reproduced"),
    data_dir: DataDir = None,
) -> None:
    """Run a result again from its file alone and say whether the outcome is the same.

    The same means bit for bit, or else that a two-sided paired test over the same test examples
    does not tell the scores apart at level 0.05. Exits with 1 if they do differ. The same command
    again continues it.
    """
    from seqbench import report
    from seqbench.from_file import add_model
    from seqbench.progress import shown
    from seqbench.reproduce import reproduce as reproduce_result
    from seqbench.resolve import Plan
    from seqbench.result import read_result
    from seqbench.runner import Place
    from seqbench.weights import read_weights

    original = read_result(result)
    ran = original.provenance
    place = Place(
        output_dir,
        data_dir,
        ran.device if device is None else device,
        ran.threads if threads is None else threads,
    )
    file = read_weights(weights) if weights else None
    if from_file is not None:
        add_model(from_file)
    console = Console()
    line = report.plan_line(Plan(original.spec, original.origin))
    console.print(line, highlight=False, soft_wrap=True)
    with _interruptible(), shown(console) as progress:
        found = reproduce_result(original, place, file, progress)
    for part in report.reproduction_parts(found):
        console.print(part, highlight=False, soft_wrap=True)
    if not found.agrees:
        raise typer.Exit(1)


@app.command()
def verify(
    directory: Annotated[str, typer.Argument(help="A directory with results, or its URL.")],
    plugins: Annotated[
        bool,
        typer.Option("--plugins", help="Hold published settings against the installed recipes."),
    ] = False,
) -> None:
    """Check results that were contributed: whole, possible, consistent, no duplicates.

    Exits with 1 if there is an error. A forgery that is consistent passes: only `reproduce` can
    tell (docs/submitting.md).
    """
    from seqbench.files import location
    from seqbench.verify import Severity
    from seqbench.verify import verify as verify_results

    more = []
    if plugins:
        from seqbench.recipes import check_recipe

        more = [check_recipe]
    verification = verify_results(location(directory), more)
    for finding in verification.findings:
        typer.echo(str(finding))
    errors, warnings = (verification.count(each) for each in Severity)
    typer.echo(f"results: {verification.files}, errors: {errors}, warnings: {warnings}")
    if errors:
        raise typer.Exit(1)


@app.command()
def schema(
    of: Annotated[
        Literal["result", "leaderboard"], typer.Argument(help="Of which file.")
    ] = "result",
) -> None:
    """Print the JSON Schema of a Result, or of leaderboard.json."""
    import json

    if of == "result":
        from seqbench.result import Result

        described = Result.model_json_schema()
    else:
        from seqbench.boards import Leaderboard

        described = Leaderboard.model_json_schema(mode="serialization")
    typer.echo(json.dumps(described, indent=2, sort_keys=True))


@app.command()
def fetch(
    names: Annotated[
        list[str], typer.Argument(help="Tasks whose data to download, or suites, for all theirs.")
    ],
    data_dir: DataDir = None,
) -> None:
    """Download what tasks need and check it; then runs need no network."""
    from seqbench.suite import load_suite, suite_names
    from seqbench.task import load_task

    tasks: list[str] = []
    for name in names:
        is_suite = name in suite_names() or name.endswith(".toml")
        of_suite = [t for block in load_suite(name).runs for t in block.tasks] if is_suite else []
        tasks += [task.partition(":")[0] for task in of_suite or [name]]
    errors: list[SeqbenchError] = []
    for task in dict.fromkeys(tasks):
        try:
            typer.echo(load_task(task)(data_dir=data_dir).fetch())
        except SeqbenchError as error:
            errors.append(error)
    for each in errors:
        _complain(each)
    if errors:
        raise typer.Exit(2)


def _pairs(option: str, texts: list[str] | None) -> dict[str, object]:
    pairs: dict[str, object] = {}
    for text in texts or []:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise ConfigError(f"{option} {text!r} is not of the form NAME=VALUE")
        if name in pairs:
            raise ConfigError(f"{name} is set twice: to {pairs[name]!r} and to {value!r}")
        pairs[name] = value
    return pairs


if __name__ == "__main__":
    main()
