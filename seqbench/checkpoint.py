"""Where a training stands, in files that are whole or are not used; reading one runs no code."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from seqbench.errors import ResultError
from seqbench.result import write_atomically
from seqbench.sitting import checkpoint_files

_KEPT = 2
"""The newest, and the one before it for the case that the newest is damaged."""

_METADATA = "seqbench"


class Keeper(Protocol):
    """Whom checkpoints are kept for."""

    def check(self) -> None:
        """Raise if nothing may be written any more."""

    def log(self, event: str, **fields: Any) -> None:
        """Note that something happened."""


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name, and what else there is to know as JSON values."""

    tensors: Mapping[str, Tensor]
    facts: Mapping[str, Any]

    def below(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with a prefix, named by the rest."""
        found = self.tensors.items()
        return {n.removeprefix(prefix): value for n, value in found if n.startswith(prefix)}


@dataclass(frozen=True)
class Checkpoints:
    """The last checkpoints of one training on certain data, in its folder.

    Each is a file of safetensors, everything that is no tensor being JSON in its header, and is
    named by its epoch and by the SHA-256 of its bytes: one that was cut off or changed does not
    answer to its name.
    """

    folder: Path
    run_id: str
    data_sha256: str
    keeper: Keeper | None = None

    def save(self, epoch: int, checkpoint: Checkpoint) -> None:
        """Write a checkpoint after an epoch and remove the oldest.

        Raises:
            LostError: the run is another process's by now.
            OutputError: it cannot be written.

        """
        if self.keeper:
            self.keeper.check()
        facts = {"run_id": self.run_id, "data_sha256": self.data_sha256, **checkpoint.facts}
        # safetensors takes no tensors that share memory, as tied weights do
        tensors = {
            name: value.detach().to("cpu", copy=True).contiguous()
            for name, value in checkpoint.tensors.items()
        }
        content = safetensors.torch.save(tensors, {_METADATA: json.dumps(facts, allow_nan=False)})
        name = f"epoch-{epoch}-{_digest(content)}.safetensors"
        write_atomically(self.folder / name, content)
        for _, old in checkpoint_files(self.folder)[_KEPT:]:
            old.unlink(missing_ok=True)
        self._log("checkpoint", epoch=epoch, file=name, bytes=len(content))

    def load(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, if there is one; damaged ones are set aside.

        Raises:
            ResultError: it is of another run, or was made on other data.

        """
        for epoch, path in checkpoint_files(self.folder):
            try:
                checkpoint = _read(path)
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                self._set_aside(path, str(error))
                continue
            self._check(checkpoint, path)
            self._log("continued", epoch=epoch, file=path.name)
            return checkpoint
        return None

    def clear(self) -> None:
        """Remove them, as the run has ended; damaged ones that were set aside stay."""
        for _, path in checkpoint_files(self.folder):
            path.unlink(missing_ok=True)

    def _check(self, checkpoint: Checkpoint, path: Path) -> None:
        run_id, data_sha256 = (checkpoint.facts[name] for name in ("run_id", "data_sha256"))
        if run_id != self.run_id:
            raise ResultError(
                f"the checkpoint {path} is of run {run_id}, expected {self.run_id}",
                "delete it and the run starts from the beginning",
            )
        if data_sha256 != self.data_sha256:
            raise ResultError(
                f"the checkpoint {path} was made on other data ({data_sha256[:8]}) than there are "
                f"now ({self.data_sha256[:8]})",
                "use another --output-dir, or delete it and the run starts from the beginning",
            )

    def _set_aside(self, path: Path, reason: str) -> None:
        aside = path.with_name(f"{path.name}.damaged")
        path.replace(aside)
        warnings.warn(
            f"the checkpoint {path} is damaged ({reason}) and was renamed to {aside.name}; the run "
            "goes on from the one before it, or from the beginning",
            stacklevel=2,
        )
        self._log("damaged", file=aside.name, error=reason)

    def _log(self, event: str, **fields: Any) -> None:
        if self.keeper:
            self.keeper.log(event, **fields)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _read(path: Path) -> Checkpoint:
    content = path.read_bytes()
    if (digest := _digest(content)) != path.name.split("-")[2].partition(".")[0]:
        raise ValueError(f"its SHA-256 begins with {digest}")
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    return Checkpoint(safetensors.torch.load(content), json.loads(metadata[_METADATA]))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser, by the number of the parameter and the name.

    Its settings are no part of it: the spec has them.
    """
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value for i, part in state.items() for name, value in part.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put a state into an optimiser of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, part = name.partition(".")
        state.setdefault(int(index), {})[part] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
