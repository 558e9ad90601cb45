"""Checks of configs and signatures that every model plugin makes."""

from __future__ import annotations

from typing import Any, get_args

from seqbench.errors import ConfigError
from seqbench.spec import Signature


def check_positive(config: Any, *names: str) -> None:
    """Make sure that these fields are above zero.

    Raises:
        ConfigError: one is zero, negative or not a number.

    """
    for name in names:
        value = getattr(config, name)
        if not value > 0:
            raise ConfigError(f"{name} is {value!r}, expected a number above 0")


def check_share(config: Any, *names: str) -> None:
    """Make sure that these fields lie in [0, 1), as a dropout rate does.

    Raises:
        ConfigError: one lies outside.

    """
    for name in names:
        value = getattr(config, name)
        if not 0 <= value < 1:
            raise ConfigError(f"{name} is {value!r}, expected a number from 0 to below 1")


def check_not_negative(config: Any, *names: str) -> None:
    """Make sure that these fields are zero or above.

    Raises:
        ConfigError: one is negative or not a number.

    """
    for name in names:
        value = getattr(config, name)
        if not value >= 0:
            raise ConfigError(f"{name} is {value!r}, expected 0 or more")


def check_choice(config: Any, name: str, choices: Any) -> None:
    """Make sure that a field is one of the values of a ``Literal``.

    Raises:
        ConfigError: it is another.

    """
    if (value := getattr(config, name)) not in get_args(choices):
        expected = ", ".join(get_args(choices))
        raise ConfigError(f"{name} is {value!r}, expected one of {expected}")


def check_sequence(model: str, signature: Signature) -> None:
    """Make sure that a task's inputs are sequences.

    Raises:
        ConfigError: they are images.

    """
    if len(signature.shape) != 1:
        raise ConfigError(
            f"the model {model!r} reads sequences, (length,); the task's shape is "
            f"{signature.shape}",
            "choose a sequential task, such as smnist",
        )


def check_image(model: str, signature: Signature) -> None:
    """Make sure that a task's inputs are images, with one answer each.

    Raises:
        ConfigError: they are sequences, or an answer is asked at every pixel.

    """
    if len(signature.shape) != 2 or signature.target != "sequence":
        raise ConfigError(
            f"the model {model!r} reads images, (height, width), and gives one answer to each; the "
            f"task's shape is {signature.shape}, its target {signature.target!r}",
            "choose a task of images, such as mnist2d",
        )
