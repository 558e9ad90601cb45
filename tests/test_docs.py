"""The site's references name everything there is, without anybody writing it down."""

from __future__ import annotations

import html
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from typer.main import get_command

from seqbench import registry
from seqbench.boards import Leaderboard
from seqbench.cli import app
from seqbench.result import Result
from seqbench.suite import suite_names

pytest.importorskip("mkdocs", reason="the site's tools are not installed: pip install .[docs]")
DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """What MkDocs is given, docs/hooks.py."""
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_and_option_is_named(hooks: ModuleType) -> None:
    """The command line's page has a section for each command, with all its options."""
    page = hooks.command_line()
    for name, command in get_command(app).commands.items():
        _, found, section = page.partition(f"## `seqbench {name}`\n")
        assert found, name
        section = section.partition("\n## ")[0]
        for parameter in command.params:
            assert parameter.opts[-1] in section or parameter.name.upper() in section


@pytest.mark.parametrize("kind", [Result, Leaderboard])
def test_every_field_is_named(hooks: ModuleType, kind: type) -> None:
    """The page of a file has a section for each kind of object in it, with all its fields."""
    page = hooks.result_schema() if kind is Result else hooks.leaderboard_schema()
    schema = kind.model_json_schema(mode="serialization")
    for name, section in _objects(schema):
        text = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        assert text, name
        for field in section.get("properties", ()):
            assert f"| `{field}` |" in text, (name, field)


def _objects(schema: dict) -> Iterator[tuple[str, dict]]:
    yield schema["title"], schema
    yield from schema["$defs"].items()


def test_every_task_model_suite_and_decision_is_named(hooks: ModuleType) -> None:
    """Each registered task and model has a section, each suite a row, each decision a link."""
    for group, page in ((registry.TASKS, hooks.tasks()), (registry.MODELS, hooks.models())):
        for name in registry.entries(group):
            assert f"\n## {name}\n" in page
    assert all(f"| `{name}` |" in hooks.suites() for name in suite_names())
    index = hooks.decisions()
    assert all(f"({path.name})" in index for path in DOCS.glob("decisions/0*.md"))


def test_formulas_need_no_script(hooks: ModuleType) -> None:
    """A formula becomes MathML; text that is none stays."""
    page = hooks.on_page_content(r'a <span class="arithmatex">\(x &lt; y^2\)</span> b')
    before, formula, after = re.fullmatch("(.*)(<math.*</math>)(.*)", page).groups()
    assert (before, after) == ("a ", " b")
    assert html.unescape(re.sub("<.*?>", "", formula)) == "x<y2"
