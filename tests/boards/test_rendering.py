"""The pages, against golden files; ``python tests/boards/test_rendering.py`` writes them."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from rich.console import Console
from synthetic_results import (
    COST,
    LOSSY,
    PUBLISHED,
    everything,
    failed,
    result_of,
    seeds,
    spec_of,
)

from seqbench.boards import (
    Leaderboard,
    counted,
    load_published,
    rank,
    render_csv,
    render_html,
    render_json,
    render_latex,
    render_markdown,
    stale_pages,
    terminal,
    write_leaderboard,
)
from seqbench.boards.text import amount, duration
from seqbench.errors import OutputError, ResultError
from seqbench.result import Status, read_result, write_result

GOLDEN = Path(__file__).parent / "golden"
SCHEMA = json.loads(
    (Path(__file__).parents[2] / "docs" / "leaderboard.schema.json").read_text(encoding="utf-8")
)
RENDERERS = {"json": render_json, "md": render_markdown, "csv": render_csv, "tex": render_latex}


@pytest.mark.parametrize("kind", RENDERERS)
def test_pages_are_as_they_were(kind):
    """A change of a page is seen in review, as a change of its golden file."""
    expected = (GOLDEN / f"leaderboard.{kind}").read_text(encoding="utf-8")
    assert RENDERERS[kind](rank(everything(), PUBLISHED)) == expected


@pytest.mark.parametrize("kind", RENDERERS)
def test_an_empty_leaderboard_renders(kind):
    """As a page that says nothing."""
    assert RENDERERS[kind](rank([])).endswith("\n")


def test_json_reads_back_as_the_same_leaderboard():
    """Everything is in it, at full precision."""
    leaderboard = rank(everything(), PUBLISHED)
    assert Leaderboard.model_validate_json(render_json(leaderboard)) == leaderboard


def test_csv_has_one_line_a_row_at_full_precision():
    """Over all boards, superseded ones included."""
    leaderboard = rank(everything())
    boards = [*leaderboard.boards, *leaderboard.superseded]
    rows = [row for board in boards for row in board.rows]
    lines = list(csv.DictReader(io.StringIO(render_csv(leaderboard))))
    assert [line["label"] for line in lines] == [row.label for row in rows]
    assert [line["mean"] for line in lines] == ["" if r.mean is None else str(r.mean) for r in rows]


def test_unknown_flops_are_not_missing_ones():
    """A cost that was not measured is empty; FLOPs that cannot be counted are n/a."""
    unknown = COST.model_copy(update={"flops": None, "train_seconds": None})
    leaderboard = rank(seeds([0.5], cost=unknown))
    (line,) = csv.DictReader(io.StringIO(render_csv(leaderboard)))
    assert (line["flops"], line["train_seconds"]) == ("n/a", "")
    cells = [cell.strip() for cell in row_of(render_markdown(leaderboard)).split("|")]
    assert "n/a" in cells
    assert "\N{EN DASH}" in cells


@pytest.mark.parametrize(
    ("seconds", "marked"), [(None, False), (20.0, True), (80.0, False), (160.0, False)]
)
def test_a_time_on_a_busy_machine_is_marked(seconds, marked):
    """Of 83.5 seconds; several threads have more processor time than that."""
    cost = COST.model_copy(update={"train_cpu_seconds": seconds})
    markdown = render_markdown(rank(seeds([0.5], cost=cost)))
    assert ("\N{PILCROW SIGN}" in row_of(markdown)) is marked
    assert ("\N{PILCROW SIGN} training had a core" in markdown) is marked


def row_of(markdown, name="tcn"):
    """The table row of a model."""
    return next(line for line in markdown.splitlines() if line.startswith("|") and name in line)


def test_markdown_keeps_what_is_not_markup_in_its_cell():
    """Names and causes come from plugins and users."""
    overrides = {"model.a_b": "x|y*<z>\n# no heading"}
    lost = failed(spec_of(seed=1), error="bad | <b>")
    page = render_markdown(rank([*seeds([0.5], origin={"overrides": overrides}), lost]))
    cells = len(row_of(page).replace(r"\|", "").split("|"))
    assert cells == len(row_of(page, "rank").split("|"))
    assert r"a\_b=x\|y\*\<z> # no heading" in row_of(page)
    assert r"bad \| \<b>" in page


def test_markdown_says_how_sure_a_score_is():
    """Its interval stands behind it; then the letters of its groups and p, with notes."""
    page = render_markdown(rank(everything(), PUBLISHED))
    assert "99.10 \N{PLUS-MINUS SIGN} 0.10 [98.86, 99.34] | ab | 0.04 | +0.10 |" in page
    for note in ("95% interval", "exact sign-flip test or sign-flip test with 9,999", "share a l"):
        assert note in page


def test_columns_that_say_nothing_are_left_out():
    """A single row has no p, no group, and here no published number."""
    head = row_of(render_markdown(rank(seeds([0.5]))), "rank")
    assert "accuracy" in head
    for column in ("| p |", "group", "published"):
        assert column not in head


def test_published_numbers_stand_apart():
    """In a table of their own, with what they were selected on, and unverified ones marked."""
    page = render_markdown(rank(everything(), PUBLISHED))
    board, apart = page.split("## smnist\n")[1].split("<details>")[:2]
    assert "S4" not in board
    assert "99.60\N{SECTION SIGN}" in apart
    assert "never ranked" in apart
    assert "\N{MINUS SIGN}0.50\N{SECTION SIGN}" in board


def test_csv_has_intervals_tests_groups_and_differences():
    """At full precision, and empty where there are none."""
    leaderboard = rank(everything(), PUBLISHED)
    rows = [row for board in leaderboard.boards for row in board.rows]
    lines = list(csv.DictReader(io.StringIO(render_csv(leaderboard))))
    tested = [(row, line) for row, line in zip(rows, lines, strict=False) if row.below]
    assert len(tested) == 6
    for row, line in tested:
        assert line["row_id"] == row.id
        assert float(line["interval_low"]) == row.interval.low
        assert float(line["p_adjusted"]) == row.below.p_adjusted
        assert (line["below_row_id"], line["test"]) == (row.below.other, row.below.test)
    tcn = next(line for line in lines if line["label"] == "tcn:default" and line["group"])
    assert tcn["group"] == "ab"
    assert float(tcn["published"]) == 0.99
    assert float(tcn["minus_published"]) == pytest.approx(0.001)
    assert lines[-1]["p"] == ""


NASTY = (
    '\\input{x} $a_b^c$ 100% #1 & ~"|<>[t] '
    "\N{GREEK SMALL LETTER OMEGA} \N{LATIN SMALL LETTER E WITH ACUTE}"
)


def nasty():
    """A leaderboard whose names are full of markup."""
    overrides = {"model.a_b": NASTY}
    published = [PUBLISHED[0].model_copy(update={"model": NASTY})]
    return rank([*seeds([0.5], origin={"overrides": overrides}), *everything()], published)


def many():
    """As many models as float, on as many boards as stand side by side."""
    return rank(
        result
        for task in range(6)
        for model in range(35)
        for result in seeds([model / 40] * 3, task=f"t{task}", model=f"m{model}")
    )


def test_latex_escapes_what_is_markup():
    """And names characters that its font may lack by their code."""
    page = render_latex(nasty())
    assert r"\textbackslash{}input\{x\} \$a\_b\textasciicircum{}c\$ 100\% \#1 \&" in page
    assert "(U+03C9)" in page
    assert {mark for mark in page if not mark.isascii()} == {NASTY[-1]}


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no pdflatex")
@pytest.mark.parametrize("make", [nasty, many, lambda: rank([])])
def test_latex_compiles(tmp_path, make):
    """With the packages that it names alone."""
    (tmp_path / "leaderboard.tex").write_text(render_latex(make()), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "leaderboard.tex"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True)
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-2000:]
    assert "Float too large" not in said


def test_data_that_are_not_official_are_named():
    """By the first 8 digits of their fingerprint and by their card."""
    page = render_markdown(rank(seeds([0.5], data=LOSSY)))
    assert "## smnist@1f1f1f1f" in page
    assert "JPEG quality 75" in page


@pytest.mark.parametrize(
    ("selection", "mark"),
    [("test", "selected on test"), ("unknown", "selection unknown"), ("validation", "evaluated")],
)
def test_what_weights_were_selected_on_is_on_every_page(selection, mark):
    """In the tables in words, with a note; in JSON and CSV as a field."""
    spec = spec_of(model="ckconv", weights_sha256="ab" * 32)
    origin = {"weights": {"source": "someone", "selection": selection}}
    leaderboard = rank([result_of(spec, status=Status.EVALUATED, origin=origin)])
    page = render_markdown(leaderboard)
    assert mark in row_of(page, "ckconv")
    assert "never ranked" in page
    console = Console(width=120, record=True, file=io.StringIO())
    for part in terminal(leaderboard):
        console.print(part)
    words = console.export_text().split()
    assert all(word in words for word in mark.split())
    (line,) = csv.DictReader(io.StringIO(render_csv(leaderboard)))
    assert (line["weights_selection"], line["weights_source"]) == (selection, "someone")
    assert f'"selection": "{selection}"' in render_json(leaderboard)


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_every_row_within_its_width(width):
    """Names fold; no score is cut."""
    console = Console(width=width, record=True, file=io.StringIO())
    leaderboard = rank(everything())
    for part in terminal(leaderboard):
        console.print(part)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= width
    assert "99.10 \N{PLUS-MINUS SIGN} 0.10" in text
    assert "0.01112 \N{PLUS-MINUS SIGN} 0.0012" in text
    assert "\N{HORIZONTAL ELLIPSIS}" not in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (999.7, "1 k"), (104857600, "105 M"), (1.5e12, "1.5 T")],
)
def test_amounts_have_three_digits_and_a_prefix(value, text):
    """Also just below a prefix."""
    assert amount(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (5e-5, "50 \N{MICRO SIGN}s"),
        (0.0032, "3.2 ms"),
        (83.5, "83.5 s"),
        (300, "5.0 min"),
        (9000, "2.5 h"),
    ],
)
def test_durations_have_a_fitting_unit(seconds, text):
    """From microseconds to hours."""
    assert duration(seconds) == text


# Files


def test_pages_are_written_from_a_directory_of_results(tmp_path):
    """The same as rendered from the results themselves; none is stale then."""
    for result in seeds([0.5, 0.6]):
        write_result(result, tmp_path)
    leaderboard, unreadable = write_leaderboard(tmp_path, tmp_path / "pages")
    assert not unreadable
    assert leaderboard == rank(seeds([0.5, 0.6]), load_published())
    written = {
        page.name: page.read_text(encoding="utf-8") for page in (tmp_path / "pages").iterdir()
    }
    assert written.pop("index.html") == render_html(leaderboard, counted(seeds([0.5, 0.6])))
    assert written == {
        f"leaderboard.{kind}": render(leaderboard) for kind, render in RENDERERS.items()
    }
    assert stale_pages(tmp_path, tmp_path / "pages") == ([], [])


def test_a_truncated_result_does_not_stop_the_others(tmp_path):
    """It is given back as an error that names the file."""
    write_result(result_of(), tmp_path)
    path = write_result(result_of(spec_of(seed=1)), tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    leaderboard, (error,) = write_leaderboard(tmp_path, tmp_path)
    assert len(leaderboard.boards[0].rows[0].scores) == 1
    assert str(path) in error.message


@pytest.mark.parametrize("damaged", [False, True])
def test_a_directory_without_a_readable_result_is_an_error(tmp_path, damaged):
    """And nothing is written."""
    if damaged:
        write_result(result_of(), tmp_path).write_text("{")
    with pytest.raises(ResultError, match="there are no results below"):
        write_leaderboard(tmp_path, tmp_path / "pages")
    assert not (tmp_path / "pages").exists()


def test_a_place_that_cannot_be_written_is_an_error(tmp_path):
    """Here because a file is in the way."""
    write_result(result_of(), tmp_path)
    (tmp_path / "pages").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write"):
        write_leaderboard(tmp_path, tmp_path / "pages")


def test_torch_is_not_imported():
    """A leaderboard renders where no run could be done."""
    code = (
        "import sys, seqbench.boards; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'lightning')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ))


def test_the_schema_is_current():
    """docs/leaderboard.schema.json is what `seqbench schema leaderboard` prints."""
    assert Leaderboard.model_json_schema(mode="serialization") == SCHEMA


def test_the_schema_describes_the_page():
    """By the rules of JSON Schema, checked by another library; it names every field."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    page = json.loads((GOLDEN / "leaderboard.json").read_text(encoding="utf-8"))
    jsonschema.validate(page, SCHEMA)
    page["boards"][0]["rows"][0]["unknown"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(page, SCHEMA)


@pytest.mark.parametrize("kind", RENDERERS)
def test_results_of_every_schema_version_render(kind):
    """Those in tests/results, with their scores."""
    old = sorted((Path(__file__).parents[1] / "results").glob("*/*.json"))
    leaderboard = rank([read_result(path) for path in old])
    page = RENDERERS[kind](leaderboard)
    boards = [*leaderboard.boards, *leaderboard.superseded]
    assert all(row.model.name in page for board in boards for row in board.rows)
    assert any(row.interval for board in boards for row in board.rows)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for kind, render in RENDERERS.items():
        page = render(rank(everything(), PUBLISHED))
        (GOLDEN / f"leaderboard.{kind}").write_text(page, encoding="utf-8")
