"""MyNet: a model for seqbench."""

from __future__ import annotations

from dataclasses import dataclass

from seqbench.model import Model
from seqbench.nn.checks import check_positive, check_sequence, check_share
from seqbench.spec import Signature
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class MyNetConfig:
    """What can be set, as in `--set model.channels=64`."""

    channels: int = 32
    blocks: int = 6
    kernel_size: int = 3
    dropout: float = 0.1

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        check_positive(self, "channels", "blocks", "kernel_size")
        check_share(self, "dropout")


class MyNet(Model):
    """Residual blocks of causal convolutions; block i has dilation 2^i.

    A step sees the `1 + (kernel_size - 1) (2^blocks - 1)` steps up to it.
    """

    description = "residual blocks of dilated causal convolutions"
    Config = MyNetConfig

    def __init__(self, config: MyNetConfig, signature: Signature) -> None:
        """Make the layers for what a task gives and asks."""
        super().__init__(config, signature)
        check_sequence("mynet", signature)  # refuses tasks on images
        self.encoder = nn.Conv1d(signature.in_channels, config.channels, 1)
        self.blocks = nn.Sequential(*(Block(config, dilation=2**i) for i in range(config.blocks)))
        self.decoder = nn.Conv1d(config.channels, signature.out_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, time) to (batch, out), or to (batch, out, time)."""
        y: Tensor = self.decoder(self.blocks(self.encoder(x)))
        return y.mean(dim=-1) if self.signature.target == "sequence" else y


class Block(nn.Module):
    """A dilated causal convolution and a mix of channels, beside a shortcut."""

    def __init__(self, config: MyNetConfig, dilation: int) -> None:
        """Make the layers."""
        super().__init__()
        size, channels = config.kernel_size, config.channels
        self.padding = (size - 1) * dilation
        self.convolution = nn.Conv1d(channels, channels, size, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channel, time) to the same shape."""
        y: Tensor = functional.pad(x, (self.padding, 0))  # before the first step: causal
        y = self.dropout(self.mix(functional.gelu(self.convolution(y))))
        return x + y
