"""What plugin authors test with: ``check_model``, and pytest fixtures for real data.

Installed as a pytest plugin, so nothing here imports torch before it is needed.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from seqbench.errors import ModelError, SeqbenchError

if TYPE_CHECKING:
    from torch import Tensor

    from seqbench.model import Model

_BATCH = 3
_LENGTH = 24
_OTHER_LENGTHS = (1, 2, 17, 40)


def check_model(model: str | type[Model], preset: str | None = None) -> None:
    """Check that a model keeps every promise of the interface, on the CPU.

    Its declarations (config, presets, recipes); for both targets: output shapes at the
    signature's and at other lengths, repeatability under one seed, independence of the examples
    of a batch, a gradient for every parameter, each parameter in one group, a state dict that
    carries all there is; for ``step``: causality. A model need not accept images or other
    lengths, but then it refuses with a SeqbenchError.

    Args:
        model: a registered name, or a class.
        preset: the name of one of its presets; the first by default.

    Raises:
        ModelError: the first promise that is broken, and how.

    """
    from seqbench.model import load_model
    from seqbench.resolve import presets_of

    cls = load_model(model) if isinstance(model, str) else model
    name = model if isinstance(model, str) else cls.__name__
    _check_declarations(cls, name)
    presets = presets_of(cls)
    config = presets[preset or next(iter(presets))]
    for target in ("sequence", "step"):
        case = _Case(cls, f"{name}:{preset}" if preset else name, config, target)
        for check in _CHECKS:
            check(case)
    _check_images(cls, name, config)


@dataclass(frozen=True)
class _Case:
    """One model made for one target; 2 channels in, 5 features out."""

    cls: type[Model]
    name: str
    config: Any
    target: Literal["sequence", "step"]

    def make(self, seed: int) -> Model:
        import torch

        from seqbench.spec import Signature

        torch.manual_seed(seed)
        signature = Signature(in_channels=2, shape=(_LENGTH,), out_features=5, target=self.target)
        return self.cls(self.config, signature)

    @cached_property
    def network(self) -> Model:
        return self.make(0).eval()

    def x(self, length: int = _LENGTH) -> Tensor:
        import torch

        return torch.randn(_BATCH, 2, length, generator=torch.Generator().manual_seed(length))

    def fail(self, what: str, hint: str = "") -> ModelError:
        return ModelError(f"{self.name}, target {self.target!r}: {what}", hint)


def _check_declarations(cls: type[Model], name: str) -> None:
    """Presets and recipes are configs; configs are frozen and survive JSON."""
    from seqbench.resolve import config_from, presets_of, to_json

    params = getattr(cls.Config, "__dataclass_params__", None)
    if params is None or not params.frozen:
        raise ModelError(f"{name}: Config is no frozen dataclass", "use @dataclass(frozen=True)")
    presets = presets_of(cls)
    for preset, config in presets.items():
        if type(config) is not cls.Config:
            raise ModelError(f"{name}: the preset {preset!r} is {config!r}, not a {cls.Config}")
        if config_from(cls, json.loads(json.dumps(to_json(config))), "model") != config:
            raise ModelError(f"{name}: the preset {preset!r} changes by a way through JSON")
    for (task, preset), recipe in cls.recipes.items():
        where = f"{name}: the recipe for {task!r} and {preset!r}"
        if preset not in presets:
            raise ModelError(f"{where} names no preset", f"presets are {', '.join(presets)}")
        if not recipe.source:
            raise ModelError(f"{where} names no source")
        try:
            dataclasses.replace(presets[preset], **recipe.model)
        except (TypeError, SeqbenchError) as error:
            raise ModelError(f"{where} sets what Config does not take: {error}") from error


def _check_shapes(case: _Case) -> None:
    """(batch, out) or (batch, out, time), float32 and finite, at the signature's length."""
    _check_output(case, _LENGTH)
    for length in _OTHER_LENGTHS:
        try:
            case.network(case.x(length))
        except SeqbenchError:
            continue  # it may refuse, in so many words
        _check_output(case, length)


def _check_output(case: _Case, length: int) -> None:
    import torch

    y = case.network(case.x(length))
    expected = (_BATCH, 5) if case.target == "sequence" else (_BATCH, 5, length)
    if tuple(y.shape) != expected:
        raise case.fail(
            f"the output for length {length} has shape {tuple(y.shape)}, expected {expected}"
        )
    if y.dtype != torch.float32 or not y.isfinite().all():
        raise case.fail(f"the output for length {length} is not finite float32")


def _check_repeatable(case: _Case) -> None:
    """One seed gives one network and, in training, one output."""
    import torch

    first, second, other = case.make(1), case.make(1), case.make(2)
    state, again = first.state_dict(), second.state_dict()
    if any(not torch.equal(state[key], again[key]) for key in state):
        raise case.fail("two networks made under one seed differ")
    if all(torch.equal(value, other.state_dict()[key]) for key, value in state.items()):
        raise case.fail("networks made under two seeds are equal")
    outputs = []
    for network in (first, second):
        torch.manual_seed(3)
        outputs.append(network.train()(case.x()))
    if not torch.equal(*outputs):
        raise case.fail("in training, one seed gives two outputs")


