"""The kernels of a network's generated convolutions, as arrays."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from seqbench.nn.continuous import KernelConvolution, at_rate

OVERSAMPLING = 4
"""Spectra are of kernels sampled so many times as densely, to show what their taps cannot carry."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class LayerKernels:
    """One convolution: its kernels and what is known of them.

    ``kernels`` are those of all pairs of channels, (pair, *tap), before cropping, the newest tap
    first; ``lags`` say along each axis how many steps back a tap looks; ``mask`` is the factor that
    is learned along each axis, if there is one; ``kept`` are the first tap and the end of what is
    left after cropping. ``frequencies`` are those of ``spectra`` along every axis, in cycles a step
    at the network's sampling rate, up to beyond 1/2, the Nyquist frequency; ``spectra`` are the
    largest and the mean magnitude over all pairs, (2, *frequency), of two axes over both signs of a
    frequency too. ``bound`` is the analytic highest frequency along each axis, if the kernel
    network has one; ``aliased`` the share of energy above 1/2 along any axis.
    """

    name: str
    kernels: Array
    lags: tuple[Array, ...]
    mask: tuple[Array, ...] | None
    kept: tuple[tuple[int, int], ...]
    bound: tuple[float, ...] | None
    frequencies: Array
    spectra: Array
    aliased: float

    @property
    def taps(self) -> int:
        """Taps after cropping."""
        return math.prod(end - first for first, end in self.kept)


@torch.no_grad()
def kernels_of(network: nn.Module) -> list[LayerKernels]:
    """The kernels of every generated convolution, in the order of the network, wherever it is."""
    return [
        _of_layer(name, copy.deepcopy(layer).cpu())
        for name, layer in network.named_modules()
        if isinstance(layer, KernelConvolution)
    ]


def _of_layer(name: str, layer: KernelConvolution) -> LayerKernels:
    shape = tuple(len(layer.grid(axis)) for axis in range(len(layer.size)))
    whole = KernelConvolution.box(layer, shape)
    kernels = layer.formed(layer.features(whole)).flatten(0, 1)
    lags = tuple(
        np.arange(reach.first - reach.current, reach.end - reach.current, dtype=np.float32)
        for reach in whole
    )
    bound, mask = layer.highest_frequency(), layer.envelope()
    return LayerKernels(
        name=name,
        kernels=kernels.numpy(),
        lags=lags,
        mask=tuple(values.numpy() for values in mask) if mask else None,
        kept=tuple((reach.first, reach.end) for reach in layer.box(shape)),
        bound=None if bound is None else tuple((0.5 * bound / layer.nyquist_frequency).tolist()),
        **_spectrum(layer),
    )


def _spectrum(layer: KernelConvolution) -> dict[str, Any]:
    """The magnitudes of kernels sampled more densely; a tap's weight stays that of its own rate.

    The kernel network's last layer is linear, so what it gets is transformed, not the kernels.
    """
    dense = at_rate(layer, float(OVERSAMPLING))
    shape = tuple(len(dense.grid(axis)) for axis in range(len(dense.size)))
    points = 1 << ((2 * shape[0] - 1) if len(shape) == 1 else max(shape)).bit_length()
    features = dense.features(KernelConvolution.box(dense, shape))
    axes = tuple(range(len(shape)))
    transformed = torch.fft.rfftn(features, s=(points,) * len(axes), dim=axes)
    grid, rows = transformed.shape[:-1], transformed.flatten(0, -2)
    real, imaginary = rows.real.contiguous(), rows.imag.contiguous()
    largest, total, energy = (torch.zeros(len(rows)) for _ in range(3))
    for part in dense.mixing.split(64):
        squares = (real @ part.mT).square() + (imaginary @ part.mT).square()
        largest = torch.maximum(largest, squares.amax(1).sqrt())
        total += squares.sqrt().sum(1)
        energy += squares.sum(1)
    mean = total / len(dense.mixing)
    spectra = [
        _both_signs(largest.unflatten(0, grid), torch.maximum),
        _both_signs(mean.unflatten(0, grid), lambda ahead, back: (ahead + back) / 2),
    ]
    return {
        "frequencies": torch.fft.rfftfreq(points, 1 / OVERSAMPLING).numpy(),
        "spectra": torch.stack(spectra).numpy(),
        "aliased": _beyond(energy.unflatten(0, grid), points),
    }


def _both_signs(values: Tensor, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Of what an ``rfftn`` has, along every axis but the last, a frequency and its negative."""
    for axis in range(values.ndim - 1):
        ahead = torch.arange(values.shape[axis] // 2 + 1)
        back = -ahead % values.shape[axis]
        values = join(values.index_select(axis, ahead), values.index_select(axis, back))
    return values


def _beyond(energy: Tensor, points: int) -> float:
    """The share of an ``rfftn``'s energy above 1/2 cycle a step along any axis."""
    energy[..., 1:-1] *= 2  # of either sign of the last frequency
    full, half = (
        make(points, 1 / OVERSAMPLING) for make in (torch.fft.fftfreq, torch.fft.rfftfreq)
    )
    high = [full.abs() > 0.5] * (energy.ndim - 1) + [half > 0.5]
    outside = functools.reduce(torch.logical_or, torch.meshgrid(*high, indexing="ij"))
    share: float = (energy[outside].sum() / energy.sum().clamp_min(1e-30)).item()
    return share
