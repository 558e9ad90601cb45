"""The networks of FlexConvs: FlexTCN for sequences, FlexNet for images, CCNN for both."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from seqbench.model import Model, ParamGroup, decay_groups
from seqbench.nn.continuous import KernelConvolution, at_rate, kernel_decay
from seqbench.nn.kernels import GaborFilter
from seqbench.nn.temporal import TemporalBlocks
from seqbench.spec import Signature
from seqbench.types import Encoded, Output
from seqbench_flexconv import parts
from seqbench_flexconv.aliasing import alias_penalty
from seqbench_flexconv.config import FlexConvNetConfig
from seqbench_flexconv.layer import FlexConv, GaussianMask
from seqbench_flexconv.recipes import CCNN_OMEGA_0, RECIPES

_CCNN = FlexConvNetConfig(
    architecture="ccnn",
    channels=140,
    blocks=4,
    kernel="magnet-omega",
    omega_0=CCNN_OMEGA_0,
    separable=True,
    learn_mask_mean=False,
    mask_learning_rate_scale=1.0,
)


class FlexConvNet(Model):
    """A network of FlexConvs: a stem, residual blocks, a read-out.

    FlexTCN (Romero et al. 2022) reads sequences, FlexNet (the same) images, CCNN (Knigge et al.
    2023) both. Kernels on sequences are causal, those on images centred. An input of another size
    than the signature's is read as the same signal cut off or continued, at the same sampling
    rate; ``at_rate`` is for other rates. In training, batch norm's statistics span all steps; in
    eval a network of sequences is causal. FlexTCN answers a sequence from the steps alone that its
    answer depends on.

    Differs from the papers: ``alias_penalty`` is 0 unless set, which the published experiments
    with one resolution leave it at. CCNN answers at every step by its read-out, without the mean.
    """

    version = 3
    description = "FlexConv networks: FlexTCN (sequences), FlexNet (images), CCNN (both)"
    citation = (
        "Romero, Bruintjes, Tomczak, Bekkers, Hoogendoorn and van Gemert, FlexConv: Continuous "
        "Kernel Convolutions with Differentiable Kernel Sizes, ICLR 2022, arXiv:2110.08059; CCNN: "
        "Knigge, Romero, Gu, Gavves, Bekkers, Tomczak, Hoogendoorn and Sonke, Modelling Long Range "
        "Dependencies in ND, ICLR 2023, arXiv:2301.10540"
    )
    Config: ClassVar[type] = FlexConvNetConfig
    presets: ClassVar = {
        f"flextcn-{blocks}": FlexConvNetConfig(blocks=blocks) for blocks in (2, 4, 6)
    } | {
        "flextcn-2-siren": FlexConvNetConfig(kernel="siren-unnormed"),
        "flextcn-2-unmasked": FlexConvNetConfig(mask=False),
        "flexnet-7": FlexConvNetConfig(
            architecture="flexnet",
            channels=24,
            blocks=7,
            widths=(1, 1, 1.5, 1.5, 1.5, 2, 2),
            dropout=0.2,
        ),
        "ccnn-4-140": _CCNN,
        "ccnn-6-380": replace(_CCNN, channels=380, blocks=6, kernel_channels=64),
    }
    recipes: ClassVar = RECIPES

    def __init__(self, config: FlexConvNetConfig, signature: Signature) -> None:
        super().__init__(config, signature)
        self.dropout_in = nn.Dropout(config.dropout_in)
        make = {None: parts.flextcn, "flexnet": parts.flexnet, "ccnn": parts.ccnn}
        self.stem, self.blocks, self.norm, self.head = make[config.architecture](config, signature)

    def forward(self, x: Encoded) -> Output:
        """Input dropout, stem, blocks, norm, then the read-out."""
        x = self.stem(self.dropout_in(x))
        every = self.training or self.signature.target == "step"
        if isinstance(self.blocks, TemporalBlocks) and not every:
            x = self.blocks.last_step(x)
        else:
            x = self.blocks(x)
        y: Tensor = self.head(self.norm(x))
        return y

    def at_rate(self, rate: float) -> Self:
        """The network, sharing its parameters, for inputs sampled ``rate`` times as often.

        That is along every axis: images of ``rate`` times the height and the width.
        """
        return at_rate(self, rate)

    def penalty(self) -> Tensor:
        """``kernel_decay`` times norms, and the alias penalty."""
        config: FlexConvNetConfig = self.config
        penalty = super().penalty()
        if config.kernel_decay:
            norms = self._all_norms() if config.architecture == "ccnn" else kernel_decay(self)
            penalty = penalty + config.kernel_decay * norms
        if config.alias_penalty:
            method, cut = config.alias_method, config.alias_cut
            excess = alias_penalty(self, method, cut, with_mask=config.alias_mask)
            penalty = penalty + config.alias_penalty * excess
        return penalty

    def _all_norms(self) -> Tensor:
        """Norms of masked kernels, and of all parameters that are not of kernel networks."""
        layers = [module for module in self.modules() if isinstance(module, KernelConvolution)]
        inside = {id(p) for layer in layers for p in layer.kernel.parameters()}
        outside = [p for p in self.parameters() if p.requires_grad and id(p) not in inside]
        norms = [layer.kernel_norm() for layer in layers] + [p.norm() for p in outside]
        return torch.stack(norms).sum()

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
        """Every convolution's kernel size after cropping, in steps, and its mask, for each axis.

        ``mask_width`` is in units of half the signature's length, ``mask_mean`` a position in
        [-1, 1], where 1 is the current step of a sequence and 0 the current pixel of an image.
        """
        layers = [module for module in self.modules() if isinstance(module, FlexConv)]
        if not layers:
            return {}
        shape = self.signature.shape
        learned: dict[str, list[float]] = {}
        for axis, name in enumerate(("",) if len(shape) == 1 else ("_vertical", "_horizontal")):
            reaches = [layer.box(shape)[axis] for layer in layers]
            masks = [layer.mask for layer in layers]
            learned |= {
                f"kernel_size{name}": [float(reach.end - reach.first) for reach in reaches],
                f"mask_width{name}": [mask.width[axis].abs().item() for mask in masks],
                f"mask_mean{name}": [mask.mean[axis].item() for mask in masks],
            }
        return learned
