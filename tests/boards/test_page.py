"""The HTML page: what is in it, and in a browser what a reader does with it.

Every page is opened from its file, offline; a console error, an uncaught exception or a request to
anywhere else fails the test that caused it.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright
from synthetic_results import at_rates, everything, failed, result_of, seeds, spec_of

from seqbench.boards import (
    Published,
    counted,
    rank,
    render_html,
    write_leaderboard,
)
from seqbench.boards.html import LIBRARY
from seqbench.result import Epoch, Status, Weights
from seqbench.spec import TrainSpec

COMMITTED = Path(__file__).parents[2] / "leaderboards"
QUICK = Path(__file__).parents[1] / "results" / "quick"
"""What `seqbench leaderboard quick` wrote, once."""
PHONE = {"width": 360, "height": 740}


def curve(score, learned=None):
    """A learning curve of four epochs that ends at the score."""
    return tuple(
        Epoch(
            epoch=epoch,
            steps=10 * epoch,
            learning_rate=1e-3,
            train_loss=1 / epoch,
            val_loss=1.2 / epoch,
            val_score=score * epoch / 4,
            train_seconds=2.0,
            learned={"kernel_size": tuple(epoch * size for size in learned)} if learned else None,
        )
        for epoch in range(1, 5)
    )


def suite():
    """Results as of a small suite: a task at three lengths, one at two rates, curves, failures."""
    results = [*everything(), *at_rates("gru"), *at_rates("tcn", adapted=False)]
    for length in (30, 100, 300):
        for number, model in enumerate(["gru", "tcn", "flexconv"]):
            learned = (9.0, 17.0) if model == "flexconv" else None
            cost = result_of().cost.model_copy(update={"parameters": 900 * 11**number})
            score = 0.9 - 0.05 * number - length / 1000
            results += seeds(
                [score, score + 0.01, score + 0.02],
                task="copy-memory",
                model=model,
                task_config={"length": length},
                curve=curve(score, learned),
                chosen_epoch=4,
                learned={"kernel_size": tuple(4 * size for size in learned)} if learned else None,
                cost=cost,
            )
    return results


def published(model="S4", **fields):
    """A published number for smnist."""
    return Published(
        **{
            "model": model,
            "task": "smnist",
            "score": 0.9963,
            "source": "S4 paper, Table 6, arXiv:2111.00396",
            "source_kind": "paper",
            "selection": "test",
            **fields,
        }
    )


def html_of(results, numbers=()):
    """The page of results."""
    return render_html(rank(results, numbers), counted(results))


def data_of(html):
    """What the page embeds."""
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html)
    return json.loads(text)


# What is in it


def test_the_page_does_not_depend_on_the_order_of_results():
    """Nor on anything else than them: the committed pages can be compared byte by byte."""
    results = suite()
    expected = html_of(results)
    random.Random(1).shuffle(results)
    assert html_of(results) == expected


def test_the_page_does_not_depend_on_the_process():
    """Here on the seed of hashes."""
    code = (
        "from test_page import *; import hashlib; "
        "print(hashlib.sha256(html_of(suite(), [published()]).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_every_run_of_every_row_is_in_it():
    """With the command that does it again."""
    results = suite()
    leaderboard = rank(results)
    boards = [*leaderboard.boards, *leaderboard.superseded]
    embedded = data_of(html_of(results))["boards"]
    assert [board["title"] for board in embedded] == [board.title for board in boards]
    for board, shown in zip(boards, embedded, strict=True):
        assert shown["runs"]["id"] == [run for row in board.rows for run in row.runs]
        assert shown["rows"]["label"] == [row.label for row in board.rows]
        assert all(command.startswith("seqbench ") for command in shown["rows"]["command"])


def test_one_run_on_two_kinds_of_data_is_shown_with_each():
    """Its addresses differ, and the official one is the plain one."""
    spec = spec_of()
    lossy = result_of().data.model_copy(update={"fit_sha256": "ab" * 32, "official": False})
    page = data_of(html_of([result_of(spec, 0.9), result_of(spec, 0.8, data=lossy)]))
    anchors = {board["title"]: board["rows"]["anchor"] for board in page["boards"]}
    tests = {board["title"]: board["runs"]["test"] for board in page["boards"]}
    assert tests == {"smnist": [0.9], "smnist@abababab": [0.8]}
    assert anchors["smnist@abababab"] == [f"{anchors['smnist'][0]}-abababab-0e0e0e0e"]


def test_published_rows_stand_where_their_score_would_and_have_no_place():
    """Among the competing rows only."""
    numbers = [published("high", score=0.995), published("low", score=0.985, row="gru:default")]
    leaderboard = rank(everything(), numbers)
    (board,) = [
        board
        for board in data_of(render_html(leaderboard, counted(everything())))["boards"]
        if board["title"] == "smnist"
    ]
    rows = board["rows"]
    competing = [
        mean
        for mean, kind in zip(rows["mean"], rows["standing"], strict=True)
        if kind in {"ranked", "provisional", "published"}
    ]
    assert competing == sorted(competing, reverse=True)
    placed = dict(zip(rows["label"], rows["position"], strict=True))
    assert placed["high"] is None
    assert placed["low"] is None


def test_the_library_is_the_published_file():
    """plotly.js-basic-dist-min 4.1.1 as on npm, with its licence beside it."""
    folder = resources.files("seqbench.boards") / "page"
    digest = hashlib.sha256((folder / LIBRARY).read_bytes()).hexdigest()
    assert digest == "99784e3abfb07b142a15e521a439e6d9addceadb3f79553fd24c72774f0649ba"
    assert "Permission is hereby granted" in (folder / "plotly-LICENSE").read_text()


def test_what_results_say_cannot_end_the_data_or_begin_a_script():
    """No tag can stand in the embedded JSON."""
    evil = failed(error="</script><script>hacked = 1</script><!--")
    (text,) = re.findall(r'id="data">(.*?)</script>', html_of([evil]))
    assert "<" not in text
    assert "hacked = 1" in json.dumps(json.loads(text))


# In a browser


@pytest.fixture(scope="module")
def browser():
    """Chromium without a window; missing, it skips or, by SEQBENCH_REQUIRE, fails the test."""
    chromium = os.environ.get("SEQBENCH_CHROMIUM", "/usr/bin/chromium")
    if not Path(chromium).exists():
        reason = f"needs {chromium}; install Chromium, or set SEQBENCH_CHROMIUM to its path"
        if "browser" in os.environ.get("SEQBENCH_REQUIRE", "").split(","):
            pytest.fail(f"SEQBENCH_REQUIRE names browser: {reason}", pytrace=False)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages by name, as files."""
    folder = tmp_path_factory.mktemp("pages")
    write_leaderboard(COMMITTED, folder / "committed")
    write_leaderboard(QUICK, folder / "quick")
    (folder / "suite").mkdir()
    numbers = [published(), published("TCN", score=0.99, parameters=70_000, params_source="paper")]
    html = html_of(suite(), [*numbers, published("GRU", score=0.98, row="gru:default")])
    (folder / "suite" / "index.html").write_text(html, encoding="utf-8")
    return {name: folder / name / "index.html" for name in NAMES}


