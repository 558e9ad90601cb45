"""Weights in files: written by a run, read from anywhere, loaded whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from pydantic import ValidationError
from torch import Tensor

from seqbench.errors import ConfigError, ModelError
from seqbench.model import Model
from seqbench.result import Weights, write_atomically

_METADATA = "seqbench"
_HOLDERS = ("state_dict", "model_state_dict", "model")
"""Where training scripts keep the state dict in what they save."""
_PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel and torch.compile put before every name."""
_SHOWN = 3


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights: the SHA-256 of its bytes, its tensors by name, what it says of itself."""

    sha256: str
    state: Mapping[str, Tensor]
    weights: Weights


def save_weights(path: Path, state: Mapping[str, Tensor], run_id: str) -> None:
    """Write the weights that a run has chosen by validation, with its id.

    Raises:
        OutputError: the file cannot be written.

    """
    about = Weights(source="seqbench", run=run_id, selection="validation")
    # One entry, since safetensors writes several in any order.
    metadata = {_METADATA: about.model_dump_json(exclude_none=True)}
    tensors = {name: value.contiguous() for name, value in state.items()}
    write_atomically(path, safetensors.torch.save(tensors, metadata))


def read_weights(path: Path) -> WeightsFile:
    """Read a ``.safetensors`` file, or what ``torch.save`` wrote of tensors alone.

    The state dict may stand under a usual name, such as ``state_dict``.

    Raises:
        ConfigError: the file cannot be read, is damaged, would have to run code to be read, or
            holds no state dict.

    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the weights {path}: {error.strerror}",
            "expected a .safetensors file, or a .pt file of a state dict",
        ) from error
    about = Weights()
    if content[8:9] == b"{":
        loaded, about = _safetensors(content, path)
    elif content.startswith((b"PK", b"\x80")):
        loaded = _pickled(content, path)
    else:
        raise ConfigError(
            f"{path} is not a file of weights",
            "expected a .safetensors file, or a .pt file of a state dict",
        )
    about = about.model_copy(update={"file": path.name})
    return WeightsFile(hashlib.sha256(content).hexdigest(), _state_dict(loaded, path), about)


def _safetensors(content: bytes, path: Path) -> tuple[dict[str, Tensor], Weights]:
    try:
        state = safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise _damaged(path, error) from error
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size]).get("__metadata__") or {}
    try:
        return state, Weights.model_validate_json(metadata.get(_METADATA, "{}"))
    except ValidationError:
        return state, Weights()


def _pickled(content: bytes, path: Path) -> Any:
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{path} holds more than tensors, or is damaged: reading it could run any code, so "
            "it was not read",
            "where you trust it, load it yourself and save the model's state_dict() alone",
        ) from error
    except Exception as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ConfigError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return ConfigError(
        f"the weights {path} cannot be read: {reason}",
        "the file is damaged or cut off; get it again",
    )


def _state_dict(loaded: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(loaded, Mapping):
        held = (loaded[name] for name in _HOLDERS if isinstance(loaded.get(name), Mapping))
        loaded = next(held, loaded)
    if not isinstance(loaded, Mapping) or not loaded:
        what = "nothing" if isinstance(loaded, Mapping) else type(loaded).__name__
        raise _no_state_dict(path, what)
    for name, value in loaded.items():
        if not isinstance(name, str) or not _is_plain(value):
            raise _no_state_dict(path, f"{name!r} of type {type(value).__name__}")
    return dict(loaded)


def _is_plain(value: Any) -> bool:
    """Whether it is a tensor of numbers: not sparse, quantised or without storage."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and not (value.is_quantized or value.is_meta)
    )


def _no_state_dict(path: Path, what: str) -> ConfigError:
    holders = ", ".join(_HOLDERS)
    return ConfigError(
        f"{path} holds no state dict: there is {what} in it",
        f"expected tensors by name, by themselves or under one of: {holders}",
    )


def load_weights(network: Model, file: WeightsFile, task: str) -> Weights:
    """Put the weights of a file into a network, converted by the model where they are foreign.

    They are taken as they are if they fit, else without the prefixes of wrappers, else converted.
    Every parameter and buffer is set and nothing is left over; or else nothing is changed.
    Gives what is known of where the weights are from.

    Raises:
        ConfigError: they are of a known kind, but not for this network.
        ModelError: they do not fit the network, or are not finite.

    """
    state, weights = file.state, file.weights
    if misfit := _misfit(network, state):
        state = _unwrapped(state)
        misfit = _misfit(network, state)
    if misfit and (converted := network.convert_weights(state, task)) is not None:
        state = converted.state
        weights = converted.weights.model_copy(update={"file": file.weights.file})
        misfit = _misfit(network, state)
    name = file.weights.file
    if misfit:
        raise ModelError(
            f"the weights {name} do not fit this {type(network).__name__} for {task}: {misfit}",
            "choose the preset and the task that they were trained for, or set the sizes of the "
            "model with --set model.FIELD=VALUE",
        )
    broken = [key for key, value in state.items() if not value.isfinite().all()]
    if broken:
        raise ModelError(
            f"the weights {name} are not finite: {_listed(broken)}",
            "the training that they come from went wrong; no score would mean anything",
        )
    network.load_state_dict(dict(state))
    return weights


def _unwrapped(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Without the names of wrappers, in whatever order and however many there are."""
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            return _unwrapped({name.removeprefix(prefix): v for name, v in state.items()})
    return state


def _misfit(network: Model, state: Mapping[str, Tensor]) -> str:
    """What is missing, too much or of another shape or kind; nothing if all fits."""
    own = network.state_dict()
    wrong = [
        f"{key} {_described(state[key])} instead of {_described(value)}"
        for key, value in own.items()
        if key in state and _described(state[key]) != _described(value)
    ]
    parts = {
        "missing": [key for key in own if key not in state],
        "unexpected": sorted(key for key in state if key not in own),
        "of another shape": wrong,
    }
    return "; ".join(f"{what}: {_listed(keys)}" for what, keys in parts.items() if keys)


def _described(value: Tensor) -> str:
    """The shape, and the kind of number unless it is the usual one."""
    kind = "" if value.is_floating_point() else " complex" if value.is_complex() else " integer"
    return f"{tuple(value.shape)}{kind}"


def _listed(keys: Sequence[str]) -> str:
    more = len(keys) - _SHOWN
    return ", ".join(keys[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
