"""S4D: a diagonal state space model for each channel (Gu, Gupta, Goel and Re 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Complex, Complex128, Float
from torch import Tensor, nn

from seqbench.errors import ConfigError
from seqbench.model import Recipe
from seqbench.nn.checks import check_choice, check_positive
from seqbench.nn.convolution import depthwise_fft_convolution
from seqbench.spec import Cosine, TrainSpec
from seqbench_ssm.network import (
    NormName,
    StateSpace,
    StateSpaceConfig,
    StateSpaceModel,
    full_precision,
)
from seqbench_ssm.powers import power_sums

InitialName = Literal["lin", "inv", "legs"]
Discretisation = Literal["zoh", "bilinear"]

Diagonal = tuple[np.ndarray, np.ndarray]
"""A and B of half of the states; the others are their complex conjugates."""


def s4d_lin(state_size: int) -> Diagonal:
    """``A_n = -1/2 + i pi n`` (S4D-Lin), B = 1."""
    n = np.arange(state_size // 2)
    return -0.5 + 1j * math.pi * n, np.ones(len(n))


def s4d_inv(state_size: int) -> Diagonal:
    """``A_n = -1/2 + i N/pi (N / (2 n + 1) - 1)`` (S4D-Inv), B = 1."""
    n = np.arange(state_size // 2)
    return -0.5 + 1j * state_size / math.pi * (state_size / (2 * n + 1) - 1), np.ones(len(n))


def s4d_legs(state_size: int) -> Diagonal:
    """Eigenvalues of the normal part of HiPPO-LegS, and its B in their basis (S4D-LegS).

    HiPPO-LegS is ``-1/2`` plus a skew-symmetric matrix minus a matrix of rank 1, which is left
    out. The phases of the eigenvectors are free: those that make B positive are taken.
    """
    b = np.sqrt(2 * np.arange(state_size) + 1)
    skew = np.outer(b, b) / 2 * np.sign(np.arange(state_size) - np.arange(state_size)[:, None])
    frequencies, basis = np.linalg.eigh(-1j * skew)
    upper = slice(state_size // 2, None)  # eigh sorts; half of the frequencies are below zero
    return -0.5 + 1j * frequencies[upper], np.abs(basis[:, upper].conj().T @ b)


INITIAL: Mapping[InitialName, Callable[[int], Diagonal]] = {
    "lin": s4d_lin,
    "inv": s4d_inv,
    "legs": s4d_legs,
}


@dataclass(frozen=True)
class S4DConfig(StateSpaceConfig):
    """The network's size, its state space layers and regularisation.

    Each channel has ``state_size`` states in conjugate pairs, starting as ``initial`` says, and a
    step that starts between ``step_min`` and ``step_max`` (in units of the input's). ``learn_b``
    learns what an input adds to the states; otherwise it stays as it starts.
    """

    channels: int = 128
    layers: int = 4
    state_size: int = 64
    norm: NormName = "layer"
    prenorm: bool = False
    dropout: float = 0.1
    ssm_learning_rate_scale: float = 0.1
    initial: InitialName = "lin"
    discretisation: Discretisation = "zoh"
    step_min: float = 0.001
    step_max: float = 0.1
    learn_b: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "initial", InitialName)
        check_choice(self, "discretisation", Discretisation)
        check_positive(self, "step_min", "step_max")
        if self.step_min > self.step_max:
            raise ConfigError(
                f"step_min is {self.step_min}, expected at most step_max, {self.step_max}"
            )
        if self.state_size % 2:
            raise ConfigError(f"state_size is {self.state_size}, expected pairs: an even number")


class S4DLayer(StateSpace):
    """``h' = A h + B x``, ``y = C h + D x`` for each channel, with A diagonal (Sec. 3).

    States come in conjugate pairs, of which one is kept: ``C h`` is twice its real part. In
    parallel the layer is a convolution with ``2 Re(sum over n of C_n exp(t dt A_n) B_n)``, B
    discretised.
    """

    def __init__(self, config: S4DConfig) -> None:
        super().__init__()
        channels, pairs = config.channels, config.state_size // 2
        self.discretisation = config.discretisation
        a, b = (torch.from_numpy(v) for v in INITIAL[config.initial](config.state_size))
        log_dt = torch.empty(channels).uniform_(
            math.log(config.step_min), math.log(config.step_max)
        )
        self.log_dt = nn.Parameter(log_dt)
        self.log_decay = nn.Parameter(_by_channel((-a.real).log(), channels))
        self.frequency = nn.Parameter(_by_channel(a.imag, channels))
        b = _by_channel(torch.view_as_real(b + 0j), channels)
        self.b: Tensor
        if config.learn_b:
            self.b = nn.Parameter(b)
        else:
            self.register_buffer("b", b)
        self.c = nn.Parameter(torch.view_as_real(torch.randn(channels, pairs, dtype=torch.cfloat)))
        self.d = nn.Parameter(torch.randn(channels))

    def discretised(
        self,
    ) -> tuple[Complex128[Tensor, "channel pair"], Complex128[Tensor, "channel pair"]]:
        """A as a logarithm, and B, over a step of dt / rate."""
        a = torch.complex(-self.log_decay.double().exp(), self.frequency.double())
        b = torch.view_as_complex(self.b.double())
        dt = rearrange(self.log_dt.double().exp() / self.rate, "channel -> channel 1")
        if self.discretisation == "zoh":
            return dt * a, torch.expm1(dt * a) / a * b
        half = dt * a / 2
        return ((1 + half) / (1 - half)).log(), dt / (1 - half) * b

    def kernel(self, length: int) -> Float[Tensor, "channel step"]:
        """What an input adds to the output of its own step and of those after it; D apart."""
        exponent, b = self.discretised()
        c = torch.view_as_complex(self.c)
        return power_sums(2 * c * b.to(c.dtype), exponent, length)

    def forward(
        self, x: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch time channel"]:
        """Convolve by Fourier transforms."""
        with full_precision(x):
            x = x.to(self.d.dtype)
            kernel = rearrange(self.kernel(x.shape[1]), "channel step -> channel 1 step")
            # A sum takes the layout of its first term: channels last, as all around it.
            return self.d * x + depthwise_fft_convolution(x.mT, kernel).mT

    def initial_state(self, batch: int) -> Complex[Tensor, "batch channel pair"]:
        """No memory."""
        c = torch.view_as_complex(self.c)
        return c.new_zeros(batch, *c.shape)

    def step(
        self, x: Float[Tensor, "batch channel"], state: Complex[Tensor, "batch channel pair"]
    ) -> tuple[Float[Tensor, "batch channel"], Complex[Tensor, "batch channel pair"]]:
        """One step of the recurrence."""
        with full_precision(x):
            x = x.to(self.d.dtype)
            exponent, b = self.discretised()
            c = torch.view_as_complex(self.c)
            state = exponent.exp().to(c.dtype) * state + b.to(c.dtype) * x[..., None]
            return 2 * (c * state).sum(-1).real + self.d * x, state

    def recurrence(self) -> list[nn.Parameter]:
        """The step, A, and B if it is learned."""
        b = [self.b] if isinstance(self.b, nn.Parameter) else []
        return [self.log_dt, self.log_decay, self.frequency, *b]


def _by_channel(values: Tensor, channels: int) -> Float[Tensor, "channel ..."]:
    return repeat(values.float(), "... -> channel ...", channel=channels).contiguous()


def _adamw(
    *, weight_decay: float, batch_size: int, epochs: int = 100, warmup_epochs: float = 0.0
) -> TrainSpec:
    return TrainSpec(
        optimizer="adamw",
        learning_rate=0.01,
        weight_decay=weight_decay,
        batch_size=batch_size,
        epochs=epochs,
        schedule=Cosine(),
        warmup_epochs=warmup_epochs,
    )


class S4D(StateSpaceModel):
    """Residual blocks of S4D layers, in one direction.

    Differs from the paper: the larger networks there convolve in both directions, which is not
    causal. Without ``learn_b``, B is a constant; with S4D-LegS it is not halved, as in the
    authors' code, where the theorem halves it (C, which is random, has the same effect).
    """

    description = "diagonal state space model, causal (S4D, Gu et al. 2022)"
    citation = (
        "Gu, Gupta, Goel and Re, On the Parameterization and Initialization of Diagonal State "
        "Space Models, NeurIPS 2022, arXiv:2206.11893"
    )
    Config: ClassVar[type] = S4DConfig
    presets: ClassVar = {
        "100k": S4DConfig(channels=84),
        "200k": S4DConfig(),
        "mnist": S4DConfig(channels=256),
        "100k-inv": S4DConfig(channels=84, initial="inv"),
        "100k-legs": S4DConfig(channels=84, initial="legs"),
    }
    parameter_counts: ClassVar = {
        "100k": 102_490,
        "200k": 201_226,
        "mnist": 664_586,
        "100k-inv": 102_490,
        "100k-legs": 102_490,
    }
    recipes: ClassVar = {
        ("scifar10", "200k"): Recipe(
            source="state-spaces/s4 configs/experiment/cifar/s4d-minimal-cifar.yaml; warm-up of "
            "1,000 steps at 900 an epoch",
            train=_adamw(weight_decay=0.01, batch_size=50, warmup_epochs=1000 / 900),
        ),
        ("scifar10-gray", "200k"): Recipe(
            source="state-spaces/s4 example.py --grayscale; its rate changes once an epoch",
            train=_adamw(weight_decay=0.01, batch_size=64),
        ),
        ("smnist", "mnist"): Recipe(
            source="state-spaces/s4 example.py --dataset mnist --d_model 256 --weight_decay 0.0; "
            "its rate changes once an epoch",
            train=_adamw(weight_decay=0.0, batch_size=64),
        ),
    }

    def layer(self) -> S4DLayer:
        """An S4D layer."""
        return S4DLayer(self.config)
