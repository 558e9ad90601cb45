"""The kernels of a network's generated convolutions, as arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

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
    left after cropping. ``frequencies`` are those of the rows of ``spectra``, in cycles a step at
    the network's sampling rate, up to beyond 1/2, the Nyquist frequency; ``spectra`` are the
    largest and the mean magnitude over all pairs. ``bound`` is the analytic highest frequency along
    each axis, if the kernel network has one; ``aliased`` the share of energy above 1/2. Spectra are
    of kernels on one axis alone.
    """

    name: str
    kernels: Array
    lags: tuple[Array, ...]
    mask: tuple[Array, ...] | None
    kept: tuple[tuple[int, int], ...]
    bound: tuple[float, ...] | None
    frequencies: Array | None
    spectra: Array | None
    aliased: float | None

    @property
    def taps(self) -> int:
        """Taps after cropping."""
        return math.prod(end - first for first, end in self.kept)


@torch.no_grad()
def kernels_of(network: nn.Module) -> list[LayerKernels]:
    """The kernels of every generated convolution, in the order of the network."""
    return [
        _of_layer(name, layer)
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
        **_spectrum(layer) if len(shape) == 1 else _NO_SPECTRUM,
    )


_NO_SPECTRUM = {"frequencies": None, "spectra": None, "aliased": None}


def _spectrum(layer: KernelConvolution) -> dict[str, object]:
    """The magnitudes of kernels sampled more densely; a tap's weight stays that of its own rate."""
    dense = at_rate(layer, float(OVERSAMPLING))
    taps = len(dense.grid(0))
    kernels = dense.formed(dense.features(KernelConvolution.box(dense, (taps,)))).flatten(0, 1)
    points = 1 << (2 * taps - 1).bit_length()
    frequencies = np.fft.rfftfreq(points, 1 / OVERSAMPLING).astype(np.float32)
    largest, total, energy = (torch.zeros(len(frequencies)) for _ in range(3))
    for part in kernels.split(64):
        magnitudes = torch.fft.rfft(part, n=points).abs()
        largest = torch.maximum(largest, magnitudes.amax(0))
        total += magnitudes.sum(0)
        energy += magnitudes.square().sum(0)
    beyond = energy[torch.from_numpy(frequencies) > 0.5].sum() / energy.sum().clamp_min(1e-30)
    return {
        "frequencies": frequencies,
        "spectra": torch.stack([largest, total / len(kernels)]).numpy(),
        "aliased": beyond.item(),
    }
