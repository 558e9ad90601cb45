"""The convolution with a kernel that a network generates: causal or centred, on one axis or more."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

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
    generated_spectrum,
)
from seqbench.nn.convolution_cost import Channels, plan
from seqbench.nn.kernels import KernelNet

KEPT_BYTES = 256 << 20
"""A spectrum larger than this is not kept in eval, but made anew in chunks at every call."""

Network = TypeVar("Network", bound=nn.Module)


class Reach(NamedTuple):
    """The taps of a kernel along one axis that are convolved with: ``first`` up to ``end``.

    ``current`` is the tap that meets the current step; it is always among them.
    """

    first: int
    end: int
    current: int


class KernelConvolution(nn.Module):
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
    geometry, and dropped by ``train()`` or when a parameter changes in place; a change through
    ``parameter.data`` goes unseen. The kernel is generated in the precision of the parameters also
    under autocast, because positions times a high frequency lose their meaning in half precision.

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
        self._fresh: Tensor | None = None

    def _check(self) -> None:
        values = self.in_channels * (1 if self.separable else self.out_channels)
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
        taps, current = self._taps_along(axis)
        weight = self.kernel.output.weight
        steps = (self.size[axis] - 1) * self.rate
        return _positions(taps, current, steps, self.causal, weight.device, weight.dtype)

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
        features = functional.pad(self.kernel.features(grid), (0, 1), value=1.0)
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
        return kernel.unflatten(0, (-1, 1 if self.separable else self.in_channels))

    def sampled_kernel(self, *shape: int) -> Float[Tensor, "c_out c_in *tap"]:
        """The kernel that an input of this shape is convolved with, the newest tap first."""
        return self.formed(self.features(self.box(shape)))

    def kernel_norm(self) -> Float[Tensor, ""]:
        """The Frobenius norm of the kernel for the last input in training, or of all taps.

        By Gram matrices, ``|| F W^T ||^2 = sum((F^T F) * (W^T W))``, so no kernel is formed.
        Features that a forward pass made and no backward pass has used are used again.
        """
        features = self._fresh if self._fresh is not None else self.features(self._whole())
        rows, mixing = features.flatten(0, -2), self.mixing
        return ((rows.mT @ rows) * (mixing.mT @ mixing)).sum().sqrt()

    def _whole(self) -> tuple[Reach, ...]:
        return self.box([self._taps_along(axis)[0] for axis in range(len(self.size))])

    # The convolution

    def forward(
        self, x: Float[Tensor, "batch c_in *time"], steps: int | None = None
    ) -> Float[Tensor, "batch c_out *out"]:
        """Convolve, mix channels if separable, add the bias.

        ``steps`` asks a causal convolution on one axis for its last so many outputs alone.
        """
        with torch.autocast(x.device.type, enabled=False):
            y = self._convolved(x.to(self.kernel.output.weight.dtype), steps)
            if self.mix is None:
                return y
            return self._biased(torch.einsum("bi...,oi->bo...", y, self.mix.weight))

    def _biased(self, y: Tensor) -> Tensor:
        return y if self.bias is None else y + self.bias.reshape(-1, *(1,) * len(self.size))

    def _convolved(self, x: Tensor, steps: int | None) -> Tensor:
        box = self.box(x.shape[2:])
        taps = tuple(reach.end - reach.first for reach in box)
        offset, size = tuple(reach.current - reach.first for reach in box), tuple(x.shape[2:])
        if steps is not None and steps < size[0]:
            x = x[..., -(steps + taps[0] - 1) :]
            offset, size = (x.shape[-1] - steps,), (steps,)
        window = plan(Window(taps, offset, size), len(x), self._cost)
        if not (self.training or torch.is_grad_enabled()):
            return self._inferred(x, box, window)
        features = self.features(box)
        if self.training and features.requires_grad:
            self._fresh = features
            features.register_hook(self._used)
        return self.convolve(x, features, window)

    @property
    def _cost(self) -> Channels:
        if self.separable:
            return Channels(1, 1, features=0, groups=self.in_channels)
        features = self.kernel.output.in_features + 1
        return Channels(self.in_channels, self.out_channels, features)

    def _used(self, _gradient: Tensor) -> None:
        self._fresh = None

    def convolve(
        self,
        x: Float[Tensor, "batch c_in *time"],
        features: Float[Tensor, "*tap feature"],
        window: Window,
    ) -> Float[Tensor, "batch channel *out"]:
        """The convolution of ``x`` with the kernel of these features; if dense, with the bias."""
        if isinstance(window, Blocks) and not self.separable:
            return generated_convolution(x, features, self.mixing, self.bias, window)
        return self._with_kernel(x, self.formed(features), window)

    def _with_kernel(self, x: Tensor, kernel: Tensor, window: Window) -> Tensor:
        by_fft = isinstance(window, Blocks)
        convolve = depthwise_fft_convolution if by_fft else direct_convolution
        y = convolve(x, kernel, window.offset, window.size)
        return y if self.separable else self._biased(y)

    # Eval

    def _inferred(self, x: Tensor, box: tuple[Reach, ...], window: Window) -> Tensor:
        """The convolution without gradients, by what is kept of the kernel."""
        if self.separable or not isinstance(window, Blocks):
            kernel = self._keep(box, lambda: self.formed(self.features(box)))
            return self._with_kernel(x, kernel, window)
        values = self.in_channels * self.out_channels
        if math.prod(window.half) * values * 2 * x.element_size() > KEPT_BYTES:
            return self.convolve(x, self.features(box), window)

        def spectrum() -> Tensor:
            return generated_spectrum(self.features(box), self.mixing, self.in_channels, window)

        return filtered(x, self._keep((box, window.n), spectrum), self.bias, window)

    def _keep(self, what: object, make: Callable[[], Tensor]) -> Tensor:
        parameters = list(self.parameters())
        if any(p.is_inference() for p in parameters):  # these do not tell when they change
            return make()
        versions = [(p.data_ptr(), p._version) for p in parameters]  # noqa: SLF001
        key = (what, self.rate, versions)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, make()
        return self._kept[1]

    def train(self, mode: bool = True) -> Any:
        """Switch between training and eval; what was kept of the kernel is dropped."""
        self._kept = self._fresh = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None, "_fresh": None}


@functools.lru_cache(maxsize=64)
def _positions(  # noqa: PLR0913, PLR0917  (a key)
    taps: int,
    current: int,
    steps: float,
    causal: bool,  # noqa: FBT001
    device: torch.device,
    dtype: torch.dtype,
) -> Tensor:
    """Positions ``2 / steps`` apart, that of the current tap at 1 (causal) or at 0."""
    with torch.inference_mode(mode=False):  # a tensor made there could not be used in training
        index = torch.arange(taps, dtype=torch.float64) - current
        positions = (1.0 if causal else 0.0) - index * (2 / steps if steps else 2.0)
        return positions.to(device, dtype)


def at_rate(network: Network, rate: float) -> Network:
    """The same network, sharing its parameters, for signals sampled ``rate`` times as often.

    A rate of 2 doubles the steps of a signal, 0.5 halves them. Rates multiply.

    Raises:
        ConfigError: the rate is not above 0.

    """
    if not rate > 0:
        raise ConfigError(f"the sampling rate cannot be {rate!r}: expected a number above 0")
    shared = [*network.parameters(), *network.buffers()]
    twin = copy.deepcopy(network, {id(tensor): tensor for tensor in shared})
    for module in twin.modules():
        if isinstance(module, KernelConvolution):
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
