"""FlexConv and CKConv against the authors' code, a textbook version, TCN and LSTM, in one run.

    python benchmarks/flexconv_speed.py [--official DIR] [--official-ckconv DIR] [--rounds 7]
        [--case 784 --case 1024 --case 16000] [--threads 2] [--device cpu]
        [--allocator kept|default] [--output FILE]

DIR are checkouts of rjbruin/flexconv and dwromero/ckconv outside of this repository. Networks:
FlexTCN-2 with a narrow mask (width 0.075) and a full one (1.0), CKCNN-100k, the TCN of the plugin
`tcn`, an LSTM of about as many parameters as FlexTCN-2. Cases: 784 steps x 1 channel at batch 64,
1024 x 3 at 64, 16000 x 1 at 4; 10 classes, float32, Adam.

Every network does one training step and one inference (eval, inference mode, after a warm-up, so
that kept kernels are in place) a round, one after the other, all in this process and under its
allocator settings; shown are medians over rounds in ms, and the median over rounds of the ratio to
ours. Peak memory is the growth of the resident set over a training step and an inference in a
process of its own (on a GPU, allocated memory), in MiB. ``--allocator kept`` lets all of them reuse
freed memory, as the harness does (``seqbench.allocator``); ``default`` leaves the C library alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import official
import textbook
import torch
from torch import Tensor, nn
from torch.nn import functional

from seqbench import provenance
from seqbench.allocator import keep_freed_memory
from seqbench.cost import PeakMemory
from seqbench.model import load_model
from seqbench.spec import Signature

CASES = {784: (1, 64), 1024: (3, 64), 16000: (1, 4)}
"""Steps: channels, batch."""
WIDTHS = {"narrow": 0.075, "full": 1.0}


def plugin(name: str, signature: Signature, **config: float) -> nn.Module:
    """A network of an installed plugin."""
    model = load_model(name)
    return model(model.Config(**config), signature)


def lstm(signature: Signature, parameters: int = 105_548) -> nn.Module:
    """One layer, of the width that comes nearest to a number of parameters."""
    inputs, classes = signature.in_channels, signature.out_features

    def size(h: int) -> int:
        return 4 * h * (h + inputs + 2) + classes * (h + 1)

    hidden = min(range(1, 1000), key=lambda h: abs(size(h) - parameters))
    return plugin("lstm", signature, hidden_size=hidden)


def networks(steps: int, paths: argparse.Namespace) -> dict[str, Callable[[], nn.Module]]:
    """What is compared, by name ``FAMILY/SIDE``."""
    channels, _ = CASES[steps]
    signature = Signature(in_channels=channels, shape=(steps,), out_features=10, target="sequence")
    sides: dict[str, Callable[[], nn.Module]] = {}
    for mask, width in WIDTHS.items():
        family = f"flextcn-2 {mask}"
        sides[f"{family}/ours"] = lambda w=width: plugin("flexconv", signature, mask_width=w)
        sides[f"{family}/textbook"] = lambda w=width: textbook.flextcn(signature, w)
        if paths.official:
            sides[f"{family}/official"] = lambda w=width: official.flextcn(
                paths.official, channels, width=w
            )
    sides["cktcn-100k/ours"] = lambda: plugin("ckconv", signature)
    sides["cktcn-100k/textbook"] = lambda: textbook.ckcnn(signature)
    if paths.official_ckconv:
        sides["cktcn-100k/official"] = lambda: official.ckcnn(paths.official_ckconv, channels)
    sides["tcn/ours"] = lambda: plugin("tcn", signature)
    sides["lstm/ours"] = lambda: lstm(signature)
    return sides


@dataclass
class Bench:
    """One network on one batch."""

    network: nn.Module
    x: Tensor
    y: Tensor

    def __post_init__(self) -> None:
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-3)

    @classmethod
    def of(cls, make: Callable[[], nn.Module], steps: int, device: torch.device) -> Bench:
        """The network of a seed, on random inputs."""
        torch.manual_seed(0)
        channels, batch = CASES[steps]
        network = make().to(device)
        x = torch.randn(batch, channels, steps, device=device)
        return cls(network, x, torch.randint(10, (batch,), device=device))

    def train(self) -> float:
        """Milliseconds of a training step."""
        self.network.train()
        started = self._now()
        self.optimizer.zero_grad()
        functional.cross_entropy(self.network(self.x), self.y).backward()
        self.optimizer.step()
        return 1000 * (self._now() - started)

    @torch.inference_mode()
    def infer(self) -> float:
        """Milliseconds of an inference after a warm-up."""
        self.network.eval()
        self.network(self.x)
        started = self._now()
        self.network(self.x)
        return 1000 * (self._now() - started)

    def _now(self) -> float:
        if self.x.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def measure(steps: int, paths: argparse.Namespace) -> dict[str, dict[str, float | None]]:
    """Times, ratios and memory of every network for one case."""
    device = torch.device(paths.device)
    benches = {name: Bench.of(make, steps, device) for name, make in networks(steps, paths).items()}
    times: dict[str, dict[str, list[float]]] = {n: {"train": [], "infer": []} for n in benches}
    for round_ in range(paths.rounds + 1):
        for name, bench in benches.items():
            for what in ("train", "infer"):
                spent = getattr(bench, what)()
                if round_:  # the first warms up
                    times[name][what].append(spent)
    rows: dict[str, dict[str, float | None]] = {}
    for name, taken in times.items():
        family, _, side = name.partition("/")
        ours = times[f"{family}/ours"]
        row: dict[str, float | None] = {
            f"{what}_ms": round(statistics.median(taken[what]), 2) for what in taken
        }
        if side != "ours":
            for what in taken:
                ratios = [a / b for a, b in zip(taken[what], ours[what], strict=True)]
                row[f"{what}_ratio"] = round(statistics.median(ratios), 2)
        row["peak_mib"] = peak(name, steps, paths)
        rows[name] = row
        print(f"{steps:>6}  {name:<26}", "  ".join(f"{k} {v}" for k, v in row.items()), flush=True)
    return rows


def peak(name: str, steps: int, paths: argparse.Namespace) -> float | None:
    """Peak memory of one network, measured by this script in a process of its own."""
    arguments = [sys.executable, __file__, "--peak-of", name, "--case", str(steps)]
    arguments += ["--threads", str(paths.threads), "--device", paths.device]
    arguments += ["--allocator", paths.allocator]
    for option in ("official", "official_ckconv"):
        if path := getattr(paths, option):
            arguments += [f"--{option.replace('_', '-')}", str(path)]
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return float(done.stdout.splitlines()[-1])


def print_peak(name: str, steps: int, paths: argparse.Namespace) -> None:
    """Run a step and an inference, and print by how many MiB memory grew."""
    device = torch.device(paths.device)
    bench = Bench.of(networks(steps, paths)[name], steps, device)
    memory = PeakMemory(device)
    before = 0 if bench.x.is_cuda else resident()
    bench.train()
    bench.infer()
    print(round(((memory.peak_bytes() or 0) - before) / 2**20, 1))


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main() -> None:
    """Measure, print, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--official", type=Path)
    parser.add_argument("--official-ckconv", type=Path)
    parser.add_argument("--case", type=int, action="append", choices=CASES)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--allocator", choices=("kept", "default"), default="kept")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    paths = parser.parse_args()
    torch.set_num_threads(paths.threads)
    if paths.allocator == "kept":
        keep_freed_memory()
    cases = paths.case or list(CASES)
    if paths.peak_of:
        print_peak(paths.peak_of, cases[0], paths)
        return
    report = {
        "machine": provenance.device_name(torch.device(paths.device)),
        "torch": torch.__version__,
        "threads": paths.threads,
        "allocator": paths.allocator,
        "rounds": paths.rounds,
        "cases": {str(steps): measure(steps, paths) for steps in cases},
    }
    if paths.output:
        paths.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
