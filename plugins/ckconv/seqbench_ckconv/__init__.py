"""The continuous kernel network (CKCNN) of Romero et al. (2021)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar, Self

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from seqbench.model import Converted, Model, Recipe
from seqbench.nn.activation import ReLUDropout
from seqbench.nn.checks import check_not_negative, check_positive, check_sequence, check_share
from seqbench.nn.continuous import KernelConvolution, at_rate, kernel_decay
from seqbench.nn.convolution import Window, fft_convolution
from seqbench.nn.kernels import Siren
from seqbench.nn.residual import ReadOut, ResidualBlock
from seqbench.spec import Plateau, Signature, TrainSpec
from seqbench.types import Encoded, Output
from seqbench_ckconv.weights import convert, is_official

__all__ = ["CKCNN", "CKCNNConfig", "CKConv"]


@dataclass(frozen=True)
class CKCNNConfig:
    """The network's size and regularisation.

    ``omega_0`` is the frequency of the kernel networks' sines; the authors tune it for each task
    (recipes), 30 is the default of SIREN. ``dropout`` follows every convolution, ``dropout_in``
    acts on the input, ``weight_dropout`` on the sampled kernels. ``kernel_decay`` weights the sum
    of the norms of sampled kernels and biases in the loss: the authors' "weight decay".
    """

    channels: int = 30
    blocks: int = 2
    kernel_channels: int = 32
    omega_0: float = 30.0
    dropout: float = 0.1
    dropout_in: float = 0.0
    weight_dropout: float = 0.0
    kernel_decay: float = 0.0

    def __post_init__(self) -> None:
        check_positive(self, "channels", "blocks", "kernel_channels", "omega_0")
        check_share(self, "dropout", "dropout_in", "weight_dropout")
        check_not_negative(self, "kernel_decay")


def _recipe(epochs: int = 200, batch_size: int = 64, patience: int = 20, **model: Any) -> Recipe:
    return Recipe(
        source="dwromero/ckconv runs/README.md",
        train=TrainSpec(
            learning_rate=1e-3,
            batch_size=batch_size,
            epochs=epochs,
            schedule=Plateau(factor=0.2, patience=patience),
        ),
        model=model,
    )


class CKCNN(Model):
    """Residual blocks of two causal CKConvs; kernels as long as the task's sequences.

    An input of another length than the signature's is read as the same signal cut off or
    continued, at the same sampling rate; ``at_rate`` is for other rates.

    Differs from the paper: the kernel networks start as ``seqbench.nn.kernels.Siren`` says, from
    the initialisation that the authors' code really has. For targets at every step, the norm is
    over the channels of each step alone: the authors' is over channels and time together, which
    lets an output depend on later inputs.
    """

    version = 3
    description = "continuous kernel network, SIREN kernels as long as the input (CKConv)"
    citation = (
        "Romero, Kuzina, Bekkers, Tomczak and Hoogendoorn, CKConv: Continuous Kernel Convolution "
        "For Sequential Data, ICLR 2022, arXiv:2102.02611"
    )
    Config: ClassVar[type] = CKCNNConfig
    presets: ClassVar = {"cktcn-100k": CKCNNConfig(), "cktcn-1m": CKCNNConfig(channels=100)}
    recipes: ClassVar = {
        ("smnist", "cktcn-100k"): _recipe(omega_0=31.09195739463897, dropout=0.1, dropout_in=0.1),
        ("pmnist", "cktcn-100k"): _recipe(omega_0=43.45667389601194, dropout=0.0, dropout_in=0.1),
        ("scifar10", "cktcn-100k"): _recipe(omega_0=25.696, dropout=0.2),
        **dict.fromkeys(
            (("sc10-raw", "cktcn-100k"), ("sc10-raw-kidger", "cktcn-100k")),
            _recipe(
                omega_0=39.450608806633795,
                dropout=0.0,
                kernel_decay=1e-4,
                epochs=300,
                batch_size=32,
            ),
        ),
        ("sc10-mfcc", "cktcn-100k"): _recipe(omega_0=30.90257553169801, dropout=0.2, patience=15),
        ("smnist", "cktcn-1m"): _recipe(omega_0=30.5, dropout=0.2, dropout_in=0.2),
        ("pmnist", "cktcn-1m"): _recipe(omega_0=42.161651744476515, dropout=0.0, dropout_in=0.2),
        ("scifar10", "cktcn-1m"): _recipe(
            omega_0=25.696, dropout=0.3, weight_dropout=0.1, kernel_decay=1e-4
        ),
    }

    def __init__(self, config: CKCNNConfig, signature: Signature) -> None:
        super().__init__(config, signature)
        check_sequence("ckconv", signature)
        convolution = partial(CKConv, config=config, length=signature.length)
        activation = ReLUDropout(config.dropout)
        norm = StepNorm if signature.target == "step" else partial(nn.GroupNorm, 1, eps=1e-12)
        widths = [signature.in_channels] + [config.channels] * config.blocks
        self.dropout_in = nn.Dropout(config.dropout_in)
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(c_in, c_out, activation, convolution, norm)
                for c_in, c_out in pairwise(widths)
            )
        )
        self.head = ReadOut(config.channels, signature, std=0.01)

    def forward(self, x: Encoded) -> Output:
        """Input dropout, blocks, then the read-out."""
        y: Tensor = self.head(self.blocks(self.dropout_in(x)))
        return y

    def convert_weights(self, state: Mapping[str, Tensor], task: str) -> Converted | None:
        """The state dict of a network of dwromero/ckconv, of any size, as one of this network's."""
        return convert(state, self.signature, task) if is_official(state) else None

    def at_rate(self, rate: float) -> Self:
        """The network, sharing its parameters, for inputs sampled ``rate`` times as often.

        Differs from the code: the current step stays at position 1 there too. The authors let the
        grid begin at -1, so that its end, and with it every tap, is off by up to one step.
        """
        return at_rate(self, rate)

    def penalty(self) -> Tensor:
        """``kernel_decay`` times the sum of the norms of kernels and biases.

        Differs from the code: kernels are taken before ``weight_dropout``.
        """
        if self.config.kernel_decay == 0:
            return super().penalty()
        weight: float = self.config.kernel_decay
        return weight * kernel_decay(self.blocks)


