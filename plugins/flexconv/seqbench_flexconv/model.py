"""FlexTCN: residual blocks of FlexConvs for sequences."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from seqbench.model import Model, ParamGroup, Recipe, decay_groups
from seqbench.nn.checks import check_not_negative, check_positive, check_sequence, check_share
from seqbench.nn.continuous import kernel_decay
from seqbench.nn.kernels import MAGNet
from seqbench.nn.residual import ReadOut, ResidualBlock
from seqbench.spec import Plateau, Signature, TrainSpec
from seqbench.types import Encoded, Output
from seqbench_flexconv.layer import FlexConv

CENTRES_BY_WIDTH = 1.667
"""The Gabor centres of a kernel start within so many mask widths of 0 (the authors' code)."""


@dataclass(frozen=True)
class FlexTCNConfig:
    """The network's size, kernels, masks and regularisation.

    ``mask_width`` is the masks' width at the start, in units of half the signature's length;
    ``mask_threshold`` in [0, 1) is where kernels are cropped, 0 never. Masks learn at
    ``mask_learning_rate_scale`` times the rate. ``kernel_decay`` weights the sum of the norms of
    sampled kernels and biases in the loss: the authors' "weight decay".
    """

    channels: int = 30
    blocks: int = 2
    kernel_channels: int = 32
    kernel_layers: int = 3
    input_scale: float = 25.6
    mask_width: float = 0.075
    mask_threshold: float = 0.1
    mask_learning_rate_scale: float = 0.1
    dropout: float = 0.1
    dropout_in: float = 0.0
    kernel_decay: float = 0.0

    def __post_init__(self) -> None:
        check_positive(self, "channels", "blocks", "kernel_channels", "kernel_layers")
        check_positive(self, "input_scale", "mask_width", "mask_learning_rate_scale")
        check_share(self, "mask_threshold", "dropout", "dropout_in")
        check_not_negative(self, "kernel_decay")


_RECIPE = Recipe(
    source="rjbruin/flexconv testcases/testcase_settings.txt (sCIFAR10, 2 blocks): a regression "
    "test's settings, not confirmed as the paper's",
    train=TrainSpec(learning_rate=1e-3, batch_size=64, epochs=200, schedule=Plateau()),
    model={"dropout": 0.1, "kernel_decay": 1e-4},
)


class FlexTCN(Model):
    """Residual blocks of two causal FlexConvs with MAGNet kernels and batch norm.

    An input of another length than the signature's is read as the same signal cut off or
    continued, at the same sampling rate. In training, batch norm's statistics span all steps; in
    eval the network is causal.

    Differs from the paper: its anti-aliasing penalty is not applied.
    """

    description = "FlexConv network for sequences: MAGNet kernels of learned length (FlexTCN)"
    citation = (
        "Romero, Bruintjes, Tomczak, Bekkers, Hoogendoorn and van Gemert, FlexConv: Continuous "
        "Kernel Convolutions with Differentiable Kernel Sizes, ICLR 2022, arXiv:2110.08059"
    )
    Config: ClassVar[type] = FlexTCNConfig
    presets: ClassVar = {f"flextcn-{blocks}": FlexTCNConfig(blocks=blocks) for blocks in (2, 4, 6)}
    recipes: ClassVar = {
        (task, preset): _RECIPE
        for task in ("smnist", "pmnist", "scifar10")
        for preset in ("flextcn-2", "flextcn-4", "flextcn-6")
    }

    def __init__(self, config: FlexTCNConfig, signature: Signature) -> None:
        super().__init__(config, signature)
        check_sequence("flexconv", signature)
        widths = [signature.in_channels] + [config.channels] * config.blocks
        self.dropout_in = nn.Dropout(config.dropout_in)
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(c_in, c_out, config.dropout, self._convolution, nn.BatchNorm1d)
                for c_in, c_out in pairwise(widths)
            )
        )
        self.head = ReadOut(config.channels, signature, std=0.01)

    def _convolution(self, in_channels: int, out_channels: int) -> FlexConv:
        config: FlexTCNConfig = self.config
        kernel = MAGNet(
            config.kernel_channels,
            out_channels * in_channels,
            config.kernel_layers,
            config.input_scale,
            spatial_range=min(1.0, CENTRES_BY_WIDTH * config.mask_width),
        )
        return FlexConv(
            kernel,
            (in_channels, out_channels),
            self.signature.length,
            config.mask_width,
            config.mask_threshold,
        )

    def forward(self, x: Encoded) -> Output:
        """Input dropout, blocks, then the read-out."""
        y: Tensor = self.head(self.blocks(self.dropout_in(x)))
        return y

    def penalty(self) -> Tensor:
        """``kernel_decay`` times the sum of the norms of masked kernels and biases."""
        if self.config.kernel_decay == 0:
            return super().penalty()
        weight: float = self.config.kernel_decay
        return weight * kernel_decay(self.blocks)

    def param_groups(self) -> list[ParamGroup]:
        """Masks learn at a rate of their own and do not decay."""
        layers = [m for m in self.modules() if isinstance(m, FlexConv)]
        masks = [p for layer in layers for p in layer.mask.parameters()]
        known = {id(p) for p in masks}
        others = decay_groups(p for p in self.parameters() if id(p) not in known)
        scale = self.config.mask_learning_rate_scale
        return [*others, ParamGroup(masks, learning_rate_scale=scale, decay=False)]
