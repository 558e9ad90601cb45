"""Looking inside a trained network: kernels, their spectra, masks, and what outputs depend on."""

from __future__ import annotations

from seqbench.inspection.field import ReceptiveField, receptive_field
from seqbench.inspection.kernels import LayerKernels, kernels_of
from seqbench.inspection.page import Inspection, inspect, write_inspection

__all__ = [
    "Inspection",
    "LayerKernels",
    "ReceptiveField",
    "inspect",
    "kernels_of",
    "receptive_field",
    "write_inspection",
]
