"""When steps are launched as a graph, with a graph that needs no CUDA."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.workers.jobs import job
from tests.workers.recorder import Recorder
from workers import trainer
from workers.launches import WARM_UP_STEPS, Launches
from workers.step import Step

torch.set_num_threads(1)

WHOLE, RAGGED = 16, 2
EPOCH = [WHOLE, WHOLE, WHOLE, RAGGED]


class FakeGraph:
    """Notes what is asked of it. A replay reads the batch from where it was captured, as CUDA's does."""

    def __init__(
        self, step: Callable[[Tensor, Tensor], None] = lambda x, y: None, fails: bool = False
    ) -> None:
        self.calls: list[str] = []
        self._step, self._fails = step, fails
        self._batch: tuple[Tensor, Tensor] | None = None

    def eager(self, x: Tensor, y: Tensor) -> None:
        self.calls.append(f"eager {len(y)}")
        self._step(x, y)

    def capture(self, x: Tensor, y: Tensor) -> None:
        self.calls.append(f"capture {len(y)}")
        if self._fails:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        self._batch = x.clone(), y.clone()

    def replay(self, x: Tensor, y: Tensor) -> None:
        self.calls.append(f"replay {len(y)}")
        assert self._batch is not None
        for static, given in zip(self._batch, (x, y), strict=True):
            static.copy_(given)
        self._step(*self._batch)


def launched(graph: FakeGraph, sizes: list[int]) -> list[str]:
    launches = Launches(graph, WHOLE)
    for size in sizes:
        launches(torch.zeros(size), torch.zeros(size))
    return graph.calls


def test_whole_batches_are_replayed_after_the_warm_up_and_ragged_ones_never() -> None:
    assert WARM_UP_STEPS == 3
    assert launched(FakeGraph(), [*EPOCH, *EPOCH]) == [
        *["eager 16"] * 3,
        "eager 2",
        "capture 16",
        *["replay 16"] * 3,
        "eager 2",
    ]


def test_ragged_batches_do_not_warm_up() -> None:
    calls = launched(FakeGraph(), [RAGGED] * 5 + [WHOLE] * 4)
    assert calls == [*["eager 2"] * 5, *["eager 16"] * 3, "capture 16", "replay 16"]


def test_a_capture_that_fails_is_tried_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        calls = launched(FakeGraph(fails=True), [WHOLE] * 9)
    assert calls == [*["eager 16"] * 3, "capture 16", *["eager 16"] * 6]
    assert caplog.messages == [
        "this training runs without CUDA graphs: operation not permitted when stream is capturing"
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_the_curve_is_that_of_eager_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    graphs: list[FakeGraph] = []

    def fake(step: Step, device: torch.device, batch_size: int) -> Launches:
        graphs.append(FakeGraph(step, fails))
        return Launches(graphs[-1], batch_size)

    eager = Recorder(str(tmp_path))
    trainer.train(job(), eager)
    monkeypatch.setattr(trainer, "launcher", fake)
    captured = Recorder(str(tmp_path))
    trainer.train(job(), captured)
    assert captured.curve() == eager.curve()
    assert graphs[0].calls.count("capture 16") == 1
    assert graphs[0].calls.count("replay 16") == (0 if fails else 3)