@pytest.fixture
def open_page(browser):
    """Open a file, offline; at the end nothing may have gone wrong."""
    contexts, wrong = [], []

    def call(path, fragment="", **options):
        context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce"} | options,
            offline=True,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: wrong.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: wrong.append(f"{error}"))
        page.on(
            "request", lambda request: wrong.append(request.url) if _away(request.url) else None
        )
        page.goto(path.as_uri() + fragment)
        page.wait_for_function(
            f"() => document.querySelectorAll('tr.row').length === {_rows(path)}"
        )
        return page

    yield call
    for context in contexts:
        context.close()
    assert not wrong


def _away(url):
    return [] if url.startswith(("file:", "data:", "blob:")) else [url]


def _rows(path):
    boards = data_of(path.read_text(encoding="utf-8"))["boards"]
    return sum(len(board["rows"]["label"]) for board in boards)


NAMES = ("committed", "quick", "suite")


def column(page, board, key):
    """The visible cells of a column."""
    cells = page.locator(f"{board} tr.row:visible > td.{key}")
    return [text.strip() for text in cells.all_text_contents()]


@pytest.mark.parametrize("name", NAMES)
def test_every_plot_is_drawn_when_it_comes_into_view(pages, open_page, name):
    """And none before: a page of many boards opens at once."""
    page = open_page(pages[name])
    plots = page.locator(".plot")
    total = plots.count()
    assert total >= 4
    assert page.locator(".plot .main-svg").count() < 3 * total
    for number in range(total):
        plots.nth(number).scroll_into_view_if_needed()
        plots.nth(number).locator(".scatterlayer .trace").first.wait_for(state="attached")


