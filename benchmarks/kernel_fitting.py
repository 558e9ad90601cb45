"""How well and how fast kernel networks of equal size fit given kernels, on one axis and two.

    python benchmarks/kernel_fitting.py [--steps 500] [--seeds 3] [--output FILE.json]
        [--figure FILE.svg] [--read FILE.json]

The networks are those of seqbench.nn.kernels and an MLP of ReLUs, each of the width that brings it
nearest to the parameters of a MAGNet of 3 layers: of 32 channels as in FlexConv, which is more
parameters than there are taps, and of 8, which is about half as many. All train by Adam on the
mean squared error over the whole kernel, for equally many steps. The learning rate of each is
chosen from one small grid, by the mean of decibels over all targets, at seed 0; the seeds after it
are reported, by the lowest error so far. Targets span [-1, 1], so an error e is a peak
signal-to-noise ratio of 10 log10(4 / e).

Beside them stands what an N-Jet (Pintea et al. 2021) of some orders can do at best, from far fewer
parameters: the least error over all coefficients and sigmas. ``--read`` trains nothing and shows
what an earlier run wrote; ``--figure`` needs matplotlib. About 11 minutes of one core.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from seqbench_njet import HermiteNet
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

from seqbench.nn.kernels import KernelNet, MAGNet, MFNFourier, MFNGabor, Siren
from seqbench.provenance import device_name
from seqbench.result import write_atomically

SIZES = {1: (257,), 2: (33, 33)}
"""Taps along each axis; 33 x 33 are the FlexConv authors' kernels of CIFAR-10."""
CASES = ((1, 8), (1, 32), (2, 8), (2, 32))
"""Numbers of axes, and widths of the MAGNet whose parameters all have."""
LEARNING_RATES = (3e-3, 1e-2, 3e-2, 1e-1)
JET_ORDERS = (4, 9)
CLOSE = 30.0
"""Decibels at which a fit is called close."""
LEAST = 1e-9
"""Errors below are not told apart: single precision is at its end."""

LAYERS, INPUT_SCALE, OMEGA_0 = 3, 25.6, 30.0
"""Of the kernel networks, as FlexTCN has them."""


class MLP(KernelNet):
    """Linear layers and ReLUs; ``layers`` counts the last, linear one too."""

    def __init__(self, hidden_channels: int, out_channels: int, layers: int, dim: int) -> None:
        super().__init__(dim)
        widths = [dim] + [hidden_channels] * (layers - 1)
        self.hidden = nn.Sequential(
            *(layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU()))
        )
        self.output = nn.Linear(hidden_channels, out_channels)

    def features(self, positions: Tensor) -> Tensor:
        """The last hidden layer at each position."""
        features: Tensor = self.hidden(positions)
        return features


Make = Callable[[int, int], KernelNet]
"""From a width and a number of axes to a network of one output."""

NETWORKS: dict[str, Make] = {
    "MLP": lambda width, dim: MLP(width, 1, LAYERS, dim),
    "SIREN": lambda width, dim: Siren(width, 1, OMEGA_0, LAYERS, dim),
    "MFN-Fourier": lambda width, dim: MFNFourier(width, 1, LAYERS, INPUT_SCALE, dim),
    "MFN-Gabor": lambda width, dim: MFNGabor(width, 1, LAYERS, INPUT_SCALE, dim=dim),
    "MAGNet": lambda width, dim: MAGNet(width, 1, LAYERS, INPUT_SCALE, dim=dim),
}


def parameters(network: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(p.numel() for p in network.parameters())


def width_of(name: str, dim: int, magnet: int) -> int:
    """The width at which a network has about the parameters of a MAGNet of a width."""
    wanted = parameters(NETWORKS["MAGNet"](magnet, dim))
    make = NETWORKS[name]
    return min(range(2, 4 * magnet), key=lambda width: abs(parameters(make(width, dim)) - wanted))


def positions(dim: int) -> Tensor:
    """The taps' positions in [-1, 1] along each axis: (tap, axis)."""
    axes = [torch.linspace(-1, 1, size) for size in SIZES[dim]]
    return torch.cartesian_prod(*axes).reshape(-1, dim)


def targets(dim: int) -> dict[str, Tensor]:
    """The kernels to fit, by name: a value in [-1, 1] a tap.

    On two axes waves and edges run obliquely. The Gabor function has half the Nyquist frequency of
    the taps.
    """
    x = positions(dim).double()
    along = x @ torch.tensor([[1.0], [0.8, 0.6]][dim - 1], dtype=torch.float64)
    nyquist = (SIZES[dim][0] - 1) / 4
    gaussian = torch.exp(-0.5 * (x / 0.35).square().sum(1))
    noise = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, len(x)))
    made = {
        "Gaussian": gaussian,
        "Gabor": gaussian * torch.cos(math.pi * nyquist * along),
        "sawtooth": 2 * torch.remainder(2 * along + 0.25, 1) - 1,
        "step": torch.where(along > 0.1, 1.0, -1.0),
        "random": noise,
    }
    for name, (image, row, column) in PATCHES.items():
        made[name] = patch(image, (row, column), dim)
    return {name: values.float() for name, values in made.items()}


