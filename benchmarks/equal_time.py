"""How many training steps of each model take equally long: what calibrates the suite `equal-time`.

    python benchmarks/equal_time.py --data-dir DIR [--suite equal-time] [--seconds 600] [--rounds 5]

For each task of the suite the networks of all its models take training steps in turn, each with
batches, optimiser, clipping and penalties as its runs have them, on one thread. Printed are the
median CPU seconds of a step, which say what it takes on a core with nothing else to do, the steps
that fit into so many seconds, and the steps that the suite says.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from seqbench.execute import works_of
from seqbench.runner import Bench, Place, prepare
from seqbench.suite import load_suite
from seqbench.train import optimizer_for


def steps(bench: Bench) -> Iterator[float]:
    """CPU seconds of one training step after the other."""
    network, task, train = bench.network.train(), bench.task, bench.data.train
    optimizer = optimizer_for(network, bench.train_spec)
    clip = bench.train_spec.gradient_clip
    while True:
        for index in torch.randperm(len(train)).split(bench.train_spec.batch_size):
            started = time.process_time()
            optimizer.zero_grad()
            loss = task.loss(network(task.encode(train.x[index])), train.y[index])
            (loss + network.penalty()).backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
            optimizer.step()
            yield time.process_time() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--suite", default="equal-time")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), arguments.data_dir)
        works, errors = works_of(load_suite(arguments.suite), place, (0,))
        for error in errors:
            print(error)
        for task, of_task in itertools.groupby(works, key=lambda work: work.plan.spec.task.title):
            benches = [prepare(work.plan, place) for work in of_task]
            runs = [steps(bench) for bench in benches]
            for run in runs:
                next(run)
            rounds = [[next(run) for run in runs] for _ in range(arguments.rounds)]
            print(f"\n| {task} | s a step | steps in {arguments.seconds:.0f} s | the suite's |")
            print("|---|---|---|---|")
            for bench, seconds in zip(benches, zip(*rounds, strict=True), strict=True):
                step, spec = statistics.median(seconds), bench.plan.spec
                name = f"{spec.model.name}:{bench.plan.origin.preset}"
                fit = round(arguments.seconds / step, -1)
                print(f"| {name} | {step:.3f} | {fit:.0f} | {bench.train_spec.max_steps} |")


if __name__ == "__main__":
    main()
