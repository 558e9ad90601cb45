"""How long a leaderboard of many results takes: to read, rank and render, and to use in a browser.

Synthetic results are made and written: boards of equal size, rows of three seeds, learning curves
of ten epochs, scores over test examples; one row in eight lost a seed and one in forty all.
Then `seqbench render` is timed as it is run, and part by part in this process, and the page is
opened in headless Chromium: until it shows its first tables, until all are built, and how long
sorting, filtering, opening a row and following a link to one take, each until it is painted.

    python benchmarks/leaderboard_scale.py [--boards 50] [--rows 67] [--examples 1000] [--keep DIR]

Chromium is SEQBENCH_CHROMIUM or /usr/bin/chromium; without it only the first part is measured.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from seqbench.boards import (
    counted,
    load_published,
    rank,
    render_csv,
    render_html,
    render_json,
    render_latex,
    render_markdown,
    terminal,
)
from seqbench.result import (
    Cost,
    Data,
    Epoch,
    Metric,
    Origin,
    Packed,
    Plugin,
    Provenance,
    Result,
    Status,
    read_results,
    score_of,
    write_result,
)
from seqbench.spec import Component, RunSpec, TrainSpec

FAMILIES = ("rnn", "lstm", "gru", "tcn", "ckconv", "flexconv", "s4d", "lru", "transformer")
SEEDS, EPOCHS = 3, 10


def results_of(boards: int, rows: int, examples: int) -> Iterator[Result]:
    """The synthetic results, the same every time."""
    for board in range(boards):
        for row in range(rows):
            lost = SEEDS if row % 40 == 39 else int(row % 8 == 7)
            for seed in range(SEEDS):
                yield _result(board, row, seed, examples if seed >= lost else 0)


def _result(board: int, row: int, seed: int, examples: int) -> Result:
    """One run, tested on this many examples; on none if it failed."""
    generator = random.Random(f"{board}/{row}/{seed}")
    family = FAMILIES[row % len(FAMILIES)]
    spec = RunSpec(
        task=Component(name=f"task-{board // 5}", version=1, config={"length": 2 ** (board % 5)}),
        model=Component(name=family, version=1, config={"channels": 8 + row, "dropout": 0.1}),
        train=TrainSpec(epochs=EPOCHS),
        seed=seed,
    )
    well = 0.5 + 0.49 * (1 - math.exp(-(1 + row) / 20))
    fields: dict[str, Any] = {
        "status": Status.FAILED,
        "error": "RuntimeError: no memory\nat step 3",
    }
    if examples:
        scores = [float(generator.random() < well) for _ in range(examples)]
        fields = {
            "status": Status.OK,
            "val": score_of(scores),
            "test": score_of(scores),
            "test_scores": Packed.pack(scores),
            "curve": tuple(_epoch(generator, well, epoch) for epoch in range(1, EPOCHS + 1)),
            "chosen_epoch": EPOCHS,
            "data": Data(
                fit_sha256=f"{board:02x}" * 32,
                test_sha256="0e" * 32,
                source_sha256="0d" * 32,
                official=True,
            ),
            "cost": Cost(
                parameters=1000 * (8 + row) ** 2,
                flops=100_000 * (8 + row) ** 2,
                train_seconds=generator.uniform(100, 5000),
                examples_per_second=generator.uniform(100, 5000),
                peak_bytes=generator.randrange(10**8, 10**10),
                latency_seconds=generator.uniform(0.001, 0.1),
                throughput=generator.uniform(100, 5000),
                throughput_batch=64,
            ),
        }
    overrides = {"model.channels": 8 + row, "train.epochs": EPOCHS}
    return Result(
        id=spec.id,
        spec=spec,
        origin=Origin(preset="default", settings="custom", overrides=overrides),
        metric=Metric(name="accuracy", higher_is_better=True),
        provenance=_provenance(generator, family),
        **fields,
    ).sealed()


def _epoch(generator: random.Random, well: float, epoch: int) -> Epoch:
    fall = math.exp(-epoch / 3)
    return Epoch(
        epoch=epoch,
        steps=860 * epoch,
        learning_rate=1e-3,
        train_loss=fall + generator.uniform(0.01, 0.1),
        val_loss=fall + generator.uniform(0.02, 0.2),
        val_score=well * (1 - fall / 2),
        train_seconds=generator.uniform(10, 20),
    )


def _provenance(generator: random.Random, family: str) -> Provenance:
    return Provenance(
        seqbench="0.1.0",
        task_plugin=Plugin(distribution="seqbench", version="0.1.0", entry_point="t:T"),
        model_plugin=Plugin(distribution=f"seqbench-{family}", version="0.1.0", entry_point="m:M"),
        packages={"torch": "2.11.0", "lightning": "2.6.0", "numpy": "2.4.0"},
        python="3.11.9",
        platform="Linux",
        commit="190c66ee8b4fd69ede3789b9021a2b8b5ce599b3",
        dirty=False,
        device="cpu",
        device_name="A CPU",
        threads=1,
        started_at=f"2026-01-{generator.randrange(1, 29):02}T12:00:00+00:00",
        seconds=generator.uniform(100, 5000),
    )


def timed(name: str, work: Callable[[], Any]) -> Any:
    """The outcome of some work, whose time is printed; processor time is that of one core."""
    started, busy = time.perf_counter(), _processor_seconds()
    outcome = work()
    seconds, busy = time.perf_counter() - started, _processor_seconds() - busy
    print(f"| {name} | {seconds:.2f} s | {busy:.2f} s |", flush=True)
    return outcome


def _processor_seconds() -> float:
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    used = [resource.getrusage(who) for who in both]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def measure_rendering(directory: Path) -> None:
    """`seqbench render` as a whole, then part by part."""
    command = [sys.executable, "-m", "seqbench.cli", "render", str(directory)]
    run = partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL)
    timed("`seqbench render`, the whole command", run)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"| its peak memory | {peak:.0f} MB | |")
    results, errors = timed("read and check", lambda: read_results(directory))
    assert not errors, errors[0]  # noqa: S101
    leaderboard = timed("rank", lambda: rank(results, load_published()))
    for render in (render_json, render_markdown, render_csv, render_latex):
        timed(render.__name__, lambda render=render: render(leaderboard))
    timed("terminal", lambda: list(terminal(leaderboard)))
    timed("render_html", lambda: render_html(leaderboard, counted(results)))
    print(f"| size of index.html | {(directory / 'index.html').stat().st_size / 1e6:.1f} MB | |")


_PAINTED = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done)))"

_ACTIONS = {
    "sort a board": "document.querySelectorAll('.board th button')[7].click()",
    "open a row": "document.querySelector('tr.row td.name button').click()",
    "filter by a word": "type('flexconv')",
    "filter by two words": "type('flexconv channels=40')",
    "no filter again": "type('')",
    "filter by a facet": "document.querySelector('#facet-list input').click()",
    "follow a link to the last row": "location.hash = lastRow()",
    "switch the theme": "document.getElementById('theme').click()",
}

_HELPERS = """
window.type = (text) => {
  const field = document.getElementById("search");
  field.value = text;
  field.dispatchEvent(new Event("input"));
};
window.lastRow = () => [...document.querySelectorAll("tr.row")].at(-1).id;
"""


def measure_page(path: Path, chromium: str) -> None:
    """What a user waits for, each until it is painted."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})

        def painted(script: str) -> float:
            started = time.perf_counter()
            page.evaluate(f"() => {{ {script} }}")
            page.evaluate(_PAINTED)
            return time.perf_counter() - started

        def report(name: str, seconds: float) -> None:
            print(f"| {name} | {seconds:.2f} s | |", flush=True)

        started = time.perf_counter()
        page.goto(path.as_uri(), wait_until="commit")
        page.wait_for_selector("tr.row")
        page.evaluate(_PAINTED)
        report("open, to the first tables", time.perf_counter() - started)
        page.wait_for_selector(".board:last-child tr.row", state="attached")
        page.evaluate(_PAINTED)
        report("open, to all tables", time.perf_counter() - started)
        page.evaluate(f"() => {{ {_HELPERS} }}")
        for name, script in _ACTIONS.items():
            report(name, painted(script))
        browser.close()


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--boards", type=int, default=50)
    parser.add_argument("--rows", type=int, default=67, help="a board")
    parser.add_argument("--examples", type=int, default=1000, help="of a test")
    parser.add_argument("--keep", type=Path, help="where results and pages go and stay")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = arguments.keep or Path(folder)
        count = 0
        for result in results_of(arguments.boards, arguments.rows, arguments.examples):
            write_result(result, directory)
            count += 1
        print(f"{count} results, {arguments.boards} boards of {arguments.rows} rows\n")
        print("| what | wall | processor |\n|---|--:|--:|")
        measure_rendering(directory)
        chromium = os.environ.get("SEQBENCH_CHROMIUM", "/usr/bin/chromium")
        if Path(chromium).exists():
            measure_page(directory / "index.html", chromium)


if __name__ == "__main__":
    main()