def test_a_link_of_the_contents_leads_to_its_board(pages, open_page):
    """Though what lies between is drawn on the way."""
    page = open_page(pages["committed"], reduced_motion="no-preference")
    page.locator("nav a[href='#board-smnist']").first.click()
    top = "document.getElementById('board-smnist').getBoundingClientRect().top"
    page.wait_for_function(f"() => 0 <= {top} && {top} < 120")
    page.wait_for_timeout(500)
    assert 0 <= page.evaluate(top) < 120


def test_the_overall_table_shows_scores_below_ranks(pages, open_page):
    """The best in bold; the spread over seeds is in the title."""
    page = open_page(pages["suite"])
    cell = page.locator("#overall-full tbody tr").first.locator("td.one").first
    assert cell.text_content() == "1" + "0.01112"
    assert cell.get_attribute("title") == "0.01112 \N{PLUS-MINUS SIGN} 0.0012"
    assert cell.locator("strong.score").text_content() == "0.01112"


@pytest.mark.parametrize("name", NAMES)
def test_the_library_cannot_send_anything_away(pages, open_page, name):
    """Its own button for that is not there."""
    page = open_page(pages[name])
    page.locator(".plot").first.scroll_into_view_if_needed()
    page.locator(".plot .modebar-btn").first.wait_for(state="attached")
    titles = page.locator(".modebar-btn").evaluate_all("all => all.map(one => one.dataset.title)")
    assert set(titles) <= {"Download plot as a PNG", "Zoom", "Pan", "Reset axes"}


def test_a_column_sorts_by_number_both_ways_and_back(pages, open_page):
    """900 before 9,900 before 108,900; the third time in the order of ranks; by keyboard too."""
    page = open_page(pages["suite"])
    board = "#board-copy-memory-length-30"
    by_rank = column(page, board, "parameters")
    head = page.locator(f"{board} th", has_text="params")
    head.get_by_role("button").click()
    assert column(page, board, "parameters") == ["900", "9,900", "108,900"]
    assert head.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Enter")
    assert column(page, board, "parameters") == ["108,900", "9,900", "900"]
    assert head.get_attribute("aria-sort") == "descending"
    page.keyboard.press("Enter")
    assert column(page, board, "parameters") == by_rank
    assert head.get_attribute("aria-sort") is None


def test_what_is_missing_sorts_last_either_way(pages, open_page):
    """A failed row has no score, a published one no time."""
    page = open_page(pages["suite"])
    head = page.locator("#board-smnist th", has_text="train").get_by_role("button")
    for _ in range(2):
        head.click()
        cells = column(page, "#board-smnist", "train_seconds")
        known = [cell not in {"", "\N{EN DASH}"} for cell in cells]
        assert known == sorted(known, reverse=True)
        assert not all(known)


def test_words_filter_rows_of_all_boards(pages, open_page):
    """All words must be there; boards without a row go, also from the contents."""
    page = open_page(pages["suite"])
    page.get_by_role("searchbox").fill("flexconv length=100")
    boards = page.locator(".board:visible h2").all_text_contents()
    assert "copy-memory (length=100)" in boards
    assert "copy-memory (length=30)" not in boards
    names = column(page, "#boards", "name")
    assert names
    assert all("flexconv" in name for name in names)
    assert page.locator("nav li:visible", has_text="length=30").count() == 0
    assert "of" in page.locator("#count").inner_text()
    page.get_by_role("searchbox").fill("no such model")
    assert page.locator("#nothing").is_visible()


def test_facets_filter_rows(pages, open_page):
    """Choices of one facet add up, facets narrow each other; one button shows all again."""
    page = open_page(pages["suite"])
    total = page.locator("tr.row:visible").count()
    page.get_by_text("Filters").click()
    page.get_by_role("checkbox", name="gru").check()
    page.get_by_role("checkbox", name="tcn").check()
    both = page.locator("tr.row:visible").count()
    assert 0 < both < total
    page.get_by_role("checkbox", name="provisional").check()
    assert 0 < page.locator("tr.row:visible").count() < both
    assert page.locator("tr.row:visible:not(.provisional)").count() == 0
    page.get_by_role("button", name="Show all rows").click()
    assert page.locator("tr.row:visible").count() == total


@pytest.mark.parametrize("name", NAMES)
def test_a_row_opens_to_everything_about_it(pages, open_page, name):
    """By mouse or keyboard: commands, settings, runs, provenance, curves."""
    page = open_page(pages[name])
    row = page.locator("tr.row.provisional, tr.row.ranked").first
    button = row.get_by_role("button")
    button.focus()
    page.keyboard.press("Enter")
    assert button.get_attribute("aria-expanded") == "true"
    panel = page.locator(f"[id='{button.get_attribute('aria-controls')}']")
    words = panel.text_content()
    for word in ("seqbench run", "seqbench reproduce results/", "learning_rate", "Provenance"):
        assert word in words
    assert re.search(r"--seed \d", words)
    page.keyboard.press("Enter")
    assert not panel.is_visible()
    assert button.get_attribute("aria-expanded") == "false"


