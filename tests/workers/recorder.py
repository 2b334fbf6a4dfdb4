"""A context for evaluators under test: keeps what it is told, asks to stop when it is told to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from evolver.evaluation import Epoch, Resume, SavedCheckpoint


@dataclass
class Recorder:
    """Implements ``evolver.evaluation.Context``; asks to stop after ``stop_after`` questions."""

    checkpoint_url: str = ""
    device: str = "cpu"
    device_slots: int = 1
    data_dir: Path = Path()
    download: bool = False
    stop_after: float = math.inf
    questions: int = 0
    dtype: str | None = None
    resumed_from_epoch: int | None = None
    epochs: list[Epoch] = field(default_factory=list)
    checkpoints: list[SavedCheckpoint] = field(default_factory=list)

    def started(self, *, dtype: str, resumed_from_epoch: int | None) -> None:
        self.dtype, self.resumed_from_epoch = dtype, resumed_from_epoch

    def report_epoch(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)

    def report_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        self.checkpoints.append(checkpoint)

    def stop_requested(self) -> bool:
        self.questions += 1
        return self.questions > self.stop_after

    def last_checkpoint(self) -> Resume:
        """What the next attempt resumes from."""
        last = self.checkpoints[-1]
        return Resume(last.key, last.sha256, last.epoch)

    def curve(self) -> list[tuple[float | None, ...]]:
        """All of the epochs but their times."""
        return [
            (e.number, e.train_loss, e.train_error, e.validation_loss, e.validation_error, e.lr)
            for e in self.epochs
        ]
