"""FlexTCN: residual blocks of FlexConvs for sequences."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import ClassVar, Literal, Self, get_args

from jaxtyping import Float
from torch import Tensor, nn

from seqbench.errors import ConfigError
from seqbench.model import Model, ParamGroup, Recipe, decay_groups
from seqbench.nn.activation import BatchNormReLUDropout
from seqbench.nn.checks import check_not_negative, check_positive, check_sequence, check_share
from seqbench.nn.continuous import KernelConvolution, at_rate, kernel_decay
from seqbench.nn.kernels import GaborFilter, KernelNet, MAGNet, MFNFourier, MFNGabor, Siren
from seqbench.nn.residual import Pointwise, ReadOut, ResidualBlock
from seqbench.spec import Plateau, Signature, TrainSpec
from seqbench.types import Encoded, Output
from seqbench_flexconv.aliasing import AliasMethod, alias_penalty
from seqbench_flexconv.layer import FlexConv, GaussianMask

KernelName = Literal["magnet", "mfn-gabor", "mfn-fourier", "siren"]

CENTRES_BY_WIDTH = 1.667
"""The Gabor centres of a kernel start within so many mask widths of 0 (the authors' code)."""


@dataclass(frozen=True)
class FlexTCNConfig:
    """The network's size, kernels, masks and regularisation.

    ``kernel`` names the kernel networks (``omega_0`` is that of ``siren``, ``input_scale`` that of
    the others). ``mask`` false leaves kernels as long as the task's sequences. ``mask_width`` is
    the masks' width at the start, in units of half the signature's length; ``mask_threshold`` in
    [0, 1) is where kernels are cropped, 0 never. Masks learn at ``mask_learning_rate_scale`` times
    the rate, their mean only if ``learn_mask_mean``. ``separable`` convolves each channel by itself
    and mixes channels afterwards. ``kernel_decay`` weights the sum of the norms of sampled kernels
    and biases in the loss: the authors' "weight decay". ``alias_penalty`` weights the excess of
    the kernels' frequencies over the Nyquist frequency at the task's sampling rate (Sec. 3.3),
    counted as ``alias_method`` says with Gaussians cut at ``alias_cut`` standard deviations;
    ``alias_mask`` counts the mask's share too.
    """

    channels: int = 30
    blocks: int = 2
    kernel: KernelName = "magnet"
    kernel_channels: int = 32
    kernel_layers: int = 3
    input_scale: float = 25.6
    omega_0: float = 30.0
    separable: bool = False
    mask: bool = True
    mask_width: float = 0.075
    mask_threshold: float = 0.1
    mask_learning_rate_scale: float = 0.1
    learn_mask_mean: bool = True
    dropout: float = 0.1
    dropout_in: float = 0.0
    kernel_decay: float = 0.0
    alias_penalty: float = 0.0
    alias_method: AliasMethod = "together"
    alias_mask: bool = True
    alias_cut: float = 2.0

    def __post_init__(self) -> None:
        for name, choices in (("kernel", KernelName), ("alias_method", AliasMethod)):
            if (value := getattr(self, name)) not in get_args(choices):
                expected = ", ".join(get_args(choices))
                raise ConfigError(f"{name} is {value!r}, expected one of {expected}")
        check_positive(self, "channels", "blocks", "kernel_channels", "kernel_layers")
        check_positive(self, "input_scale", "omega_0", "mask_width", "mask_learning_rate_scale")
        check_share(self, "mask_threshold", "dropout", "dropout_in")
        check_not_negative(self, "kernel_decay", "alias_penalty", "alias_cut")
        if self.kernel == "siren" and self.kernel_layers < 2:
            raise ConfigError(f"kernel_layers is {self.kernel_layers}; a siren takes 2 or more")
        if self.kernel == "siren" and self.alias_penalty:
            raise ConfigError(
                "alias_penalty needs a bound on the kernel's frequencies; a siren has none",
                "use kernel magnet, mfn-gabor or mfn-fourier, or alias_penalty 0",
            )


_RECIPE = Recipe(
    source="rjbruin/flexconv testcases/testcase_settings.txt (sCIFAR10, 2 blocks): a regression "
    "test's settings, not confirmed as the paper's",
    train=TrainSpec(learning_rate=1e-3, batch_size=64, epochs=200, schedule=Plateau()),
    model={"dropout": 0.1, "kernel_decay": 1e-4},
)


class FlexBlock(ResidualBlock):
    """A residual block that can be asked for its last outputs alone."""

    pointwise = Pointwise
    conv1: KernelConvolution
    conv2: KernelConvolution

    def inputs_for(self, steps: int, length: int) -> int:
        """How many of its last ``length`` inputs the last ``steps`` outputs depend on."""
        taps = self.conv1.taps(length) - 1 + self.conv2.taps(length) - 1
        return min(steps + taps, length)

    def last(
        self, x: Float[Tensor, "batch c_in time"], steps: int, length: int
    ) -> Float[Tensor, "batch c_out step"]:
        """The last ``steps`` outputs, given as many inputs as they depend on."""
        hidden = min(steps + self.conv2.taps(length) - 1, length)
        y = self.activation(self.norm1(self.conv1(x, hidden)))
        y = self.activation(self.norm2(self.conv2(y, steps)))
        out: Tensor = (y + self.shortcut(x[..., -steps:])).relu_()
        return out


class FlexTCN(Model):
    """Residual blocks of two causal FlexConvs with batch norm (FlexTCN).

    An input of another length than the signature's is read as the same signal cut off or
    continued, at the same sampling rate; ``at_rate`` is for other rates. In training, batch norm's
    statistics span all steps; in eval the network is causal, and a sequence is answered from the
    steps alone that its answer depends on.

    Differs from the paper: ``alias_penalty`` is 0 unless set, for the published sequence
    experiments name none.
    """

    version = 3
    description = "FlexConv network for sequences: MAGNet kernels of learned length (FlexTCN)"
    citation = (
        "Romero, Bruintjes, Tomczak, Bekkers, Hoogendoorn and van Gemert, FlexConv: Continuous "
        "Kernel Convolutions with Differentiable Kernel Sizes, ICLR 2022, arXiv:2110.08059"
    )
    Config: ClassVar[type] = FlexTCNConfig
    presets: ClassVar = {
        f"flextcn-{blocks}": FlexTCNConfig(blocks=blocks) for blocks in (2, 4, 6)
    } | {
        "flextcn-2-siren": FlexTCNConfig(kernel="siren"),
        "flextcn-2-unmasked": FlexTCNConfig(mask=False),
    }
    recipes: ClassVar = {
        (task, preset): _RECIPE
        for task in ("smnist", "pmnist", "scifar10", "sc10-raw", "sc10-raw-kidger", "sc10-mfcc")
        for preset in ("flextcn-2", "flextcn-4", "flextcn-6")
    }

    def __init__(self, config: FlexTCNConfig, signature: Signature) -> None:
        super().__init__(config, signature)
        check_sequence("flexconv", signature)
        widths = [signature.in_channels] + [config.channels] * config.blocks
        self.dropout_in = nn.Dropout(config.dropout_in)
        norm = partial(BatchNormReLUDropout, rate=config.dropout)
        self.blocks = nn.ModuleList(
            FlexBlock(c_in, c_out, nn.Identity(), self._convolution, norm)
            for c_in, c_out in pairwise(widths)
        )
        self.head = ReadOut(config.channels, signature, std=0.01)

    def _convolution(self, in_channels: int, out_channels: int) -> KernelConvolution:
        config: FlexTCNConfig = self.config
        channels, size = (in_channels, out_channels), self.signature.shape
        kernel = self._kernel(in_channels * (1 if config.separable else out_channels))
        if not config.mask:
            return KernelConvolution(kernel, channels, size, separable=config.separable)
        mask = GaussianMask(1.0, config.mask_width, learn_mean=config.learn_mask_mean)
        threshold = config.mask_threshold
        return FlexConv(kernel, channels, size, mask, threshold, separable=config.separable)

    def _kernel(self, values: int) -> KernelNet:
        config: FlexTCNConfig = self.config
        hidden, layers, scale = config.kernel_channels, config.kernel_layers, config.input_scale
        centres = min(1.0, CENTRES_BY_WIDTH * config.mask_width) if config.mask else 1.0
        match config.kernel:
            case "siren":
                return Siren(hidden, values, config.omega_0, layers)
            case "mfn-fourier":
                return MFNFourier(hidden, values, layers, scale)
            case "mfn-gabor":
                return MFNGabor(hidden, values, layers, scale, centres)
            case "magnet":
                return MAGNet(hidden, values, layers, scale, centres)

    def forward(self, x: Encoded) -> Output:
        """Input dropout, blocks, then the read-out."""
        x = self.dropout_in(x)
        if self.training or self.signature.target == "step":
            for block in self.blocks:
                x = block(x)
        else:
            x = self._last_step(x)
        y: Tensor = self.head(x)
        return y

    def _last_step(self, x: Float[Tensor, "batch channel time"]) -> Float[Tensor, "batch c_out 1"]:
        """The blocks' last output, from the steps that it depends on."""
        blocks = [block for block in self.blocks if isinstance(block, FlexBlock)]
        length, steps = x.shape[-1], [1]
        for block in reversed(blocks):
            steps.append(block.inputs_for(steps[-1], length))
        *needed, first = steps
        x = x[..., -first:]
        for block, outputs in zip(blocks, reversed(needed), strict=True):
            x = block.last(x, outputs, length)
        return x

    def at_rate(self, rate: float) -> Self:
        """The network, sharing its parameters, for inputs sampled ``rate`` times as often."""
        return at_rate(self, rate)

    def penalty(self) -> Tensor:
        """``kernel_decay`` times the norms of masked kernels and biases, and the alias penalty."""
        config: FlexTCNConfig = self.config
        penalty = super().penalty()
        if config.kernel_decay:
            penalty = penalty + config.kernel_decay * kernel_decay(self.blocks)
        if config.alias_penalty:
            method, cut = config.alias_method, config.alias_cut
            excess = alias_penalty(self.blocks, method, cut, with_mask=config.alias_mask)
            penalty = penalty + config.alias_penalty * excess
        return penalty

    def param_groups(self) -> list[ParamGroup]:
        """Masks learn at a rate of their own; neither they nor filters' windows decay."""
        trainable = [p for p in self.parameters() if p.requires_grad]
        masks = [p for m in self.modules() if isinstance(m, GaussianMask) for p in m.parameters()]
        masks = [p for p in masks if p.requires_grad]
        filters = [m for m in self.modules() if isinstance(m, GaborFilter)]
        windows = [p for layer in filters for p in (layer.mu, layer.gamma)]
        known = {id(p) for p in masks + windows}
        scale = self.config.mask_learning_rate_scale
        groups = [
            *decay_groups(p for p in trainable if id(p) not in known),
            ParamGroup(windows, decay=False),
            ParamGroup(masks, learning_rate_scale=scale, decay=False),
        ]
        return [group for group in groups if group.parameters]

    def learned(self) -> dict[str, list[float]]:
        """Every convolution's kernel size after cropping, in time steps, and its mask.

        ``mask_width`` is in units of half the signature's length, ``mask_mean`` a position in
        [-1, 1], where 1 is the current step.
        """
        layers = [module for module in self.modules() if isinstance(module, FlexConv)]
        if not layers:
            return {}
        return {
            "kernel_size": [float(layer.taps(*self.signature.shape)) for layer in layers],
            "mask_width": [layer.mask.width.abs().item() for layer in layers],
            "mask_mean": [layer.mask.mean.item() for layer in layers],
        }
