"""N-Jet convolutions of Pintea et al. (2021) in the residual networks of FlexConv."""

from __future__ import annotations

from seqbench_njet.layer import HermiteNet, NJetConv
from seqbench_njet.model import NJet, NJetConfig

__all__ = ["HermiteNet", "NJet", "NJetConfig", "NJetConv"]
