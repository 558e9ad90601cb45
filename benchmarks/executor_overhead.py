"""What an executor adds to a run, and whether the runner's memory stays flat.

Many runs of a tiny network, one after the other (``--jobs 1``): the seconds from one Result to the
next, against the same run in one process without an executor, and against its bare training loop.
Printed: medians, their differences, and the runner's resident memory over the runs.

    python benchmarks/executor_overhead.py [--runs 1000] [--jobs 1] [--executor local]

``--executor ray`` does them on a Ray cluster started on this machine.

Of a run without an executor most is measuring what the network costs, about 0.6 s.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from seqbench.dispatch import Underway
from seqbench.execute import Effort, on_ray
from seqbench.model import load_model
from seqbench.resolve import Plan, config_from, resolve
from seqbench.resources import resident_bytes
from seqbench.result import Result, Status
from seqbench.runner import Place, run
from seqbench.spec import Request
from seqbench.task import load_task
from seqbench.train import optimizer_for, seed_everything
from seqbench.work import Work

SITE = Path(__file__).parents[1] / "tests" / "site"
"""The tiny plugin of the tests."""

_ALONE = 20


class Watch:
    """Notes when each run ended, and the memory of this process then."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.resident: list[int] = []

    def start(self, total: int) -> None:
        """Say how many runs there are."""
        print(f"{total} runs", file=sys.stderr)

    def show(self, underway: Sequence[Underway], waiting: int) -> None:
        """Is called as a real display is."""

    def done(self, result: Result) -> None:
        """Note the time and the memory."""
        if result.status is not Status.OK:
            sys.exit(f"run {result.id} {result.status}: {result.error}")
        self.times.append(time.perf_counter())
        self.resident.append(resident_bytes(os.getpid()))


def bare_seconds(plan: Plan) -> float:
    """Seconds of the shortest loop that does the same training."""
    started = time.perf_counter()
    spec = plan.spec.train
    if spec is None:
        raise ValueError("nothing is trained")
    task, cls = load_task(plan.spec.task.name)(), load_model(plan.spec.model.name)
    seed_everything(plan.spec.seed)
    network = cls(config_from(cls, plan.spec.model.config, "model"), task.signature)
    data, optimizer = task.fit_data(), optimizer_for(network, spec)
    network.train()
    for _ in range(spec.epochs):
        for index in torch.randperm(len(data.train)).split(spec.batch_size):
            x, y = task.encode(data.train.x[index]), data.train.y[index]
            optimizer.zero_grad()
            task.loss(network(x), y).backward()
            optimizer.step()
    return time.perf_counter() - started


def seconds_alone(plan: Plan, folder: Path) -> float:
    """Seconds of the run in this process."""
    started = time.perf_counter()
    run(plan, Place(folder))
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--executor", choices=["local", "ray"], default="local")
    arguments = parser.parse_args()
    sys.path.insert(0, str(SITE))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(SITE), os.environ.get("PYTHONPATH", "")])
    torch.set_num_threads(1)
    settings = {"train.epochs": arguments.epochs}
    plans = [
        resolve(Request("tiny-sum", "tiny-mlp", settings=settings, seed=seed))
        for seed in range(arguments.runs)
    ]
    watch = Watch()
    with tempfile.TemporaryDirectory() as name:
        place = Place(Path(name, "executor"))
        effort = Effort(place, arguments.jobs, watch)
        if arguments.executor == "ray":
            effort = replace(effort, executor=on_ray(place, arguments.jobs, None))
        began = time.perf_counter()
        errors = effort.execute([Work(plan) for plan in plans])
        total = time.perf_counter() - began
        alone = [seconds_alone(plan, Path(name, "alone")) for plan in plans[: _ALONE + 1]][1:]
    if errors:
        sys.exit(str(errors[0]))
    bare = [bare_seconds(plan) for plan in plans[: _ALONE + 1]][1:]
    between = [b - a for a, b in zip(watch.times, watch.times[1:], strict=False)]
    ours, run_alone, loop = map(statistics.median, (between, alone, bare))
    tenth = max(1, len(watch.resident) // 10)
    report = {
        "executor": arguments.executor,
        "runs": arguments.runs,
        "jobs": arguments.jobs,
        "seconds": round(total, 1),
        "median_seconds": {
            "from_one_result_to_the_next": round(ours, 4),
            "run_without_executor": round(run_alone, 4),
            "bare_training": round(loop, 4),
            "executor_overhead": round(ours - run_alone, 4),
            "overhead_over_bare_training": round(ours - loop, 4),
        },
        "runner_resident_mib": {
            f"after_{count}": round(watch.resident[count - 1] / 2**20, 1)
            for count in (tenth, 2 * tenth, 5 * tenth, len(watch.resident))
        },
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
