"""What is done where memory does not suffice."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evolver import recipe as recipes
from evolver.errors import OutOfMemory
from evolver.genome.space import ConvSpace
from evolver.space import Sample
from tests.workers.jobs import job, part
from tests.workers.recorder import Recorder
from workers import blocks, optim, trainer
from workers.checkpoint_writer import CheckpointWriter
from workers.decoder import Network, decode
from workers.memory import Fit, memory_faults
from workers.step import Step

torch.set_num_threads(1)

CPU = torch.device("cpu")
STATM = Path("/proc/self/statm")


def residual_network() -> Network:
    """A network of the tiny space for the images of ``tests.workers.jobs``."""
    space = ConvSpace.from_settings(ConvSpace.presets()["tiny"])
    genome = space.random(np.random.default_rng(3))
    return decode(space.plan(genome, Sample(1, (6, 6), 2)), torch.Generator().manual_seed(1))


# --- what lack of memory is --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
        ),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_lack_of_memory_has_its_own_kind(error: Exception) -> None:
    with pytest.raises(OutOfMemory) as raised, memory_faults():
        raise error
    assert str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_real_allocation_that_fails_is_lack_of_memory() -> None:
    with pytest.raises(OutOfMemory), memory_faults():
        torch.empty(2**60, dtype=torch.uint8)


def test_another_runtime_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_faults():
        raise RuntimeError("shapes do not fit")


# --- the ways to fit ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch_size", "micro_batches"), [(64, [32, 16, 8, 4, 2]), (5, [3, 2]), (3, [2]), (2, [])]
)
def test_ways_from_the_plain_one_to_the_last(batch_size: int, micro_batches: list[int]) -> None:
    ways = []
    fit = Fit().thriftier(batch_size)
    while fit is not None:
        ways.append(fit)
        fit = fit.thriftier(batch_size)
    assert ways == [Fit(recompute=True), *(Fit(recompute=True, micro_batch=size) for size in micro_batches)]


@pytest.mark.parametrize(
    ("micro_batch", "samples", "sizes"),
    [(None, 7, [7]), (4, 8, [4, 4]), (4, 9, [3, 3, 3]), (2, 3, [3]), (2, 5, [3, 2]), (8, 2, [2])],
)
def test_no_micro_batch_is_a_single_sample(micro_batch: int | None, samples: int, sizes: list[int]) -> None:
    x = torch.arange(samples)
    parts = Fit(recompute=True, micro_batch=micro_batch).split(x)
    assert [len(part) for part in parts] == sizes
    assert torch.equal(torch.cat(parts), x)


def steps(fit: Fit, network: nn.Module) -> dict[str, Tensor]:
    """Weights, statistics and sums after a few steps."""
    recipe = recipes.load("paper", {"batch_size": 16, "precision": "fp32"})
    data = part(64, 1, ("crop", "flip"))
    step = Step(network.train(), optim.optimizer(recipe, network), recipe, data, CPU, fit)
    for x, y in data.batches(torch.arange(64), 16):
        step(x, y)
    return {**network.state_dict(), "loss": step.loss, "errors": step.errors}


def test_recomputation_changes_no_bit() -> None:
    plain = steps(Fit(), residual_network())
    network = residual_network()
    blocks.recompute(network)
    passes: Counter[str] = Counter()
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.register_forward_hook(lambda *_, name=name: passes.update([name]))
    recomputed = steps(Fit(recompute=True), network)
    assert {name for name, count in passes.items() if count == 8} >= {"blocks.0.layers.0.1"}
    assert passes["stem.1"] == 4
    assert plain.keys() == recomputed.keys()
    assert [name for name in plain if not torch.equal(plain[name], recomputed[name])] == []


def test_micro_batches_sum_the_gradients_of_the_batch() -> None:
    """Without batch norm it is the same mathematics."""

    def network() -> nn.Module:
        layers = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
        nn.init.constant_(layers[1].weight, 0.01)  # type: ignore[arg-type]
        nn.init.zeros_(layers[1].bias)  # type: ignore[arg-type]
        return layers

    whole, split = steps(Fit(), network()), steps(Fit(recompute=True, micro_batch=5), network())
    for name, tensor in whole.items():
        torch.testing.assert_close(split[name], tensor, rtol=1e-5, atol=1e-6)


# --- training under lack of memory -------------------------------------------------------------------


class Hungry(nn.Module):
    """Has no memory for a training step of more than ``limit`` samples, or without recomputation.

    With ``spare_steps``, so many steps go well before.
    """

    def __init__(self, limit: int, spare_steps: int = 0) -> None:
        super().__init__()
        self.inner = residual_network()
        self._limit, self._spare_steps = limit, spare_steps
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
            recomputes = all(block.recompute for block in self.inner.blocks)
            if (len(x) > self._limit or not recomputes) and self.steps > self._spare_steps:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        y: Tensor = self.inner(x)
        return y


def plain_curve(path: Path) -> list[tuple[float | None, ...]]:
    context = Recorder(str(path))
    trainer.train(job(network=Hungry(16, spare_steps=99)), context)
    assert all(epoch.extra == {} for epoch in context.epochs)
    return context.curve()


def test_a_training_that_fits_with_recomputation_has_the_same_curve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = Recorder(str(tmp_path))
    with caplog.at_level(logging.WARNING):
        trainer.train(job(network=Hungry(16)), context)
    assert context.curve() == plain_curve(tmp_path)
    assert {str(epoch.extra["memory"]) for epoch in context.epochs} == {"with recomputed activations"}
    assert "evaluation 3 is trained again with recomputed activations: CUDA out of memory" in caplog.text


def test_it_begins_with_the_weights_that_it_was_given(tmp_path: Path) -> None:
    context = Recorder(str(tmp_path))
    trainer.train(job(network=Hungry(16, spare_steps=3)), context)
    assert context.curve() == plain_curve(tmp_path)


def test_it_goes_on_from_its_last_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_INTERVAL_S", 0.0)
    monkeypatch.setattr(CheckpointWriter, "save", CheckpointWriter.save_now)
    context = Recorder(str(tmp_path))
    network = Hungry(16, spare_steps=6)
    trainer.train(job(network=network), context)
    assert context.curve() == plain_curve(tmp_path)
    assert network.steps == 7 + 4  # two steps of the second epoch were lost, and one could not be made
    assert context.resumed_from_epoch == 1


def test_micro_batches_come_last_and_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    context = Recorder(str(tmp_path))
    with caplog.at_level(logging.WARNING):
        trainer.train(job(network=Hungry(5)), context)
    assert [epoch.number for epoch in context.epochs] == [1, 2]
    assert "in micro-batches of 4, by whose statistics batch norm" in str(context.epochs[-1].extra["memory"])
    assert len(caplog.messages) == 3


def test_what_fits_in_no_way_fails(tmp_path: Path) -> None:
    network = Hungry(1)
    with pytest.raises(OutOfMemory, match="Tried to allocate"):
        trainer.train(job(network=network), Recorder(str(tmp_path)))
    assert network.steps == 5  # plain, recomputed, micro-batches of 8, 4 and 2


@pytest.mark.skipif(not STATM.exists(), reason="reads /proc")
def test_memory_does_not_grow_from_training_to_training(tmp_path: Path) -> None:
    def resident_bytes() -> int:
        return int(STATM.read_text().split()[1]) * 4096

    context = Recorder(str(tmp_path))
    sizes = []
    for _ in range(30):
        network = nn.Sequential(nn.Flatten(), nn.Linear(36, 30_000), nn.Linear(30_000, 2))
        trainer.train(job(network=network, train=part(16, 1), epochs=1, validation=None), context)
        sizes.append(resident_bytes())
        del network
    weights = 4 * 39 * 30_000
    assert max(sizes[10:]) - max(sizes[:10]) < 10 * weights
