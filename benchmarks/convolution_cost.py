"""Fit the coefficients of ``seqbench.nn.convolution_cost`` to training steps on this machine.

    python benchmarks/convolution_cost.py [--threads 2] [--repeats 5]

Times one forward and backward pass of the direct convolution and of convolutions by transforms,
dense and depthwise, over lengths, taps, batches and channels, in random order; fits each linear
model by non-negative least squares on relative errors; prints the coefficients in nanoseconds, the
median relative error, and how much slower than the best way the model's choices are, with the
fitted coefficients and with those in the code (1.0: always the best). Run it on an otherwise idle
machine.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import nnls

from seqbench.allocator import keep_freed_memory
from seqbench.nn import convolution_cost as cost
from seqbench.nn.convolution import (
    Blocks,
    Window,
    depthwise_fft_convolution,
    direct_convolution,
    generated_convolution,
)

FEATURES = 33
MOST_PRODUCTS = 2e10
"""A direct convolution of more multiply-adds than these is hopeless, and not timed."""


@dataclass(frozen=True)
class Case:
    """Sizes of a convolution; depthwise, each channel has a kernel of its own."""

    length: int
    taps: int
    batch: int
    channels: int
    depthwise: bool

    @property
    def window(self) -> Window:
        """All outputs of a causal convolution."""
        return Window((self.taps,), (0,), (self.length,))

    @property
    def sizes(self) -> cost.Channels:
        """What the cost model is told of the channels."""
        if self.depthwise:
            return cost.Channels(1, 1, features=0, groups=self.channels)
        return cost.Channels(self.channels, self.channels, FEATURES)

    def terms(self, way: Window) -> tuple[float, ...]:
        """What the cost model says that its time is made of."""
        return cost.terms(way, self.batch, self.sizes)

    def ways(self) -> list[Window]:
        """Those the cost model thinks of, without a hopeless direct one."""
        window, *blocks = cost.ways(self.window, self.sizes)
        return blocks if self.terms(window)[1] > MOST_PRODUCTS else [window, *blocks]

    def measure(self, way: Window, repeats: int) -> float:
        """Nanoseconds of a training step of the convolution in one of its ways."""
        c_in = 1 if self.depthwise else self.channels
        x = torch.randn(self.batch, self.channels, self.length, requires_grad=True)
        features = torch.randn(self.taps, FEATURES, requires_grad=True)
        mixing = torch.randn(self.channels * c_in, FEATURES, requires_grad=True)
        gradient = torch.randn(self.batch, self.channels, self.length)
        by_fft = isinstance(way, Blocks)

        def step() -> None:
            if isinstance(way, Blocks) and not self.depthwise:
                y = generated_convolution(x, features, mixing, None, way)
            else:
                kernel = (features @ mixing.T).T.reshape(self.channels, c_in, self.taps)
                y = (depthwise_fft_convolution if by_fft else direct_convolution)(x, kernel)
            y.backward(gradient)

        return 1e9 * seconds(step, repeats)


def cases() -> list[Case]:
    """Sizes around those where the best way changes."""
    return [
        Case(length, taps, batch, channels, depthwise)
        for length, batch in ((128, 64), (784, 64), (1024, 64), (4096, 16), (16000, 4))
        for taps in (2, 5, 9, 16, 33, 64, 200, 784, 2000)
        for depthwise, widths in ((False, (8, 30)), (True, (30, 140)))
        for channels in widths
        if taps <= length
    ]


def seconds(step: Callable[[], object], repeats: int) -> float:
    """The median of repeated calls after one to warm up."""
    step()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        step()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def fit(name: str, jobs: list[tuple[Case, Window]], times: dict) -> tuple[float, ...]:
    """Non-negative coefficients that minimise relative errors; printed with their error."""
    rows = np.array([case.terms(way) for case, way in jobs])
    target = np.array([times[job] for job in jobs])
    scale = np.maximum(np.median(rows, axis=0), 1.0)
    found, _ = nnls(rows / target[:, None] / scale, np.ones(len(target)))
    error = np.abs(rows @ (found / scale) / target - 1)
    coefficients = tuple(float(f"{c:.3g}") for c in found / scale)
    print(f"{name}: {coefficients} ns, median relative error {np.median(error):.2f}")
    return coefficients


def loss_of(case: Case, times: dict, coefficients: cost.Coefficients) -> tuple[float, str]:
    """How much longer the model's choice takes than the best way, and which these are."""
    chosen = min(
        case.ways(), key=lambda way: cost.expected(way, case.batch, case.sizes, coefficients)
    )
    best = min(case.ways(), key=lambda way: times[case, way])
    loss = times[case, chosen] / times[case, best]
    return loss, f"{case}: {name_of(chosen)} chosen, {name_of(best)} is best"


def name_of(way: Window) -> str:
    """A way in a word."""
    return f"blocks of {way.n[0]}" if isinstance(way, Blocks) else "direct"


def main() -> None:
    """Measure, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    jobs = [(case, way) for case in cases() for way in case.ways()]
    random.Random(0).shuffle(jobs)
    times = {job: job[0].measure(job[1], arguments.repeats) for job in jobs}
    for depthwise, in_code in ((False, cost.DENSE), (True, cost.DEPTHWISE)):
        name = "depthwise" if depthwise else "dense"
        kind = [job for job in jobs if job[0].depthwise == depthwise]
        blocked = [job for job in kind if isinstance(job[1], Blocks)]
        direct = [job for job in kind if not isinstance(job[1], Blocks)]
        fitted = cost.Coefficients(
            direct=fit(f"{name}, direct", direct, times),
            blocks=fit(f"{name}, blocks", blocked, times),
        )
        for label, coefficients in (("fitted", fitted), ("in the code", in_code)):
            losses = sorted(
                loss_of(c, times, coefficients) for c in cases() if c.depthwise == depthwise
            )
            values = [loss for loss, _ in losses]
            print(
                f"{name}, time over the best way's, {label}: "
                f"median {statistics.median(values):.2f}, "
                f"mean {math.fsum(values) / len(values):.2f}, worst:"
            )
            for loss, what in losses[-6:]:
                print(f"  {loss:.2f} {what}")


if __name__ == "__main__":
    main()
