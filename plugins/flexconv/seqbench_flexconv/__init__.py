"""FlexConv and the FlexTCN networks of Romero et al. (2022)."""

from __future__ import annotations

from seqbench_flexconv.aliasing import alias_penalty
from seqbench_flexconv.layer import FlexConv, GaussianMask
from seqbench_flexconv.model import FlexTCN, FlexTCNConfig

__all__ = ["FlexConv", "FlexTCN", "FlexTCNConfig", "GaussianMask", "alias_penalty"]