def test_published_rows_can_be_hidden(pages, open_page):
    """On all boards at once; they say that they are published, and by what they were selected."""
    page = open_page(pages["suite"])
    row = page.locator("tr.published", has_text="S4")
    assert row.locator("td.rank").text_content() == "publ."
    assert "selected on test" in row.text_content()
    row.get_by_role("button").click()
    link = page.locator("tr.details a", has_text="arXiv:2111.00396")
    assert link.get_attribute("href") == "https://arxiv.org/abs/2111.00396"
    minus = page.locator("#board-smnist tr", has_text="gru:default").locator("td.minus_published")
    assert minus.text_content() == "+0.60"
    page.get_by_role("checkbox", name="3 published").uncheck()
    assert page.locator("tr.published:visible, tr.details:visible").count() == 0
    assert page.locator("tr.ranked:visible").count() > 0


def test_an_open_row_draws_what_its_runs_learned(pages, open_page):
    """Curves of every seed, and kernel sizes epoch by epoch."""
    page = open_page(pages["suite"])
    row = page.locator("#board-copy-memory-length-100 tr.row", has_text="flexconv")
    row.click()
    plots = page.locator("#board-copy-memory-length-100 .panel .plot")
    assert plots.count() == 3
    for number, traces in enumerate([6, 6, 6]):
        plots.nth(number).scroll_into_view_if_needed()
        plots.nth(number).locator(".scatterlayer .trace").nth(traces - 1).wait_for(state="attached")
    assert "36, 68" in page.locator(".panel .seeds").inner_text()


def test_a_command_is_copied(pages, open_page):
    """As it would be typed, one line a seed."""
    page = open_page(pages["suite"], permissions=["clipboard-read", "clipboard-write"])
    row = page.locator("#board-copy-memory-length-100 tr.row", has_text="tcn")
    row.click()
    page.locator(".panel").get_by_role("button", name="Copy").first.click()
    page.get_by_role("button", name="Copied").wait_for()
    text = page.evaluate("navigator.clipboard.readText()")
    assert text.splitlines() == [
        f"seqbench run copy-memory tcn:default --seed {seed}" for seed in range(3)
    ]


@pytest.mark.parametrize("name", NAMES)
def test_an_address_with_a_row_opens_and_marks_it(pages, open_page, name):
    """When the page is opened, and when the address changes, whatever the filter."""
    first = open_page(pages[name])
    anchor = first.locator("tr.row").last.get_attribute("id")
    page = open_page(pages[name], f"#{anchor}")
    row = page.locator(f"[id='{anchor}']")
    assert row.evaluate("one => one.classList.contains('found')")
    assert page.locator(f"[id='{anchor}'] + tr.details").is_visible()
    top = row.bounding_box()["y"]
    assert 0 < top < 900
    other = page.locator("tr.row").first.get_attribute("id")
    page.get_by_role("searchbox").fill("no such model")
    page.evaluate("anchor => { location.hash = anchor; }", other)
    page.locator(f"[id='{other}'].found").wait_for()
    assert page.locator("tr.found").count() == 1


def test_an_address_that_names_nothing_does_no_harm(pages, open_page):
    """Such as one of a row that was there once."""
    page = open_page(pages["suite"], "#row-0000000000000000")
    assert page.locator("tr.found").count() == 0


def background(page):
    """The page's colour, and that of the text in the first plot drawn."""
    page.locator(".plot .xtick text").first.wait_for(state="attached")
    return page.evaluate(
        "[getComputedStyle(document.body).backgroundColor,"
        " getComputedStyle(document.querySelector('.plot .xtick text')).fill]"
    )


def test_the_theme_follows_the_system_until_it_is_switched(pages, open_page):
    """Plots change their colours with it; the choice is kept."""
    light = open_page(pages["suite"], color_scheme="light")
    page = open_page(pages["suite"], color_scheme="dark")
    for one in (light, page):
        one.locator(".plot").first.scroll_into_view_if_needed()
    dark = background(page)
    assert dark[0] != background(light)[0]
    assert dark[1] != background(light)[1]
    page.get_by_role("button", name="light and dark").click()
    assert background(page) == background(light)
    page.reload()
    page.locator(".plot").first.scroll_into_view_if_needed()
    assert background(page) == background(light)


