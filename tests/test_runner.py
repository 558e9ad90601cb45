"""One run under the strict protocol, from spec to file."""

from __future__ import annotations

import math

import pytest
import torch

from seqbench.errors import ConfigError, ModelError, ResultError
from seqbench.lease import BusyError, LostError, lease_path, look, take
from seqbench.model import load_model
from seqbench.resolve import resolve
from seqbench.result import Status, cpu_seconds_of, read_result, result_path
from seqbench.runner import Place, attempt, run, run_trial
from seqbench.sitting import epochs_kept, folder_of
from seqbench.spec import Request
from seqbench.task import load_task


def plan_of(model="tiny-mlp", seed=0, **settings):
    """A short run of the tiny task."""
    paths = {f"train.{name}": value for name, value in ({"epochs": 2} | settings).items()}
    return resolve(Request("tiny-sum", model, {}, paths, seed))


def test_result_is_whole_and_on_disk(tmp_path):
    """The Result that is returned is the one on disk, with everything the protocol lists."""
    plan = plan_of()
    result = run(plan, Place(tmp_path, threads=1))
    assert read_result(tmp_path / result_path(plan.spec)) == result.sealed()
    assert result.status is Status.OK
    assert (result.test.n, result.val.n) == (90, 100)
    assert len(result.test_scores.unpack()) == 90
    assert math.fsum(result.test_scores.unpack()) / 90 == pytest.approx(result.test.mean)
    assert result.cost.parameters == 16 * 8 + 8 + 8 * 2 + 2
    assert result.cost.flops == 2 * (16 * 8 + 8 * 2)
    assert min(result.cost.latency_seconds, result.cost.throughput, result.cost.train_seconds) > 0
    assert result.cost.train_cpu_seconds == cpu_seconds_of(result.curve) > 0
    assert result.cost.peak_bytes > 1e6
    assert result.provenance.model_plugin.distribution == "seqbench-tiny"
    assert result.provenance.threads == 1
    assert result.data.official
    assert len(result.curve) == 2


def test_same_spec_same_scores(tmp_path):
    """Twice the same spec: the same scores, bit for bit, in two directories."""
    one, two = (run(plan_of(), Place(tmp_path / name, threads=1)) for name in "ab")
    assert one.test_scores == two.test_scores
    assert one.test_loss == two.test_loss
    assert one.id == two.id


def test_finished_run_is_not_repeated(tmp_path):
    """The second call gives the first one's Result, times and all."""
    place = Place(tmp_path)
    assert run(plan_of(), place).sealed() == run(plan_of(), place)


def test_training_never_sees_test_data(tmp_path, monkeypatch):
    """Test data that cannot be loaded until training is over make no difference."""
    undisturbed = run(plan_of(), Place(tmp_path / "a"))
    task = load_task("tiny-sum")
    real = task.test_data

    def refuse(_self):
        raise AssertionError("test data were asked for")

    place = Place(tmp_path / "b")
    with monkeypatch.context() as patch:
        patch.setattr(task, "test_data", refuse)
        run_trial(plan_of(), place)  # all of training and validation
        with pytest.raises(AssertionError, match="asked for"):
            run(plan_of(), place)
    asked = []
    monkeypatch.setattr(task, "test_data", lambda self: (asked.append(1), real(self))[1])
    result = run(plan_of(), place)
    assert asked == [1], "test data are loaded once"
    assert result.test_scores == undisturbed.test_scores
    assert result.val == undisturbed.val


def test_divergence_is_a_result(tmp_path):
    """A loss that becomes NaN gives status `diverged`, without a score, and stays so."""
    result = run(plan_of(learning_rate=1e30, epochs=30), Place(tmp_path))
    assert result.status is Status.DIVERGED
    assert result.test is None
    assert "not finite" in result.error
    assert read_result(tmp_path / result.path).status is Status.DIVERGED


def test_an_error_names_the_line_of_the_plugin(tmp_path):
    """Beside the place where it was raised, which may be deep in torch."""
    plan = plan_of("tiny-raising")
    assert "(seqbench_tiny.py:" in attempt(plan, Place(tmp_path / "own")).error

    def forward(self, x):
        return self.layers(x[..., 1:])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_model("tiny-mlp"), "forward", forward)
        error = attempt(plan_of(), Place(tmp_path / "torchs")).error
    assert "(linear.py:" in error
    assert ", called by test_runner.py:" in error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        torch.AcceleratorError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuFFT error: CUFFT_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
    ],
)
def test_memory_of_a_gpu_that_runs_out_is_told_from_a_failure(error, tmp_path, monkeypatch):
    """In whatever words, also where a child is tried and where the device is."""

    def without_memory(*_arguments, **_options):
        raise error

    above = Request("tiny-sum", "tiny-mlp", settings={"train.epochs": 1})
    child = resolve(Request("tiny-sum", "tiny-mlp", parent=above, trained=False))
    with monkeypatch.context() as patch:
        patch.setattr(load_model("tiny-mlp"), "forward", without_memory)
        for name, plan in (("run", plan_of()), ("child", child)):
            assert attempt(plan, Place(tmp_path / name)).status is Status.OOM
    monkeypatch.setattr(torch, "zeros", without_memory)
    assert attempt(plan_of(), Place(tmp_path / "full")).status is Status.OOM


