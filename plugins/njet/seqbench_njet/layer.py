"""The N-Jet layer: kernels that are mixtures of Gaussian derivatives of one learned scale."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from seqbench.errors import ConfigError
from seqbench.nn.continuous import KernelConvolution, Reach
from seqbench.nn.kernels import KernelNet


class HermiteNet(KernelNet):
    """What multiplies a Gaussian in its derivatives, mixed linearly (Pintea et al. 2021, Eq. 3).

    At ``x``, in steps, the derivative of order n along an axis, times ``sigma^n``, is the Gaussian
    times ``(-1)^n He_n(x / sigma)``, a probabilists' Hermite polynomial. The features are their
    products over the axes whose orders add up to 1 to ``order``; what order 0 weighs is the bias
    of the last layer. All coefficients start from N(0, 1).

    Args:
        order: the highest order, 1 or more.
        out_channels: how many kernels there are.
        sigma: the scale at the start, in steps; ``log2(sigma)`` is what is learned.
        dim: how many axes there are.

    """

    def __init__(self, order: int, out_channels: int, sigma: float, dim: int = 1) -> None:
        super().__init__(dim)
        if order < 1 or not sigma > 0:
            raise ConfigError(
                f"an N-Jet of order {order} and sigma {sigma} was asked for; expected an order of "
                "1 or more and a sigma above 0"
            )
        self.order = order
        every = itertools.product(range(order + 1), repeat=dim)
        self.orders = [orders for orders in every if 0 < sum(orders) <= order]
        self.scale = nn.Parameter(torch.tensor(math.log2(sigma)))
        self.output = nn.Linear(len(self.orders), out_channels)
        nn.init.normal_(self.output.weight)
        nn.init.normal_(self.output.bias)

    @property
    def sigma(self) -> Float[Tensor, ""]:
        """The standard deviation of the Gaussian, in steps."""
        return torch.exp2(self.scale)

    def gaussian(self, positions: Float[Tensor, " tap"]) -> Float[Tensor, " tap"]:
        """The Gaussian along one axis, 1 at its centre."""
        return torch.exp(-0.5 * (positions / self.sigma) ** 2)

    def features(self, positions: Float[Tensor, "tap dim"]) -> Float[Tensor, "tap feature"]:
        """The products of polynomials at each position."""
        x = positions / self.sigma
        along = [torch.ones_like(x), -x]
        for n in range(1, self.order):
            along.append(-x * along[n] - n * along[n - 1])
        products = [
            functools.reduce(torch.mul, (along[n][:, axis] for axis, n in enumerate(orders)))
            for orders in self.orders
        ]
        return torch.stack(products, dim=1)


class NJetConv(KernelConvolution):
    """A convolution with mixtures of Gaussian derivatives, all of one learned scale.

    A kernel reaches ``ceil(extent * sigma + 0.5)`` steps from the current one to either side, and
    over those the Gaussian sums to 1, as in the authors' code. It never has more than ``size``
    taps. Positions are in steps at rate 1; at a rate r (``at_rate``) sigma is r times as many
    steps, and the coefficients stay what they are, since derivatives are taken in units of sigma.

    A causal kernel is the older half of a centred one: the Gaussian is largest at the current
    step, what lies after it is left out, and what is left sums to 1.

    Differs from the paper: there all kernels are centred, on two axes.

    ``channels``, ``size``, ``causal`` and ``bias`` are those of ``KernelConvolution``.

    Args:
        jet: the polynomials, one value for each pair of channels.
        extent: how many sigmas a kernel reaches.

    Raises:
        ConfigError: the parts do not fit together.

    """

    kernel: HermiteNet

    def __init__(  # noqa: PLR0913  (what a convolution has)
        self,
        jet: HermiteNet,
        channels: tuple[int, int],
        size: Sequence[int],
        extent: float = 2.0,
        *,
        causal: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__(jet, channels, size, causal=causal, bias=bias)
        self.extent = extent

    @property
    def sigma(self) -> float:
        """The learned scale, in steps at the layer's rate."""
        return self.kernel.sigma.item() * self.rate

    def grid(self, axis: int) -> np.ndarray:
        """The positions of all taps along an axis: the current step's is 0, those before it < 0."""
        taps, current = self._taps_along(axis)
        return (current - np.arange(taps, dtype=np.float64)) / self.rate

    @property
    def nyquist_frequency(self) -> Float[Tensor, " axis"]:
        """Half the sampling rate, in cycles a step at rate 1."""
        weight = self.kernel.output.weight
        return torch.full((len(self.size),), 0.5 * self.rate).to(weight)

    def highest_frequency(self, cut: float = 2.0) -> Float[Tensor, " axis"]:
        """A bound on the frequencies along each axis, in cycles a step at rate 1.

        The spectrum of the derivative of order n is ``u^n exp(-u^2 / 2)`` at ``u = 2 pi sigma f``.
        It is largest at ``u = sqrt(n)``, and ``cut`` above that is below ``exp(-cut^2 / 2)`` of its
        largest. What the cut at ``extent`` sigmas adds does not count.
        """
        bound = (math.sqrt(self.kernel.order) + cut) / (2 * math.pi * self.kernel.sigma)
        return bound.expand(len(self.size))

    def envelope(self) -> tuple[Float[Tensor, " tap"], ...]:
        """The Gaussian along each axis, 1 at the current step, at all taps."""
        return tuple(self.kernel.gaussian(self.axis(axis)) for axis in range(len(self.size)))

    def box(self, shape: Sequence[int]) -> tuple[Reach, ...]:
        """The taps along every axis that are convolved with: those within the kernel's reach."""
        return tuple(self._within(reach) for reach in super().box(shape))

    def _within(self, whole: Reach) -> Reach:
        first, end, current = whole
        # In this order a sigma that is not a number leaves the whole: the loss tells of it.
        steps = math.ceil(min(float(end), self.extent * self.sigma + 0.5))
        return Reach(max(first, current - steps), min(end, current + steps + 1), current)

    def features(self, box: Sequence[Reach]) -> Float[Tensor, "*tap feature"]:
        """Derivatives of order 1 and more; the last column, for the last layer's bias, is order 0.

        Of order 0 they sum to the rate along each axis, by which ``mixing`` divides.
        """
        along = [self._gaussian(axis)[reach.first : reach.end] for axis, reach in enumerate(box)]
        window: Tensor = functools.reduce(lambda outer, inner: outer.unsqueeze(-1) * inner, along)
        return super().features(box) * window.unsqueeze(-1)

    def _gaussian(self, axis: int) -> Float[Tensor, " tap"]:
        gaussian = self.envelope()[axis]
        reach = self._within(self.reach(axis, len(gaussian)))
        return gaussian * (self.rate / gaussian[reach.first : reach.end].sum())
