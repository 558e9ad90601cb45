"""Multi-query associative recall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import RandomState

from seqbench.errors import ConfigError
from seqbench.spec import Signature
from seqbench.task import IGNORED
from seqbench.tasks._generated import (
    MAX_VOCABULARY,
    Examples,
    TokenTask,
    as_tokens,
    check_range,
    distinct,
)

POWER = 0.01
"""The exponent a of the law of gaps, p(i) ~ i^(a - 1), as in Zoology's figure 2."""


@dataclass(frozen=True)
class MQARConfig:
    """Sizes of the task.

    ``pairs`` is the number of keys with values, from 1; ``length`` the number of time steps, even,
    from ``4 * pairs``; ``vocabulary`` that of all tokens, even, ``2 * pairs + 2`` to 2^15.
    """

    length: int = 64
    pairs: int = 4
    vocabulary: int = 32

    def __post_init__(self) -> None:
        check_range("pairs", self.pairs, 1)
        check_range("length", self.length, 4 * self.pairs)
        check_range("vocabulary", self.vocabulary, 2 * self.pairs + 2, MAX_VOCABULARY)
        for name in ("length", "vocabulary"):
            if getattr(self, name) % 2:
                raise ConfigError(f"{name} is {getattr(self, name)}; expected an even number")


class MQAR(TokenTask):
    """Multi-query associative recall of Arora et al. 2023 (Zoology, arXiv:2312.04927).

    First ``pairs`` keys, each followed by its value; later every key once more at an even step,
    its distance drawn from a power law, and the value is asked for at that step. Keys are the
    tokens 1 to ``vocabulary / 2 - 1``, values the upper half, all different within an example;
    the other steps hold 0. The generator follows HazyResearch/zoology
    (zoology/data/multiquery_ar.py, ``random_non_queries=False`` and ``power_a=0.01`` as for
    figure 2). One of the values seen, at random, is right once in ``pairs``.

    Differs from the paper: 10,000 training examples (there 100,000); tokens are fed one-hot
    (there embedded), so the default has 32 of them; the presets ``zoology-LENGTH`` have the
    paper's lengths, pairs and 8,192 tokens, and need a gigabyte a batch at the longest.
    """

    name = "mqar"
    description = "Pairs of keys and values, then the keys again: which value went with each?"
    citation = "Arora et al. 2023, arXiv:2312.04927"
    Config = MQARConfig
    config: MQARConfig
    presets = {"default": MQARConfig()} | {
        f"zoology-{length}": MQARConfig(length, pairs, vocabulary=8192)
        for length, pairs in ((64, 4), (128, 8), (256, 16), (512, 64))
    }

    @property
    def vocabulary(self) -> int:
        """The number of tokens: the blank, keys and values."""
        return self.config.vocabulary

    @property
    def signature(self) -> Signature:
        """A channel and a class for each token."""
        return Signature(
            in_channels=self.vocabulary,
            shape=(self.config.length,),
            out_features=self.vocabulary,
            target="step",
        )

    def generate(self, random: RandomState, count: int) -> Examples:
        """Tokens (example, time) and int16 targets (example, time), asked at the queries."""
        pairs, half = self.config.pairs, self.vocabulary // 2
        keys = 1 + distinct(random, count, half - 1, pairs)
        values = half + distinct(random, count, half, pairs)
        queries = 2 * (pairs + _gaps(random, count, self.config.length // 2 - pairs, pairs))
        x = np.zeros((count, self.config.length), np.int64)
        x[:, 0 : 2 * pairs : 2] = keys
        x[:, 1 : 2 * pairs : 2] = values
        np.put_along_axis(x, queries, keys, axis=1)
        y = np.full(x.shape, IGNORED, np.int16)
        np.put_along_axis(y, queries, values.astype(np.int16), axis=1)
        return as_tokens(x, self.vocabulary), y


def _gaps(random: RandomState, count: int, space: int, chosen: int) -> np.ndarray:
    """Different indices below ``space``, drawn one by one in proportion to i^(a - 1).

    The smallest of exponential variables with these rates (Efraimidis and Spirakis 2006).
    """
    rates = np.arange(1, space + 1) ** (POWER - 1)
    times = random.standard_exponential((count, space)) / rates
    return times.argsort(axis=1)[:, :chosen]
