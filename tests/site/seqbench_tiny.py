"""A plugin as small as can be: a task made in a moment and a network that learns it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from seqbench.model import Converted, Model, Recipe
from seqbench.nn.continuous import Rated, at_rate
from seqbench.result import Weights
from seqbench.spec import Signature, TrainSpec
from seqbench.task import FitData, Source, Split, Task


@dataclass(frozen=True)
class SumConfig:
    """``length`` time steps of one byte each."""

    length: int = 16


class TinySum(Task):
    """Whether the bytes of a sequence sum to more than half of what they could."""

    name = "tiny-sum"
    Config = SumConfig
    description = "one byte a step; is their sum large?"

    @property
    def signature(self) -> Signature:
        return Signature(
            in_channels=1, shape=(self.config.length,), out_features=2, target="sequence"
        )

    def fit_data(self) -> FitData:
        return FitData(self._split(500, 0), self._split(100, 1))

    def test_data(self) -> Split:
        return self._split(90, 2)

    def encode(self, x: Tensor) -> Tensor:
        return x[:, None].float() / 255 - 0.5

    def _split(self, n: int, seed: int) -> Split:
        length = self.config.length
        generator = torch.Generator().manual_seed(seed)
        x = torch.randint(0, 256, (n, length), generator=generator, dtype=torch.uint8)
        y = (x.long().sum(1) > 127.5 * length).to(torch.uint8)
        return Split(x, y, Source(f"{seed:064d}", official=True))


@dataclass(frozen=True)
class MLPConfig:
    """``hidden`` units, ``dropout`` between the layers."""

    hidden: int = 8
    dropout: float = 0.1


class TinyMLP(Model):
    """Two linear layers over the whole sequence."""

    Config = MLPConfig
    presets = {"small": MLPConfig(), "large": MLPConfig(hidden=32)}
    recipes = {
        ("tiny-sum", "large"): Recipe(
            source="nowhere", train=TrainSpec(learning_rate=3e-3, epochs=2), model={"dropout": 0.2}
        )
    }

    def __init__(self, config: MLPConfig, signature: Signature) -> None:
        super().__init__(config, signature)
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(signature.in_channels * signature.length, config.hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, signature.out_features),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)

    def convert_weights(self, state, task: str) -> Converted | None:
        """Weights of an implementation whose layers are called ``one`` and ``two``."""
        if "one.weight" not in state:
            return None
        names = {"one": "layers.1", "two": "layers.4"}
        parts = {name: name.split(".", 1) for name in state}
        renamed = {f"{names[layer]}.{rest}": state[name] for name, (layer, rest) in parts.items()}
        return Converted(renamed, Weights(source=f"someone on {task}", selection="test"))


class Misshapen(TinyMLP):
    """Gives one answer too many."""

    presets = {}
    recipes = {}

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.layers(x), self.layers(x)], dim=1)


class Raising(TinyMLP):
    """Fails as soon as it is trained."""

    presets = {}
    recipes = {}

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("this model cannot be trained")
        return self.layers(x)


class Dying(Raising):
    """Takes its process with it."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            os._exit(7)
        return self.layers(x)


@dataclass(frozen=True)
class WaveConfig:
    """``rate`` is 1 or 1/2: 64 or 32 time steps."""

    rate: float = 1.0


class TinyWave(Task):
    """Which of two slow waves, with some noise as slow."""

    name = "tiny-wave"
    Config = WaveConfig
    description = "a wave of 3 or of 5 periods; which is it?"

    @property
    def rate(self) -> float:
        return self.config.rate

    @property
    def signature(self) -> Signature:
        length = int(64 * self.rate)
        return Signature(in_channels=1, shape=(length,), out_features=2, target="sequence")

    def fit_data(self) -> FitData:
        return FitData(self._split(500, 0), self._split(100, 1))

    def test_data(self) -> Split:
        return self._split(90, 2)

    def encode(self, x: Tensor) -> Tensor:
        return x[:, None, :: int(1 / self.rate)].float() / 100

    def _split(self, n: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        y = torch.randint(0, 2, (n,), generator=generator)
        phase, noise = torch.rand((2, n, 1), generator=generator) * 2 * torch.pi
        time = torch.arange(64) / 64 * 2 * torch.pi
        periods = 3 + 2 * y[:, None]
        x = torch.sin(periods * time + phase) + 0.3 * torch.sin(2 * time + noise)
        return Split((100 * x).to(torch.int16), y, Source(f"{seed:064d}", official=True))


@dataclass(frozen=True)
class GratingConfig:
    """``resolution`` is 16 or 8 pixels a side."""

    resolution: int = 16


class TinyGrating(Task):
    """Which of two gratings, in any direction."""

    name = "tiny-grating"
    Config = GratingConfig
    description = "an image of 1 or of 3 periods; which is it?"

    @property
    def rate(self) -> float:
        return self.config.resolution / 16

    @property
    def signature(self) -> Signature:
        side = self.config.resolution
        return Signature(in_channels=1, shape=(side, side), out_features=2, target="sequence")

    def fit_data(self) -> FitData:
        return FitData(self._split(500, 0), self._split(100, 1))

    def test_data(self) -> Split:
        return self._split(90, 2)

    def encode(self, x: Tensor) -> Tensor:
        every = int(1 / self.rate)
        return x[:, None, ::every, ::every].float() / 100

    def _split(self, n: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        y = torch.randint(0, 2, (n,), generator=generator)
        angle, phase = torch.rand((2, n, 1, 1), generator=generator) * 2 * torch.pi
        place = torch.arange(16) / 16 * 2 * torch.pi
        along = torch.cos(angle) * place[:, None] + torch.sin(angle) * place
        x = torch.sin((1 + 2 * y[:, None, None]) * along + phase)
        return Split((100 * x).to(torch.int16), y, Source(f"{seed:064d}", official=True))


class Waves(Rated):
    """A convolution of 9 taps at rate 1; at another rate its taps are as far apart in time."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = 1.0
        self.kernel = nn.Parameter(torch.randn(8, 1, 9) / 3)

    def forward(self, x: Tensor) -> Tensor:
        every = max(1, int(1 / self.rate))
        taps = self.kernel[..., ::every] * every
        return functional.conv1d(x, taps, dilation=max(1, int(self.rate)))


class TinyFilter(Model):
    """The energy of eight filters over time, for sequences of any length."""

    def __init__(self, config: object, signature: Signature) -> None:
        super().__init__(config, signature)
        self.filters = Waves()
        self.head = nn.Linear(8, signature.out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.filters(x).square().mean(-1).log1p())


class TinyRated(TinyFilter):
    """The same, which can be used at another sampling rate."""

    def at_rate(self, rate: float) -> TinyRated:
        return at_rate(self, rate)
