"""Array types of the public interfaces; one layout throughout: batch, channel, time."""

from __future__ import annotations

from typing import TypeAlias

from jaxtyping import Float, Shaped
from torch import Tensor

# Examples as a task keeps them in memory: compact (uint8, int16), before Task.encode.
Stored: TypeAlias = Shaped[Tensor, "batch ..."]
# What a network receives: (batch, channel, time), or (batch, channel, height, width) for images.
Encoded: TypeAlias = Float[Tensor, "batch channel *shape"]
# One answer an example, (batch, out), or one a time step, (batch, out, time). Not `*shape`: in one
# function the name would bind an output without time to the time of the input.
Output: TypeAlias = Float[Tensor, "batch out *steps"]
# Class indices or numbers, one an example or one a time step; -100 marks a step not scored.
Target: TypeAlias = Shaped[Tensor, "batch *steps"]
# One score an example.
Scores: TypeAlias = Float[Tensor, "batch"]
