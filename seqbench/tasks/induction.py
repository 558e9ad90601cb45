"""The induction heads task."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState

from seqbench.spec import Signature
from seqbench.tasks._generated import (
    MAX_VOCABULARY,
    Examples,
    TokenTask,
    as_tokens,
    check_range,
)


@dataclass(frozen=True)
class InductionConfig:
    """Sizes of the task.

    ``length`` is the number of time steps, from 4; ``vocabulary`` that of tokens with the trigger,
    3 to 2^15.
    """

    length: int = 64
    vocabulary: int = 16

    def __post_init__(self) -> None:
        check_range("length", self.length, 4)
        check_range("vocabulary", self.vocabulary, 3, MAX_VOCABULARY)


class Induction(TokenTask):
    """The induction heads task of Fu et al. 2022 and Gu and Dao 2023 (Mamba, section 4.1.2).

    Random tokens, among which the trigger (the last token) stands once, at a random step but the
    last three; it stands again at the end. Asked is, once for the whole sequence, the token that
    followed it. The generator follows the ``induction_head`` of HazyResearch/safari
    (src/dataloaders/synthetics.py). Chance is 1 / (vocabulary - 1).

    Differs from the papers: the answer alone is trained on (there every next token), so the
    target is one for the sequence; a fixed training set of 10,000 examples (there new ones at
    every step); tokens are fed one-hot (there embedded); no unused token among the vocabulary.
    The preset ``mamba`` has the length that Mamba is trained at; testing at other lengths is
    not part of the task.
    """

    name = "induction"
    description = "Random tokens with one trigger: at the second trigger, what followed the first?"
    citation = "Fu et al. 2022, arXiv:2212.14052; Gu and Dao 2023, arXiv:2312.00752"
    Config = InductionConfig
    config: InductionConfig
    presets = {"default": InductionConfig(), "mamba": InductionConfig(length=256, vocabulary=16)}

    @property
    def vocabulary(self) -> int:
        """The number of tokens with the trigger."""
        return self.config.vocabulary

    @property
    def signature(self) -> Signature:
        """A channel and a class for each token; one answer."""
        return Signature(
            in_channels=self.vocabulary,
            shape=(self.config.length,),
            out_features=self.vocabulary,
            target="sequence",
        )

    def generate(self, random: RandomState, count: int) -> Examples:
        """Tokens (example, time) and the answers (example,)."""
        trigger, examples = self.vocabulary - 1, np.arange(count)
        x = random.randint(0, trigger, size=(count, self.config.length))
        where = random.randint(0, self.config.length - 3, size=count)
        x[examples, where] = x[:, -1] = trigger
        x = as_tokens(x, self.vocabulary)
        return x, x[examples, where + 1]
