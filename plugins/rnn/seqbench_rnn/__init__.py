"""Recurrent networks: vanilla RNN, LSTM, GRU, in torch's fused implementations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange
from torch import Tensor, nn

from seqbench.model import Model, Recipe
from seqbench.nn.checks import check_positive, check_sequence
from seqbench.nn.residual import ReadOut
from seqbench.spec import Signature, TrainSpec
from seqbench.types import Encoded, Output

__all__ = ["GRU", "LSTM", "RNN", "LSTMConfig", "RecurrentConfig"]


@dataclass(frozen=True)
class RecurrentConfig:
    """Units of each layer, and layers."""

    hidden_size: int = 128
    layers: int = 1

    def __post_init__(self) -> None:
        check_positive(self, "hidden_size", "layers")


@dataclass(frozen=True)
class LSTMConfig(RecurrentConfig):
    """Also the forget gates' bias at the start, 1 by default (Jozefowicz et al. 2015)."""

    forget_bias: float = 1.0


class Recurrent(Model):
    """Recurrent layers with a linear read-out of the last step or of every step.

    Initialisation is torch's: everything from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)).
    """

    Config: ClassVar[type] = RecurrentConfig
    layer_type: ClassVar[type[nn.RNN | nn.LSTM | nn.GRU]]

    def __init__(self, config: RecurrentConfig, signature: Signature) -> None:
        super().__init__(config, signature)
        check_sequence(type(self).__name__.lower(), signature)
        self.recurrent = self.layer_type(
            signature.in_channels, config.hidden_size, num_layers=config.layers, batch_first=True
        )
        self.head = ReadOut(config.hidden_size, signature)

    def forward(self, x: Encoded) -> Output:
        """Run over time from a zero state."""
        states, _ = self.recurrent(rearrange(x, "batch channel time -> batch time channel"))
        y: Tensor = self.head(rearrange(states, "batch time channel -> batch channel time"))
        return y


class RNN(Recurrent):
    """Vanilla recurrence, ``h_t = tanh(W x_t + U h_(t-1) + b)`` (Elman 1990)."""

    description = "vanilla recurrent network with tanh (Elman 1990)"
    citation = "Elman, Finding structure in time, Cognitive Science 14(2), 1990"
    layer_type = nn.RNN
    presets: ClassVar = {"default": RecurrentConfig(), "100k": RecurrentConfig(hidden_size=314)}
    parameter_counts: ClassVar = {"100k": 102_688}


class GRU(Recurrent):
    """Gated recurrent units, torch's variant (reset gate after the recurrent product)."""

    description = "gated recurrent units (Cho et al. 2014)"
    citation = (
        "Cho et al., Learning Phrase Representations using RNN Encoder-Decoder for Statistical "
        "Machine Translation, EMNLP 2014, arXiv:1406.1078"
    )
    layer_type = nn.GRU
    presets: ClassVar = {
        "default": RecurrentConfig(),
        "100k": RecurrentConfig(hidden_size=181),
        "201k": RecurrentConfig(hidden_size=256),
    }
    parameter_counts: ClassVar = {"100k": 101_732}


class LSTM(Recurrent):
    """Long short-term memory with forget gates whose bias starts at ``forget_bias``.

    Torch adds two biases to each gate; the first carries ``forget_bias``, the second starts at 0.
    """

    description = "long short-term memory (Hochreiter and Schmidhuber 1997)"
    citation = "Hochreiter and Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997"
    Config: ClassVar[type] = LSTMConfig
    layer_type = nn.LSTM
    presets: ClassVar = {
        "default": LSTMConfig(),
        "70k": LSTMConfig(hidden_size=130),
        "100k": LSTMConfig(hidden_size=156),
        "267k": LSTMConfig(hidden_size=256),
    }
    parameter_counts: ClassVar = {"100k": 100_786}
    recipes: ClassVar = {
        (task, "70k"): Recipe(
            source="Bai et al. 2018 (arXiv:1803.01271), Table 3: hidden size, optimiser, clipping, "
            "forget-gate bias; batch size and epochs from locuslab/TCN mnist_pixel defaults",
            train=TrainSpec(
                optimizer="rmsprop", learning_rate=1e-3, gradient_clip=1.0, batch_size=64, epochs=20
            ),
            model={"forget_bias": bias},
        )
        for task, bias in (("smnist", 1.0), ("pmnist", 10.0))
    }

    def __init__(self, config: LSTMConfig, signature: Signature) -> None:
        super().__init__(config, signature)
        size = config.hidden_size
        with torch.no_grad():  # gates are stacked: input, forget, cell, output
            for layer in range(config.layers):
                getattr(self.recurrent, f"bias_ih_l{layer}")[size : 2 * size] = config.forget_bias
                getattr(self.recurrent, f"bias_hh_l{layer}")[size : 2 * size] = 0.0
