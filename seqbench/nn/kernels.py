"""Networks that generate convolution kernels: from a position to the weights of one tap."""

from __future__ import annotations

import math

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Gamma
from torch.nn.utils.parametrizations import weight_norm


class KernelNet(nn.Module):
    """A network from positions in [-1, 1] to kernel weights whose last layer is linear.

    A subclass sets ``output`` and gives ``features``, what the last layer reads.
    """

    output: nn.Linear

    def features(self, positions: Float[Tensor, " tap"]) -> Float[Tensor, "tap hidden"]:
        """The input of the last layer at each position."""
        raise NotImplementedError

    def forward(self, positions: Float[Tensor, " tap"]) -> Float[Tensor, "tap out"]:
        """The kernel weights at each position."""
        weights: Tensor = self.output(self.features(positions))
        return weights


class Siren(KernelNet):
    """Two hidden layers ``sin(omega_0 (W x + b))`` under weight norm (CKConv, Romero et al. 2021).

    Differs from the paper: weights start from PyTorch's default initialisation and all biases
    from U(-1, 1). The SIREN initialisation that the paper describes is overwritten by weight norm
    in the authors' code (dwromero/ckconv), which the published results come from.
    """

    def __init__(self, hidden_channels: int, out_channels: int, omega_0: float) -> None:
        super().__init__()
        self.omega_0 = omega_0
        self.hidden = nn.ModuleList(
            [_normed_linear(1, hidden_channels), _normed_linear(hidden_channels, hidden_channels)]
        )
        self.output = _normed_linear(hidden_channels, out_channels)

    def features(self, positions: Float[Tensor, " tap"]) -> Float[Tensor, "tap hidden"]:
        """The second hidden layer at each position."""
        x = rearrange(positions, "tap -> tap 1")
        for layer in self.hidden:
            x = torch.sin(self.omega_0 * layer(x))
        return x


class MAGNet(KernelNet):
    """A multiplicative anisotropic Gabor network (FlexConv, Romero et al. 2022, Eqs. 5-8).

    ``h_0 = g_0(x)`` and ``h_l = g_l(x) * (W_l h_(l-1) + b_l)`` over Gabor filters ``g``. The
    centres of the filters start within ``spatial_range`` of 0 on either side, their frequencies
    grow with ``input_scale``. Initialisation is that of the authors' code (rjbruin/flexconv).
    """

    def __init__(
        self,
        hidden_channels: int,
        out_channels: int,
        layers: int = 3,
        input_scale: float = 25.6,
        spatial_range: float = 1.0,
    ) -> None:
        super().__init__()
        scale = input_scale / math.sqrt(layers + 1)
        self.filters = nn.ModuleList(
            GaborFilter(hidden_channels, scale, 6.0 / (layer + 1), spatial_range)
            for layer in range(layers + 1)
        )
        # PyTorch's default for weights and biases, U(-1/sqrt(hidden), ...), is the authors' too.
        self.linear = nn.ModuleList(
            nn.Linear(hidden_channels, hidden_channels) for _ in range(layers)
        )
        self.output = nn.Linear(hidden_channels, out_channels)

    def features(self, positions: Float[Tensor, " tap"]) -> Float[Tensor, "tap hidden"]:
        """The last product of filters at each position."""
        x = rearrange(positions, "tap -> tap 1")
        h: Tensor = self.filters[0](x)
        for linear, gabor in zip(self.linear, self.filters[1:], strict=True):
            h = gabor(x) * linear(h)
        return h


class GaborFilter(nn.Module):
    """``exp(-(gamma (x - mu))^2 / 2) sin(W x + b)`` for each of so many channels.

    ``gamma`` starts from Gamma(``alpha``, 1) and W from PyTorch's default times gamma and
    ``input_scale``.
    """

    def __init__(
        self, channels: int, input_scale: float, alpha: float, spatial_range: float
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(1, channels)
        self.mu = nn.Parameter(spatial_range * (2 * torch.rand(channels) - 1))
        self.gamma = nn.Parameter(Gamma(alpha, 1.0).sample((channels,)))
        with torch.no_grad():
            self.linear.weight *= input_scale * rearrange(self.gamma, "channel -> channel 1")
            self.linear.bias.uniform_(-math.pi, math.pi)

    def forward(self, x: Float[Tensor, "tap 1"]) -> Float[Tensor, "tap channel"]:
        """The filters at each position."""
        window = torch.exp(-0.5 * (self.gamma * (x - self.mu)) ** 2)
        return window * torch.sin(self.linear(x))


def _normed_linear(in_channels: int, out_channels: int) -> nn.Linear:
    linear = nn.Linear(in_channels, out_channels)
    nn.init.uniform_(linear.bias, -1, 1)
    normed: nn.Linear = weight_norm(linear)
    return normed
