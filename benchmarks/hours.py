"""Hours of training behind a leaderboard: in all, of a suite, and by board.

    python benchmarks/hours.py leaderboards --suite cpu-budget

The seconds of all epochs of every Result and trial below a directory. The run that a search has
chosen goes on from its trial, with the same curve, and is counted once; a training that was made
twice, with times of its own, twice. What ended before its first epoch is not in it.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

from seqbench.execute import works_of
from seqbench.result import read_results
from seqbench.runner import Place
from seqbench.suite import load_suite


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("--suite", help="count its trainings apart")
    asked = parser.parse_args()
    trainings: dict[tuple[str, tuple[float, ...]], str] = {}
    for folder in (asked.directory, asked.directory / "trials"):
        for result in read_results(folder)[0]:
            seconds = tuple(point.train_seconds for point in result.curve)
            if seconds:
                trainings[result.id, seconds] = result.spec.task.title
    told(list(trainings), "all")
    if asked.suite:
        works, _ = works_of(load_suite(asked.suite), Place(asked.directory))
        ids = {work.id for work in works}
        told([training for training in trainings if training[0] in ids], asked.suite)
    by_task = defaultdict(list)
    for training, title in trainings.items():
        by_task[title].append(training)
    for title in sorted(by_task):
        told(by_task[title], title)


def told(trainings: list[tuple[str, tuple[float, ...]]], title: str) -> None:
    """Print one line."""
    hours = sum(sum(seconds) for _, seconds in trainings) / 3600
    twice = len(trainings) - len({run for run, _ in trainings})
    print(f"{hours:7.2f} h in {len(trainings):4} trainings, {twice} of them again: {title}")


if __name__ == "__main__":
    main()
