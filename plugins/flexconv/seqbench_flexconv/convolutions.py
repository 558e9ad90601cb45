"""The convolutions of a network, as its config says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from seqbench.nn.continuous import KernelConvolution
from seqbench.nn.kernels import KernelNet, MAGNet, MFNFourier, MFNGabor, Siren
from seqbench_flexconv.config import FlexConvNetConfig
from seqbench_flexconv.layer import FlexConv, GaussianMask, SeparableFlexConv

CENTRES_BY_WIDTH = 1.667
"""The Gabor centres of a kernel start within so many mask widths of 0 (the authors' code)."""


def convolution(
    config: FlexConvNetConfig, shape: Sequence[int], in_channels: int, out_channels: int
) -> KernelConvolution:
    """A convolution for inputs of a shape: causal on sequences, centred on images.

    A centred kernel is of the least odd size that is not below the image's.
    """
    causal = len(shape) == 1
    size = tuple(shape) if causal else tuple(n | 1 for n in shape)
    values = in_channels * (1 if config.separable else out_channels)
    kernel = kernel_network(config, values, len(size))
    layer = _layer(config, kernel, (in_channels, out_channels), size)
    if config.kernel == "magnet-omega":
        with torch.no_grad():
            kernel.output.weight /= math.sqrt(layer.taps(*size))
    return layer


def _layer(
    config: FlexConvNetConfig,
    kernel: KernelNet,
    channels: tuple[int, int],
    size: tuple[int, ...],
) -> KernelConvolution:
    causal, separable = len(size) == 1, config.separable
    if not config.mask:
        return KernelConvolution(kernel, channels, size, causal=causal, separable=separable)
    mask = GaussianMask(
        1.0 if causal else 0.0, config.mask_width, len(size), learn_mean=config.learn_mask_mean
    )
    threshold = config.mask_threshold
    if config.architecture == "ccnn" and separable:
        return SeparableFlexConv(kernel, channels, size, mask, threshold, causal=causal)
    return FlexConv(kernel, channels, size, mask, threshold, causal=causal, separable=separable)


def kernel_network(config: FlexConvNetConfig, values: int, dim: int) -> KernelNet:
    """A kernel network that gives so many values at each position on ``dim`` axes."""
    hidden, layers, scale = config.kernel_channels, config.kernel_layers, config.input_scale
    reach = CENTRES_BY_WIDTH * config.mask_width if config.mask else 1.0
    match config.kernel:
        case "siren" | "siren-unnormed":
            normed = config.kernel == "siren"
            return Siren(hidden, values, config.omega_0, layers, dim, normed=normed)
        case "mfn-fourier":
            return MFNFourier(hidden, values, layers, scale, dim)
        case "mfn-gabor":
            return MFNGabor(hidden, values, layers, scale, min(1.0, reach), dim)
        case "magnet":
            return MAGNet(hidden, values, layers, scale, min(1.0, reach), dim)
        case "magnet-omega":
            return omega_magnet(config, values, dim, reach)


def omega_magnet(config: FlexConvNetConfig, values: int, dim: int, reach: float) -> MAGNet:
    """A MAGNet that starts as in the authors' code of CCNN (david-knigge/ccnn).

    Frequencies start from U(-1, 1) / sqrt(dim) times 2 pi omega_0 and the window's inverse width,
    phases from 0; the linear layers' weights from U(-1, 1) sqrt(3 / hidden), the biases between
    hidden layers from 1. The centres of a kernel on one axis, which looks back, start in
    [1 - reach, 1], others within ``reach`` of 0. ``convolution`` divides the last layer's weights
    by the root of the number of taps (Chang et al. 2020), so that outputs of a separable
    convolution start as large as inputs. Differs from the authors' code, which divides those of a
    dense one, that no preset has, by the root of the number of input channels too.
    """
    layers = config.kernel_layers
    scale = 2 * math.pi * config.omega_0 * math.sqrt(layers + 1)
    net = MAGNet(config.kernel_channels, values, layers, scale, reach, dim)
    filters: Sequence[Any] = [*net.filters]
    linears: Sequence[Any] = [*net.linear, net.output]
    for each in filters:
        nn.init.zeros_(each.linear.bias)
        if dim == 1 and config.mask:
            nn.init.uniform_(each.mu, 1 - reach, 1)
    for linear in linears:
        nn.init.kaiming_uniform_(linear.weight, nonlinearity="linear")
        nn.init.ones_(linear.bias)
    nn.init.zeros_(net.output.bias)
    return net
