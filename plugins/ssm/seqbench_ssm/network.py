"""The network around state space layers: in parallel over time, and step by step."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import torch
from einops import rearrange
from jaxtyping import Complex, Complex128, Float
from torch import Tensor, nn
from torch.nn import functional

from seqbench.errors import ModelError
from seqbench.model import Model, ParamGroup
from seqbench.nn.checks import check_choice, check_positive, check_sequence, check_share
from seqbench.nn.continuous import Rated, at_rate
from seqbench.spec import Signature
from seqbench.types import Encoded, Output

NormName = Literal["layer", "batch"]


@dataclass(frozen=True)
class StateSpaceConfig:
    """What all these networks have.

    ``norm`` is over the channels of a step (``layer``) or over the batch and all steps
    (``batch``); ``prenorm`` puts it before the state space layer instead of after the residual
    sum. Dropout takes whole channels, all steps alike, as in the authors' code. The parameters of
    the recurrence learn at ``ssm_learning_rate_scale`` times the rate and do not decay; all
    others do.
    """

    channels: int
    layers: int
    state_size: int
    norm: NormName
    prenorm: bool
    dropout: float
    ssm_learning_rate_scale: float

    def __post_init__(self) -> None:
        check_positive(self, "channels", "layers", "state_size", "ssm_learning_rate_scale")
        check_share(self, "dropout")
        check_choice(self, "norm", NormName)


class StateSpace(Rated):
    """A causal layer, linear over time, that is a recurrence of complex states as well."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = 1.0

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch time channel"]:
        """All outputs, from a state of zeros."""

    @abstractmethod
    def step(
        self, x: Float[Tensor, "batch channel"], state: Complex[Tensor, "batch *state"]
    ) -> tuple[Float[Tensor, "batch channel"], Complex[Tensor, "batch *state"]]:
        """The output of one step, and the state after it."""

    @abstractmethod
    def initial_state(self, batch: int) -> Complex[Tensor, "batch *state"]:
        """The state before the first step."""

    @abstractmethod
    def discretised(self) -> tuple[Complex128[Tensor, "*state"], Complex128[Tensor, "..."]]:
        """The logarithm of what states are multiplied by at a step, and what inputs add to them.

        At the layer's rate, in double precision.
        """

    @abstractmethod
    def recurrence(self) -> list[nn.Parameter]:
        """The parameters that learn at a rate of their own and do not decay."""


class State(NamedTuple):
    """What a network keeps of the steps it has seen, however many these are.

    ``total`` is the sum over time of what the read-out averages.
    """

    layers: tuple[Complex[Tensor, "batch *state"], ...]
    total: Float[Tensor, "batch channel"]
    steps: int


