"""Series of shape C×L, from an npz file to validation and test values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from evolver import datasets, recipe
from evolver.datasets.spec import split_counts
from evolver.errors import HandedBack
from evolver.evaluation import DatasetRef, Task
from evolver.genome.space import ConvSpace
from tests.workers.recorder import Recorder
from workers import training
from workers.training import TrainEvaluator

torch.set_num_threads(1)

SPACE = ConvSpace.from_settings(ConvSpace.presets()["tiny"])
LENGTH = 13
SAMPLES = 240


@pytest.fixture
def task(tmp_path: Path) -> Callable[..., Task]:
    """Makes tasks on waves of three channels and two classes, which differ in frequency."""
    rng = np.random.default_rng(5)
    y = rng.integers(0, 2, SAMPLES)
    steps = np.arange(LENGTH) * (0.5 + y[:, None, None]) + rng.uniform(0, 6, (SAMPLES, 3, 1))
    x = np.sin(steps) + rng.normal(0, 0.1, (SAMPLES, 3, LENGTH))
    np.savez(
        tmp_path / "waves.npz", x_train=x[40:], y_train=y[40:], x_test=x[:40], y_test=y[:40], layout="NCL"
    )
    info = datasets.describe("npz:waves.npz", tmp_path)
    train, validation = split_counts(info.train_total, None)

    def make(seed: int = 1, **changes: Any) -> Task:
        return Task(
            evaluation_id=3,
            genome_id=4,
            token=changes.pop("token", "a"),
            purpose=changes.pop("purpose", "search"),
            rung=0,
            evaluator="train",
            space="conv",
            space_settings=SPACE.settings(),
            code=SPACE.to_json(SPACE.random(np.random.default_rng(seed))),
            dataset=DatasetRef(1, info.name, info.sample, train, validation, info.test, 0, info.sha256),
            limit_train=None,
            recipe=recipe.load("paper", {"epochs": 3, "batch_size": 16, "deterministic": True}).to_json(),
            objectives=("error", "loss"),
            seed=7,
            timeout_s=None,
            resume=changes.pop("resume", None),
        )

    return make


@pytest.fixture
def context(tmp_path: Path) -> Recorder:
    return Recorder(str(tmp_path / "checkpoints"), data_dir=tmp_path)


def test_genomes_learn_and_are_tested(task: Callable[..., Task], context: Recorder) -> None:
    for seed in range(4):
        searched = TrainEvaluator().evaluate(task(seed), context).measured
        assert searched["validation_error"] < 0.25
    tested = TrainEvaluator().evaluate(task(3, purpose="retrain"), context).measured
    assert tested["test_error"] < 0.25
    assert tested["params"] == searched["params"]


def test_a_curve_with_augmentation_goes_on_after_an_interruption(
    task: Callable[..., Task], context: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "_augmentation", lambda dataset, chosen: ("crop", "flip", "cutout"))
    TrainEvaluator().evaluate(task(), context)
    first, second = replace(context), replace(context)
    for one in (first, second):
        one.epochs, one.checkpoints, one.questions = [], [], 0
    first.stop_after = 14
    with pytest.raises(HandedBack):
        TrainEvaluator().evaluate(task(token="b"), first)
    TrainEvaluator().evaluate(task(token="c", resume=first.last_checkpoint()), second)
    assert second.resumed_from_epoch == 1
    assert first.curve() + second.curve() == context.curve()
