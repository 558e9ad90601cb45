"""State dicts of the authors' code (dwromero/ckconv) in the names and shapes of ``CKCNN``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from seqbench.errors import ConfigError
from seqbench.model import Converted
from seqbench.result import Weights
from seqbench.spec import Signature

SOURCE = "dwromero/ckconv"

_SELECTED_ON_TEST = {"smnist", "pmnist", "scifar10"}
"""Tasks for which the authors' ``dataset.py`` says ``val_loader = test_loader``."""

_IS_OFFICIAL = re.compile(r"backbone\.\d+\.cconv\d+\.Kernel\.")
_BUFFER = re.compile(r"\.(train_length|conv_kernel)$")
"""The length of training, and the last kernel sampled (in files of some versions)."""

_NAMES = [
    (re.compile(theirs), ours)
    for theirs, ours in (
        (r"^backbone\.", "blocks."),
        (r"\.cconv", ".conv"),
        (r"\.Kernel\.kernel_net\.0\.", ".kernel.hidden.0."),
        (r"\.Kernel\.kernel_net\.4\.", ".kernel.hidden.1."),
        (r"\.Kernel\.kernel_net\.8\.", ".kernel.output."),
        (r"\.weight_g$", ".parametrizations.weight.original0"),
        (r"\.weight_v$", ".parametrizations.weight.original1"),
        (r"\.layer_norm\.", "."),
        (r"\.shortcut\.0\.", ".shortcut."),
        (r"^finallyr\.", "head.linear."),
    )
]


def is_official(state: Mapping[str, Tensor]) -> bool:
    """Whether these are weights of a CKCNN of the authors' code."""
    return any(_IS_OFFICIAL.match(key) for key in state)


def convert(state: Mapping[str, Tensor], signature: Signature, task: str) -> Converted:
    """The weights under our names; kernel networks' layers as matrices, not 1 x 1 convolutions.

    Raises:
        ConfigError: they were trained on sequences of another length, on which the positions in
            the kernel stand for other steps, or are for a target at every step.

    """
    if signature.target == "step":
        raise ConfigError(
            f"weights of {SOURCE} cannot answer at every step as {task} asks",
            "the authors' norm is over channels and time together, this network's then over the "
            "channels of each step: the weights would mean another function",
        )
    _check_length(state, signature, task)
    converted = {
        _our_name(key): _our_shape(key, value)
        for key, value in state.items()
        if not _BUFFER.search(key)
    }
    selection = "test" if task in _SELECTED_ON_TEST else "unknown"
    return Converted(converted, Weights(source=SOURCE, selection=selection))


def _check_length(state: Mapping[str, Tensor], signature: Signature, task: str) -> None:
    """``train_length`` is 0 where it was never set; ``conv_kernel`` has a length once it was."""
    for key, value in state.items():
        if key.endswith(".train_length") and value.numel() == 1:
            length = int(value)
        elif key.endswith(".conv_kernel") and value.ndim == 3:
            length = value.shape[-1]
        else:
            continue
        if length not in {0, signature.length}:
            raise ConfigError(
                f"the weights were trained on sequences of {length} steps; those of {task} have "
                f"{signature.length}",
                "a step is another distance in the kernel then; choose a task of that length",
            )


def _our_name(key: str) -> str:
    for theirs, ours in _NAMES:
        key = theirs.sub(ours, key)
    return key


def _our_shape(key: str, value: Tensor) -> Tensor:
    if ".kernel_net." in key and value.ndim == 3 and value.shape[-1] == 1:
        return value.squeeze(-1)
    return value