PATCHES = {"patch 1": ("china.jpg", 180, 300), "patch 2": ("flower.jpg", 180, 260)}
"""Images of scikit-learn, and where the first pixel lies."""


def patch(image: str, corner: tuple[int, int], dim: int) -> Tensor:
    """The brightness of part of an image, or of a row of it, stretched to [-1, 1]."""
    row, column = corner
    size = SIZES[dim]
    grey = load_sample_image(image).mean(axis=2)
    part = grey[row : row + (size[0] if dim == 2 else 1), column : column + size[-1]].reshape(-1)
    low, high = part.min(), part.max()
    return torch.from_numpy(2 * (part - low) / (high - low) - 1)


# Fitting


def marks(steps: int) -> list[int]:
    """The steps after which the error is kept: about ten from one power of ten to the next."""
    spread = np.geomspace(1, steps, 1 + round(10 * math.log10(steps)))
    return sorted({round(step) for step in spread})


def fit(network: KernelNet, x: Tensor, target: Tensor, rate: float, steps: int) -> list[float]:
    """The lowest mean squared error so far after each of the ``marks``."""
    optimiser = torch.optim.Adam(network.parameters(), rate, fused=True)
    kept, errors, best = set(marks(steps)), [], math.inf
    for step in range(1, steps + 1):
        optimiser.zero_grad()
        error = (network(x)[:, 0] - target).square().mean()
        best = min(best, error.item())
        error.backward()
        optimiser.step()
        if step in kept:
            errors.append(float(f"{best:.4g}"))
    return errors


def of_network(name: str, width: int, dim: int, steps: int, seeds: int) -> dict[str, Any]:
    """Choose a learning rate at seed 0, then fit every target from every other seed."""
    x, wanted = positions(dim), targets(dim)

    def fitted(target: Tensor, rate: float, seed: int) -> list[float]:
        torch.manual_seed(seed)
        return fit(NETWORKS[name](width, dim), x, target, rate, steps)

    tried = {
        rate: statistics.fmean(decibels(fitted(target, rate, 0)[-1]) for target in wanted.values())
        for rate in LEARNING_RATES
    }
    rate = max(tried, key=lambda rate: tried[rate])
    return {
        "width": width,
        "parameters": parameters(NETWORKS[name](width, dim)),
        "mean_decibels_by_learning_rate": {rate: round(mean, 2) for rate, mean in tried.items()},
        "learning_rate": rate,
        "errors": {
            target: [fitted(values, rate, seed) for seed in range(1, seeds + 1)]
            for target, values in wanted.items()
        },
    }


def of_jet(order: int, dim: int) -> dict[str, Any]:
    """The least error of an N-Jet for every target, over sigmas from half a tap to twice all."""
    x = positions(dim).double()
    bases = []
    for sigma in np.geomspace(1 / (SIZES[dim][0] - 1), 4, 80):
        net = HermiteNet(order, 1, float(sigma), dim).double()
        with torch.no_grad():
            window = torch.stack([net.gaussian(axis) for axis in x.T]).prod(dim=0)
            basis = torch.cat([torch.ones(len(x), 1), net.features(x)], dim=1) * window[:, None]
        bases.append(torch.linalg.qr(basis / basis.norm(dim=0)).Q)
    least = {}
    for name, target in targets(dim).items():
        values = target.double()
        least[name] = min((values - q @ (q.T @ values)).square().mean().item() for q in bases)
    return {"parameters": parameters(HermiteNet(order, 1, 1.0, dim)), "errors": least}


def of_case(dim: int, magnet: int, steps: int, seeds: int) -> dict[str, Any]:
    """Every network at the parameters of a MAGNet of a width, and what stands beside them."""
    started = time.process_time()
    networks = {}
    for name in NETWORKS:
        width = width_of(name, dim, magnet)
        networks[name] = of_network(name, width, dim, steps, seeds)
        seconds = time.process_time() - started
        print(f"{dim} axes, {name} of {width}: {seconds:.0f} s", flush=True)
    return {
        "size": SIZES[dim],
        "networks": networks,
        "jets": {str(order): of_jet(order, dim) for order in JET_ORDERS},
        "constants": {name: t.var(correction=0).item() for name, t in targets(dim).items()},
        "core_seconds": round(time.process_time() - started),
    }


