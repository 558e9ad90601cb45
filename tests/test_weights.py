"""Weights from a file are evaluated under the same protocol as those a run has trained."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from seqbench.errors import ConfigError
from seqbench.model import load_model
from seqbench.resolve import resolve
from seqbench.result import Status, Weights, read_result
from seqbench.runner import Place, run, run_evaluation
from seqbench.spec import Request
from seqbench.task import load_task
from seqbench.weights import load_weights, read_weights, save_weights


@pytest.fixture
def network():
    """The tiny network, untrained."""
    cls = load_model("tiny-mlp")
    torch.manual_seed(0)
    return cls(cls.Config(), load_task("tiny-sum")().signature)


def other_state(network):
    """Weights for a network that are not its own."""
    torch.manual_seed(1)
    return {name: torch.randn_like(value) for name, value in network.state_dict().items()}


def evaluated(path, output_dir, model="tiny-mlp"):
    """The Result of evaluating a file on the tiny task."""
    file = read_weights(path)
    return run_evaluation(resolve(Request("tiny-sum", model), file.sha256), Place(output_dir), file)


def test_result_has_everything_but_training(network, tmp_path):
    """Scores, cost of inference, data; no curve and no epoch; the id names the bytes."""
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    result = evaluated(tmp_path / "w.safetensors", tmp_path)
    assert read_result(tmp_path / result.path) == result.sealed()
    assert result.status is Status.EVALUATED
    assert result.spec.weights_sha256 == read_weights(tmp_path / "w.safetensors").sha256
    assert (result.spec.train, result.spec.seed) == (None, 0)
    assert (result.test.n, result.val.n, len(result.test_scores.unpack())) == (90, 100, 90)
    assert result.test_loss > 0
    assert (result.curve, result.chosen_epoch) == ((), None)
    assert result.cost.parameters == 16 * 8 + 8 + 8 * 2 + 2
    assert min(result.cost.flops, result.cost.latency_seconds, result.cost.throughput) > 0
    assert result.cost.throughput_batch == 64
    assert (result.cost.train_seconds, result.cost.examples_per_second) == (None, None)
    assert result.data.official
    assert result.origin.weights == Weights(file="w.safetensors")


def test_weights_decide_the_scores(network, tmp_path):
    """They are those of the network with just these weights, whatever it started from."""
    save_file(other_state(network), tmp_path / "w")
    result = evaluated(tmp_path / "w", tmp_path)
    network.load_state_dict(other_state(network))
    task = load_task("tiny-sum")()
    test = task.test_data()
    with torch.inference_mode():
        expected = task.score(network.eval()(task.encode(test.x)), test.y)
    assert result.test_scores.unpack() == expected.double().tolist()


def test_test_data_are_loaded_once_and_last(network, tmp_path, monkeypatch):
    """After the weights are in the network; not at all when they do not fit or it was done."""
    task = load_task("tiny-sum")
    real, asked = task.test_data, []
    monkeypatch.setattr(task, "test_data", lambda self: (asked.append(1), real(self))[1])
    save_file(network.state_dict() | {"extra": torch.ones(1)}, tmp_path / "bad")
    with pytest.raises(Exception, match="unexpected: extra"):
        evaluated(tmp_path / "bad", tmp_path)
    assert asked == []
    save_file(network.state_dict(), tmp_path / "good")
    first = evaluated(tmp_path / "good", tmp_path)
    assert evaluated(tmp_path / "good", tmp_path) == first.sealed()
    assert asked == [1]


def test_a_spec_is_evaluated_with_its_own_weights_alone(network, tmp_path):
    """Other weights, or none at all, cannot be had under its name."""
    save_file(network.state_dict(), tmp_path / "one")
    save_file(other_state(network), tmp_path / "two")
    plan = resolve(Request("tiny-sum", "tiny-mlp"), read_weights(tmp_path / "one").sha256)
    with pytest.raises(ConfigError, match="is not of the weights two"):
        run_evaluation(plan, Place(tmp_path), read_weights(tmp_path / "two"))
    with pytest.raises(ConfigError, match="trains nothing"):
        run(plan, Place(tmp_path / "out"))


HELD = {
    "by themselves": lambda state: state,
    "under state_dict": lambda state: {"state_dict": state, "epoch": 3, "best": 0.9},
    "under model": lambda state: {"model": state, "optimizer": {}},
    "of DataParallel": lambda state: {f"module.{name}": value for name, value in state.items()},
    "of both": lambda state: {"state_dict": {f"module.{name}": v for name, v in state.items()}},
    "of a compiled one": lambda state: {f"_orig_mod.{name}": v for name, v in state.items()},
    "in half precision": lambda state: {name: value.half() for name, value in state.items()},
    "foreign": lambda state: {
        name.replace("layers.1", "module.one").replace("layers.4", "module.two"): value
        for name, value in state.items()
    },
}


@pytest.mark.parametrize("how", HELD)
@pytest.mark.parametrize("legacy", [False, True])
def test_state_dict_is_found(how, legacy, network, tmp_path):
    """In whatever usual way a training script has saved it, old files of torch included."""
    state = other_state(network)
    torch.save(HELD[how](state), tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    weights = load_weights(network, read_weights(tmp_path / "w.pt"), "tiny-sum")
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, state[name], atol=2e-3, rtol=1e-3)
    foreign = Weights(file="w.pt", source="someone on tiny-sum", selection="test")
    assert weights == (foreign if how == "foreign" else Weights(file="w.pt"))


def test_a_network_may_have_names_that_look_wrapped(tmp_path):
    """A prefix is taken off only where the weights do not fit as they are."""

    class Wrapped(load_model("tiny-mlp")):
        def __init__(self, config, signature):
            super().__init__(config, signature)
            self.module = self.layers
            del self.layers

    network = Wrapped(Wrapped.Config(), load_task("tiny-sum")().signature)
    assert all(name.startswith("module.") for name in network.state_dict())
    save_file(other_state(network), tmp_path / "w")
    load_weights(network, read_weights(tmp_path / "w"), "tiny-sum")


def test_weights_that_do_not_fit_change_nothing(network, tmp_path):
    """Not even those of them that would."""
    before = {name: value.clone() for name, value in network.state_dict().items()}
    save_file(other_state(network) | {"extra": torch.ones(1)}, tmp_path / "w")
    with pytest.raises(Exception, match="do not fit"):
        load_weights(network, read_weights(tmp_path / "w"), "tiny-sum")
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_weights_of_a_run_say_so(network, tmp_path):
    """Which run, and that validation chose them; the same bytes each time."""
    for name in "ab":
        save_weights(tmp_path / name, network.state_dict(), "0123456789abcdef")
    a, b = (read_weights(tmp_path / name) for name in "ab")
    assert a.sha256 == b.sha256
    assert a.weights == Weights(
        file="a", source="seqbench", run="0123456789abcdef", selection="validation"
    )


@pytest.mark.parametrize("text", ["[]", "{", '{"selection": "luck"}', '{"colour": "red"}'])
def test_metadata_of_others_say_nothing(text, network, tmp_path):
    """An entry of our name that is none of ours leaves everything unknown."""
    save_file(network.state_dict(), tmp_path / "w", {"seqbench": text, "format": "pt"})
    assert read_weights(tmp_path / "w").weights == Weights(file="w")
