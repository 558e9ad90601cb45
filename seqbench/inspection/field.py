"""What a network's output depends on, measured by gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seqbench.model import Model
from seqbench.task import Split, Task


@dataclass(frozen=True)
class ReceptiveField:
    """The effective receptive field (Luo et al., NeurIPS 2016): mean magnitudes of a gradient.

    ``weights`` has the shape of the input without its channels and sums to 1: the share of each
    step or pixel in the gradient of an output, summed over channels, over so many examples. The
    output is the largest answer, of a network with an answer at every step the one of the last.
    """

    weights: NDArray[np.float64]
    examples: int

    def steps_for(self, share: float) -> int:
        """How many of the last steps hold such a share of the weight; of images, of all pixels.

        All, where outputs do not depend on the input at all.
        """
        rising = self.weights[::-1] if self.weights.ndim == 1 else -np.sort(-self.weights.ravel())
        return min(int(np.searchsorted(np.cumsum(rising), share - 1e-12)) + 1, rising.size)


def receptive_field(
    network: Model, task: Task, split: Split, examples: int = 256, batch_size: int = 32
) -> ReceptiveField:
    """Measure it on the first examples of a split, in eval, one backward pass a batch."""
    network.eval()
    total: Tensor | None = None
    count = min(examples, len(split.y))
    for start in range(0, count, batch_size):
        x = task.encode(split.x[start : min(start + batch_size, count)]).requires_grad_()
        answers = network(x)
        if task.signature.target == "step":
            answers = answers[..., -1]
        (gradient,) = torch.autograd.grad(answers.amax(1).sum(), x)
        magnitude = gradient.abs().sum(1).cpu().double()  # MPS has no float64
        magnitude = magnitude / magnitude.flatten(1).sum(1).clamp_min(1e-300).reshape(
            -1, *(1,) * (magnitude.ndim - 1)
        )
        total = magnitude.sum(0) if total is None else total + magnitude.sum(0)
    assert total is not None  # noqa: S101  (a split has examples)
    return ReceptiveField((total / count).numpy(), count)