def measured(steps: int, seeds: int) -> dict[str, Any]:
    """All cases, and how they were measured."""
    return {
        "torch": torch.__version__,
        "machine": device_name(torch.device("cpu")),
        "steps": steps,
        "seeds": seeds,
        "marks": marks(steps),
        "cases": [of_case(dim, magnet, steps, seeds) for dim, magnet in CASES],
    }


# What is shown


def decibels(error: float) -> float:
    """The peak signal-to-noise ratio of values that span [-1, 1]."""
    return 10 * math.log10(4 / max(error, LEAST))


def table(case: dict[str, Any], steps: list[int]) -> str:
    """Decibels at the end, mean and deviation over seeds, by target; then when a fit was close."""
    networks, jets = case["networks"], case["jets"]
    names = [*networks, *(f"N-Jet, order {order}" for order in jets), "a constant"]
    every = [*networks.values(), *jets.values()]
    lines = [
        f"| | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
        f"| parameters | {' | '.join(str(one['parameters']) for one in every)} | 1 |",
        f"| learning rate | {' | '.join(str(one.get('learning_rate', '')) for one in every)} | |",
    ]
    for target in next(iter(networks.values()))["errors"]:
        cells = [_cell(one["errors"][target]) for one in networks.values()]
        least = [one["errors"][target] for one in jets.values()] + [case["constants"][target]]
        cells += [f"{decibels(error):.1f}" for error in least]
        lines.append(f"| {target}, dB | {' | '.join(cells)} |")
    for target in next(iter(networks.values()))["errors"]:
        cells = [_close(steps, one["errors"][target]) for one in networks.values()]
        cells += [""] * (len(jets) + 1)
        lines.append(f"| {target}, steps to {CLOSE:.0f} dB | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(seeds: list[list[float]]) -> str:
    found = [decibels(errors[-1]) for errors in seeds]
    deviation = statistics.stdev(found) if len(found) > 1 else math.nan
    return f"{statistics.fmean(found):.1f} ± {deviation:.1f}"


def _close(steps: list[int], seeds: list[list[float]]) -> str:
    """The median over seeds of the first step at which the fit was close; a dash for never."""
    first = [
        next((s for s, e in zip(steps, errors, strict=True) if decibels(e) >= CLOSE), math.inf)
        for errors in seeds
    ]
    median = statistics.median(first)
    return "-" if median == math.inf else f"{median:.0f}"


def draw(report: dict[str, Any], path: Path) -> None:
    """Error against steps: a row of panels for each case, a panel a target."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "kernel-fitting"}
    import matplotlib.pyplot as plt

    cases, steps = report["cases"], report["marks"]
    names = list(next(iter(cases[0]["networks"].values()))["errors"])
    figure, rows = plt.subplots(
        len(cases), len(names), figsize=(14, 9), sharex=True, sharey=True, layout="constrained"
    )
    for case, panels in zip(cases, rows, strict=True):
        for target, panel in zip(names, panels, strict=True):
            for name, one in case["networks"].items():
                curves = np.array(one["errors"][target])
                panel.loglog(steps, np.median(curves, axis=0), label=name, lw=1.2)
                panel.fill_between(steps, curves.min(axis=0), curves.max(axis=0), alpha=0.2, lw=0)
            for (order, jet), style in zip(case["jets"].items(), ("--", ":"), strict=True):
                least = max(LEAST, jet["errors"][target])
                panel.axhline(least, c="grey", ls=style, lw=1, label=f"N-Jet, order {order}, best")
            panel.set_title(target, fontsize="small")
            panel.set_ylim(LEAST, 2)
        size = " x ".join(map(str, case["size"]))
        count = case["networks"]["MAGNet"]["parameters"]
        panels[0].set_ylabel(f"{size} taps\n{count} parameters")
    for panel in rows[-1]:
        panel.set_xlabel("steps")
    figure.supylabel("mean squared error, lowest so far")
    figure.legend(*rows[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=7)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> None:
    """Measure, or read what was measured; print tables, write JSON and a figure if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--read", type=Path)
    arguments = parser.parse_args()
    if arguments.read:
        report = json.loads(arguments.read.read_text())
    else:
        torch.set_num_threads(1)
        report = measured(arguments.steps, arguments.seeds)
    if arguments.output:
        write_atomically(arguments.output, json.dumps(report).encode() + b"\n")
    for case in report["cases"]:
        size = " x ".join(map(str, case["size"]))
        print(f"\n{size} taps:\n\n{table(case, report['marks'])}")
    if arguments.figure:
        draw(report, arguments.figure)


if __name__ == "__main__":
    main()
