"""The temporal convolutional network of Bai, Kolter and Koltun (2018)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm

from seqbench.model import Model, Recipe
from seqbench.nn.checks import check_not_negative, check_positive, check_sequence, check_share
from seqbench.nn.residual import ReadOut, ResidualBlock
from seqbench.spec import Signature, Steps, TrainSpec
from seqbench.types import Encoded, Output

__all__ = ["TCN", "CausalConv", "TCNConfig"]


@dataclass(frozen=True)
class TCNConfig:
    """The network's size and dropout; defaults are those of pixel MNIST in locuslab/TCN.

    ``head_std`` is the standard deviation that the read-out's weights start with; without it
    they keep torch's default, as in the authors' pixel-MNIST model.
    """

    channels: int = 25
    levels: int = 8
    kernel_size: int = 7
    dropout: float = 0.05
    head_std: float | None = None

    def __post_init__(self) -> None:
        check_positive(self, "channels", "levels", "kernel_size")
        check_share(self, "dropout")
        if self.head_std is not None:
            check_not_negative(self, "head_std")


def _recipe(source: str, train: TrainSpec) -> Recipe:
    return Recipe(source=f"locuslab/TCN {source}", train=train)


_PIXEL_MNIST = _recipe(
    "TCN/mnist_pixel/pmnist_test.py, defaults; the rate is divided by 10 after epoch 10",
    TrainSpec(learning_rate=2e-3, batch_size=64, epochs=20, schedule=Steps()),
)


class TCN(Model):
    """Residual blocks of dilated causal convolutions; level l has dilation 2^l.

    Differs from the paper: the weights of the convolutions start from torch's default. The paper
    says N(0, 0.01), but in the authors' code weight norm overwrites that at the first forward
    pass; only the 1 x 1 shortcut (and, where ``head_std`` is set, the read-out) starts from it.
    Dropout zeroes single values as in the code, where the paper says whole channels.
    """

    description = "temporal convolutional network, dilated and residual (Bai et al. 2018)"
    citation = (
        "Bai, Kolter and Koltun, An Empirical Evaluation of Generic Convolutional and Recurrent "
        "Networks for Sequence Modeling, 2018, arXiv:1803.01271"
    )
    Config: ClassVar[type] = TCNConfig
    presets: ClassVar = {
        "pixel-mnist": TCNConfig(),
        "100k": TCNConfig(channels=31),
        "copy-memory": TCNConfig(channels=10, kernel_size=8, dropout=0.0, head_std=0.01),
        "adding": TCNConfig(channels=30, dropout=0.0, head_std=0.01),
    }
    parameter_counts: ClassVar = {"pixel-mnist": 66_910, "100k": 102_496}
    recipes: ClassVar = {
        ("smnist", "pixel-mnist"): _PIXEL_MNIST,
        ("pmnist", "pixel-mnist"): _PIXEL_MNIST,
        ("copy-memory", "copy-memory"): _recipe(
            "TCN/copy_memory/copymem_test.py, defaults (for 1,000 blanks); clipping as the paper "
            "says, the code clips before there are gradients",
            TrainSpec(
                optimizer="rmsprop", learning_rate=5e-4, batch_size=32, epochs=50, gradient_clip=1.0
            ),
        ),
        ("adding", "adding"): _recipe(
            "TCN/adding_problem/add_test.py, defaults (for length 400 and 50,000 examples)",
            TrainSpec(learning_rate=4e-3, batch_size=32, epochs=10),
        ),
    }

    def __init__(self, config: TCNConfig, signature: Signature) -> None:
        super().__init__(config, signature)
        check_sequence("tcn", signature)
        widths = [signature.in_channels] + [config.channels] * config.levels
        self.blocks = nn.Sequential(
            *(
                _block(widths[level], widths[level + 1], 2**level, config)
                for level in range(config.levels)
            )
        )
        self.head = ReadOut(config.channels, signature)
        if config.head_std is not None:
            nn.init.normal_(self.head.linear.weight, std=config.head_std)

    @property
    def receptive_field(self) -> int:
        """How many steps, the current one included, an output can depend on."""
        config: TCNConfig = self.config
        dilations: int = 2**config.levels - 1
        return 1 + 2 * (config.kernel_size - 1) * dilations

    def forward(self, x: Encoded) -> Output:
        """Blocks, then the read-out."""
        y: Tensor = self.head(self.blocks(x))
        return y


class CausalConv(nn.Module):
    """A dilated convolution under weight norm that sees no later step."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dilation: int
    ) -> None:
        super().__init__()
        self.padding = (kernel_size - 1) * dilation
        self.conv = weight_norm(
            nn.Conv1d(in_channels, out_channels, kernel_size, dilation=dilation)
        )

    def forward(self, x: Float[Tensor, "batch c_in time"]) -> Float[Tensor, "batch c_out time"]:
        """Convolve with zeros before the first step."""
        y: Tensor = self.conv(functional.pad(x, (self.padding, 0)))
        return y


def _block(in_channels: int, out_channels: int, dilation: int, config: TCNConfig) -> ResidualBlock:
    convolution = partial(CausalConv, kernel_size=config.kernel_size, dilation=dilation)
    activation = nn.Sequential(nn.ReLU(), nn.Dropout(config.dropout))
    block = ResidualBlock(in_channels, out_channels, activation, convolution)
    if isinstance(block.shortcut, nn.Conv1d):
        nn.init.normal_(block.shortcut.weight, std=0.01)
    return block
