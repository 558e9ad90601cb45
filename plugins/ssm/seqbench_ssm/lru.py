"""The linear recurrent unit (Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu and De 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Complex, Complex128, Float
from torch import Tensor, nn
from torch.nn import functional

from seqbench.errors import ConfigError
from seqbench.model import Recipe
from seqbench.nn.checks import check_positive
from seqbench.spec import Cosine, TrainSpec
from seqbench_ssm.network import (
    NormName,
    StateSpace,
    StateSpaceConfig,
    StateSpaceModel,
    full_precision,
)
from seqbench_ssm.scan import scan

MARGIN = 1e-6
"""Uniform numbers keep so far from 0 and 1, of which the initialisation takes logarithms."""


@dataclass(frozen=True)
class LRUConfig(StateSpaceConfig):
    """The network's size, the ring that eigenvalues start in, and regularisation.

    Eigenvalues start uniformly distributed on the ring between the radii ``r_min`` and ``r_max``,
    at phases up to ``max_phase``.
    """

    channels: int = 256
    layers: int = 4
    state_size: int = 128
    norm: NormName = "batch"
    prenorm: bool = True
    dropout: float = 0.1
    ssm_learning_rate_scale: float = 0.5
    r_min: float = 0.0
    r_max: float = 1.0
    max_phase: float = 6.28

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(self, "max_phase")
        if not 0 <= self.r_min < self.r_max <= 1:
            raise ConfigError(
                f"the ring is from r_min {self.r_min} to r_max {self.r_max}, expected "
                "0 <= r_min < r_max <= 1"
            )


class LRULayer(StateSpace):
    """``h_t = lambda h_(t-1) + gamma B x_t``, ``y_t = Re(C h_t) + D x_t`` (Sec. 3).

    lambda is diagonal and stable by its form, ``exp(-exp(nu) + i exp(theta))``; gamma starts where
    states have the variance of their inputs, and is learned. Weights that make states and are made
    of them hold real and imaginary parts apart; those of C are conjugate.
    """

    def __init__(self, config: LRUConfig) -> None:
        super().__init__()
        channels, states = config.channels, config.state_size
        area = torch.empty(states).uniform_(MARGIN, 1 - MARGIN)
        square = area * (config.r_max**2 - config.r_min**2) + config.r_min**2
        angle = config.max_phase * torch.empty(states).uniform_(MARGIN, 1)
        self.nu_log = nn.Parameter((-0.5 * square.log()).log())
        self.theta_log = nn.Parameter(angle.log())
        self.gamma_log = nn.Parameter(0.5 * (1 - square).log())
        self.b = nn.Parameter(torch.randn(states, channels, 2) / math.sqrt(2 * channels))
        self.c = nn.Parameter(torch.randn(channels, states, 2) / math.sqrt(states))
        self.d = nn.Parameter(torch.randn(channels))

    def discretised(
        self,
    ) -> tuple[Complex128[Tensor, " state"], Complex128[Tensor, "state channel"]]:
        """The logarithm of lambda, and gamma B.

        At another rate: of the continuous recurrence that, its inputs held between steps, is this
        one at rate 1.
        """
        log_lambda = torch.complex(-self.nu_log.double().exp(), self.theta_log.double().exp())
        b = torch.view_as_complex(self.b.double())
        gain = rearrange(self.gamma_log.double().exp(), "state -> state 1")
        if self.rate == 1:
            return log_lambda, gain * b
        shorter = log_lambda / self.rate
        share = torch.expm1(shorter) / torch.expm1(log_lambda)
        return shorter, gain * rearrange(share, "state -> state 1") * b

    def _driven(
        self, x: Float[Tensor, "*batch channel"], b: Complex128[Tensor, "state channel"]
    ) -> Complex[Tensor, "*batch state"]:
        weight = rearrange(torch.view_as_real(b), "state channel part -> (state part) channel")
        return torch.view_as_complex(
            functional.linear(x, weight.to(x.dtype)).unflatten(-1, (-1, 2))
        )

    def _read(
        self, x: Float[Tensor, "*batch channel"], h: Complex[Tensor, "*batch state"]
    ) -> Float[Tensor, "*batch channel"]:
        parts = torch.view_as_real(h).flatten(-2)
        return functional.linear(parts, self.c.flatten(1)) + self.d * x

    def forward(
        self, x: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch time channel"]:
        """Scan over time."""
        with full_precision(x):
            x = x.to(self.d.dtype)
            log_lambda, b = self.discretised()
            return self._read(x, scan(self._driven(x, b), log_lambda))

    def initial_state(self, batch: int) -> Complex[Tensor, "batch state"]:
        """No memory."""
        b = torch.view_as_complex(self.b)
        return b.new_zeros(batch, len(b))

    def step(
        self, x: Float[Tensor, "batch channel"], state: Complex[Tensor, "batch state"]
    ) -> tuple[Float[Tensor, "batch channel"], Complex[Tensor, "batch state"]]:
        """One step of the recurrence."""
        with full_precision(x):
            x = x.to(self.d.dtype)
            log_lambda, b = self.discretised()
            state = log_lambda.exp().to(state.dtype) * state + self._driven(x, b)
            return self._read(x, state), state

    def recurrence(self) -> list[nn.Parameter]:
        """Lambda, gamma and B."""
        return [self.nu_log, self.theta_log, self.gamma_log, self.b]


class LRU(StateSpaceModel):
    """Residual blocks of linear recurrent units."""

    description = "linear recurrent unit, diagonal and complex (LRU, Orvieto et al. 2023)"
    citation = (
        "Orvieto, Smith, Gu, Fernando, Gulcehre, Pascanu and De, Resurrecting Recurrent Neural "
        "Networks for Long Sequences, ICML 2023, arXiv:2303.06349"
    )
    Config: ClassVar[type] = LRUConfig
    presets: ClassVar = {
        "100k": LRUConfig(channels=64, state_size=64),
        "1m": LRUConfig(),
    }
    parameter_counts: ClassVar = {"100k": 101_130, "1m": 1_058_314}
    recipes: ClassVar = {
        ("scifar10", "1m"): Recipe(
            source="NicolasZucchet/minimal-LRU README (Sequential CIFAR) and defaults of "
            "run_train.py: an unofficial implementation",
            train=TrainSpec(
                optimizer="adamw",
                learning_rate=1e-3,
                weight_decay=0.05,
                batch_size=64,
                epochs=180,
                schedule=Cosine(),
            ),
        ),
    }

    def layer(self) -> LRULayer:
        """A linear recurrent unit."""
        return LRULayer(self.config)
