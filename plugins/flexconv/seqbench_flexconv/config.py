"""The settings of all networks of FlexConvs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from seqbench.errors import ConfigError
from seqbench.nn.checks import check_choice, check_not_negative, check_positive, check_share
from seqbench_flexconv.aliasing import AliasMethod

Architecture = Literal["flexnet", "ccnn"]
KernelName = Literal[
    "magnet", "mfn-gabor", "mfn-fourier", "siren", "siren-unnormed", "magnet-omega"
]


@dataclass(frozen=True)
class FlexConvNetConfig:
    """The network's architecture, size, kernels, masks and regularisation.

    ``architecture`` is FlexTCN unless it names another one. ``widths`` are the channels of each
    block in units of ``channels``; ``None`` is 1 for all. ``kernel`` names the kernel networks
    (``omega_0`` is that of SIRENs and ``magnet-omega``, ``input_scale`` that of the others);
    ``siren`` starts as in CKConv, under weight norm, ``siren-unnormed`` as in FlexConv's code.
    ``mask`` false leaves kernels as long as the task's sequences, or as large as its images.
    ``mask_width`` is the masks' width at the start, in units of half the signature's length (of
    half its height and width for images); ``mask_threshold`` in [0, 1) is where kernels are
    cropped, 0 never. Masks learn at ``mask_learning_rate_scale`` times the rate, their mean only
    if ``learn_mask_mean``. ``separable`` convolves each channel by itself and mixes channels
    afterwards. ``kernel_decay`` weights the sum of the norms of sampled kernels and biases in the
    loss (``ccnn``: of all that is not of a kernel network): the authors' "weight decay".
    ``alias_penalty`` weights the excess of the kernels' frequencies over the Nyquist frequency at
    the task's sampling rate (Sec. 3.3), counted as ``alias_method`` says with Gaussians cut at
    ``alias_cut`` standard deviations; ``alias_mask`` counts the mask's share too.
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
    architecture: Architecture | None = None
    widths: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_choice(self, "kernel", KernelName)
        check_choice(self, "alias_method", AliasMethod)
        if self.architecture is not None:
            check_choice(self, "architecture", Architecture)
        check_positive(self, "channels", "blocks", "kernel_channels", "kernel_layers")
        check_positive(self, "input_scale", "omega_0", "mask_width", "mask_learning_rate_scale")
        check_share(self, "mask_threshold", "dropout", "dropout_in")
        check_not_negative(self, "kernel_decay", "alias_penalty", "alias_cut")
        siren = self.kernel in {"siren", "siren-unnormed"}
        if siren and self.kernel_layers < 2:
            raise ConfigError(f"kernel_layers is {self.kernel_layers}; a siren takes 2 or more")
        if siren and self.alias_penalty:
            raise ConfigError(
                "alias_penalty needs a bound on the kernel's frequencies; a siren has none",
                "use another kernel, or alias_penalty 0",
            )
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