def _check_batch_independence(case: _Case) -> None:
    """In eval, an example's output is the same alone and among others."""
    x = case.x()
    together = case.network(x)
    for i in range(_BATCH):
        alone = case.network(x[i : i + 1])
        _compare(case, alone, together[i : i + 1], "an example alone and in a batch")


def _check_gradients(case: _Case) -> None:
    """The gradient of loss and penalty reaches every parameter; each is in one group."""
    import torch

    network = case.make(0).eval()
    y = network(case.x())
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    ((y * weights).sum() + network.penalty()).backward()
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        if parameter.grad is None or not parameter.grad.any():
            raise case.fail(f"no gradient reaches the parameter {name!r}")
        if not parameter.grad.isfinite().all():
            raise case.fail(f"the gradient of {name!r} is not finite")
    grouped = sorted(id(p) for group in network.param_groups() for p in group.parameters)
    if grouped != sorted(id(p) for p in network.parameters() if p.requires_grad):
        raise case.fail("param_groups() does not hold every trainable parameter exactly once")


def _check_state(case: _Case) -> None:
    """A network with another's state dict gives the other's output."""
    trained = case.make(4)
    trained.train()(case.x())  # running statistics are state too
    copy = case.make(5)
    copy.load_state_dict(trained.state_dict())
    _compare(case, copy.eval()(case.x()), trained.eval()(case.x()), "a network and its copy")


def _check_causality(case: _Case) -> None:
    """Changing x after step t leaves y up to step t alone, and changes y after it."""
    if case.target == "sequence":
        return
    x = case.x()
    y = case.network(x)
    for t in (0, _LENGTH // 2, _LENGTH - 2):
        changed = x.clone()
        changed[..., t + 1 :] += 1.0
        z = case.network(changed)
        what = f"y up to step {t} before and after a change of x from step {t + 1} on"
        _compare(case, z[..., : t + 1], y[..., : t + 1], what)
        if (z[..., t + 1 :] - y[..., t + 1 :]).abs().max() == 0:
            raise case.fail(f"a change of x from step {t + 1} on changes nothing")


def _compare(case: _Case, got: Tensor, expected: Tensor, what: str) -> None:
    """Equal but for rounding, which is relative to the largest value."""
    difference = (got - expected).abs().max().item()
    scale = expected.abs().max().item()
    if difference > 1e-4 * scale + 1e-6:
        raise case.fail(f"{what} differ by {difference:.2g}, at values up to {scale:.2g}")


def _check_images(cls: type[Model], name: str, config: Any) -> None:
    """An image task is accepted, or refused in so many words."""
    from seqbench.spec import Signature

    signature = Signature(in_channels=1, shape=(6, 6), out_features=5, target="sequence")
    try:
        cls(config, signature)
    except SeqbenchError:
        return
    except Exception as error:
        raise ModelError(
            f"{name}: an image shape ends in {type(error).__name__}: {error}",
            "raise a ConfigError for signatures that the model does not support",
        ) from error


_CHECKS: tuple[Callable[[_Case], None], ...] = (
    _check_shapes,
    _check_repeatable,
    _check_batch_independence,
    _check_gradients,
    _check_state,
    _check_causality,
)


@pytest.fixture(scope="session")
def data_dir(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with ``mnist/`` and ``cifar10/``.

    ``SEQBENCH_DATA``, or ``data`` in a folder ``shared`` beside the checkout. Without either the
    test is skipped; it fails if ``SEQBENCH_REQUIRE`` names ``data``.
    """
    if directory := os.environ.get("SEQBENCH_DATA"):
        path = Path(directory)
        return path if (path / "mnist").is_dir() else missing("data", f"{path}/mnist")
    shared = shared_folder(pytestconfig, "data")
    links = tmp_path_factory.mktemp("data")
    for name in ("mnist", "cifar10"):
        (links / name).symlink_to(shared / name)
    return links


@pytest.fixture(scope="session")
def shared_reference(pytestconfig: pytest.Config) -> Path:
    """The folder of arrays and weights made by the official code of CKConv and FlexConv.

    ``SEQBENCH_REFERENCE``, or ``reference`` in a folder ``shared`` beside the checkout. Without
    either the test is skipped; it fails if ``SEQBENCH_REQUIRE`` names ``reference``.
    """
    if directory := os.environ.get("SEQBENCH_REFERENCE"):
        path = Path(directory)
        return path if path.is_dir() else missing("reference", str(path))
    return shared_folder(pytestconfig, "reference")


def shared_folder(config: pytest.Config, name: str) -> Path:
    """The folder ``name`` in a folder ``shared`` beside the checkout; skips or fails without."""
    for candidate in _candidates(config.rootpath, name):
        if candidate.is_dir():
            return candidate
    return missing(name, str(config.rootpath.parent / "shared" / name))


def _candidates(root: Path, name: str) -> Iterator[Path]:
    """Beside the checkout; the root is a plugin's folder when only its tests are run."""
    for folder in root.parents:
        yield folder / "shared" / name


def missing(name: str, where: str) -> Path:
    """Skip the test that needs ``where``, or fail it if SEQBENCH_REQUIRE names ``name``."""
    reason = f"needs {where}; set SEQBENCH_{name.upper()} to a copy of it"
    if name in os.environ.get("SEQBENCH_REQUIRE", "").split(","):
        pytest.fail(f"SEQBENCH_REQUIRE names {name}: {reason}", pytrace=False)
    pytest.skip(reason)
