"""The whole harness (data, Lightning, checks, progress) over a bare PyTorch loop of one model.

Both train the same network on the same task with the same optimiser and batch size, epoch by
epoch in turn; validation and checkpoints are timed on neither side. Printed: milliseconds a step
(median over epochs) of each, their ratio pair by pair (median), and the difference.

    python benchmarks/harness_overhead.py [--task sdigits] [--model tcn] [--epochs 15] [--threads 1]

The harness does the same work a step whatever the network; where steps are long and the machine
noisy, a small network shows that work sharply:

    python benchmarks/harness_overhead.py --set model.levels=1 --set model.channels=1 --epochs 60
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.optim import Optimizer

from seqbench.checkpoint import Checkpoints
from seqbench.cost import PeakMemory
from seqbench.model import Model, load_model
from seqbench.progress import Lines
from seqbench.resolve import Plan, config_from, resolve
from seqbench.result import Epoch
from seqbench.spec import Request
from seqbench.task import FitData, Task, load_task
from seqbench.train import Job, fit, optimizer_for, seed_everything


def build(task: Task, plan: Plan) -> Model:
    """The network of a plan, from one seed."""
    seed_everything(0)
    cls = load_model(plan.spec.model.name)
    return cls(config_from(cls, plan.spec.model.config, "model"), task.signature)


def bare_epoch(
    network: Model, task: Task, data: FitData, optimizer: Optimizer, batch_size: int
) -> float:
    """Seconds of one epoch of the shortest loop that does the same arithmetic."""
    network.train()
    started = time.perf_counter()
    for index in torch.randperm(len(data.train)).split(batch_size):
        x, y = task.encode(data.train.x[index]), data.train.y[index]
        optimizer.zero_grad()
        loss = task.loss(network(x), y) + network.penalty()
        loss.backward()
        optimizer.step()
    return time.perf_counter() - started


class Alternate(Lines):
    """Does one bare epoch after each epoch of the harness, so that both see the same machine."""

    def __init__(self, bare: Callable[[], float]) -> None:
        self.bare = bare
        self.pairs: list[tuple[float, float]] = []

    def step(self, done: int, total: int) -> None:
        """Is called at every step, as a real progress display is."""

    def epoch(self, point: Epoch) -> None:
        """Time the other side."""
        self.pairs.append((point.train_seconds, self.bare()))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="sdigits")
    parser.add_argument("--model", default="tcn")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    settings = {"train.epochs": arguments.epochs, "train.batch_size": 64}
    settings |= dict(pair.split("=", 1) for pair in arguments.set)
    plan = resolve(Request(arguments.task, arguments.model, {}, settings))
    spec = plan.spec.train
    task = load_task(arguments.task)()
    data = task.fit_data()
    network = build(task, plan)
    optimizer = optimizer_for(network, spec)
    alternate = Alternate(lambda: bare_epoch(network, task, data, optimizer, spec.batch_size))
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), plan.spec.id, "")
        device = torch.device("cpu")
        job = Job(spec, 0, device, checkpoints, PeakMemory(device))
        fit(build(task, plan), task, data, job, alternate)
    pairs = alternate.pairs[1:]  # the first epoch warms up
    steps = -(-len(data.train) // spec.batch_size)
    ours, bare = (1000 * statistics.median(side) / steps for side in zip(*pairs, strict=True))
    report = {
        "task": arguments.task,
        "model": arguments.model,
        "threads": arguments.threads,
        "epochs": len(pairs),
        "steps_per_epoch": steps,
        "harness_ms_per_step": round(ours, 3),
        "bare_ms_per_step": round(bare, 3),
        "ratio": round(statistics.median(a / b for a, b in pairs), 4),
        "overhead_ms_per_step": round(1000 * statistics.median(a - b for a, b in pairs) / steps, 3),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
