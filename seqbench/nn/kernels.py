"""Networks that generate convolution kernels: from a position to the weights of one tap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Gamma
from torch.nn.utils.parametrizations import weight_norm

from seqbench.errors import ConfigError


class KernelNet(nn.Module):
    """A network from positions in [-1, 1]^dim to kernel weights whose last layer is linear.

    A subclass sets ``output`` and gives ``features``, what the last layer reads.
    """

    output: nn.Linear

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def features(self, positions: Float[Tensor, "tap dim"]) -> Float[Tensor, "tap hidden"]:
        """The input of the last layer at each position."""
        raise NotImplementedError

    def forward(self, positions: Float[Tensor, "tap dim"]) -> Float[Tensor, "tap out"]:
        """The kernel weights at each position."""
        weights: Tensor = self.output(self.features(positions))
        return weights


class Siren(KernelNet):
    """Hidden layers ``sin(omega_0 (W x + b))`` (Sitzmann et al. 2020; CKConv, Romero et al. 2021).

    ``layers`` counts the last, linear one too. If ``normed``, all layers are under weight norm,
    weights start from PyTorch's default and all biases from U(-1, 1), as in the authors' code of
    CKConv (dwromero/ckconv), where weight norm overwrites the initialisation that the paper
    describes. Else they start as in that of FlexConv (rjbruin/flexconv): the first weights from
    U(-1, 1) / dim, the others from U(-1, 1) sqrt(6 / hidden) / omega_0, biases from PyTorch's
    default.
    """

    def __init__(  # noqa: PLR0913  (what a kernel network has)
        self,
        hidden_channels: int,
        out_channels: int,
        omega_0: float,
        layers: int = 3,
        dim: int = 1,
        *,
        normed: bool = True,
    ) -> None:
        super().__init__(dim)
        if layers < 2:
            raise ConfigError(f"a SIREN of {layers} layers has no sines; expected 2 or more")
        self.omega_0 = omega_0
        widths = [dim] + [hidden_channels] * (layers - 1)
        pairs = [*pairwise(widths), (hidden_channels, out_channels)]
        if normed:
            *hidden, output = (_normed_linear(*pair) for pair in pairs)
        else:
            *hidden, output = (nn.Linear(*pair) for pair in pairs)
            for linear in [*hidden[1:], output]:
                bound = math.sqrt(6 / hidden_channels) / omega_0
                nn.init.uniform_(linear.weight, -bound, bound)
            nn.init.uniform_(hidden[0].weight, -1 / dim, 1 / dim)
        # in this order: that of parameters decides the order of sums over all gradients
        self.hidden, self.output = nn.ModuleList(hidden), output

    def features(self, positions: Float[Tensor, "tap dim"]) -> Float[Tensor, "tap hidden"]:
        """The last hidden layer at each position."""
        x = positions
        for layer in self.hidden:
            x = torch.sin(self.omega_0 * layer(x))
        return x


class MultiplicativeFilterNet(KernelNet):
    """A multiplicative filter network (Fathony et al., ICLR 2021, Eq. 3).

    ``h_0 = g_0(x)`` and ``h_l = g_l(x) * (W_l h_(l-1) + b_l)`` over filters ``g``. Weights and
    biases of the linear layers start from U(-1/sqrt(hidden), 1/sqrt(hidden)), PyTorch's default.
    """

    def __init__(self, filters: Sequence[FourierFilter], out_channels: int, dim: int) -> None:
        super().__init__(dim)
        self.filters = nn.ModuleList(filters)
        hidden_channels = filters[0].linear.out_features
        self.linear = nn.ModuleList(
            nn.Linear(hidden_channels, hidden_channels) for _ in self.filters[1:]
        )
        self.output = nn.Linear(hidden_channels, out_channels)

    def responses(self, positions: Float[Tensor, "tap dim"]) -> Float[Tensor, "layer tap hidden"]:
        """Every filter at every position, all layers in one go."""
        filters: Sequence[Any] = list(self.filters)
        responses: Tensor = type(filters[0]).evaluate(filters, positions)
        return responses

    def frequencies(self, cut: float = 2.0) -> Float[Tensor, "layer axis"]:
        """The highest frequency of each layer's filters along each axis, in cycles a unit.

        That of a sine is ``|W| / 2 pi``; a Gaussian window of inverse width gamma adds
        ``cut * gamma / 2 pi``, its spectrum being a Gaussian that is cut off at ``cut`` standard
        deviations (FlexConv, Romero et al. 2022, Eqs. 9, 10). As in the authors' code the largest
        of either is taken, which need not belong to the same channel: a bound a little above the
        largest sum. Products of filters add up their frequencies.
        """
        filters: Sequence[Any] = list(self.filters)
        return torch.stack([one.frequencies(cut) for one in filters])

    def features(self, positions: Float[Tensor, "tap dim"]) -> Float[Tensor, "tap hidden"]:
        """The last product of filters at each position."""
        h, *responses = self.responses(positions).unbind()
        for linear, response in zip(self.linear, responses, strict=True):
            h = response * linear(h)
        return h


class MFNFourier(MultiplicativeFilterNet):
    """A Fourier network: sines as filters (Fathony et al., Sec. 3.1).

    Initialisation is that of rjbruin/flexconv: the frequencies start from PyTorch's default times
    ``input_scale / sqrt(layers + 1)``.
    """

    def __init__(
        self,
        hidden_channels: int,
        out_channels: int,
        layers: int = 3,
        input_scale: float = 256.0,
        dim: int = 1,
    ) -> None:
        scale = input_scale / math.sqrt(layers + 1)
        filters = [FourierFilter(hidden_channels, scale, dim) for _ in range(layers + 1)]
        super().__init__(filters, out_channels, dim)


class MFNGabor(MultiplicativeFilterNet):
    """A Gabor network: sines under isotropic Gaussian windows (Fathony et al., Sec. 3.2).

    Initialisation is that of rjbruin/flexconv: every layer's inverse widths start from
    Gamma(6 / (layers + 1), 1).
    """

    def __init__(  # noqa: PLR0913, PLR0917  (MAGNet's)
        self,
        hidden_channels: int,
        out_channels: int,
        layers: int = 3,
        input_scale: float = 256.0,
        spatial_range: float = 1.0,
        dim: int = 1,
    ) -> None:
        scale = input_scale / math.sqrt(layers + 1)
        filters = [
            GaborFilter((hidden_channels, dim), scale, 6.0 / (layers + 1), spatial_range, widths=1)
            for _ in range(layers + 1)
        ]
        super().__init__(filters, out_channels, dim)


class MAGNet(MultiplicativeFilterNet):
    """A multiplicative anisotropic Gabor network (FlexConv, Romero et al. 2022, Eqs. 5-8).

    The filters' windows have a width of their own along each axis. Their centres start within
    ``spatial_range`` of 0 on either side, their frequencies grow with ``input_scale``.
    Initialisation is that of the authors' code (rjbruin/flexconv).
    """

    def __init__(  # noqa: PLR0913, PLR0917  (all of them from the paper)
        self,
        hidden_channels: int,
        out_channels: int,
        layers: int = 3,
        input_scale: float = 25.6,
        spatial_range: float = 1.0,
        dim: int = 1,
    ) -> None:
        scale = input_scale / math.sqrt(layers + 1)
        filters = [
            GaborFilter((hidden_channels, dim), scale, 6.0 / (layer + 1), spatial_range, widths=dim)
            for layer in range(layers + 1)
        ]
        super().__init__(filters, out_channels, dim)


class FourierFilter(nn.Module):
    """``sin(W x + b)`` for each of so many channels.

    W starts from PyTorch's default times ``input_scale``, b from U(-pi, pi).
    """

    def __init__(self, channels: int, input_scale: float, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, channels)
        with torch.no_grad():
            self.linear.weight *= input_scale
            self.linear.bias.uniform_(-math.pi, math.pi)

    def frequencies(self, cut: float) -> Float[Tensor, " axis"]:  # noqa: ARG002  (of windows)
        """The highest along each axis."""
        return self.linear.weight.abs().amax(dim=0) / (2 * math.pi)

    @classmethod
    def evaluate(
        cls, filters: Sequence[Any], positions: Float[Tensor, "tap dim"]
    ) -> Float[Tensor, "layer tap channel"]:
        """The responses of several filters at once: few large operations instead of many small."""
        weight = torch.stack([f.linear.weight for f in filters])
        bias = torch.stack([f.linear.bias for f in filters])
        where = positions.expand(len(filters), *positions.shape)
        return torch.sin(torch.baddbmm(bias.unsqueeze(1), where, weight.mT))


class GaborFilter(FourierFilter):
    """``exp(-sum_d (gamma_d (x_d - mu_d))^2 / 2) sin(W x + b)`` for each of so many channels.

    ``gamma`` starts from Gamma(``alpha``, 1), one value for each of ``widths`` axes (1: the same
    for all), and W from PyTorch's default times gamma and ``input_scale``.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        input_scale: float,
        alpha: float,
        spatial_range: float,
        widths: int,
    ) -> None:
        channels, dim = shape
        super().__init__(channels, input_scale, dim)
        self.mu = nn.Parameter(spatial_range * (2 * torch.rand(channels, dim) - 1))
        self.gamma = nn.Parameter(Gamma(alpha, 1.0).sample((channels, widths)))
        with torch.no_grad():
            self.linear.weight *= self.gamma

    def frequencies(self, cut: float) -> Float[Tensor, " axis"]:
        """The highest along each axis, with the windows' share."""
        sines = self.linear.weight.abs().amax(dim=0)
        return (sines + cut * self.gamma.abs().amax(dim=0)) / (2 * math.pi)

    @classmethod
    def evaluate(
        cls, filters: Sequence[Any], positions: Float[Tensor, "tap dim"]
    ) -> Float[Tensor, "layer tap channel"]:
        """The responses of several filters at once."""
        mu = torch.stack([f.mu for f in filters]).unsqueeze(1)
        gamma = torch.stack([f.gamma for f in filters]).unsqueeze(1).expand_as(mu)
        exponent: Tensor = sum(  # type: ignore[assignment]
            (gamma[..., d] * (rearrange(positions[:, d], "tap -> tap 1") - mu[..., d])).square()
            for d in range(positions.shape[1])
        )
        return torch.exp(-0.5 * exponent) * super().evaluate(filters, positions)


def _normed_linear(in_channels: int, out_channels: int) -> nn.Linear:
    linear = nn.Linear(in_channels, out_channels)
    nn.init.uniform_(linear.bias, -1, 1)
    normed: nn.Linear = weight_norm(linear)
    return normed