class CKConv(KernelConvolution):
    """A causal convolution with a SIREN kernel (Eq. 3), and dropout on the sampled kernel."""

    def __init__(
        self, in_channels: int, out_channels: int, config: CKCNNConfig, length: int
    ) -> None:
        kernel = Siren(config.kernel_channels, out_channels * in_channels, config.omega_0)
        super().__init__(kernel, (in_channels, out_channels), (length,))
        self.bias: nn.Parameter
        self.weight_dropout = config.weight_dropout

    def convolve(
        self,
        x: Float[Tensor, "batch c_in time"],
        features: Float[Tensor, "tap feature"],
        window: Window,
    ) -> Float[Tensor, "batch c_out time"]:
        """The convolution; with weight dropout in training, through the kernel itself."""
        if not (self.training and self.weight_dropout):
            return super().convolve(x, features, window)
        kernel = functional.dropout(self.formed(features), self.weight_dropout)
        y = fft_convolution(x, kernel, window.offset, window.size)
        return y + rearrange(self.bias, "channel -> channel 1")


class StepNorm(nn.LayerNorm):
    """Layer norm over the channels of each step, which keeps a network causal."""

    def forward(
        self, x: Float[Tensor, "batch channel time"]
    ) -> Float[Tensor, "batch channel time"]:
        """Normalise every step by itself."""
        y = super().forward(rearrange(x, "batch channel time -> batch time channel"))
        return rearrange(y, "batch time channel -> batch channel time")
