"""Training is a function of its spec and seed, interrupted or not."""

from __future__ import annotations

import contextlib

import pytest
import torch

from seqbench import cost, train
from seqbench.checkpoint import Checkpoints
from seqbench.cost import PeakMemory
from seqbench.errors import ResultError
from seqbench.model import load_model
from seqbench.schedule import Clock, learning_rate_factor
from seqbench.spec import Constant, Cosine, Plateau, Steps, TrainSpec
from seqbench.task import load_task
from seqbench.train import Diverged, Job, fit, seed_everything, seed_of


def fitted(path, seed=0, data="00", run_id="run", model="tiny-mlp", **settings):
    """Train the tiny network, with its checkpoints at ``path``."""
    task = load_task("tiny-sum")()
    model = load_model(model)
    seed_everything(seed_of(seed, -1))
    network = model(model.Config(), task.signature)
    settings = {"epochs": 4, "learning_rate": 1e-2} | settings
    device = torch.device("cpu")
    job = Job(
        spec=TrainSpec(**settings),
        seed=seed,
        device=device,
        checkpoints=Checkpoints(path, run_id, data),
        memory=PeakMemory(device),
    )
    return fit(network, task, task.fit_data(), job)


def same(one, two):
    """Whether two trainings agree in every bit that is not a time."""
    times = {"train_seconds": 0.0, "train_cpu_seconds": 0.0}
    curves = [[point.model_copy(update=times) for point in f.curve] for f in (one, two)]
    return (
        curves[0] == curves[1]
        and one.chosen_epoch == two.chosen_epoch
        and one.val_scores == two.val_scores
        and one.weights.keys() == two.weights.keys()
        and all(torch.equal(one.weights[k], two.weights[k]) for k in one.weights)
    )


SCHEDULES = {
    "constant": {},
    "cosine": {"schedule": Cosine(), "warmup_epochs": 1.5},
    "plateau": {"schedule": Plateau(patience=0, factor=0.5), "optimizer": "adamw"},
    "budget": {"max_steps": 27, "weight_decay": 0.1},
    "clipped": {"gradient_clip": 0.1, "optimizer": "sgd"},
    "rmsprop": {"optimizer": "rmsprop"},
    "micro-batches": {"micro_batch_size": 24},
}


@pytest.mark.parametrize("case", SCHEDULES)
def test_same_seed_same_bits(case, tmp_path):
    """The same spec twice gives bit-identical weights, scores and curve."""
    one = fitted(tmp_path / "1", **SCHEDULES[case])
    two = fitted(tmp_path / "2", **SCHEDULES[case])
    assert same(one, two)
    assert not same(one, fitted(tmp_path / "3", seed=1, **SCHEDULES[case]))


@pytest.mark.parametrize("case", SCHEDULES)
@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_interrupted_training_is_undisturbed(case, stop_after, tmp_path, monkeypatch):
    """Continuing after any epoch gives the bits of a training never interrupted."""
    whole = fitted(tmp_path / "whole", **SCHEDULES[case])
    save = train.save_checkpoint

    def save_and_stop(learner):
        save(learner)
        if len(learner.curve) == stop_after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "save_checkpoint", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            fitted(tmp_path / "parts", **SCHEDULES[case])
    assert same(whole, fitted(tmp_path / "parts", **SCHEDULES[case]))


@pytest.mark.parametrize("rate", [1e-2, 1e30], ids=["ends well", "diverges"])
def test_the_network_stays_on_its_device(rate, tmp_path, monkeypatch):
    """What Lightning does at the end of a training, on a GPU to move it to the CPU, is undone."""
    moves = []
    to = torch.nn.Module.to

    def move(module, *where):
        moves.append(where)
        return to(module, *where)

    monkeypatch.setattr(torch.nn.Module, "to", move)
    monkeypatch.setattr(train.LightningModule, "cpu", lambda _: moves.append("cpu"))
    with contextlib.suppress(Diverged):
        fitted(tmp_path, learning_rate=rate, epochs=30)
    assert "cpu" in moves
    assert moves[-1] == (torch.device("cpu"),)


def test_complete_training_is_not_repeated(tmp_path):
    """A second call takes everything from the checkpoint."""
    one = fitted(tmp_path)
    two = fitted(tmp_path)
    assert [p.train_seconds for p in one.curve] == [p.train_seconds for p in two.curve]
    assert same(one, two)


def test_a_task_of_slurm_trains_by_itself(tmp_path, monkeypatch):
    """However many tasks its job has, and whatever number this one is."""
    alone = fitted(tmp_path / "alone")
    for name in ("NTASKS", "NTASKS_PER_NODE", "NNODES"):
        monkeypatch.setenv(f"SLURM_{name}", "4")
        monkeypatch.setenv("SLURM_PROCID", "3")
        assert same(alone, fitted(tmp_path / name))


