"""Convolution with a kernel that a network generates: causal or centred, on one axis or more."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from seqbench.errors import ConfigError
from seqbench.nn.convolution import (
    Blocks,
    Window,
    depthwise_fft_convolution,
    direct_convolution,
    filtered,
    generated_convolution,
    generated_output,
    generated_spectrum,
)
from seqbench.nn.convolution_cost import Channels, plan
from seqbench.nn.kernels import KernelNet, MultiplicativeFilterNet

KEPT_BYTES = 256 << 20
"""What is larger than this is not kept in eval, but made anew at every call."""

POSITIONS = 1 << 15
"""Without gradients, the kernel network is asked for so many taps at a time: it stays in cache."""

Network = TypeVar("Network", bound=nn.Module)


class Reach(NamedTuple):
    """The taps of a kernel along one axis that are convolved with: ``first`` up to ``end``.

    ``current`` is the tap that meets the current step; it is always among them.
    """

    first: int
    end: int
    current: int


class Rated(nn.Module):
    """A layer for signals sampled ``rate`` times as often as those it was made for."""

    rate: float


class KernelConvolution(Rated):
    """A convolution whose kernel is a network's output on a grid of positions in [-1, 1].

    Along each axis the kernel has up to ``size`` taps, at positions from 1 down to -1. Causal: the
    current step is at position 1, the step ``size - 1`` before it at -1. Centred: ``size`` is odd
    and the current step is at 0. An input shorter than that sees the nearest taps of the same
    kernel; one longer sees no further than the kernel reaches. At a ``rate`` r (``at_rate``) a
    step is 1/r as long, so there are r times as many taps, each 1/r as heavy: the same kernel for
    the same signal sampled more finely or more coarsely.

    Dense, it has a kernel for every pair of channels. Separable, it has one for every channel, and
    mixes channels by a matrix afterwards.

    In eval without gradients the kernel (or its spectrum) is kept for the next call with the same
    geometry, and dropped by ``train()``, by a call with gradients, or when a parameter changes in
    place. What does not count as such goes unseen: a change through ``parameter.data``, by a fused
    optimiser without a forward pass before it, or of a number such as ``omega_0``. The kernel is
    generated in the precision of the parameters also under autocast, because positions times a
    high frequency lose their meaning in half precision.

    Args:
        kernel: gives ``out_channels * in_channels`` values a tap, or ``in_channels`` if separable.
        channels: of the input and of the output.
        size: the most taps along each axis, at rate 1.
        causal: whether the kernel looks back only.
        separable: whether channels are convolved each by itself and then mixed.
        bias: whether a bias is learned for each output channel.

    Raises:
        ConfigError: the kernel network gives another number of values or is over other axes, or a
            centred kernel is of even size.

    """

    def __init__(  # noqa: PLR0913  (what a convolution has)
        self,
        kernel: KernelNet,
        channels: tuple[int, int],
        size: Sequence[int],
        *,
        causal: bool = True,
        separable: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.in_channels, self.out_channels = channels
        self.size = tuple(size)
        self.causal = causal
        self.separable = separable
        self.rate = 1.0
        self._check()
        self.mix = nn.Linear(*channels, bias=False) if separable else None
        self.bias = nn.Parameter(torch.zeros(self.out_channels)) if bias else None
        self._kept: tuple[object, Tensor] | None = None
        self._fresh: tuple[object, Tensor] | None = None
        self._shape: tuple[int, ...] | None = None

    def _check(self) -> None:
        values = self.in_channels * (1 if self.separable else self.out_channels)
        if self.kernel.output.bias is None:
            raise ConfigError("the kernel network's last layer has no bias; expected one")
        if self.kernel.output.out_features != values:
            raise ConfigError(
                f"the kernel network gives {self.kernel.output.out_features} values a tap; this "
                f"convolution of {self.in_channels} to {self.out_channels} channels takes {values}"
            )
        if self.kernel.dim != len(self.size):
            raise ConfigError(
                f"the kernel network is over {self.kernel.dim} axes, the size is {self.size}"
            )
        if not self.causal and any(size % 2 == 0 for size in self.size):
            raise ConfigError(f"a centred kernel is of odd size on every axis, not {self.size}")

    # The grid

    def axis(self, axis: int) -> Float[Tensor, " tap"]:
        """The positions of all taps along one axis, the newest first."""
        weight = self.kernel.output.weight
        return torch.from_numpy(self.grid(axis)).to(weight.device, weight.dtype)

    def grid(self, axis: int) -> np.ndarray:
        """The same in double precision, on the CPU."""
        taps, current = self._taps_along(axis)
        steps = (self.size[axis] - 1) * self.rate
        index = np.arange(taps, dtype=np.float64) - current
        return (1.0 if self.causal else 0.0) - index * (2 / steps if steps else 2.0)

    def _taps_along(self, axis: int) -> tuple[int, int]:
        """How many taps there are along an axis at this rate, and which is the current step's."""
        steps = (self.size[axis] - 1) * self.rate
        if self.causal:
            return math.floor(steps + 1e-9) + 1, 0
        half = math.floor(steps / 2 + 1e-9)
        return 2 * half + 1, half

    def reach(self, axis: int, length: int) -> Reach:
        """The taps along an axis that meet any step of an input of this length."""
        taps, current = self._taps_along(axis)
        return Reach(max(0, current - length + 1), min(taps, current + length), current)

    def box(self, shape: Sequence[int]) -> tuple[Reach, ...]:
        """The taps along every axis that an input of this shape is convolved with."""
        return tuple(self.reach(axis, length) for axis, length in enumerate(shape))

    def taps(self, *shape: int) -> int:
        """How many taps the kernel has for an input of this shape."""
        return math.prod(reach.end - reach.first for reach in self.box(shape))

    # The kernel

    def features(self, box: Sequence[Reach]) -> Float[Tensor, "*tap feature"]:
        """What the last linear layer makes the taps of; the last column, for its bias, is ones."""
        axes = [self.axis(axis)[reach.first : reach.end] for axis, reach in enumerate(box)]
        grid = torch.cartesian_prod(*axes).reshape(-1, len(axes))
        parts = [grid] if torch.is_grad_enabled() else grid.split(POSITIONS)
        features = torch.cat([self.kernel.features(part) for part in parts])
        features = functional.pad(features, (0, 1), value=1.0)
        return features.reshape(*(len(positions) for positions in axes), -1)

    @property
    def mixing(self) -> Float[Tensor, "value feature"]:
        """The kernel network's last layer: its weight, and its bias as the last column.

        Divided by the rate along each axis, so that sums over finer taps stay the same.
        """
        output = self.kernel.output
        mixing = torch.cat([output.weight, rearrange(output.bias, "out -> out 1")], dim=1)
        return mixing if self.rate == 1 else mixing / self.rate ** len(self.size)

    def formed(self, features: Float[Tensor, "*tap feature"]) -> Float[Tensor, "c_out c_in *tap"]:
        """The kernel in the time domain; ``c_in`` is 1 if separable."""
        kernel = torch.movedim(features @ self.mixing.mT, -1, 0)
        pairs: Tensor = kernel.unflatten(0, (-1, 1 if self.separable else self.in_channels))
        return pairs

    def sampled_kernel(self, *shape: int) -> Float[Tensor, "c_out c_in *tap"]:
        """The kernel that an input of this shape is convolved with, the newest tap first."""
        return self.formed(self.features(self.box(shape)))

    def envelope(self) -> tuple[Float[Tensor, " tap"], ...] | None:
        """The factors along each axis that the kernel is masked by, at all taps; none here."""
        return None

    def highest_frequency(self, cut: float = 2.0) -> Float[Tensor, " axis"] | None:
        """A bound on the kernel's frequencies along each axis, if its network has one.

        In cycles a unit of position; Gaussians count up to ``cut`` standard deviations (FlexConv,
        Romero et al. 2022, Eqs. 11, 12).
        """
        if not isinstance(self.kernel, MultiplicativeFilterNet):
            return None
        return self.kernel.frequencies(cut).sum(dim=0)

    @property
    def nyquist_frequency(self) -> Float[Tensor, " axis"]:
        """The highest frequency that taps at the layer's sampling rate can carry (Eq. 13).

        ``size`` taps lie ``2 / (size - 1)`` apart, so half their rate is ``(size - 1) / 4``; times
        the layer's ``rate``.
        """
        weight = self.kernel.output.weight
        size = torch.tensor(self.size, device=weight.device, dtype=weight.dtype)
        return (size - 1) / 4 * self.rate

    def kernel_norm(self) -> Float[Tensor, ""]:
        """The Frobenius norm of the kernel for inputs as long as the last in training, or of all.

        By Gram matrices, ``|| F W^T ||^2 = sum((F^T F) * (W^T W))``, so no kernel is formed; in
        the precision of the parameters, as the kernel is. Features of a forward pass in training
        that no backward pass has used are used again: add the norm to the loss, and call
        ``backward`` once for both. The gradient of a kernel of zeros is 0.
        """
        with torch.autocast(self.kernel.output.weight.device.type, enabled=False):
            if self._fresh is not None and self._fresh[0] == self._versions():
                features = self._fresh[1]
            else:
                features = self.features(self.box(self._shape or self._whole()))
            rows, mixing = features.flatten(0, -2), self.mixing
            square = ((rows.mT @ rows) * (mixing.mT @ mixing)).sum()
            # Rounding can leave less than nothing; the root has no slope at 0.
            positive = square > 0
            return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)

    def _whole(self) -> tuple[int, ...]:
        """A shape that all taps meet."""
        return tuple(self._taps_along(axis)[0] for axis in range(len(self.size)))

    # The convolution

    def forward(
        self, x: Float[Tensor, "batch c_in *time"], steps: int | None = None
    ) -> Float[Tensor, "batch c_out *out"]:
        """Convolve, mix channels if separable, add the bias.

        ``steps`` asks a causal convolution on one axis for its last outputs alone: what
        ``[..., -steps:]`` takes of all.

        Raises:
            ConfigError: ``steps`` is asked of another convolution, or is below 1.

        """
        with torch.autocast(x.device.type, enabled=False):
            y = self._convolved(x.to(self.kernel.output.weight.dtype), steps)
            if self.mix is None:
                return y
            return self._biased(torch.einsum("bi...,oi->bo...", y, self.mix.weight))

    @property
    def shift(self) -> Float[Tensor, " c_out"] | None:
        """What is added to each channel after mixing, if separable: the bias."""
        return self.bias

    def _biased(self, y: Tensor) -> Tensor:
        shift = self.shift
        return y if shift is None else y + shift.reshape(-1, *(1,) * len(self.size))

    def _convolved(self, x: Tensor, steps: int | None) -> Tensor:
        whole = tuple(x.shape[2:])
        box = self.box(whole)
        taps = tuple(reach.end - reach.first for reach in box)
        offset, size = tuple(reach.current - reach.first for reach in box), whole
        if steps is not None:
            self._check_steps(steps)
        if steps is not None and steps < size[0]:
            x = x[..., -(steps + taps[0] - 1) :]
            offset, size = (x.shape[-1] - steps,), (steps,)
        window = plan(Window(taps, offset, size), len(x), self._cost)
        if not (self.training or torch.is_grad_enabled()):
            return self._inferred(x, box, window)
        features = self.features(box)
        self._kept = self._fresh = None
        if self.training:
            self._shape = whole
        if self.training and features.requires_grad:
            self._fresh = self._versions(), features
            features.register_hook(self._used)
        return self.convolve(x, features, window)

    def _check_steps(self, steps: int) -> None:
        if steps < 1 or not self.causal or len(self.size) > 1:
            kind = "causal" if self.causal else "centred"
            raise ConfigError(
                f"the last {steps} outputs of a {kind} convolution on {len(self.size)} axes were "
                f"asked for; expected 1 or more, of a causal one on one axis"
            )

    @property
    def _cost(self) -> Channels:
        if self.separable:
            return Channels(1, 1, features=0, groups=self.in_channels)
        features = self.kernel.output.in_features + 1
        return Channels(self.in_channels, self.out_channels, features)

    def _used(self, _gradient: Tensor | None) -> None:
        self._fresh = None

    def convolve(
        self,
        x: Float[Tensor, "batch c_in *time"],
        features: Float[Tensor, "*tap feature"],
        window: Window,
    ) -> Float[Tensor, "batch channel *out"]:
        """The convolution of ``x`` with the kernel of these features; if dense, with the bias."""
        if self.separable:
            return self._with_kernel(x, self.formed(features), window)
        if isinstance(window, Blocks):
            return generated_convolution(x, features, self.mixing, self.bias, window)
        if math.prod(window.size) == 1:
            return generated_output(x, features, self.mixing, self.bias, window)
        return self._with_kernel(x, self.formed(features), window)

    def _with_kernel(self, x: Tensor, kernel: Tensor, window: Window) -> Tensor:
        by_fft = isinstance(window, Blocks)
        convolve = depthwise_fft_convolution if by_fft else direct_convolution
        y = convolve(x, kernel, window.offset, window.size)
        return y if self.separable else self._biased(y)

    # Eval

    def _inferred(self, x: Tensor, box: tuple[Reach, ...], window: Window) -> Tensor:
        """The convolution without gradients, by what is kept of the kernel."""
        if not self.separable and math.prod(window.size) == 1:
            values = math.prod(window.taps) * (self.kernel.output.in_features + 1)
            sampled = self._keep((box, "features"), values, lambda: self.features(box))
            return generated_output(x, sampled, self.mixing, self.bias, window)
        if self.separable or not isinstance(window, Blocks):
            values = math.prod(window.taps) * self.kernel.output.out_features
            kernel = self._keep((box, "kernel"), values, lambda: self.formed(self.features(box)))
            return self._with_kernel(x, kernel, window)
        values = 2 * math.prod(window.half) * self.kernel.output.out_features
        if values * x.element_size() > KEPT_BYTES:
            return self.convolve(x, self.features(box), window)

        def spectrum() -> Tensor:
            return generated_spectrum(self.features(box), self.mixing, self.in_channels, window)

        return filtered(x, self._keep((box, window.n), values, spectrum), self.bias, window)

    def _keep(self, what: object, values: int, make: Callable[[], Tensor]) -> Tensor:
        parameters = list(self.parameters())
        if values * parameters[0].element_size() > KEPT_BYTES:
            return make()
        if any(p.is_inference() for p in parameters):  # these do not tell when they change
            return make()
        key = (what, self.rate, self._versions())
        if self._kept is None or self._kept[0] != key:
            self._kept = key, make()
        return self._kept[1]

    def _versions(self) -> list[tuple[int, int]]:
        """What changes when a parameter does, unless through ``parameter.data``."""
        return [(p.data_ptr(), p._version) for p in self.parameters()]  # noqa: SLF001

    def train(self, mode: bool = True) -> Any:
        """Switch between training and eval; what was kept of the kernel is dropped."""
        self._kept = self._fresh = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None, "_fresh": None}


def at_rate(network: Network, rate: float) -> Network:
    """The same network, sharing its parameters, for signals sampled ``rate`` times as often.

    A rate of 2 doubles the steps of a signal, 0.5 halves them. Rates multiply.

    Raises:
        ConfigError: the rate is not above 0.

    """
    if not 0 < rate < math.inf:
        raise ConfigError(f"the sampling rate cannot be {rate!r}: expected a number above 0")
    shared = [*network.parameters(), *network.buffers()]
    twin = copy.deepcopy(network, {id(tensor): tensor for tensor in shared})
    for module in twin.modules():
        if isinstance(module, Rated):
            module.rate *= rate
    return twin


def kernel_decay(network: nn.Module) -> Float[Tensor, ""]:
    """Sum over all generated convolutions of the norms (not squared) of kernel and bias.

    The "weight decay" of the CKConv and FlexConv code, which weights this sum and adds it to the
    loss.
    """
    layers = [m for m in network.modules() if isinstance(m, KernelConvolution)]
    norms = [layer.kernel_norm() for layer in layers]
    norms += [layer.bias.norm() for layer in layers if layer.bias is not None]
    return torch.stack(norms).sum()
