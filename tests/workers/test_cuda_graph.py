"""Training as a CUDA graph, where there is CUDA."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evolver.errors import HandedBack
from tests.workers.jobs import job, part, small_network
from tests.workers.recorder import Recorder
from workers import trainer
from workers.cuda_graph import CudaGraph
from workers.data.device import DeviceDataset
from workers.trainer import Job

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")

CUDA = torch.device("cuda:0")


def on_cuda(data: DeviceDataset) -> DeviceDataset:
    moved: dict[str, Any] = {name: getattr(data, name).to(CUDA) for name in ("x", "y", "mean", "std")}
    return replace(data, **moved)


def cuda_job(**changes: Any) -> Job:
    parts = {"train": on_cuda(part(250, 1, ("crop", "flip", "cutout"))), "validation": on_cuda(part(20, 2))}
    return job(**{**parts, **changes})


def curve(path: Path, **changes: Any) -> list[tuple[float | None, ...]]:
    context = Recorder(str(path), device="cuda:0")
    trainer.train(cuda_job(**changes), context)
    return context.curve()


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[CudaGraph]:
    """The graphs that were captured."""
    made: list[CudaGraph] = []
    capture = CudaGraph.capture

    def noted(graph: CudaGraph, x: Tensor, y: Tensor) -> None:
        capture(graph, x, y)
        made.append(graph)

    monkeypatch.setattr(CudaGraph, "capture", noted)
    return made


def eager_curve(path: Path, **changes: Any) -> list[tuple[float | None, ...]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "launcher", lambda step, device, batch_size: step)
        return curve(path, **changes)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_captured_and_eager_steps_compute_the_same_curve(
    tmp_path: Path, captures: list[CudaGraph], optimizer: str, precision: str
) -> None:
    settings = {"optimizer": optimizer, "precision": precision, "epochs": 3}
    eager = eager_curve(tmp_path, **settings)
    assert captures == []
    captured = curve(tmp_path, **settings)
    assert len(captures) == 1
    for one, other in zip(captured, eager, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_a_resumed_training_is_captured_and_continues_the_curve(
    tmp_path: Path, captures: list[CudaGraph]
) -> None:
    whole = curve(tmp_path)
    first = Recorder(str(tmp_path), device="cuda:0", stop_after=20)
    with pytest.raises(HandedBack):
        trainer.train(cuda_job(), first)
    second = Recorder(str(tmp_path), device="cuda:0")
    trainer.train(cuda_job(token="b", network=small_network(9), resume=first.last_checkpoint()), second)
    assert len(captures) == 3
    for one, other in zip(first.curve() + second.curve(), whole, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


class Waiting(nn.Module):
    """Waits for the device in its forward pass, which no graph can repeat."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = small_network()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.inner(x)
        return y if y.sum().item() > -1e9 else -y


def test_what_cannot_be_captured_is_trained_eagerly(
    tmp_path: Path, captures: list[CudaGraph], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        failed = curve(tmp_path, network=Waiting())
    assert captures == []
    assert "without CUDA graphs" in caplog.text
    for one, other in zip(failed, eager_curve(tmp_path), strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_memory_is_returned_after_each_training(tmp_path: Path) -> None:
    reserved = []
    for _ in range(200):
        curve(tmp_path, network=nn.Sequential(nn.Flatten(), nn.Linear(36, 100_000), nn.Linear(100_000, 2)))
        reserved.append(torch.cuda.memory_reserved(CUDA))
    assert max(reserved[20:]) <= max(reserved[:20]) + 2**20