def test_budget_in_steps_cuts_the_last_epoch(tmp_path):
    """500 examples are 8 steps of 64; 27 steps are three epochs and three steps."""
    assert [p.steps for p in fitted(tmp_path, max_steps=27).curve] == [8, 16, 24, 27]


def test_best_epoch_is_the_first_of_the_best(tmp_path):
    """The chosen epoch has the highest validation score, the earliest of equals."""
    result = fitted(tmp_path, epochs=8)
    scores = [p.val_score for p in result.curve]
    assert result.chosen_epoch == scores.index(max(scores)) + 1


def test_every_example_is_seen_once_an_epoch():
    """No example is dropped or repeated, and the order differs by epoch."""
    split = load_task("tiny-sum")().fit_data().train
    batches = train.Batches(split, batch_size=64, seed=0)
    epochs = []
    for epoch in (0, 1):
        batches.epoch = epoch
        epochs.append(torch.cat([x for x, _ in batches]))
    assert not torch.equal(*epochs)
    for seen in epochs:
        assert sorted(seen.tolist()) == sorted(split.x.tolist())


def test_scores_do_not_depend_on_batch_size():
    """Evaluation scores every example, the last smaller batch included."""
    task = load_task("tiny-sum")()
    model = load_model("tiny-mlp")
    network = model(model.Config(), task.signature)
    scores = [train.evaluate(network, task, task.test_data(), n)[0] for n in (1, 7, 64, 1000)]
    assert all(s == scores[0] for s in scores)
    assert len(scores[0]) == 90


class WithoutDoubles:
    """What a tensor is on a device that has no float64, as MPS."""

    def __init__(self, values):
        self.values = values

    def cpu(self):
        return self.values


def test_scores_are_made_float64_on_the_cpu(monkeypatch):
    """Not every device has numbers so long."""
    task = load_task("tiny-sum")()
    model = load_model("tiny-mlp")
    network = model(model.Config(), task.signature)
    expected = train.evaluate(network, task, task.test_data(), 32)
    score = task.score
    monkeypatch.setattr(task, "score", lambda *given: WithoutDoubles(score(*given)))
    assert train.evaluate(network, task, task.test_data(), 32) == expected


def test_loss_not_finite_diverges(tmp_path):
    """NaN ends training with the curve so far."""
    with pytest.raises(Diverged) as caught:
        fitted(tmp_path, learning_rate=1e30, epochs=30)
    assert caught.value.curve


def test_checkpoint_of_another_run_is_refused(tmp_path):
    """Weights never leak from one experiment into another."""
    fitted(tmp_path, run_id="other")
    with pytest.raises(ResultError, match="of run other, expected run"):
        fitted(tmp_path)


def test_checkpoint_of_other_data_is_refused(tmp_path):
    """A training never goes on with data that it did not begin with."""
    fitted(tmp_path, data="11")
    with pytest.raises(ResultError, match="made on other data"):
        fitted(tmp_path, data="22")


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd", "rmsprop"])
@pytest.mark.parametrize("size", [1, 7, 32, 64])
def test_micro_batches_make_the_step_of_their_batch(size, optimizer, tmp_path):
    """Up to rounding the weights are those of whole batches, whatever the parts' sizes."""
    settings = {"optimizer": optimizer, "epochs": 1, "max_steps": 3, "model": "tiny-filter"}
    settings["learning_rate"] = 1e-3
    whole = fitted(tmp_path / "whole", **settings)
    parts = fitted(tmp_path / "parts", micro_batch_size=size, **settings)
    for name, value in whole.weights.items():
        torch.testing.assert_close(parts.weights[name], value, rtol=1e-3, atol=1e-4)
    assert parts.curve[0].train_loss == pytest.approx(whole.curve[0].train_loss, rel=1e-5)
    assert parts.curve[0].steps == whole.curve[0].steps == 3


def test_a_penalty_counts_once_a_step(tmp_path, monkeypatch):
    """However many parts a batch has."""
    model = load_model("tiny-filter")
    monkeypatch.setattr(model, "penalty", lambda self: 10 * self.head.weight.square().sum())
    settings = {"optimizer": "sgd", "max_steps": 1, "model": "tiny-filter"}
    whole, parts = (fitted(tmp_path / str(n), micro_batch_size=n, **settings) for n in (None, 10))
    for name, value in whole.weights.items():
        torch.testing.assert_close(parts.weights[name], value)