class StateSpaceModel(Model):
    """Linear encoder, residual blocks, mean over time where the target asks for it, decoder.

    Causal in eval (in training, batch norm's statistics span all steps). An input of another
    length is the same signal cut off or continued, at the same sampling rate; ``at_rate`` is for
    other rates.
    """

    def __init__(self, config: StateSpaceConfig, signature: Signature) -> None:
        super().__init__(config, signature)
        check_sequence(type(self).__name__.lower(), signature)
        self.encoder = nn.Linear(signature.in_channels, config.channels)
        self.blocks = nn.ModuleList(Block(self.layer(), config) for _ in range(config.layers))
        self.decoder = nn.Linear(config.channels, signature.out_features)

    @abstractmethod
    def layer(self) -> StateSpace:
        """A new state space layer."""

    def forward(self, x: Encoded) -> Output:
        """All steps at once."""
        y = self.encoder(rearrange(x, "batch channel time -> batch time channel"))
        for block in self.blocks:
            y = block(y)
        mean = self.signature.target == "sequence"
        answer: Tensor = self.decoder(y.mean(1) if mean else y)
        return answer if mean else rearrange(answer, "batch time out -> batch out time")

    def initial_state(self, batch: int) -> State:
        """The state before the first step, for so many sequences."""
        total = self.encoder.weight.new_zeros(batch, self.config.channels)
        layers = tuple(block.layer.initial_state(batch) for block in self._blocks())
        return State(layers, total, 0)

    def step(
        self, x: Float[Tensor, "batch channel"], state: State
    ) -> tuple[Float[Tensor, "batch out"], State]:
        """The output of one more step, and the state after it; in eval mode.

        After every step the output is what ``forward`` gives for the steps so far: of the last of
        them, or, for target ``sequence``, of all.

        Raises:
            ModelError: the network is in training mode.

        """
        if self.training:
            raise ModelError("a step was asked of a network in training mode", "call .eval() first")
        y, states = self.encoder(x), []
        for block, before in zip(self._blocks(), state.layers, strict=True):
            y, after = block.step(y, before)
            states.append(after)
        state = State(tuple(states), state.total + y, state.steps + 1)
        mean = self.signature.target == "sequence"
        return self.decoder(state.total / state.steps if mean else y), state

    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def at_rate(self, rate: float) -> Self:
        """The network, sharing its parameters, for inputs sampled ``rate`` times as often."""
        return at_rate(self, rate)

    @torch.no_grad()
    def learned(self) -> dict[str, list[float]]:
        """Every layer's longest memory: the time steps in which its slowest state falls to 1/e."""
        slowest = [block.layer.discretised()[0].real.max() for block in self._blocks()]
        return {"memory": [-1 / rate.item() for rate in slowest]}

    def param_groups(self) -> list[ParamGroup]:
        """The recurrences' parameters, and all others, which decay."""
        slow = [parameter for block in self._blocks() for parameter in block.layer.recurrence()]
        known = {id(parameter) for parameter in slow}
        others = [p for p in self.parameters() if p.requires_grad and id(p) not in known]
        scale = self.config.ssm_learning_rate_scale
        return [ParamGroup(others), ParamGroup(slow, learning_rate_scale=scale, decay=False)]


class Block(nn.Module):
    """State space layer, GELU, gated linear unit, residual sum; norm before or after."""

    def __init__(self, layer: StateSpace, config: StateSpaceConfig) -> None:
        super().__init__()
        self.layer = layer
        norm = nn.LayerNorm if config.norm == "layer" else BatchNorm
        self.norm = norm(config.channels)
        self.mix = nn.Linear(config.channels, 2 * config.channels)
        self.dropout = ChannelDropout(config.dropout)
        self.prenorm = config.prenorm

    def forward(
        self, x: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch time channel"]:
        """All steps at once."""
        return self._after(x, self.layer(self._before(x)))

    def step(
        self, x: Float[Tensor, "batch channel"], state: Complex[Tensor, "batch *state"]
    ) -> tuple[Float[Tensor, "batch channel"], Complex[Tensor, "batch *state"]]:
        """One step."""
        y, state = self.layer.step(self._before(x), state)
        return self._after(x, y), state

    def _before(self, x: Tensor) -> Tensor:
        return self.norm(x) if self.prenorm else x

    def _after(self, x: Tensor, y: Tensor) -> Tensor:
        gated = functional.glu(self.mix(self.dropout(functional.gelu(y))))
        y = x + self.dropout(gated)
        return y if self.prenorm else self.norm(y)


class BatchNorm(nn.BatchNorm1d):
    """Batch norm with the channels last, over all that comes before them."""

    def forward(self, x: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        """The normalised input."""
        return super().forward(x.flatten(0, -2)).view_as(x)


class ChannelDropout(nn.Dropout):
    """Dropout of whole channels: what is dropped of an example is dropped at every step."""

    def forward(
        self, x: Float[Tensor, "batch *time channel"]
    ) -> Float[Tensor, "batch *time channel"]:
        """The input, in training without some channels."""
        if not self.training or not self.p:
            return x
        return x * functional.dropout(x.new_ones(len(x), 1, x.shape[-1]), self.p)


def full_precision(x: Tensor) -> torch.autocast:
    """Without autocast: recurrences lose their memory in half precision."""
    return torch.autocast(x.device.type, enabled=False)
