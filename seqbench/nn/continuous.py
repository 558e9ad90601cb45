"""The causal convolution with a kernel that a network generates."""

from __future__ import annotations

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from seqbench.nn.convolution import direct_convolution, generated_convolution
from seqbench.nn.kernels import KernelNet

DIRECT_TAPS = 12
"""Kernels up to so many taps are convolved directly: there that is as fast or faster on a CPU."""


class KernelConvolution(nn.Module):
    """A causal convolution whose kernel is a network's output at ``length`` positions in [-1, 1].

    The current step is at position 1, the step ``length - 1`` before it at -1. An input shorter
    than ``length`` sees the newest taps of the same kernel, a longer one no step further back
    than ``length - 1``. The kernel is generated in the precision of the parameters also under
    autocast, because positions times a high frequency lose their meaning in half precision.
    """

    positions: Tensor

    def __init__(self, kernel: KernelNet, in_channels: int, out_channels: int, length: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.in_channels = in_channels
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.register_buffer("positions", torch.linspace(1, -1, length), persistent=False)

    def features(self, taps: int) -> Float[Tensor, "tap feature"]:
        """What the last linear layer makes the newest ``taps`` taps of, the newest first.

        The last column stands for the layer's bias: here ones.
        """
        return functional.pad(self.kernel.features(self.positions[:taps]), (0, 1), value=1.0)

    @property
    def mixing(self) -> Float[Tensor, "c_out_x_c_in feature"]:
        """The kernel network's last layer: its weight, and its bias as the last column."""
        output = self.kernel.output
        return torch.cat([output.weight, rearrange(output.bias, "out -> out 1")], dim=1)

    def sampled_kernel(
        self, features: Float[Tensor, "tap feature"]
    ) -> Float[Tensor, "c_out c_in tap"]:
        """The kernel in the time domain, the current step first."""
        weights = self.mixing @ rearrange(features, "tap feature -> feature tap")
        return rearrange(weights, "(c_out c_in) tap -> c_out c_in tap", c_in=self.in_channels)

    def kernel_norm(self) -> Float[Tensor, ""]:
        """The Frobenius norm of the whole kernel.

        By Gram matrices: ``|| F W^T ||^2 = sum((F^T F) * (W^T W))``, so no kernel is formed.
        """
        features, mixing = self.features(len(self.positions)), self.mixing
        return ((features.T @ features) * (mixing.T @ mixing)).sum().sqrt()

    def convolve(
        self, x: Float[Tensor, "batch c_in time"], features: Float[Tensor, "tap feature"]
    ) -> Float[Tensor, "batch c_out time"]:
        """The convolution of ``x`` with the kernel of these features."""
        if len(features) <= DIRECT_TAPS:
            return direct_convolution(x, self.sampled_kernel(features))
        return generated_convolution(x, features, self.mixing)

    def forward(self, x: Float[Tensor, "batch c_in time"]) -> Float[Tensor, "batch c_out time"]:
        """Convolve and add the bias."""
        with torch.autocast(x.device.type, enabled=False):
            y = self.convolve(x.to(self.bias.dtype), self.features(x.shape[-1]))
            return y + rearrange(self.bias, "channel -> channel 1")


def kernel_decay(network: nn.Module) -> Float[Tensor, ""]:
    """Sum over all generated convolutions of the norms (not squared) of kernel and bias.

    The "weight decay" of the CKConv and FlexConv code, which weights this sum and adds it to the
    loss.
    """
    layers = [m for m in network.modules() if isinstance(m, KernelConvolution)]
    return torch.stack([layer.kernel_norm() + layer.bias.norm() for layer in layers]).sum()
