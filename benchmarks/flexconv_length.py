"""What FlexTCN-2 costs against the length of its input, from 1,024 to 1,048,576 steps.

    python benchmarks/flexconv_length.py [--threads 2] [--device cpu] [--longest 1048576]
        [--output FILE.json] [--plot FILE.png]

Batch 1, 1 channel, 10 classes, float32, for a narrow mask (width 0.075) and a full one (1.0). Each
length is run in a process of its own: a first inference (kernels are generated), inferences after
it (kept kernels where they fit), training steps up to ``--longest-step``, and the peak of resident
memory (on a GPU, allocated). The slope is that of log time over log length, from one length to the
next: 1 is linear. ``--plot`` needs matplotlib.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional

from seqbench.allocator import keep_freed_memory
from seqbench.cost import PeakMemory
from seqbench.model import load_model
from seqbench.spec import Signature

WIDTHS = {"narrow": 0.075, "full": 1.0}


def one(length: int, width: float, arguments: argparse.Namespace) -> dict[str, float | None]:
    """Milliseconds and MiB at one length, in this process."""
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    device = torch.device(arguments.device)
    memory = PeakMemory(device)
    torch.manual_seed(0)
    model = load_model("flexconv")
    signature = Signature(in_channels=1, shape=(length,), out_features=10, target="sequence")
    network = model(model.Config(mask_width=width), signature).to(device).eval()
    x, y = torch.randn(1, 1, length, device=device), torch.zeros(1, dtype=torch.long).to(device)

    def infer() -> None:
        with torch.inference_mode():
            network(x)

    def step() -> None:
        network.zero_grad()
        functional.cross_entropy(network(x), y).backward()

    def milliseconds(what: object) -> float:
        started = time.perf_counter()
        what()  # type: ignore[operator]
        if device.type == "cuda":
            torch.cuda.synchronize()
        return 1000 * (time.perf_counter() - started)

    row: dict[str, float | None] = {"first_ms": milliseconds(infer)}
    row["infer_ms"] = statistics.median(milliseconds(infer) for _ in range(3))
    row["infer_peak_mib"] = (memory.peak_bytes() or 0) / 2**20
    row["train_ms"] = None
    if length <= arguments.longest_step:
        network.train()
        milliseconds(step)
        row["train_ms"] = statistics.median(milliseconds(step) for _ in range(3))
        row["train_peak_mib"] = (memory.peak_bytes() or 0) / 2**20
    return {name: None if value is None else round(value, 2) for name, value in row.items()}


def elsewhere(length: int, mask: str, arguments: argparse.Namespace) -> dict[str, float | None]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--one", str(length), mask, "--device", arguments.device]
    command += ["--threads", str(arguments.threads), "--longest-step", str(arguments.longest_step)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    row: dict[str, float | None] = json.loads(done.stdout.splitlines()[-1])
    return row


def plot(report: dict[str, dict[int, dict[str, float | None]]], path: Path) -> None:
    """Time and memory against length, on logarithmic axes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    shown = {"first_ms": "first inference", "infer_ms": "inference", "train_ms": "training step"}
    for mask, style in (("narrow", "-"), ("full", "--")):
        lengths = sorted(report[mask])
        for color, (key, label) in enumerate(shown.items()):
            points = [(n, report[mask][n][key]) for n in lengths if report[mask][n][key]]
            name = f"{label}, {mask}"
            axes[0].loglog(*zip(*points, strict=True), style, c=f"C{color}", label=name)
        memory = [report[mask][n]["infer_peak_mib"] for n in lengths]
        axes[1].loglog(lengths, memory, style, c="C0", label=f"inference, {mask}")
    longest = max(report["full"])
    slowest = report["full"][longest]["first_ms"] or 1
    line = (longest // 64, longest), (slowest / 64, slowest)
    axes[0].loglog(*line, ":", c="grey", label="linear")
    axes[1].axhline(8192, c="grey", ls=":", label="8 GiB")
    for axis, label in zip(axes, ("ms, batch 1", "peak memory, MiB"), strict=True):
        axis.set_xlabel("length, steps")
        axis.set_ylabel(label)
        axis.legend(fontsize="small")
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure, print, and write JSON and a plot if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--longest", type=int, default=2**20)
    parser.add_argument("--longest-step", type=int, default=2**16)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        length, mask = arguments.one
        print(json.dumps(one(int(length), WIDTHS[mask], arguments)))
        return
    report: dict[str, dict[int, dict[str, float | None]]] = {}
    for mask in WIDTHS:
        report[mask] = {}
        before = None
        length = 1024
        while length <= arguments.longest:
            row = elsewhere(length, mask, arguments)
            slope = math.log((row["first_ms"] or 1) / before, 4) if before else float("nan")
            before = row["first_ms"]
            report[mask][length] = row
            print(f"{mask:<7}{length:>9}  slope {slope:5.2f}  {row}", flush=True)
            length *= 4
    if arguments.output:
        arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.plot:
        plot(report, arguments.plot)


if __name__ == "__main__":
    main()
