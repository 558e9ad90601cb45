"""The residual networks for CIFAR-10 of He, Zhang, Ren and Sun (2015)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from seqbench.model import Model, Recipe
from seqbench.nn.activation import BatchNormReLUDropout
from seqbench.nn.checks import check_image, check_positive
from seqbench.nn.residual import ReadOut, ResNetBlock
from seqbench.spec import Cosine, Signature, TrainSpec
from seqbench.types import Encoded, Output

__all__ = ["ResNet", "ResNetConfig"]

STAGES = 3


@dataclass(frozen=True)
class ResNetConfig:
    """The network's size: ``blocks`` in each of three stages, so 6 ``blocks`` + 2 layers.

    The stages have ``width``, 2 ``width`` and 4 ``width`` channels.
    """

    blocks: int = 7
    width: int = 16

    def __post_init__(self) -> None:
        check_positive(self, "blocks", "width")


class ResNet(Model):
    """3 x 3 convolutions with shortcuts; each stage halves the image and doubles the channels.

    Shortcuts have no parameters: where a stage begins they take every other pixel, and the new
    channels are zero (the paper's option A).

    Differs from the paper: weights start from N(0, 2 / fan_in), the read-out's too.
    """

    description = "residual network of 3 x 3 convolutions for images (He et al. 2015)"
    citation = (
        "He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, 2015, "
        "arXiv:1512.03385"
    )
    Config: ClassVar[type] = ResNetConfig
    presets: ClassVar = {
        f"resnet-{6 * blocks + 2}": ResNetConfig(blocks) for blocks in (7, 3, 5, 9)
    }
    recipes: ClassVar = {
        ("cifar10-2d", "resnet-44"): Recipe(
            source="rjbruin/flexconv experiments/readme.md, CIFAR-10 (Table 4): how the FlexConv "
            "paper trains it from 16 to 32 pixels; He et al. train by SGD with momentum",
            train=TrainSpec(
                learning_rate=1e-2, batch_size=64, epochs=100, schedule=Cosine(), warmup_epochs=5
            ),
        )
    }

    def __init__(self, config: ResNetConfig, signature: Signature) -> None:
        super().__init__(config, signature)
        check_image("resnet", signature)
        widths = [config.width * 2**stage for stage in range(STAGES) for _ in range(config.blocks)]
        widths = [config.width, *widths]
        self.stem = nn.Sequential(
            _convolution(signature.in_channels, config.width),
            BatchNormReLUDropout(config.width, rate=0.0),
        )
        self.blocks = nn.Sequential(*(_block(c_in, c_out) for c_in, c_out in pairwise(widths)))
        self.head = ReadOut(widths[-1], signature, std=(2 / widths[-1]) ** 0.5, pooled=True)

    def forward(self, x: Encoded) -> Output:
        """The stem, three stages of blocks, then the read-out of the mean over all pixels."""
        y: Tensor = self.head(self.blocks(self.stem(x)))
        return y


class Shortcut(nn.Module):
    """Every other pixel, with so many channels of zeros after those of the input."""

    def __init__(self, new_channels: int) -> None:
        super().__init__()
        self.new_channels = new_channels

    def forward(
        self, x: Float[Tensor, "batch c_in height width"]
    ) -> Float[Tensor, "batch c_out half_height half_width"]:
        """Half the image, rounded up."""
        return functional.pad(x[..., ::2, ::2], (0, 0, 0, 0, 0, self.new_channels))


def _block(in_channels: int, out_channels: int) -> ResNetBlock:
    smaller = out_channels > in_channels
    first = _convolution(in_channels, out_channels, stride=2 if smaller else 1)
    second = _convolution(out_channels, out_channels)
    shortcut = Shortcut(out_channels - in_channels) if smaller else None
    return ResNetBlock((first, second), out_channels, shortcut=shortcut)


def _convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    convolution = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight)
    return convolution
