"""ReLU and dropout, alone and after batch norm, as single operations with cheap random numbers.

On a CPU PyTorch spends more time on the random numbers of dropout than on all else between two
convolutions. Here they come from a faster generator, and 16 bits are enough for one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_LEVELS = 1 << 16


def kept(like: Float[Tensor, "*shape"], rate: float) -> Float[Tensor, "*shape"]:
    """For each entry 1 with probability ``1 - rate``, to the nearest 1/65536, and 0 otherwise.

    Each entry has 16 bits of NumPy's SFC64, whose seed comes from PyTorch's generator.
    """
    seed = torch.randint(torch.iinfo(torch.int64).max, ()).item()
    words = np.random.SFC64(int(seed)).random_raw(-(-like.numel() // 4))
    bits = torch.from_numpy(words.view(np.int16))[: like.numel()]
    return bits.le_(_share(rate) - 1 - _LEVELS // 2).to(like.dtype).view(like.shape)


def _share(rate: float) -> int:
    """How many of 65536 entries are kept at a dropout rate, at least one."""
    return max(1, round((1 - rate) * _LEVELS))


class ReLUDropout(nn.Module):
    """ReLU, then dropout at a rate in [0, 1).

    On a CPU the rate is that of ``kept``, and what is kept is scaled by exactly its inverse.
    Elsewhere PyTorch's own dropout is used.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """The rectified and, in training, thinned input."""
        if not self.training or not self.rate:
            return x.relu()
        if x.device.type != "cpu":
            return functional.dropout(x.relu(), self.rate)
        y: Tensor = _ReLUDropout.apply(x, self.rate)
        return y

    def extra_repr(self) -> str:
        """The rate, for ``print``."""
        return f"rate={self.rate}"


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over the batch and every axis of time or space.

    Parameters, buffers and running statistics are those of PyTorch's, whatever the axes are.
    """

    def forward(
        self, x: Float[Tensor, "batch channel *time"]
    ) -> Float[Tensor, "batch channel *time"]:
        """The normalised input."""
        y: Tensor = super().forward(x.flatten(2)).view_as(x)
        return y


class BatchNormReLUDropout(BatchNorm):
    """``BatchNorm``, then ``ReLUDropout``."""

    def __init__(self, channels: int, rate: float) -> None:
        super().__init__(channels)
        self.activation = ReLUDropout(rate)

    def forward(
        self, x: Float[Tensor, "batch channel *time"]
    ) -> Float[Tensor, "batch channel *time"]:
        """The normalised, rectified and, in training, thinned input."""
        if not self.training and not torch.is_grad_enabled():
            return self._inferred(x.flatten(2)).view_as(x)
        if not self.training or x.device.type != "cpu":
            y: Tensor = self.activation(super().forward(x))
            return y
        return self._trained(x.flatten(2)).view_as(x)

    def _trained(self, x: Tensor) -> Tensor:
        if x.shape[0] * x.shape[2] == 1:
            raise ValueError("expected more than one value a channel in training: no variance")
        y: Tensor
        y, mean, variance = _NormReLUDropout.apply(
            x, self.weight, self.bias, self.eps, self.activation.rate
        )
        self._track(mean, variance, x.shape[0] * x.shape[2])
        return y

    def _inferred(self, x: Tensor) -> Tensor:
        assert self.running_mean is not None  # noqa: S101  (for the type checker)
        assert self.running_var is not None  # noqa: S101
        gain = self.weight * (self.running_var + self.eps).rsqrt()
        level = self.bias - gain * self.running_mean
        return (x * _over_time(gain)).add_(_over_time(level)).relu_()

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, n: int) -> None:
        assert self.running_mean is not None  # noqa: S101  (for the type checker)
        assert self.running_var is not None  # noqa: S101
        assert self.num_batches_tracked is not None  # noqa: S101
        assert self.momentum is not None  # noqa: S101
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (n / max(1, n - 1)), self.momentum)


class _ReLUDropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float) -> Tensor:
        ctx.scale = _LEVELS / _share(rate)
        y = x.relu().mul_(kept(x, rate)).mul_(ctx.scale)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (y,) = ctx.saved_tensors
        return _through(gradient, y).mul_(ctx.scale), None


class _NormReLUDropout(torch.autograd.Function):
    """``dropout(relu(weight * (x - mean) / sd + bias))``; statistics in two passes."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917  (what there is)
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, rate: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        mean = x.mean((0, 2))
        centred = x - _over_time(mean)
        variance = torch.linalg.vector_norm(centred, dim=2).square_().sum(0)
        variance /= x.shape[0] * x.shape[2]
        inverse = (variance + eps).rsqrt_()
        ctx.scale = _LEVELS / _share(rate)
        gain, level = (_over_time(ctx.scale * values) for values in (weight * inverse, bias))
        y = (centred * gain).add_(level).relu_()
        if rate:
            y.mul_(kept(x, rate))
        ctx.save_for_backward(centred, inverse, weight, y)
        ctx.mark_non_differentiable(mean, variance)
        return y, mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        centred, inverse, weight, y = ctx.saved_tensors
        n = centred.shape[0] * centred.shape[2]
        dy = _through(gradient, y)
        d_bias = dy.sum((0, 2)).mul_(ctx.scale)
        d_weight = torch.linalg.vecdot(dy, centred).sum(0).mul_(ctx.scale * inverse)
        # dx = gain (dy - mean of dy - normalised x times mean of dy times normalised x)
        gain = weight * inverse
        dx = dy.mul_(_over_time(ctx.scale * gain)).sub_(_over_time(gain * d_bias / n))
        dx.sub_(centred.mul(_over_time(gain * inverse * d_weight / n)))
        return dx, d_weight, d_bias, None, None


def _through(gradient: Tensor, y: Tensor) -> Tensor:
    """The gradient where the output is above zero, in memory of its own."""
    passed: Tensor = torch.ops.aten.threshold_backward(gradient, y, 0.0)
    return passed


def _over_time(values: Float[Tensor, " channel"]) -> Float[Tensor, "channel 1"]:
    return rearrange(values, "channel -> channel 1")
