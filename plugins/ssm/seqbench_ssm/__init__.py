"""Diagonal state space models: S4D of Gu et al. (2022) and LRU of Orvieto et al. (2023)."""

from __future__ import annotations

from seqbench_ssm.lru import LRU, LRUConfig, LRULayer
from seqbench_ssm.network import State, StateSpace, StateSpaceModel
from seqbench_ssm.powers import power_sums
from seqbench_ssm.s4d import S4D, S4DConfig, S4DLayer
from seqbench_ssm.scan import scan

__all__ = [
    "LRU",
    "S4D",
    "LRUConfig",
    "LRULayer",
    "S4DConfig",
    "S4DLayer",
    "State",
    "StateSpace",
    "StateSpaceModel",
    "power_sums",
    "scan",
]
