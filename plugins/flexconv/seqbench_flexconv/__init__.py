"""FlexConv and the networks FlexTCN and FlexNet (Romero et al. 2022) and CCNN (2023)."""

from __future__ import annotations

from seqbench_flexconv.aliasing import alias_penalty
from seqbench_flexconv.config import FlexConvNetConfig
from seqbench_flexconv.layer import FlexConv, GaussianMask
from seqbench_flexconv.model import FlexConvNet

__all__ = ["FlexConv", "FlexConvNet", "FlexConvNetConfig", "GaussianMask", "alias_penalty"]
