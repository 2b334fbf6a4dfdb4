"""The early end of a training that learns nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from evolver import recipe as recipes
from evolver.errors import Diverged, HandedBack
from evolver.evaluation import Resume
from evolver.genome.space import ConvSpace
from evolver.recipe import Recipe
from evolver.space import Sample
from tests.workers.jobs import job, part, small_network
from tests.workers.recorder import Recorder
from workers import checkpoints, hopeless, trainer
from workers.decoder import decode
from workers.hopeless import MIN_STEPS, Chance, FlatLoss

torch.set_num_threads(1)

CLASSES = 10
LABELS = torch.arange(CLASSES).repeat(1000)
FLAT = (math.log(CLASSES), 0.9)


def end(
    curve: Sequence[tuple[float, float]], *, steps: int = MIN_STEPS, name: str = "paper", **settings: Any
) -> int | None:
    """The epoch in which a training with these losses and errors is ended."""
    flat_loss = FlatLoss(recipes.load(name, settings), LABELS, steps)
    for number, (loss, error) in enumerate(curve, 1):
        try:
            flat_loss.look(number, loss, error)
        except Diverged:
            return number
    return None


def test_the_chance_level_is_that_of_the_best_constant_answer() -> None:
    even = Chance.of(LABELS, 0.0)
    assert (even.loss, even.error) == pytest.approx((math.log(10), 0.9))
    assert even.error_deviation == pytest.approx(0.003)
    assert Chance.of(LABELS, 0.1).loss == pytest.approx(math.log(10))
    uneven = torch.tensor([0] * 90 + [1] * 10)
    chance = Chance.of(uneven, 0.0)
    assert (chance.loss, chance.error) == pytest.approx((-0.9 * math.log(0.9) - 0.1 * math.log(0.1), 0.1))
    answers = torch.tensor([[0.86, 0.14]]).log().expand(100, 2)
    smoothed = nn.functional.cross_entropy(answers, uneven, label_smoothing=0.1)
    assert Chance.of(uneven, 0.1).loss == pytest.approx(smoothed.item(), rel=1e-5)


def test_the_second_flat_epoch_is_the_end() -> None:
    assert end([FLAT] * 10) == 3  # the first has none to be compared with
    assert end([(3.0, 0.9), (2.5, 0.9), *[FLAT] * 5]) == 5
    assert end([FLAT, FLAT, (2.2, 0.85), *[FLAT] * 5]) == 5


@pytest.mark.parametrize(
    "curve",
    [
        [(math.log(10) - 0.024, 0.9)] * 10,
        [(2.4 - 0.003 * number, 0.9) for number in range(10)],
        [(math.log(10), 0.89)] * 10,
    ],
    ids=["below chance", "still falling", "fewer errors than chance"],
)
def test_a_training_that_learns_a_little_goes_on(curve: list[tuple[float, float]]) -> None:
    assert end(curve) is None


def test_short_epochs_warm_up_and_the_recipe_can_prevent_the_end() -> None:
    assert end([FLAT] * 10, steps=MIN_STEPS - 1) is None
    assert end([FLAT] * 10, stop_flat=False) is None
    assert end([FLAT] * 10, schedule="onecycle", epochs=10, warmup=0.45) == 7


def test_the_presets_look() -> None:
    assert all(recipe.stop_flat for recipe in recipes.PRESETS.values())
    assert not recipes.parse({"stop_flat": False}).stop_flat
    assert "stop_flat" in Recipe().to_json()


def dead_network() -> nn.Module:
    """A network that answers the same for every sample."""
    network = small_network()
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    return network


def test_a_dead_network_is_ended_also_when_it_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hopeless, "MIN_STEPS", 4)
    settings: dict[str, Any] = {"epochs": 9, "lr": 1e-9}
    whole = Recorder(str(tmp_path))
    with pytest.raises(Diverged, match=r"at chance in epoch \d: 0\.69.*stop_flat"):
        trainer.train(job(network=dead_network(), **settings), whole)
    assert 2 <= len(whole.epochs) < 8
    first = Recorder(str(tmp_path), stop_after=4 * len(whole.epochs) - 2)
    with pytest.raises(HandedBack):
        trainer.train(job(network=dead_network(), **settings), first)
    second = Recorder(str(tmp_path))
    with pytest.raises(Diverged, match="at chance"):
        trainer.train(job(token="b", resume=first.last_checkpoint(), **settings), second)
    assert first.curve() + second.curve() == whole.curve()


def test_what_an_unusable_checkpoint_saw_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hopeless, "MIN_STEPS", 4)
    settings: dict[str, Any] = {"epochs": 9, "lr": 1e-9}
    first = Recorder(str(tmp_path), stop_after=10)  # in the third epoch, after a flat one
    with pytest.raises(HandedBack):
        trainer.train(job(network=dead_network(), **settings), first)
    key = first.checkpoints[-1].key
    tensors, meta = checkpoints.load(str(tmp_path), key, first.checkpoints[-1].sha256)
    assert meta["flat_loss"]["flat_epochs"] == 1
    spoilt = {**tensors, "optimizer.0.momentum_buffer": torch.zeros(2)}
    written = checkpoints.save(str(tmp_path), key, spoilt, meta)
    resume = Resume(written.key, written.sha256, 2)
    second = Recorder(str(tmp_path))
    with pytest.raises(Diverged):
        trainer.train(job(network=dead_network(), token="b", resume=resume, **settings), second)
    assert len(second.epochs) == 2


@pytest.mark.parametrize("name", ["paper", "fast"])
def test_random_labels_are_fitted_and_not_taken_for_hopeless(tmp_path: Path, name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    data = part(MIN_STEPS * 64, 1)
    random = replace(
        data,
        x=torch.randint(256, data.x.shape, dtype=torch.uint8, generator=generator),
        y=torch.randint(100, data.y.shape, generator=generator),
    )
    space = ConvSpace.from_settings(ConvSpace.presets()["tiny"])
    genome = space.random(np.random.default_rng(1))
    network = decode(space.plan(genome, Sample(1, (6, 6), 100)), generator)
    settings = recipes.load(name, {"epochs": 4}).to_json()
    context = Recorder(str(tmp_path))
    trainer.train(job(network=network, train=random, validation=None, **settings), context)
    assert len(context.epochs) == 4
    assert context.epochs[1].train_loss > 0.95 * math.log(100)  # it is near chance for a while