def test_the_cost_can_be_chosen_and_its_axis_be_linear(pages, open_page):
    """The plot is drawn anew; published rows stand in it where their parameters are known."""
    page = open_page(pages["suite"])
    figure = page.locator("#board-smnist figure").first
    figure.scroll_into_view_if_needed()
    title = figure.locator(".xtitle")
    assert title.text_content() == "parameters"
    assert "hollow: published" in figure.inner_text()
    figure.get_by_role("combobox").select_option("latency")
    figure.locator(".xtitle", has_text="latency at batch 1 (ms)").wait_for()
    assert "hollow: published" not in figure.inner_text()
    figure.get_by_role("checkbox").uncheck()
    page.wait_for_function(
        "() => document.querySelector('#board-smnist .plot')._fullLayout.xaxis.type === 'linear'"
    )


def test_plots_show_the_rows_that_the_filter_leaves(pages, open_page):
    """So that two models can be compared among many."""
    page = open_page(pages["suite"])
    figure = page.locator("#board-copy-memory-length-30 figure").nth(1)
    figure.scroll_into_view_if_needed()
    figure.locator(".trace").nth(8).wait_for(state="attached")
    page.get_by_role("searchbox").fill("tcn")
    page.wait_for_function(
        "() => document.querySelectorAll('#board-copy-memory-length-30 figure:nth-child(2) .trace')"
        ".length === 3"
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_scrolls_down_only(pages, open_page, name, theme):
    """At 360 pixels, with rows open; all columns can still be sorted by."""
    page = open_page(pages[name], viewport=PHONE, color_scheme=theme, has_touch=True)
    for number in range(min(3, page.locator("tr.row").count())):
        page.locator("tr.row td.name button").nth(number).click()
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    boxes = page.locator(".board > .box").evaluate_all(
        "all => all.map(one => one.scrollWidth - one.clientWidth)"
    )
    assert max(boxes) <= 0
    sort = page.locator(".board .by select").last
    assert {"params", "latency"} <= set(sort.locator("option").all_text_contents())


def test_paper_is_white_and_has_every_row(pages, open_page):
    """Also from a dark screen, and of boards that were not looked at."""
    page = open_page(pages["suite"], color_scheme="dark")
    rows = page.locator("tr.row").count()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 36)"
    assert page.locator("tr.row:visible").count() == rows
    page.evaluate("dispatchEvent(new Event('afterprint'))")


EVIL = "<img\tsrc=x\tonerror=hacked=1>"


def test_names_and_errors_from_results_are_text(tmp_path, open_page):
    """In tables, panels, plots and what they show under the mouse."""
    evil = f"{EVIL}</script><script>hacked=1</script><a\thref='javascript:hacked=1'>b</a>&lt;"
    config = {"model_config": {evil: evil}, "task_config": {"length": evil}}
    origin = {"preset": evil, "overrides": {f"model.{evil}": evil}, "recipe_source": evil}
    weights = Weights(source=f"javascript:hacked=1 {evil}", file=evil)
    results = [
        *seeds([0.9, 0.8], evil, evil, origin=origin, curve=curve(0.9, (9.0,)), **config),
        failed(spec_of(evil, "gru"), error=f"{evil}\n{evil}"),
        result_of(
            spec_of(evil, evil, weights_sha256="ab" * 32),
            0.9,
            status=Status.EVALUATED,
            origin={"weights": weights},
        ),
        *seeds([0.5], "smnist", evil, train=TrainSpec(epochs=2)),
    ]
    numbers = [published(evil, parameters=99, params_source=evil, source=evil, notes=evil)]
    path = tmp_path / "index.html"
    path.write_text(html_of(results, numbers), encoding="utf-8")
    page = open_page(path)
    for button in page.locator("td.name button").all():
        button.click()
    for plot in page.locator(".board > .figures .plot").all():
        plot.scroll_into_view_if_needed()
        point = plot.locator(".point").first
        point.wait_for(state="attached")
        point.hover(force=True)
    assert EVIL in page.locator(".hoverlayer").last.text_content()
    assert page.evaluate("typeof hacked") == "undefined"
    assert page.locator("main img, main script, main iframe").count() == 0
    links = page.locator("a").evaluate_all("all => all.map(one => one.protocol)")
    assert set(links) <= {"file:", "https:"}
    assert evil in page.locator("tr.row td.name button").last.text_content()
