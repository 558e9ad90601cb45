"""seqbench: how well a sequence model handles long-range structure, and at what cost."""

__version__ = "0.1.0"
