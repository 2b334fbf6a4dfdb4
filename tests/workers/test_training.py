"""The training evaluator from a task to its outcome, on a part of the digits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evolver import datasets, recipe, registry
from evolver.datasets.files import RawDataset
from evolver.datasets.spec import split_counts
from evolver.errors import Diverged, EnvironmentFault, EvaluationFailed, HandedBack, InvalidCode, OutOfMemory
from evolver.evaluation import DatasetRef, Task
from evolver.genome.space import ConvSpace
from tests.workers.recorder import Recorder
from workers import checkpoints, measuring, training
from workers.data.base import load
from workers.decoder import decode
from workers.training import TrainEvaluator

torch.set_num_threads(1)

SPACE = ConvSpace.from_settings(ConvSpace.presets()["tiny"])
GENOME = SPACE.random(np.random.default_rng(1))
LIMIT = 200


@pytest.fixture(scope="module")
def digits() -> DatasetRef:
    info = datasets.describe("digits", Path())
    train, validation = split_counts(info.train_total, None)
    return DatasetRef(1, info.name, info.sample, train, validation, info.test, 0, None)


@pytest.fixture
def task(digits: DatasetRef) -> Callable[..., Task]:
    """Makes a task: its fields, or settings of its recipe."""

    def make(**changes: Any) -> Task:
        settings = {name: changes.pop(name) for name in list(changes) if name in recipe.Recipe.model_fields}
        fields: dict[str, Any] = {
            "evaluation_id": 3,
            "genome_id": 4,
            "token": "a",
            "purpose": "search",
            "rung": 0,
            "evaluator": "train",
            "space": "conv",
            "space_settings": SPACE.settings(),
            "code": SPACE.to_json(GENOME),
            "dataset": digits,
            "limit_train": LIMIT,
            "recipe": recipe.load(
                "paper", {"epochs": 2, "precision": "fp32", "deterministic": True, **settings}
            ).to_json(),
            "objectives": ("error", "loss"),
            "seed": 7,
            "timeout_s": None,
            **changes,
        }
        return Task(**fields)

    return make


@pytest.fixture
def context(tmp_path: Path) -> Recorder:
    return Recorder(str(tmp_path))


class NoTestData:
    """A data set whose test part must not be touched."""

    def __init__(self, raw: RawDataset) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        if name.startswith("test"):
            raise AssertionError("test data were touched")
        return getattr(self._raw, name)


def test_the_fingerprint_is_of_the_data_here(digits: DatasetRef, context: Recorder) -> None:
    sha256 = TrainEvaluator().check(digits, context)
    assert sha256 is not None
    assert len(sha256) == 64
    assert sha256 == TrainEvaluator().check(digits, context)


def test_the_data_are_in_memory_once_from_before_their_hash_is_registered_and_after(
    task: Callable[..., Task], digits: DatasetRef, context: Recorder
) -> None:
    load.cache_clear()
    sha256 = TrainEvaluator().check(digits, context)
    TrainEvaluator().evaluate(task(dataset=replace(digits, sha256=sha256), epochs=1), context)
    assert load.cache_info().misses == 1


def test_missing_data_are_a_fault_of_the_host(digits: DatasetRef, context: Recorder, tmp_path: Path) -> None:
    context.data_dir = tmp_path
    missing = replace(digits, name="npz:missing.npz")
    with pytest.raises(EnvironmentFault):
        TrainEvaluator().check(missing, context)


@pytest.mark.parametrize("purpose", ["search", "repeat"])
def test_a_search_measures_on_validation_data(
    task: Callable[..., Task], context: Recorder, purpose: str
) -> None:
    outcome = TrainEvaluator().evaluate(task(purpose=purpose), context)
    last = context.epochs[-1]
    assert [epoch.number for epoch in context.epochs] == [1, 2]
    assert set(outcome.measured) == {"validation_error", "validation_loss", "params", "flops", "train_s"}
    assert outcome.measured["validation_error"] == last.validation_error
    assert outcome.measured["validation_loss"] == last.validation_loss
    cost = SPACE.cost(GENOME, task().dataset.sample)
    assert (outcome.measured["params"], outcome.measured["flops"]) == (cost.params, cost.flops)
    assert context.checkpoints == []


@pytest.mark.parametrize("purpose", ["search", "repeat"])
def test_a_search_never_touches_test_data(
    task: Callable[..., Task], context: Recorder, monkeypatch: pytest.MonkeyPatch, purpose: str
) -> None:
    def guarded(*arguments: Any) -> Any:
        return NoTestData(load(*arguments))

    monkeypatch.setattr(training, "load", guarded)
    TrainEvaluator().evaluate(task(purpose=purpose), context)
    with pytest.raises(AssertionError, match="touched"):
        TrainEvaluator().evaluate(task(purpose="retrain"), context)


@pytest.mark.parametrize("purpose", ["retrain", "transfer"])
def test_a_retraining_measures_on_test_data_once_and_keeps_the_weights(
    task: Callable[..., Task], context: Recorder, tmp_path: Path, purpose: str
) -> None:
    outcome = TrainEvaluator().evaluate(task(purpose=purpose), context)
    assert set(outcome.measured) == {"test_error", "test_loss", "params", "flops", "train_s"}
    assert all(epoch.validation_loss is None for epoch in context.epochs)
    (saved,) = context.checkpoints
    assert (saved.kind, saved.epoch) == ("weights", 2)
    tensors, meta = checkpoints.load(str(tmp_path), saved.key, saved.sha256)
    space = registry.load_space(meta["space"], meta["space_settings"])
    plan = SPACE.plan(space.from_json(meta["code"]), task().dataset.sample)
    network = decode(plan, torch.Generator())
    network.load_state_dict(tensors)
    raw = load(task().dataset, context.data_dir, False)
    mean, std = (torch.tensor(meta[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
    with torch.no_grad():
        logits = network.eval()((torch.from_numpy(raw.test_x).float() - mean) / std)
    errors = (logits.argmax(1).numpy() != raw.test_y).mean()
    assert errors == pytest.approx(outcome.measured["test_error"], abs=0.01)


def test_a_retraining_trains_on_both_parts(task: Callable[..., Task], context: Recorder) -> None:
    TrainEvaluator().evaluate(task(purpose="search", batch_size=20, epochs=1), context)
    searched = context.questions
    TrainEvaluator().evaluate(task(purpose="retrain", batch_size=20, epochs=1), context)
    assert (searched, context.questions - searched) == (8, 10)


def test_an_interrupted_evaluation_ends_as_an_uninterrupted_one(
    task: Callable[..., Task], context: Recorder, tmp_path: Path
) -> None:
    whole = TrainEvaluator().evaluate(task(), context)
    first = Recorder(str(tmp_path), stop_after=4)
    with pytest.raises(HandedBack):
        TrainEvaluator().evaluate(task(), first)
    second = Recorder(str(tmp_path))
    resumed = TrainEvaluator().evaluate(task(token="b", resume=first.last_checkpoint()), second)
    assert first.curve() + second.curve() == context.curve()
    for name in ("validation_error", "validation_loss"):
        assert resumed.measured[name] == whole.measured[name]


@pytest.mark.parametrize("code", [None, {}, {"blocks": [], "dense": []}, "import os"])
def test_a_code_that_was_tampered_with_is_invalid(
    task: Callable[..., Task], context: Recorder, code: Any
) -> None:
    with pytest.raises(InvalidCode, match="genome 4"):
        TrainEvaluator().evaluate(task(code=code), context)
    assert context.dtype is None


def test_other_data_than_the_experiments_are_a_fault_of_the_host(
    task: Callable[..., Task], context: Recorder, digits: DatasetRef
) -> None:
    with pytest.raises(EnvironmentFault, match="sha256"):
        TrainEvaluator().evaluate(task(dataset=replace(digits, sha256="0" * 64)), context)
    known = replace(digits, sha256=TrainEvaluator().check(digits, context))
    TrainEvaluator().evaluate(task(dataset=known, epochs=1), context)


def test_a_device_that_torch_cannot_use_is_a_fault_of_the_host(
    task: Callable[..., Task], context: Recorder
) -> None:
    context.device = "cuda:99"
    with pytest.raises(EnvironmentFault, match="cuda:99"):
        TrainEvaluator().evaluate(task(), context)


def test_a_divergence_is_reported(task: Callable[..., Task], context: Recorder) -> None:
    with pytest.raises(Diverged):
        TrainEvaluator().evaluate(task(lr=1e30), context)


def test_memory_that_runs_out_is_the_genomes_fault_in_training_and_the_hosts_for_the_data(
    task: Callable[..., Task], context: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **more: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(training, "decode", fail)
        with pytest.raises(OutOfMemory):
            TrainEvaluator().evaluate(task(), context)
    monkeypatch.setattr(training, "prepare", fail)
    with pytest.raises(EnvironmentFault, match="does not fit"):
        TrainEvaluator().evaluate(task(), context)


def test_a_space_without_networks_cannot_be_trained(
    task: Callable[..., Task], context: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NotNetworks:
        from_json = staticmethod(SPACE.from_json)
        phenotype = staticmethod(SPACE.phenotype)
        cost = staticmethod(SPACE.cost)

    monkeypatch.setattr(registry, "load_space", lambda name, settings: NotNetworks())
    with pytest.raises(EvaluationFailed, match="plan"):
        TrainEvaluator().evaluate(task(), context)


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_latency_is_measured_where_an_objective_asks_for_it(
    task: Callable[..., Task], context: Recorder, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    seen: list[tuple[int, torch.dtype]] = []
    timed_ms = measuring._timed_ms

    def spy(run: Callable[[], Any], device: torch.device) -> float:
        logits = run()
        seen.append((len(logits), logits.dtype))
        return timed_ms(lambda: None, device)

    monkeypatch.setattr(measuring, "_timed_ms", spy)
    asking = task(objectives=("error", "latency_ms", "latency_ms:64"), precision=precision, epochs=1)
    measured = TrainEvaluator().evaluate(asking, context).measured
    assert measured.keys() >= {"latency_ms", "latency_ms:64", "validation_error", "train_s"}
    dtype = torch.bfloat16 if context.dtype == "bf16" else torch.float32
    assert set(seen) == {(1, dtype), (64, dtype)}


@pytest.mark.parametrize("measure", ["peak_memory_bytes", "energy_j"])
def test_what_the_cpu_cannot_measure_is_a_fault_of_the_host_before_the_training(
    task: Callable[..., Task], context: Recorder, measure: str
) -> None:
    with pytest.raises(EnvironmentFault, match=f"{measure} cannot be measured here"):
        TrainEvaluator().check_measures({"validation_error", measure}, context)
    with pytest.raises(EnvironmentFault, match=f"{measure} cannot be measured here"):
        TrainEvaluator().evaluate(task(objectives=("error", measure)), context)
    assert context.epochs == []


def test_a_device_that_is_shared_measures_no_latency(context: Recorder) -> None:
    TrainEvaluator().check_measures({"validation_error", "train_s", "latency_ms"}, context)
    context.device_slots = 2
    TrainEvaluator().check_measures({"validation_error", "train_s", "params"}, context)
    with pytest.raises(EnvironmentFault, match="cpu is shared by 2 trainings"):
        TrainEvaluator().check_measures({"validation_error", "latency_ms"}, context)


def test_no_objective_is_made_of_test_data(context: Recorder) -> None:
    with pytest.raises(EnvironmentFault, match="test_error cannot be measured"):
        TrainEvaluator().check_measures({"test_error"}, context)


def test_a_retraining_needs_none_of_the_objectives(task: Callable[..., Task], context: Recorder) -> None:
    retraining = task(purpose="retrain", objectives=("error", "energy_j", "latency_ms"), epochs=1)
    measured = TrainEvaluator().evaluate(retraining, context).measured
    assert measured.keys() == {"test_error", "test_loss", "params", "flops", "train_s"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_measures_memory_of_the_genome_whatever_was_trained_before(
    task: Callable[..., Task], context: Recorder
) -> None:
    context.device = "cuda:0"
    asking = task(objectives=("error", "peak_memory_bytes"), epochs=1)
    first, second = (
        TrainEvaluator().evaluate(asking, context).measured["peak_memory_bytes"] for _ in range(2)
    )
    assert first > 0
    assert second == pytest.approx(first, rel=0.01)


def test_every_genome_of_the_preset_trains(task: Callable[..., Task], context: Recorder) -> None:
    for seed in range(5):
        code = SPACE.to_json(SPACE.random(np.random.default_rng(seed)))
        outcome = TrainEvaluator().evaluate(task(code=code, epochs=1), context)
        assert 0 <= outcome.measured["validation_error"] <= 1
