"""The training loop on a few small images: curves, interruptions, failures."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evolver import recipe as recipes
from evolver.errors import Diverged, EvaluationFailed, HandedBack
from evolver.evaluation import Resume
from evolver.recipe import Recipe
from tests.workers.jobs import job, part, small_network
from tests.workers.recorder import Recorder
from workers import checkpoints, devices, numerics, optim, trainer
from workers.checkpoint_writer import CheckpointWriter

torch.set_num_threads(1)

CPU = torch.device("cpu")
STEPS = 4
"""Of an epoch of 50 samples in batches of 16."""


def train(context: Recorder, **changes: Any) -> trainer.Trained:
    return trainer.train(job(**changes), context)


def context_at(path: Path, stop_after: float = math.inf) -> Recorder:
    return Recorder(str(path), stop_after=stop_after)


def interrupt(path: Path, steps: int, **changes: Any) -> Recorder:
    """Train until this many steps are done, then hand back."""
    context = context_at(path, stop_after=steps)
    with pytest.raises(HandedBack):
        train(context, **changes)
    return context


def test_a_network_learns_and_the_last_epoch_is_the_result(tmp_path: Path) -> None:
    context = context_at(tmp_path)
    trained = train(context, epochs=8, lr=0.1)
    assert [epoch.number for epoch in context.epochs] == list(range(1, 9))
    assert trained.last == context.epochs[-1]
    assert trained.last.train_loss < context.epochs[0].train_loss
    assert trained.last.validation_error is not None
    assert trained.last.validation_error <= 0.1
    assert trained.train_s == pytest.approx(sum(epoch.seconds for epoch in context.epochs))
    assert (context.dtype, context.resumed_from_epoch) == ("fp32", None)
    assert context.questions == 8 * STEPS


def test_the_curve_follows_from_the_seed(tmp_path: Path) -> None:
    curves = []
    for seed in (7, 7, 8):
        context = context_at(tmp_path)
        train(context, seed=seed)
        curves.append(context.curve())
    assert curves[0] == curves[1] != curves[2]


def test_without_a_validation_part_there_are_no_validation_values(tmp_path: Path) -> None:
    last = train(context_at(tmp_path), validation=None).last
    assert (last.validation_loss, last.validation_error) == (None, None)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("steps", [0, 1, STEPS - 1, STEPS, STEPS + 2])
def test_an_interrupted_curve_equals_an_uninterrupted_one(tmp_path: Path, optimizer: str, steps: int) -> None:
    whole = context_at(tmp_path)
    train(whole, optimizer=optimizer)
    first = interrupt(tmp_path, steps, optimizer=optimizer)
    assert [saved.kind for saved in first.checkpoints] == ["resume"]
    second = context_at(tmp_path)
    other_weights = small_network(seed=99)  # the checkpoint's are what counts
    trained = train(
        second, optimizer=optimizer, network=other_weights, token="b", resume=first.last_checkpoint()
    )
    assert second.resumed_from_epoch == steps // STEPS
    assert first.curve() + second.curve() == whole.curve()
    assert trained.train_s > 0


def test_an_epoch_may_be_interrupted_again_and_again(tmp_path: Path) -> None:
    whole = context_at(tmp_path)
    train(whole)
    parts: list[tuple[float | None, ...]] = []
    resume = None
    for attempt in range(2 * STEPS - 1):
        context = interrupt(tmp_path, 1, token=f"t{attempt}", resume=resume)
        parts += context.curve()
        resume = context.last_checkpoint()
    last = context_at(tmp_path)
    train(last, token="last", resume=resume)
    assert parts + last.curve() == whole.curve()


def test_checkpoints_at_ends_of_epochs_but_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = context_at(tmp_path)
    train(quick, epochs=3)
    assert quick.checkpoints == []
    monkeypatch.setattr(trainer, "CHECKPOINT_INTERVAL_S", 0.0)
    monkeypatch.setattr(CheckpointWriter, "save", CheckpointWriter.save_now)  # so that none is left out
    context = context_at(tmp_path)
    train(context, epochs=3)
    assert [(saved.kind, saved.epoch) for saved in context.checkpoints] == [("resume", 1), ("resume", 2)]
    again = context_at(tmp_path)
    train(again, epochs=3, token="b", resume=context.last_checkpoint())
    assert again.resumed_from_epoch == 2
    assert again.curve() == context.curve()[2:]


Spoil = Callable[[Path], None]


@pytest.mark.parametrize(
    "spoil",
    [
        Path.unlink,
        lambda path: path.write_bytes(path.read_bytes()[:200]),
        lambda path: path.write_bytes(b"x"),
    ],
    ids=["missing", "truncated", "other contents"],
)
def test_a_spoilt_checkpoint_is_set_aside_and_training_starts_over(
    tmp_path: Path, spoil: Spoil, caplog: pytest.LogCaptureFixture
) -> None:
    whole = context_at(tmp_path)
    train(whole)
    resume = interrupt(tmp_path, STEPS + 1).last_checkpoint()
    spoil(tmp_path / resume.key)
    context = context_at(tmp_path)
    with caplog.at_level(logging.WARNING):
        train(context, token="b", resume=resume)
    assert "evaluation 3 starts over" in caplog.text
    assert context.resumed_from_epoch is None
    assert context.curve() == whole.curve()
    assert not (tmp_path / resume.key).exists()


@pytest.mark.parametrize("changes", [{"phenotype": "q"}, {"evaluation_id": 4}, {"lr": 0.5}])
def test_the_checkpoint_of_another_training_is_not_used(tmp_path: Path, changes: dict[str, Any]) -> None:
    resume = interrupt(tmp_path, STEPS + 1).last_checkpoint()
    context = context_at(tmp_path)
    train(context, token="b", resume=resume, **changes)
    assert context.resumed_from_epoch is None
    assert len(context.epochs) == 2
    assert (tmp_path / f"{resume.key}.bad").exists()


def _without(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


@pytest.mark.parametrize(
    "change",
    [
        _without("network.0.weight"),
        _without("sum.loss"),
        _without("augmentation"),
        lambda tensors: {**tensors, "network.0.weight": torch.zeros(2)},
        lambda tensors: {**tensors, "optimizer.0.momentum_buffer": torch.zeros(2)},
        lambda tensors: {**tensors, "optimizer.99.momentum_buffer": torch.zeros(2)},
    ],
)
def test_an_incomplete_checkpoint_leaves_the_network_as_it_was(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]
) -> None:
    whole = context_at(tmp_path)
    train(whole)
    resume = interrupt(tmp_path, STEPS + 1).last_checkpoint()
    tensors, meta = checkpoints.load(str(tmp_path), resume.key, resume.sha256)
    written = checkpoints.save(str(tmp_path), resume.key, change(tensors), meta)
    context = context_at(tmp_path)
    train(context, token="b", resume=Resume(written.key, written.sha256, resume.epoch))
    assert context.resumed_from_epoch is None
    assert context.curve() == whole.curve()


def test_a_checkpoint_from_another_kind_of_device_continues(tmp_path: Path) -> None:
    resume = interrupt(tmp_path, STEPS + 1).last_checkpoint()
    tensors, meta = checkpoints.load(str(tmp_path), resume.key, resume.sha256)
    from_cuda: Mapping[str, Any] = {**meta, "device_type": "cuda"}
    written = checkpoints.save(
        str(tmp_path), resume.key, {**tensors, "augmentation": torch.zeros(16)}, from_cuda
    )
    context = context_at(tmp_path)
    train(context, token="b", resume=Resume(written.key, written.sha256, resume.epoch))
    assert context.resumed_from_epoch == 1
    assert [epoch.number for epoch in context.epochs] == [2]


def test_a_key_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    context = context_at(tmp_path)
    train(context, resume=Resume("../secret.safetensors", "0" * 64, 1))
    assert context.resumed_from_epoch is None


def test_a_loss_that_is_no_number_is_a_divergence(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"training loss became (nan|inf) in epoch 1"):
        train(context_at(tmp_path), lr=1e30)


def test_divergence_is_noticed_before_the_end_of_the_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "DIVERGENCE_CHECK_STEPS", 2)
    context = context_at(tmp_path)
    network = small_network()
    nn.init.constant_(next(network.parameters()), math.nan)
    with pytest.raises(Diverged):
        train(context, network=network)
    assert context.questions == 2


def test_a_last_batch_of_one_sample_is_left_out(tmp_path: Path) -> None:
    context = context_at(tmp_path)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 2), nn.BatchNorm1d(2))
    train(context, network=network, train=part(33, 1), epochs=1)
    assert context.questions == 2


def test_a_single_sample_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(EvaluationFailed, match="two samples"):
        train(context_at(tmp_path), train=part(1, 1))


def test_bf16_where_the_hardware_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for has_bf16, dtype in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(devices, "cpu_flags_bf16", lambda has=has_bf16: has)
        context = context_at(tmp_path)
        train(context, precision="auto", epochs=1)
        assert context.dtype == dtype
    assert not numerics.uses_bf16(recipes.load("paper", {"precision": "fp32"}), CPU)


def test_channels_last_when_the_recipe_says_so(tmp_path: Path) -> None:
    for wanted in (True, False):
        seen: list[Tensor] = []
        network = small_network()
        network.register_forward_pre_hook(lambda module, arguments, seen=seen: seen.append(arguments[0]))
        train(context_at(tmp_path), network=network, epochs=1, channels_last=wanted)
        assert seen[0].is_contiguous(memory_format=torch.channels_last) or not wanted
        weight = network[0].weight  # type: ignore[index]
        assert weight.stride() == ((9, 1, 3, 1) if wanted else (9, 9, 3, 1))


def test_learning_rates() -> None:
    def rates(**settings: Any) -> list[float]:
        recipe = recipes.parse({"lr": 1.0, **settings})
        return [optim.learning_rate(recipe, step, 8) for step in range(8)]

    assert rates(schedule="constant") == [1.0] * 8
    assert rates(schedule="cosine") == pytest.approx(
        [(1 + math.cos(math.pi * step / 8)) / 2 for step in range(8)]
    )
    assert rates(schedule="onecycle", warmup=0.5) == pytest.approx([0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25])
    assert rates(schedule="onecycle") == pytest.approx([1 - step / 8 for step in range(8)])


def test_the_optimiser_is_the_recipes() -> None:
    network = small_network()
    sgd = optim.optimizer(paper_with(momentum=0.8, nesterov=True), network)
    assert isinstance(sgd, torch.optim.SGD)
    (group,) = sgd.param_groups
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.8, True, 3e-4)
    assert len(group["params"]) == len(list(network.parameters()))
    optim.set_learning_rate(sgd, 0.5)
    assert group["lr"] == 0.5
    assert isinstance(optim.optimizer(paper_with(optimizer="adamw"), network), torch.optim.AdamW)
    assert not optim.optimizer(paper_with(momentum=0.0, nesterov=True), network).param_groups[0]["nesterov"]


def paper_with(**settings: Any) -> Recipe:
    return recipes.load("paper", settings)


def test_jobs_identify_their_checkpoints() -> None:
    first = job()
    assert first.identity() == replace(first, token="b", seed=9).identity()
    assert first.identity() != replace(first, phenotype="q").identity()
