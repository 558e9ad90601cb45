"""What of the site is made as it is built: references, lists, formulas. No copy can go stale."""

from __future__ import annotations

import dataclasses
import html
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from seqbench import registry
from seqbench.boards import Leaderboard
from seqbench.conformance.models import MODEL_RULES
from seqbench.conformance.rule import Rule
from seqbench.conformance.tasks import TASK_RULES
from seqbench.model import Model, Recipe, load_model
from seqbench.resolve import presets_of
from seqbench.result import Result
from seqbench.suite import load_suite, requests_of, suite_names
from seqbench.task import NoConfig, Task, load_task

DOCS = Path(__file__).parent


# What MkDocs calls


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    for path, make in PAGES.items():
        files.append(File.generated(config, path, content=make()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put what is made here in place of ``{{ NAME }}``."""
    return re.sub(r"\{\{ (.+?) \}\}", lambda match: PARTS[match[1]](), markdown)


def on_page_content(content: str, **_: object) -> str:
    """Write formulas as MathML, which browsers draw by themselves."""
    pattern = r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>'
    return re.sub(pattern, _formula, content, flags=re.DOTALL)


def _formula(match: re.Match[str]) -> str:
    tag, latex = match[1], html.unescape(match[2])
    if tag == "span":
        return convert(latex)
    return f'<div class="formula">{convert(latex, display="block")}</div>'


# Pages


def command_line() -> str:
    """Every command with its arguments and options, as Typer tells them."""
    words = ("-m", "typer", "seqbench.cli", "utils", "docs", "--name", "seqbench")
    told = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True)
    page = told.stdout.replace("# `seqbench`", "# Command line", 1)
    # The list of commands cuts what they do; their sections do not.
    return re.sub(r"^\* `(\w+)`: .*\.\.\.$", r"* [`\1`](#seqbench-\1)", page, flags=re.MULTILINE)


def result_schema() -> str:
    """The fields of a result file."""
    return f"# Result\n\n{RESULT}\n\n{_objects(Result.model_json_schema())}"


def leaderboard_schema() -> str:
    """The fields of ``leaderboard.json``."""
    schema = Leaderboard.model_json_schema(mode="serialization")
    return f"# Leaderboard\n\n{LEADERBOARD}\n\n{_objects(schema)}"


def tasks() -> str:
    """Every registered task: in one table, then by itself."""
    names = registry.entries(registry.TASKS)
    rows = [_task_row(name, load_task(name)) for name in names]
    columns = ("task", "version", "input", "answer", "metric", "train / validation / test")
    sections = [_section(name, load_task(name)) for name in names]
    return "\n\n".join([f"# Tasks\n\n{TASKS}", _table(columns, rows), *sections])


def models() -> str:
    """Every registered model: in one table, then by itself."""
    names = registry.entries(registry.MODELS)
    rows = [_model_row(name, load_model(name)) for name in names]
    columns = ("model", "version", "what it is", "other sampling rates")
    sections = [_section(name, load_model(name)) for name in names]
    return "\n\n".join([f"# Models\n\n{MODELS}", _table(columns, rows), *sections])


def decisions() -> str:
    """One line a decision."""
    lines = []
    for path in sorted(DOCS.glob("decisions/[0-9]*.md")):
        title = path.read_text(encoding="utf-8").partition("\n")[0]
        number, _, rest = title.removeprefix("# ").partition(" ")
        lines.append(f"- {number}: [{rest}]({path.name})")
    return f"# Decisions\n\n{DECISIONS}\n\n" + "\n".join(lines)


def notebook() -> str:
    """The notebook's cells, one after the other."""
    cells = json.loads((DOCS / "add-a-model.ipynb").read_text(encoding="utf-8"))["cells"]
    parts = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    return "\n\n".join(
        [text if kind == "markdown" else _code(text) for kind, text in parts] + [NOTEBOOK]
    )


RESULT = """\
A run leaves one file, `results/TASK/MODEL-seedN-ID.json`. This page and
[result.schema.json](../result.schema.json), which is what `seqbench schema` prints, are made from
the code that writes and reads it. A field without a default is always there. Fields that are
`null` by default and were added later mean *as before* in older files, so results of every
version can be read."""

LEADERBOARD = """\
`seqbench render` writes what it ranked as `leaderboard.json`, beside the pages for people. This
page and [leaderboard.schema.json](../leaderboard.schema.json), which is what
`seqbench schema leaderboard` prints, are made from the code that writes it."""

TASKS = """\
What is registered by seqbench and the plugins of its repository, in the words of the code.
`seqbench info TASK` prints the same for what is installed. A setting is chosen by
`--task FIELD=VALUE`, a preset by `TASK:PRESET`."""

MODELS = """\
What is registered by the plugins of seqbench's repository, in the words of the code.
`seqbench info MODEL` prints the same for what is installed, with the settings of each recipe. A
setting is chosen by `--set model.FIELD=VALUE`, a preset by `MODEL:PRESET`; the first preset is
meant by the bare name. Where a model has a published recipe for a task and preset, a run takes
it."""

DECISIONS = """\
Why things are as they are, and what was tried and dropped: dated notes of about ten lines."""

NOTEBOOK = """\
This page is the notebook [add-a-model.ipynb](add-a-model.ipynb), which the tests run."""

PAGES: Mapping[str, Callable[[], str]] = {
    "notebook.md": notebook,
    "reference/tasks.md": tasks,
    "reference/models.md": models,
    "reference/cli.md": command_line,
    "reference/result.md": result_schema,
    "reference/leaderboard.md": leaderboard_schema,
    "decisions/index.md": decisions,
}


# Parts of pages


def suites() -> str:
    """The suites that come with seqbench."""
    rows = []
    for name in suite_names():
        suite = load_suite(name)
        seeds = ", ".join(map(str, suite.seeds))
        rows.append((f"`{name}`", suite.description, seeds, str(len(requests_of(suite)))))
    return _table(("suite", "what it is", "seeds", "runs"), rows)


def rules(of: Sequence[Rule[Any]]) -> str:
    """The promises of an interface."""
    promises = (_first_line(rule.check.__doc__) for rule in of)
    return _table(("rule", "what must hold"), zip((r.name for r in of), promises, strict=True))


PARTS: Mapping[str, Callable[[], str]] = {
    "suites": suites,
    "rules of models": lambda: rules(MODEL_RULES),
    "rules of tasks": lambda: rules(TASK_RULES),
}


# Tasks and models


def _task_row(name: str, cls: type[Task]) -> Sequence[str]:
    signature = cls().signature
    shape = " x ".join(f"{size:,}" for size in (signature.in_channels, *signature.shape))
    each = "a sequence" if signature.target == "sequence" else "a step"
    classes = "a number" if signature.out_features == 1 else f"1 of {signature.out_features}"
    metric = cls.metric if cls.higher_is_better else f"{cls.metric}, less is better"
    return (
        f"[`{name}`](#{name})",
        str(cls.version),
        shape,
        f"{classes} {each}",
        metric,
        _sizes(name),
    )


def _sizes(task: str) -> str:
    """Examples of each split, where seqbench has a record of them."""
    file = resources.files("seqbench.tasks") / "definitions.json"
    definitions = json.loads(file.read_text(encoding="utf-8")).get(task)
    if not definitions:
        return "see below"
    return " / ".join(f"{definitions[-1][split]:,}" for split in ("train", "val", "test"))


def _model_row(name: str, cls: type[Model]) -> Sequence[str]:
    adapts = "adapts" if hasattr(cls, "at_rate") else "unchanged"
    return f"[`{name}`](#{name})", str(cls.version), cls.description, adapts


def _section(name: str, cls: type[Task | Model]) -> str:
    """What a class says of itself, what can be set, where it is from."""
    parts = [f"## {name}", _prose(inspect.getdoc(cls))]
    if cls.Config is not NoConfig:
        default = next(iter(presets_of(cls).values()))
        names = [field.name for field in dataclasses.fields(cls.Config)]
        fields = [(f"`{name}`", f"`{getattr(default, name)!r}`") for name in names]
        about = f"**Settings.** {_prose(inspect.getdoc(cls.Config))}"
        parts += [about, _table(("setting", "default"), fields)]
    if cls.presets:
        parts.append(f"Presets, the first of which is the default: {_presets(cls)}.")
    if recipes := getattr(cls, "recipes", None):
        parts.append(f"Published recipes:\n\n{_recipes(recipes)}")
    known = {"Source": cls.citation, "Licence of the data": getattr(cls, "licence", "")}
    parts.append("  \n".join(f"{what}: {_prose(text)}." for what, text in known.items() if text))
    return "\n\n".join(parts)


def _presets(cls: type[Task | Model]) -> str:
    counts = getattr(cls, "parameter_counts", {})
    return ", ".join(
        f"`{preset}`" + (f" ({counts[preset]:,} parameters on smnist)" if preset in counts else "")
        for preset in presets_of(cls)
    )


def _recipes(recipes: Mapping[tuple[str, str], Recipe]) -> str:
    """A line a source, with all that it has settings for."""
    by_source: dict[str, list[str]] = {}
    for (task, preset), recipe in recipes.items():
        by_source.setdefault(recipe.source, []).append(f"`{task}` with `{preset}`")
    return "\n".join(f"- {', '.join(what)}: {source}" for source, what in by_source.items())


# Schemas


def _objects(schema: Mapping[str, Any]) -> str:
    """A section for each kind of object in a schema, the whole file's first."""
    kinds = {schema["title"]: schema} | schema["$defs"]
    parts = []
    for name, kind in kinds.items():
        parts += [f"## {name}", _prose(kind.get("description", ""))]
        if "enum" in kind:
            parts.append(f"One of {_type(kind)}.")
        elif "properties" in kind:
            parts.append(_fields(kind))
        else:
            parts.append("Any JSON value.")
    return "\n\n".join(parts)


def _fields(kind: Mapping[str, Any]) -> str:
    required = kind.get("required", ())
    rows = [
        (f"`{name}`", _type(field), "" if name in required else f"`{_json(field.get('default'))}`")
        for name, field in kind["properties"].items()
    ]
    return _table(("field", "type", "default"), rows)


def _type(schema: Mapping[str, Any]) -> str:
    """The type of a field, with a link to what is described on the page."""
    match schema:
        case {"$ref": reference}:
            name = reference.rpartition("/")[2]
            return f"[{name}](#{name.lower()})"
        case {"anyOf": options} | {"oneOf": options}:
            return " or ".join(map(_type, options))
        case {"const": value}:
            return f"`{_json(value)}`"
        case {"enum": values}:
            return ", ".join(f"`{_json(value)}`" for value in values)
        case {"prefixItems": items}:
            return f"({', '.join(map(_type, items))})"
        case {"type": "array"}:
            return f"list of {_type(schema['items'])}"
        case {"type": "object", "additionalProperties": values}:
            return f"object of {_type(values)}"
    bounds = {"exclusiveMinimum": "above", "exclusiveMaximum": "below", "minimum": "from"}
    limits = [f"{word} {schema[key]}" for key, word in bounds.items() if key in schema]
    return " ".join([schema["type"], " and ".join(limits)]).strip()


# Text


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _prose(text: str | None) -> str:
    """A docstring as Markdown, with links to arXiv."""
    plain = (text or "").replace("``", "`")
    return re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", plain)


def _first_line(text: str | None) -> str:
    return _prose((text or "").partition("\n")[0])


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _json(value: object) -> str:
    return json.dumps(value)
