"""The networks of the FlexConv paper with N-Jet convolutions, for sequences and images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Self, get_args

from torch import Tensor, nn

from seqbench.errors import ConfigError
from seqbench.model import Model, ParamGroup, Recipe
from seqbench.nn.checks import (
    check_image,
    check_not_negative,
    check_positive,
    check_sequence,
    check_share,
)
from seqbench.nn.continuous import at_rate, kernel_decay
from seqbench.nn.networks import flexnet_blocks, flexnet_stem, flextcn_blocks
from seqbench.nn.residual import ReadOut
from seqbench.nn.temporal import TemporalBlocks
from seqbench.spec import Cosine, Plateau, Signature, TrainSpec
from seqbench.types import Encoded, Output
from seqbench_njet.layer import HermiteNet, NJetConv

Architecture = Literal["flextcn", "flexnet"]


@dataclass(frozen=True)
class NJetConfig:
    """The network's architecture, size, kernels and regularisation.

    ``architecture`` is FlexTCN, for sequences, or FlexNet, for images. ``widths`` are the channels
    of each block in units of ``channels``; ``None`` is 1 for all. ``order`` is the highest
    derivative. ``sigma`` is the scale of every layer at the start, in units of half the
    signature's length (of half an image's shorter side), as FlexConv's ``mask_width``; a kernel
    reaches ``extent`` sigmas. ``kernel_decay`` weights the sum of the norms of sampled kernels in
    the loss, as FlexTCN's does.
    """

    architecture: Architecture = "flextcn"
    channels: int = 83
    blocks: int = 2
    widths: tuple[float, ...] | None = None
    order: int = 4
    sigma: float = 0.075
    extent: float = 2.0
    dropout: float = 0.1
    dropout_in: float = 0.0
    kernel_decay: float = 0.0

    def __post_init__(self) -> None:
        if self.architecture not in get_args(Architecture):
            expected = " or ".join(get_args(Architecture))
            raise ConfigError(f"architecture is {self.architecture!r}, expected {expected}")
        check_positive(self, "channels", "blocks", "order", "sigma", "extent")
        check_share(self, "dropout", "dropout_in")
        check_not_negative(self, "kernel_decay")
        if len(self.block_channels) != self.blocks or min(self.block_channels) < 1:
            raise ConfigError(
                f"widths is {self.widths}; expected a number for each of {self.blocks} blocks that "
                f"makes 1 or more of {self.channels} channels"
            )

    @property
    def block_channels(self) -> tuple[int, ...]:
        """The channels of each block's output."""
        widths = (1.0,) * self.blocks if self.widths is None else self.widths
        return tuple(int(self.channels * width) for width in widths)


_FLEXTCN = Recipe(
    source="FlexTCN's, from rjbruin/flexconv testcases/testcase_settings.txt, so that the two "
    "differ in kernels alone; no source trains N-Jets on sequences",
    train=TrainSpec(learning_rate=1e-3, batch_size=64, epochs=200, schedule=Plateau()),
    model={"dropout": 0.1, "kernel_decay": 1e-4},
)

_FLEXNET = Recipe(
    source="rjbruin/flexconv experiments/readme.md, CIFAR-10 (Table 3), N-Jet layers; its weight "
    "decay of 1e-5 reaches no N-Jet in the code",
    train=TrainSpec(
        learning_rate=1e-2, batch_size=64, epochs=350, schedule=Cosine(), warmup_epochs=5
    ),
    model={"dropout": 0.2},
)


