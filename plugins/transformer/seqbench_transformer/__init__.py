"""A plain transformer encoder (Vaswani et al. 2017), pre-norm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from seqbench.errors import ConfigError
from seqbench.model import Model, Recipe
from seqbench.nn.checks import check_positive, check_sequence, check_share
from seqbench.spec import Cosine, Signature, TrainSpec
from seqbench.types import Encoded, Output

__all__ = ["Attention", "Block", "Transformer", "TransformerConfig", "positions"]


@dataclass(frozen=True)
class TransformerConfig:
    """The network's size and dropout; defaults are the base model of Vaswani et al. (2017).

    ``head_channels`` is ``channels / heads`` unless set. ``attention_dropout`` thins the attention
    weights themselves; on a CPU they are then held whole, time x time for each head.
    """

    channels: int = 512
    layers: int = 6
    heads: int = 8
    head_channels: int | None = None
    mlp_channels: int = 2048
    dropout: float = 0.1
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        check_positive(self, "channels", "layers", "heads", "mlp_channels")
        check_share(self, "dropout", "attention_dropout")
        if self.head_channels is not None:
            check_positive(self, "head_channels")
        elif self.channels % self.heads:
            raise ConfigError(
                f"channels is {self.channels}, expected a multiple of heads, {self.heads}",
                "or set head_channels",
            )
        if self.channels % 2:
            raise ConfigError(
                f"channels is {self.channels}, expected an even number: positions are sines and "
                "cosines"
            )


class Transformer(Model):
    """Linear encoder, sinusoidal positions, pre-norm blocks, layer norm, read-out.

    For target ``sequence`` every step sees all steps and the read-out averages over time; for
    ``step`` no step sees a later one. Any length is accepted.

    Differs from the paper: norms stand before attention and MLP instead of after the sum (Xiong
    et al. 2020), the MLP has GELU, and inputs are numbers instead of tokens.
    """

    description = "transformer encoder, pre-norm, sinusoidal positions (Vaswani et al. 2017)"
    citation = (
        "Vaswani, Shazeer, Parmar, Uszkoreit, Jones, Gomez, Kaiser and Polosukhin, Attention Is "
        "All You Need, NeurIPS 2017, arXiv:1706.03762"
    )
    Config: ClassVar[type] = TransformerConfig
    presets: ClassVar = {
        "100k": TransformerConfig(channels=64, layers=3, heads=4, mlp_channels=128),
        "lra-image": TransformerConfig(
            channels=128,
            layers=1,
            heads=8,
            head_channels=8,
            mlp_channels=128,
            dropout=0.3,
            attention_dropout=0.2,
        ),
        "base": TransformerConfig(),
    }
    parameter_counts: ClassVar = {"100k": 100_554, "lra-image": 68_106, "base": 18_909_194}
    recipes: ClassVar = {
        ("scifar10-gray", "lra-image"): Recipe(
            source="google-research/long-range-arena lra_benchmarks/image/configs/cifar10/ "
            "transformer_base.py; there pixels are tokens, positions are learned, the read-out is "
            "an MLP on a token of its own, and Adam has beta2 0.98",
            train=TrainSpec(
                learning_rate=5e-4,
                batch_size=256,
                epochs=200,
                schedule=Cosine(),
                warmup_epochs=1.0,
            ),
        ),
    }

    def __init__(self, config: TransformerConfig, signature: Signature) -> None:
        super().__init__(config, signature)
        check_sequence("transformer", signature)
        self.causal = signature.target == "step"
        self.encoder = nn.Linear(signature.in_channels, config.channels)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, causal=self.causal) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.channels)
        self.decoder = nn.Linear(config.channels, signature.out_features)

    def forward(self, x: Encoded) -> Output:
        """Encode, attend, read out."""
        y = self.encoder(rearrange(x, "batch channel time -> batch time channel"))
        y = self.dropout(y + positions(y))
        for block in self.blocks:
            y = block(y)
        y = self.norm(y)
        answer: Tensor = self.decoder(y if self.causal else y.mean(1))
        return rearrange(answer, "batch time out -> batch out time") if self.causal else answer


class Block(nn.Module):
    """Attention, then an MLP, each after a layer norm and within a residual sum."""

    def __init__(self, config: TransformerConfig, *, causal: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.channels)
        self.attention = Attention(config, causal=causal)
        self.norm2 = nn.LayerNorm(config.channels)
        self.mlp = nn.Sequential(
            nn.Linear(config.channels, config.mlp_channels),
            nn.GELU(),
            nn.Dropout(config.dropout),
            nn.Linear(config.mlp_channels, config.channels),
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch time channel"]:
        """The block's output."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        y: Tensor = x + self.dropout(self.mlp(self.norm2(x)))
        return y


class Attention(nn.Module):
    """Multi-head self-attention without biases; causal or over all steps."""

    def __init__(self, config: TransformerConfig, *, causal: bool) -> None:
        super().__init__()
        self.heads = config.heads
        self.causal = causal
        self.dropout = config.attention_dropout
        width = config.heads * (config.head_channels or config.channels // config.heads)
        self.project = nn.Linear(config.channels, 3 * width, bias=False)
        self.mix = nn.Linear(width, config.channels, bias=False)

    def forward(
        self, x: Float[Tensor, "batch time channel"]
    ) -> Float[Tensor, "batch time channel"]:
        """What each step gathers from the steps that it sees."""
        q, k, v = rearrange(
            self.project(x),
            "batch time (part head c) -> part batch head time c",
            part=3,
            head=self.heads,
        )
        y = functional.scaled_dot_product_attention(
            q, k, v, dropout_p=self.dropout if self.training else 0.0, is_causal=self.causal
        )
        mixed: Tensor = self.mix(rearrange(y, "batch head time c -> batch time (head c)"))
        return mixed


def positions(like: Float[Tensor, "batch time channel"]) -> Float[Tensor, "time channel"]:
    """Sines, then cosines, of the time step at wavelengths from 2 pi to 20,000 pi (Sec. 3.5)."""
    time, channels = like.shape[1:]
    step = torch.arange(time, dtype=torch.float64, device=like.device)
    index = torch.arange(0, channels, 2, dtype=torch.float64, device=like.device)
    angle = torch.outer(step, torch.exp(-math.log(1e4) / channels * index))
    return torch.cat([angle.sin(), angle.cos()], dim=1).to(like.dtype)
