"""Where a training step of FlexTCN-2 or CKCNN-100k goes, by kind of work.

    python benchmarks/flexconv_profile.py [--case 784] [--network "flextcn-2 full"] [--steps 10]
        [--threads 2] [--allocator kept|default]

By torch's profiler, on the cases of ``flexconv_speed.py``: the time that operators spend
themselves, a step, in ms; the kinds are read off the operators' names. The profiler costs a little
itself, so the sum is somewhat above an undisturbed step, which is shown beside it.
"""

from __future__ import annotations

import argparse
import statistics
from collections import defaultdict

import torch
from flexconv_speed import CASES, Bench, networks
from torch.profiler import ProfilerActivity, profile

from seqbench.allocator import keep_freed_memory

KINDS = {
    "transforms (FFT)": ("aten::_fft",),
    "products": ("bmm", "::mm", "addmm", "baddbmm", "convolution", "mkldnn"),
    "copies and layout": ("copy_", "clone", "contiguous", "cat", "pad", "fill_", "zero_"),
    "batch norm, ReLU, dropout": ("batch_norm", "threshold", "relu", "dropout", "Norm", "clamp"),
    "kernel networks and masks": ("sin", "cos", "exp", "pow"),
    "optimiser": ("Optimizer", "adam", "addcdiv", "lerp", "sqrt"),
}


def kind_of(operator: str) -> str:
    """The kind of work an operator does."""
    for kind, names in KINDS.items():
        if any(name in operator for name in names):
            return kind
    return "sums, products by element and the rest"


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", type=int, default=784, choices=CASES)
    parser.add_argument("--network", default="flextcn-2 full", help="a family of flexconv_speed.py")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--allocator", choices=("kept", "default"), default="kept")
    parser.set_defaults(official=None, official_ckconv=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.allocator == "kept":
        keep_freed_memory()
    make = networks(arguments.case, arguments)[f"{arguments.network}/ours"]
    bench = Bench.of(make, arguments.case, torch.device("cpu"))
    undisturbed = [bench.train() for _ in range(arguments.steps + 2)][2:]
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(arguments.steps):
            bench.train()
    spent: dict[str, float] = defaultdict(float)
    operators: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for event in profiler.key_averages():
        milliseconds = event.self_cpu_time_total / 1000 / arguments.steps
        spent[kind_of(event.key)] += milliseconds
        operators[kind_of(event.key)].append((milliseconds, event.key))
    print(
        f"{arguments.network}, {arguments.case} steps, allocator {arguments.allocator}: "
        f"{statistics.median(undisturbed):.1f} ms a step, {sum(spent.values()):.1f} profiled"
    )
    for kind, milliseconds in sorted(spent.items(), key=lambda item: -item[1]):
        largest = sorted(operators[kind], reverse=True)[:4]
        names = ", ".join(f"{name} {ms:.1f}" for ms, name in largest if ms >= 0.1)
        print(f"{milliseconds:8.1f}  {kind}: {names}")


if __name__ == "__main__":
    main()