class NJet(Model):
    """FlexTCN or FlexNet with N-Jet convolutions: Gaussian derivatives of learned scale.

    Kernels on sequences are causal, those on images centred. An input of another size than the
    signature's is read as the same signal cut off or continued, at the same sampling rate;
    ``at_rate`` is for other rates. In training, batch norm's statistics span all steps; in eval a
    network of sequences is causal, and answers a sequence from the steps alone that its answer
    depends on.

    Differs from the paper: sequences, and networks for them, are not in it. Sigma starts as a
    share of the input's size, where the paper has one step: on the images of the FlexConv paper,
    about one step too.
    """

    description = "Gaussian derivatives of learned scale in FlexConv's networks (N-Jet)"
    citation = (
        "Pintea, Tomen, Goes, Loog and van Gemert, Resolution learning in deep convolutional "
        "networks using scale-space theory, IEEE Transactions on Image Processing 30, 2021, "
        "arXiv:2106.03412"
    )
    Config: ClassVar[type] = NJetConfig
    presets: ClassVar = {
        "njettcn-2": NJetConfig(),
        "njetnet-7": NJetConfig(
            architecture="flexnet",
            channels=38,
            blocks=7,
            widths=(1, 1, 1.5, 1.5, 1.5, 2, 2),
            dropout=0.2,
        ),
    }
    recipes: ClassVar = {
        ("smnist", "njettcn-2"): _FLEXTCN,
        ("pmnist", "njettcn-2"): _FLEXTCN,
        ("cifar10-2d", "njetnet-7"): _FLEXNET,
    }

    def __init__(self, config: NJetConfig, signature: Signature) -> None:
        super().__init__(config, signature)
        self.dropout_in = nn.Dropout(config.dropout_in)
        self.stem: nn.Module = nn.Identity()
        self.blocks: nn.Module
        if config.architecture == "flextcn":
            check_sequence("njet:njettcn", signature)
            widths = (signature.in_channels, *config.block_channels)
            self.blocks = flextcn_blocks(widths, self._convolution, config.dropout)
            self.head = ReadOut(widths[-1], signature, std=0.01)
        else:
            check_image("njet:njetnet", signature)
            widths = (config.channels, *config.block_channels)
            self.stem = flexnet_stem(signature.in_channels, config.channels, self._convolution)
            self.blocks = flexnet_blocks(widths, self._convolution, config.dropout)
            self.head = ReadOut(widths[-1], signature, std=(2 / widths[-1]) ** 0.5, pooled=True)

    def _convolution(self, in_channels: int, out_channels: int) -> NJetConv:
        """Of the size of a FlexConv there: an image's size, made odd, or a sequence's length."""
        config: NJetConfig = self.config
        shape = self.signature.shape
        causal = len(shape) == 1
        size = shape if causal else tuple(n | 1 for n in shape)
        sigma = config.sigma * max(1, min(size) - 1) / 2
        jet = HermiteNet(config.order, in_channels * out_channels, sigma, len(shape))
        return NJetConv(jet, (in_channels, out_channels), size, config.extent, causal=causal)

    def forward(self, x: Encoded) -> Output:
        """Input dropout, stem, blocks, then the read-out."""
        x = self.stem(self.dropout_in(x))
        every = self.training or self.signature.target == "step"
        if isinstance(self.blocks, TemporalBlocks) and not every:
            x = self.blocks.last_step(x)
        else:
            x = self.blocks(x)
        y: Tensor = self.head(x)
        return y

    def at_rate(self, rate: float) -> Self:
        """The network, sharing its parameters, for inputs sampled ``rate`` times as often.

        That is along every axis: images of ``rate`` times the height and the width.
        """
        return at_rate(self, rate)

    def penalty(self) -> Tensor:
        """``kernel_decay`` times the norms of kernels."""
        weight: float = self.config.kernel_decay
        return weight * kernel_decay(self) if weight else super().penalty()

    def param_groups(self) -> list[ParamGroup]:
        """Coefficients decay, those of order 0 too, which are a bias by name; scales do not."""
        zeroth = {id(layer.kernel.output.bias) for layer in self._layers()}
        decays = {id(p) for p in self.parameters() if p.ndim > 1} | zeroth
        return [
            ParamGroup([p for p in self.parameters() if id(p) in decays]),
            ParamGroup([p for p in self.parameters() if id(p) not in decays], decay=False),
        ]

    def _layers(self) -> list[NJetConv]:
        return [module for module in self.modules() if isinstance(module, NJetConv)]

    def learned(self) -> dict[str, list[float]]:
        """Every convolution's kernel size along each axis, and its sigma, in steps."""
        shape = self.signature.shape
        learned = {"sigma": [layer.sigma for layer in self._layers()]}
        for axis, name in enumerate(("",) if len(shape) == 1 else ("_vertical", "_horizontal")):
            reaches = [layer.box(shape)[axis] for layer in self._layers()]
            learned[f"kernel_size{name}"] = [float(reach.end - reach.first) for reach in reaches]
        return learned
