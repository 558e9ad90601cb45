"""The conformance suite finds the model that breaks a promise, and says which promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from seqbench.errors import ModelError
from seqbench.model import Model, ParamGroup, Recipe
from seqbench.nn.checks import check_sequence
from seqbench.nn.residual import ReadOut
from seqbench.spec import TrainSpec
from seqbench.testing import check_model


@dataclass(frozen=True)
class Settings:
    """The sound model's config."""

    width: int = 4


class Sound(Model):
    """A causal running mean, mixed linearly: it keeps every promise."""

    Config: ClassVar = Settings
    presets: ClassVar = {"small": Settings()}

    def __init__(self, config, signature) -> None:
        super().__init__(config, signature)
        check_sequence("sound", signature)
        self.mix = nn.Conv1d(signature.in_channels, config.width, 1)
        self.head = ReadOut(config.width, signature)

    def forward(self, x):
        return self.head(self.mix(x).cumsum(-1).tanh())


class LooksAhead(Sound):
    def forward(self, x):
        return self.head(self.mix(x).mean(-1, keepdim=True) + self.mix(x))


class MixesExamples(Sound):
    def forward(self, x):
        return super().forward(x - x.mean(0))


class WrongShape(Sound):
    def forward(self, x):
        return super().forward(x)[:, :3]


class UnusedParameter(Sound):
    def __init__(self, config, signature) -> None:
        super().__init__(config, signature)
        self.idle = nn.Parameter(torch.ones(3))


class HiddenState(Sound):
    """Its random scale is no buffer, so a state dict does not carry it."""

    def __init__(self, config, signature) -> None:
        super().__init__(config, signature)
        self.scale = torch.rand(())

    def forward(self, x):
        return super().forward(x) * self.scale


class Unseeded(Sound):
    def __init__(self, config, signature) -> None:
        super().__init__(config, signature)
        torch.seed()
        nn.init.normal_(self.mix.weight)


class ForgetsAGroup(Sound):
    def param_groups(self):
        return [ParamGroup(list(self.mix.parameters()))]


class BreaksOnImages(Sound):
    def __init__(self, config, signature) -> None:
        (self.length,) = signature.shape
        super().__init__(config, signature)


class RecipeOfNothing(Sound):
    recipes: ClassVar = {("smnist", "large"): Recipe("a paper", TrainSpec())}


class RecipeSetsNothing(Sound):
    recipes: ClassVar = {("smnist", "small"): Recipe("a paper", TrainSpec(), {"depth": 3})}


def test_a_sound_model_passes() -> None:
    """A model that keeps every promise passes."""
    check_model(Sound)
    check_model(Sound, "small")


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (LooksAhead, "y up to step 0 before and after"),
        (MixesExamples, "an example alone and in a batch"),
        (WrongShape, r"shape \(3, 3\), expected \(3, 5\)"),
        (UnusedParameter, "no gradient reaches the parameter 'idle'"),
        (HiddenState, "a network and its copy"),
        (Unseeded, "two networks made under one seed differ"),
        (ForgetsAGroup, "every trainable parameter exactly once"),
        (BreaksOnImages, "an image shape ends in ValueError"),
        (RecipeOfNothing, "names no preset"),
        (RecipeSetsNothing, "sets what Config does not take"),
    ],
)
def test_a_broken_promise_is_named(broken: type[Model], says: str) -> None:
    """Each broken promise is found and named, with the model's name."""
    with pytest.raises(ModelError, match=says) as caught:
        check_model(broken)
    assert broken.__name__ in str(caught.value)
