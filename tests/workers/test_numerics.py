"""torch's settings during a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from evolver import recipe as recipes
from tests.workers.jobs import job, small_network
from tests.workers.recorder import Recorder
from workers import numerics, trainer

torch.set_num_threads(1)


def seen() -> tuple[Any, ...]:
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        cudnn.conv.fp32_precision,  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision,
    )


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"deterministic": True, "precision": "fp32"}, (True, True, False, "ieee", "ieee")),
        ({"deterministic": False, "precision": "fp32"}, (False, False, True, "ieee", "ieee")),
        ({"deterministic": False, "precision": "auto"}, (False, False, True, "tf32", "tf32")),
    ],
)
def test_settings_hold_during_a_training_and_are_put_back(
    tmp_path: Path, settings: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    before = seen()
    during = []
    network = small_network()
    network.register_forward_pre_hook(lambda module, arguments: during.append(seen()))
    trainer.train(job(network=network, epochs=1, **settings), Recorder(str(tmp_path)))
    assert set(during) == {expected}
    assert seen() == before


def test_settings_are_put_back_after_an_error() -> None:
    before = seen()
    with pytest.raises(ZeroDivisionError), numerics.settings(recipes.load("paper", {"deterministic": True})):
        raise ZeroDivisionError
    assert seen() == before


def test_series_have_one_layout() -> None:
    recipe = recipes.load("paper")
    assert numerics.memory_format(recipe, nn.Conv1d(1, 1, 3)) == torch.contiguous_format
    assert numerics.memory_format(recipe, nn.Conv2d(1, 1, 3)) == torch.channels_last
    plain = recipes.load("paper", {"channels_last": False})
    assert numerics.memory_format(plain, nn.Conv2d(1, 1, 3)) == torch.contiguous_format