def test_a_trial_tells_what_memory_it_took(tmp_path):
    """So that runs like it are started where there is as much."""
    trial = run_trial(plan_of(), Place(tmp_path))
    assert trial.status is Status.TRIAL
    assert trial.cost.peak_bytes > 0


def test_wrong_output_shape_writes_nothing(tmp_path):
    """A model that answers in the wrong shape is told what was expected, before training."""
    with pytest.raises(ModelError, match=r"gives \(2, 4\).*expects \(2, 2\)"):
        run(plan_of("tiny-misshapen"), Place(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "tpu"])
def test_device_that_is_not_there(device, tmp_path):
    """A device that this machine does not have is one clear message."""
    with pytest.raises(ConfigError, match="cannot be used"):
        run(plan_of(), Place(tmp_path / "out", device=device))
    assert not (tmp_path / "out").exists()


def test_damaged_result_stops_the_run(tmp_path):
    """A damaged Result in the run's place is an error that names it, never overwritten."""
    path = tmp_path / result_path(plan_of().spec)
    path.parent.mkdir(parents=True)
    path.write_text('{"schema_version": 1')
    with pytest.raises(ResultError, match="not readable JSON"):
        run(plan_of(), Place(tmp_path))
    assert path.read_text() == '{"schema_version": 1'


def elsewhere(directory, run_id):
    """Let another machine's process hold the lease of a run, whoever had it."""
    path = lease_path(directory, run_id)
    path.unlink(missing_ok=True)
    lease = take(directory, run_id)
    holder = lease.holder.model_copy(update={"host": "far", "process": "another boot 1 1"})
    path.write_text(holder.model_dump_json())


class LosesItsLease:
    """A watcher that is there when the lease of its run goes to somebody else."""

    def __init__(self, directory, run_id):
        self.directory, self.run_id, self.epochs = directory, run_id, 0

    def resumed(self, curve):
        pass

    def step(self, done, total):
        pass

    def epoch(self, _point):
        self.epochs += 1
        if self.epochs == 2:
            elsewhere(self.directory, self.run_id)


def test_a_run_is_done_by_one_process_at_a_time(tmp_path):
    """A second one is told who does it, and gets the Result when it is there."""
    plan = plan_of()
    elsewhere(tmp_path, plan.spec.id)
    with pytest.raises(BusyError, match="on far"):
        run(plan, Place(tmp_path))
    assert not (tmp_path / "results").exists()
    lease_path(tmp_path, plan.spec.id).unlink()
    result = run(plan, Place(tmp_path)).sealed()
    elsewhere(tmp_path, plan.spec.id)
    assert run(plan, Place(tmp_path)) == result, "what is there needs no lease"


def test_who_lost_the_lease_writes_nothing(tmp_path):
    """No checkpoint and no Result, as another process goes on with the run."""
    plan = plan_of(epochs=5)
    watcher = LosesItsLease(tmp_path, plan.spec.id)
    with pytest.raises(LostError, match="no longer this process's"):
        run(plan, Place(tmp_path), watcher)
    assert not (tmp_path / "results").exists()
    assert epochs_kept(tmp_path, plan.spec.id) == 2
    assert not look(tmp_path, plan.spec.id).is_over, "the other one's lease stays"
    lease_path(tmp_path, plan.spec.id).unlink()
    assert run(plan, Place(tmp_path)).status is Status.OK


@pytest.mark.parametrize("has_result", [False, True])
def test_a_parent_is_trained_by_one_process_at_a_time(has_result, tmp_path):
    """Whether it is missing altogether or only its weights are."""
    above = Request("tiny-sum", "tiny-mlp", settings={"train.epochs": 1})
    child = resolve(Request("tiny-sum", "tiny-mlp", parent=above, trained=False))
    place = Place(tmp_path)
    if has_result:
        run(child.parent, place)
        (folder_of(tmp_path, child.parent.spec.id) / "weights.safetensors").unlink()
    elsewhere(tmp_path, child.parent.spec.id)
    with pytest.raises(BusyError, match=f"run {child.parent.spec.id} is being done"):
        run(child, place)
    assert look(tmp_path, child.spec.id) is None
    lease_path(tmp_path, child.parent.spec.id).unlink()
    assert run(child, place).status is Status.OK


def test_a_killed_writer_leaves_no_litter(tmp_path):
    """What it had not finished is removed by who comes next."""
    plan = plan_of()
    folder, path = folder_of(tmp_path, plan.spec.id), tmp_path / result_path(plan.spec)
    for left in (folder / ".epoch-1-00.safetensors.abc", path.with_name(f".{path.name}.abc")):
        left.parent.mkdir(parents=True, exist_ok=True)
        left.write_text("half")
    run(plan, Place(tmp_path))
    assert not list(tmp_path.rglob(".*"))
