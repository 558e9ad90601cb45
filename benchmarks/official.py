"""The authors' FlexConv and CKConv networks, imported unchanged from checkouts outside the project.

Their packages import libraries that the networks timed here do not use (and one that is not
public); where those are missing, empty modules stand in. CKConv's code moves positions to a GPU
without asking; on a machine without one, that call does nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

_THEIRS = ("ckconv", "models")
_UNUSED = {
    "omegaconf": ["OmegaConf"],
    "pandas": [],
    "srf": [],
    "srf.nn": ["Srf_layer_shared"],
    "torchvision": [],
}


@contextlib.contextmanager
def checkout(path: Path) -> Iterator[None]:
    """Import from a checkout; both repositories call their packages by the same names."""
    for name in [n for n in sys.modules if n.partition(".")[0] in _THEIRS]:
        del sys.modules[name]
    for name, attributes in _UNUSED.items():
        try:
            importlib.import_module(name)
        except ImportError:
            module = types.ModuleType(name)
            for attribute in attributes:
                setattr(module, attribute, object)
            sys.modules[name] = module
    sys.path.insert(0, str(path))
    try:
        yield
    finally:
        sys.path.remove(str(path))


def flextcn(path: Path, channels: int, blocks: int = 2, width: float = 0.075) -> nn.Module:
    """A FlexTCN of rjbruin/flexconv with 30 channels and MAGNet kernels, 10 classes."""
    with checkout(path):
        models = importlib.import_module("models.cktcn")
    net = SimpleNamespace(
        no_hidden=30,
        no_blocks=blocks,
        norm="BatchNorm",
        dropout=0.1,
        block_width_factors=[0.0],
        nonlinearity="ReLU",
    )
    kernel = SimpleNamespace(
        type="MAGNet",
        dim_linear=1,
        no_hidden=32,
        no_layers=3,
        activ_function="",
        norm="",
        omega_0=0.0,
        learn_omega_0=False,
        weight_norm=False,
        steerable=False,
        init_spatial_value=1.0,
        bias_init=None,
        input_scale=25.6,
        sampling_rate_norm=1.0,
    )
    conv = SimpleNamespace(
        type="FlexConv", horizon="same", padding="same", stride=1, bias=True, use_fft=True
    )
    mask = SimpleNamespace(
        use=True,
        type="gaussian",
        init_value=width,
        temperature=15.0,
        dynamic_cropping=True,
        threshold=0.1,
    )
    warnings.filterwarnings("ignore", message="torch.meshgrid")
    return models.SeqData_TCN(channels, 10, net, kernel, conv, mask)


def ckcnn(path: Path, channels: int, omega_0: float = 30.0) -> nn.Module:
    """The 100k CKCNN of dwromero/ckconv, 10 classes."""
    if not torch.cuda.is_available():
        torch.Tensor.cuda = lambda self: self  # type: ignore[method-assign,assignment]
    warnings.filterwarnings("ignore", message=".*weight_norm.*", category=FutureWarning)
    with checkout(path):
        models = importlib.import_module("models.ckcnn")
    return models.seqImg_CKCNN(
        in_channels=channels,
        out_channels=10,
        hidden_channels=30,
        num_blocks=2,
        kernelnet_hidden_channels=32,
        kernelnet_activation_function="Sine",
        kernelnet_norm_type="LayerNorm",
        dim_linear=1,
        bias=True,
        omega_0=omega_0,
        dropout=0.1,
        weight_dropout=0.0,
        pool=False,
    )