@pytest.mark.parametrize(("precision", "mixed"), [("bfloat16-mixed", True), ("float32", False)])
def test_no_backward_pass_is_autocast(precision, mixed, tmp_path, monkeypatch):
    """Of no part of a batch, as PyTorch advises; forward passes are, where that is asked."""
    model = load_model("tiny-mlp")
    forward, backward = [], []

    def penalty(network):
        forward.append(torch.is_autocast_enabled("cpu"))
        weight = network.layers[1].weight * 1
        weight.register_hook(lambda _: backward.append(torch.is_autocast_enabled("cpu")))
        return 0 * weight.sum()

    monkeypatch.setattr(model, "penalty", penalty)
    fitted(tmp_path, precision=precision, micro_batch_size=24, max_steps=2)
    assert forward == [mixed] * 6
    assert backward == [False] * 6


def test_times_are_read_when_the_device_is_done(tmp_path, monkeypatch):
    """At the start and the end of the steps of every epoch; nothing waits for a CPU."""
    waited, synchronized = [], []
    monkeypatch.setattr(train, "wait_for", waited.append)
    monkeypatch.setattr(torch.accelerator, "synchronize", synchronized.append)
    fitted(tmp_path, epochs=2)
    assert waited == [torch.device("cpu")] * 4
    for name in ("cpu", "cuda:1", "mps"):
        cost.wait_for(torch.device(name))
    assert synchronized == [torch.device("cuda:1"), torch.device("mps")]


CLOCK = Clock(steps_per_epoch=10, total_steps=100)


def test_warm_up_then_constant():
    """The factor rises linearly to one over the warm-up and stays."""
    spec = TrainSpec(schedule=Constant(), warmup_epochs=0.5)
    factors = [learning_rate_factor(spec, CLOCK, s, [], higher_is_better=True) for s in range(8)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1])


def test_cosine_is_that_of_torch():
    """Without warm-up the factor is CosineAnnealingLR's over all steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=100)
    spec = TrainSpec(schedule=Cosine())
    for step in range(100):
        factor = learning_rate_factor(spec, CLOCK, step, [], higher_is_better=True)
        assert factor == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        reference.step()


def test_steps_are_those_of_torch():
    """The factor is StepLR's, epoch by epoch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.2)
    spec = TrainSpec(schedule=Steps(factor=0.2, every_epochs=3))
    for epoch in range(10):
        for step in (10 * epoch, 10 * epoch + 9):
            factor = learning_rate_factor(spec, CLOCK, step, [], higher_is_better=True)
            assert factor == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


@pytest.mark.parametrize("higher_is_better", [True, False])
@pytest.mark.parametrize("patience", [0, 1, 3])
def test_plateau_is_that_of_torch(patience, higher_is_better):
    """The factor is ReduceLROnPlateau's with threshold 0, on any history of scores."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        mode="max" if higher_is_better else "min",
        factor=0.5,
        patience=patience,
        threshold=0,
        eps=0,
    )
    spec = TrainSpec(schedule=Plateau(factor=0.5, patience=patience))
    history = torch.rand(40, generator=torch.Generator().manual_seed(0)).tolist()
    for epoch, score in enumerate(history, start=1):
        reference.step(score)
        factor = learning_rate_factor(
            spec, CLOCK, 10 * epoch, history[:epoch], higher_is_better=higher_is_better
        )
        assert factor == pytest.approx(optimizer.param_groups[0]["lr"])


def test_only_matrices_decay():
    """Weight decay leaves biases alone; every parameter is in one group."""
    model = load_model("tiny-mlp")
    network = model(model.Config(), load_task("tiny-sum")().signature)
    groups = train.optimizer_for(network, TrainSpec(weight_decay=0.1)).param_groups
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert all(decay.pop(id(p)) == (0.1 if p.ndim > 1 else 0.0) for p in network.parameters())
    assert not decay


@pytest.mark.parametrize(
    ("told", "kept"), [({}, None), ({"size": [1.0, 2.0]}, {"size": (1.0, 2.0)})]
)
def test_what_a_network_learned_is_kept_with_every_epoch(told, kept, tmp_path, monkeypatch):
    """``Model.learned`` is asked after each epoch; nothing told, or NaN, is nothing kept."""
    model = load_model("tiny-mlp")
    monkeypatch.setattr(model, "learned", lambda _: told)
    assert [point.learned for point in fitted(tmp_path / "1", epochs=2).curve] == [kept, kept]
    monkeypatch.setattr(model, "learned", lambda _: {"size": [float("nan")]})
    assert [point.learned for point in fitted(tmp_path / "2", epochs=1).curve] == [None]
