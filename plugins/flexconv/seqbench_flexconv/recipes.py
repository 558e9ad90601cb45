"""Published training settings, by task and preset."""

from __future__ import annotations

from typing import Any

from seqbench.model import Recipe
from seqbench.spec import Cosine, Plateau, TrainSpec

CCNN_OMEGA_0 = 2976.4910261630357
"""That of CCNN on sMNIST, where no recipe says another."""

_FLEXTCN = Recipe(
    source="rjbruin/flexconv testcases/testcase_settings.txt (sCIFAR10, 2 blocks): a regression "
    "test's settings, not confirmed as the paper's",
    train=TrainSpec(learning_rate=1e-3, batch_size=64, epochs=200, schedule=Plateau()),
    model={"dropout": 0.1, "kernel_decay": 1e-4},
)

_FLEXNET = TrainSpec(
    learning_rate=1e-2, batch_size=64, epochs=350, schedule=Cosine(), warmup_epochs=5
)


def _flexnet(table: str) -> Recipe:
    source = f"rjbruin/flexconv experiments/readme.md, {table}"
    return Recipe(source=source, train=_FLEXNET, model={"dropout": 0.2})


def _ccnn(heading: str, train: dict[str, Any], **model: float) -> Recipe:
    """AdamW there is without decay, and has the same rate for masks whatever `mask_lr_ratio` is."""
    fields = {"warmup_epochs": 10} | train
    return Recipe(
        source=f"david-knigge/ccnn experiments/README.md, {heading}",
        train=TrainSpec(optimizer="adamw", schedule=Cosine(), **fields),
        model=model,
    )


def _settings(learning_rate: float, batch_size: int, epochs: int) -> dict[str, Any]:
    return {"learning_rate": learning_rate, "batch_size": batch_size, "epochs": epochs}


_SMALL = {
    "smnist": _ccnn(
        "sMNIST CCNN-4,140",
        _settings(0.01, 100, 210),
        omega_0=CCNN_OMEGA_0,
        dropout=0.1,
        kernel_decay=1e-6,
    ),
    "pmnist": _ccnn(
        "pMNIST CCNN-4,140",
        _settings(0.02, 100, 210),
        omega_0=2985.6332826938724,
        dropout=0.0,
        dropout_in=0.2,
    ),
    "scifar10": _ccnn(
        "sCIFAR10 CCNN-4,140", _settings(0.02, 50, 210), omega_0=2386.49, dropout=0.0
    ),
    "scifar10-gray": _ccnn(
        "Image CCNN-4,140", _settings(0.01, 50, 210), omega_0=4005.146, dropout=0.1
    ),
    "sc10-mfcc": _ccnn(
        "MFCC CCNN-4,140",
        _settings(0.02, 100, 110),
        omega_0=750.1822972936538,
        dropout=0.2,
        kernel_decay=1e-6,
    ),
    "sc10-raw-kidger": _ccnn(
        "Raw CCNN-4,140",
        _settings(0.02, 20, 160),
        omega_0=1295.612417154228,
        dropout=0.2,
        kernel_decay=1e-6,
    ),
    "cifar10-2d": _ccnn(
        "CIFAR10 CCNN-4,140",
        _settings(0.02, 64, 350) | {"warmup_epochs": 5},
        omega_0=4231.568793085858,
        dropout=0.1,
        kernel_decay=1e-4,
        mask_width=0.75,
    ),
}

_LARGE = {
    "smnist": _ccnn(
        "sMNIST CCNN-6,380",
        _settings(0.01, 100, 210),
        omega_0=CCNN_OMEGA_0,
        dropout=0.1,
        kernel_decay=1e-6,
    ),
    "pmnist": _ccnn(
        "pMNIST CCNN-6,380",
        _settings(0.02, 100, 210),
        omega_0=2985.633,
        dropout=0.0,
        dropout_in=0.2,
    ),
    "scifar10": _ccnn(
        "sCIFAR10 CCNN-6,380", _settings(0.01, 50, 210), omega_0=4005.146, dropout=0.25
    ),
    "scifar10-gray": _ccnn(
        "Image CCNN-6,380", _settings(0.01, 50, 210), omega_0=4005.146, dropout=0.1
    ),
    "sc10-mfcc": _ccnn(
        "MFCC CCNN-6,380 (batches of 10 on each of several GPUs, how many is not said)",
        _settings(0.02, 10, 160),
        omega_0=1295.61,
        dropout=0.2,
        kernel_decay=1e-6,
    ),
    "sc10-raw-kidger": _ccnn(
        "Raw CCNN-6,380",
        _settings(0.02, 40, 160),
        omega_0=1295.61,
        dropout=0.2,
        kernel_decay=1e-6,
    ),
    "cifar10-2d": _ccnn(
        "CIFAR10 CCNN-6,380", _settings(0.01, 50, 210), omega_0=976.781, dropout=0.15
    ),
}

RECIPES = {
    (task, preset): _FLEXTCN
    for task in ("smnist", "pmnist", "scifar10", "sc10-raw", "sc10-raw-kidger", "sc10-mfcc")
    for preset in ("flextcn-2", "flextcn-4", "flextcn-6")
} | {
    ("cifar10-2d", "flexnet-7"): _flexnet("CIFAR-10 (Table 3)"),
    ("mnist2d", "flexnet-7"): _flexnet("MNIST (Table 8)"),
}
for _preset, _published in (("ccnn-4-140", _SMALL), ("ccnn-6-380", _LARGE)):
    RECIPES |= {(task, _preset): recipe for task, recipe in _published.items()}
    RECIPES["sc10-raw", _preset] = _published["sc10-raw-kidger"]
