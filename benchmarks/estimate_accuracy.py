"""The estimate of `seqbench leaderboard --dry-run` against what the runs then take.

Each run of a suite is measured by a few steps, then done, one at a time, each in a process of its
own; printed are seconds and peak memory, estimated and actual, and actual / estimated.

    python benchmarks/estimate_accuracy.py [--suite quick] [--task adding]... [--model gru]...
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from seqbench.boards.text import amount, duration
from seqbench.estimate import Item
from seqbench.execute import works_of
from seqbench.executors.local import Work, execute
from seqbench.measure import Measured, measure_all
from seqbench.result import Result
from seqbench.runner import Place
from seqbench.suite import load_suite


@dataclass(frozen=True)
class Ratio:
    """Actual over estimated seconds and peak memory of one run."""

    seconds: float
    peak_bytes: float


def measured_then_run(work: Work, place: Place) -> Ratio | None:
    """Estimate a run, do it, and print both."""
    spec = work.plan.spec
    name = f"{spec.task.name} {spec.model.name} seed {spec.seed}"
    (measured,) = measure_all([work.plan], place, jobs=1)
    results: list[Result] = []
    errors = execute([work], place, 1, results.append)
    estimated = Item(work, "to do", measured, trained=False).seconds
    peak = results[0].cost.peak_bytes if results and results[0].cost else None
    if not isinstance(measured, Measured) or not (estimated and peak and measured.peak_bytes):
        print(f"{name:32} {measured} {errors}")
        return None
    actual = results[0].provenance.seconds
    ratio = Ratio(actual / estimated, peak / measured.peak_bytes)
    peaks = f"{amount(measured.peak_bytes, 'B')}, {amount(peak, 'B')}"
    print(
        f"{name:32} {duration(estimated):>10} {duration(actual):>10} "
        f"{ratio.seconds:6.2f}   {peaks}",
        flush=True,
    )
    return ratio


def main() -> None:
    """Estimate and run one after the other, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--suite", default="quick")
    parser.add_argument("--task", action="append", help="only this task; repeatable")
    parser.add_argument("--model", action="append", help="only this model; repeatable")
    parser.add_argument("--data-dir", type=Path)
    options = parser.parse_args()
    suite = load_suite(options.suite)
    print(f"{'run':32} {'estimated':>10} {'actual':>10} {'ratio':>6}   peak memory")
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), options.data_dir, threads=suite.threads)
        works = [
            work
            for work in works_of(suite, place)[0]
            if work.plan.spec.task.name in (options.task or [work.plan.spec.task.name])
            and work.plan.spec.model.name in (options.model or [work.plan.spec.model.name])
        ]
        ratios = [ratio for work in works if (ratio := measured_then_run(work, place))]
    for what in ("seconds", "peak_bytes"):
        found = [getattr(ratio, what) for ratio in ratios]
        middle = statistics.median(found)
        print(f"{what}: actual / estimated {min(found):.2f} to {max(found):.2f}, {middle:.2f}")


if __name__ == "__main__":
    main()
