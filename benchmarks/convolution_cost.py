"""Fit the coefficients of ``seqbench.nn.convolution_cost`` to training steps on this machine.

    python benchmarks/convolution_cost.py [--threads 2] [--repeats 5]

Times one forward and backward pass of the direct convolution and of generated convolutions in
blocks, over lengths, taps, batches and channels, in random order; fits each linear model by
non-negative least squares on relative errors; prints the coefficients in nanoseconds, the median
relative error, and how much slower than the best way the model's choices are, with the fitted
coefficients and with those in the code (1.0: always the best). Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import itertools
import math
import random
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import nnls

from seqbench.allocator import keep_freed_memory
from seqbench.nn import convolution_cost as cost
from seqbench.nn.convolution import Blocks, Window, direct_convolution, generated_convolution

FEATURES = 33
CASES = [
    (length, taps, batch, channels)
    for length, batch in ((128, 64), (784, 64), (1024, 64), (4096, 16), (16000, 4))
    for taps in (2, 5, 9, 16, 33, 64, 200, 784, 2000)
    for channels in (8, 30)
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


def measure(case: tuple[int, int, int, int], window: Window, repeats: int) -> float:
    """Nanoseconds of a training step of one convolution, directly or by blocks."""
    length, taps, batch, channels = case
    x = torch.randn(batch, channels, length, requires_grad=True)
    features = torch.randn(taps, FEATURES, requires_grad=True)
    mixing = torch.randn(channels**2, FEATURES, requires_grad=True)
    gradient = torch.randn(batch, channels, length)

    def step() -> None:
        if isinstance(window, Blocks):
            y = generated_convolution(x, features, mixing, None, window)
        else:
            kernel = (features @ mixing.T).T.reshape(channels, channels, taps)
            y = direct_convolution(x, kernel)
        y.backward(gradient)

    return 1e9 * seconds(step, repeats)


def ways(case: tuple[int, int, int, int]) -> list[Window]:
    """Direct, where it is not hopeless, and every transform length that is thought of."""
    length, taps, *_ = case
    window = Window((taps,), (0,), (length,))
    lengths = itertools.product(*map(cost.lengths, window.taps, window.size))
    blocks: list[Window] = [Blocks(window.taps, (0,), (length,), n) for n in lengths]
    return ([window] if taps <= 64 else []) + blocks


def fit(terms: list[tuple[float, ...]], times: list[float]) -> np.ndarray:
    """Non-negative coefficients that minimise relative errors."""
    rows, target = np.array(terms), np.array(times)
    scale = np.median(rows, axis=0)
    found, _ = nnls(rows / target[:, None] / scale, np.ones(len(target)))
    return found / scale


def main() -> None:
    """Measure, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    jobs = [(case, way) for case in CASES for way in ways(case)]
    random.Random(0).shuffle(jobs)
    times = {job: measure(*job, arguments.repeats) for job in jobs}
    fitted: dict[bool, np.ndarray] = {}
    for blocked, name in ((False, "direct"), (True, "blocks")):
        some = [job for job in jobs if isinstance(job[1], Blocks) == blocked]
        terms = [terms_of(*job) for job in some]
        taken = [times[job] for job in some]
        fitted[blocked] = fit(terms, taken)
        error = np.abs(np.array(terms) @ fitted[blocked] / np.array(taken) - 1)
        print(
            f"{name}: {[float(f'{c:.3g}') for c in fitted[blocked]]} ns, "
            f"median relative error {np.median(error):.2f}"
        )
    in_code = {False: np.array(cost.DIRECT), True: np.array(cost.BLOCKS)}
    for label, coefficients in (("fitted", fitted), ("in the code", in_code)):
        losses = sorted(loss_of(case, times, coefficients) for case in CASES)
        values = [loss for loss, _ in losses]
        print(
            f"time over the best way's, {label}: median {statistics.median(values):.2f}, "
            f"mean {math.fsum(values) / len(values):.2f}, worst:"
        )
        for loss, what in losses[-6:]:
            print(f"  {loss:.2f} {what}")


def loss_of(
    case: tuple[int, int, int, int],
    times: dict[tuple[tuple[int, int, int, int], Window], float],
    coefficients: dict[bool, np.ndarray],
) -> tuple[float, str]:
    """How much longer the model's choice takes than the best way, and which these are."""
    spent = {w: np.dot(terms_of(case, w), coefficients[isinstance(w, Blocks)]) for w in ways(case)}
    chosen = min(spent, key=spent.__getitem__)
    best = min(spent, key=lambda way: times[case, way])
    loss = times[case, chosen] / times[case, best]
    return loss, f"{case}: {name_of(chosen)} chosen, {name_of(best)} is best"


def name_of(way: Window) -> str:
    """A way in a word."""
    return f"blocks of {way.n[0]}" if isinstance(way, Blocks) else "direct"


def terms_of(case: tuple[int, int, int, int], way: Window) -> tuple[float, ...]:
    """The model's terms of one case and way."""
    _, _, batch, channels = case
    pair = cost.Channels(channels, channels, FEATURES)
    if isinstance(way, Blocks):
        return cost.block_terms(way, batch, pair)
    return cost.direct_terms(way, batch, pair)


if __name__ == "__main__":
    main()
