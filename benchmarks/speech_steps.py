"""Time and memory of a training step at 16,000 steps: FlexTCN, CKCNN, TCN, GRU on sc10-raw.

    python benchmarks/speech_steps.py --data-dir DIR [--threads 1] [--batch-size 16] [--steps 3]
        [--task sc10-raw] [--output FILE.json]

Each network is run in a process of its own. A step is a batch from the converted clips, encoded,
forward, backward and the recipe's optimiser; the first is not counted. CPU seconds are of all
threads together: with one thread they say what a step takes on a machine with nothing else to do.
Memory is the peak of the resident set, with
libraries and the clips that were touched.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from seqbench.allocator import keep_freed_memory
from seqbench.cost import PeakMemory
from seqbench.model import load_model
from seqbench.resolve import config_from, resolve
from seqbench.runner import parameters_of
from seqbench.spec import Request, TrainSpec
from seqbench.task import load_task
from seqbench.train import optimizer_for

MODELS = ("flexconv:flextcn-2", "ckconv:cktcn-100k", "tcn:pixel-mnist", "gru:default")


def one(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Steps of one network, in this process."""
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    spec = resolve(Request(arguments.task, name)).spec
    task = load_task(arguments.task)(data_dir=arguments.data_dir)
    train = task.fit_data().train
    task.encode(train.x[:1])
    torch.manual_seed(0)
    model = load_model(spec.model.name)
    network = model(config_from(model, spec.model.config, "model"), task.signature).train()
    optimizer = optimizer_for(network, spec.train or TrainSpec())
    memory = PeakMemory(torch.device("cpu"))
    times: list[tuple[float, float]] = []
    for index in torch.randperm(len(train)).split(arguments.batch_size)[: arguments.steps + 1]:
        started = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        loss = task.loss(network(task.encode(train.x[index])), train.y[index])
        (loss + network.penalty()).backward()
        optimizer.step()
        times.append((time.perf_counter() - started[0], time.process_time() - started[1]))
    wall, cpu = (statistics.median(column) for column in zip(*times[1:], strict=True))
    return {
        "seconds": round(wall, 3),
        "cpu_seconds": round(cpu, 3),
        "peak_mib": round((memory.peak_bytes() or 0) / 2**20),
        "parameters": parameters_of(network),
    }


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--task", default="sc10-raw")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(arguments.one, arguments)))
        return
    report = {}
    for name in MODELS:
        command = [sys.executable, *sys.argv, "--one", name]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        report[name] = json.loads(done.stdout.splitlines()[-1])
        print(f"{name:<20} {report[name]}", flush=True)
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
