"""An evaluator that does what the code tells it to: ``{"do": "segfault"}``."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from evolver.errors import (
    Diverged,
    EnvironmentFault,
    EvaluationFailed,
    HandedBack,
    InvalidGenome,
    OutOfMemory,
)
from evolver.evaluation import Context, DatasetRef, Epoch, Outcome, SavedCheckpoint, Task


class Odd(EvaluationFailed):
    """A failure of a kind that the database refuses."""

    kind = "odd"


MEASURED = {"validation_error": 0.25, "validation_loss": 0.5, "params": 10.0, "flops": 20.0, "train_s": 1.0}
EPOCH = Epoch(1, 0.9, 0.8, 0.7, 0.6, 0.1, 0.01)
RAISED: dict[str, BaseException] = {
    "diverge": Diverged("the loss is nan in epoch 3"),
    "odd": Odd("no failure of this kind is known"),
    "oom": OutOfMemory("too large for cpu"),
    "memory": MemoryError("cannot allocate"),
    "invalid": InvalidGenome("tampered with"),
    "raise": KeyError("surprise\0"),
    "fault": EnvironmentFault("the fan fell off"),
    "import": ImportError("No module named 'torch'"),
    "disk": OSError(errno.ENOSPC, "No space left on device"),
}


class Misbehaving:
    """Implements ``evolver.evaluation.Evaluator``. A data directory named ``missing`` lacks the data,
    and at one named ``hanging`` the check does not end."""

    def check(self, dataset: DatasetRef, context: Context) -> str | None:
        if context.data_dir.name == "missing":
            raise EnvironmentFault("the data are missing; give --data-dir")
        if context.data_dir.name == "hanging":
            time.sleep(60)
        return "ab" * 32

    def check_measures(self, measures: Collection[str], context: Context) -> None:
        if not measures <= MEASURED.keys():
            raise EnvironmentFault("latency_ms cannot be measured here: there is no clock")
        if "train_s" in measures and context.device_slots > 1:
            raise EnvironmentFault(f"{context.device} is shared by {context.device_slots}")

    def evaluate(self, task: Task, context: Context) -> Outcome:
        action = task.code["do"]
        print(f"about to {action}")
        context.started(dtype="fp32", resumed_from_epoch=None)
        if action in RAISED:
            raise RAISED[action]
        if action == "segfault":
            ctypes.string_at(0)
        elif action == "exit":
            os._exit(3)
        elif action == "babble":
            sys.stderr.write("x" * 100_000 + "the end\n")
        elif action == "boundless":
            context.report_epoch(replace(EPOCH, number=2**70))
        elif action == "surrogate":
            return Outcome({**MEASURED, "\ud800": 1.0})
        elif action == "spawn":
            subprocess.Popen(["sleep", "60"])
        elif action == "nan":
            return Outcome({**MEASURED, "validation_loss": float("nan")})
        elif action == "checkpoint":
            self._checkpoint(task, context)
        elif action == "hang once":
            first_try = Path(context.checkpoint_url).with_name("tried")
            if not first_try.exists():
                first_try.touch()
                self._hang(context)
        elif action == "slow":
            context.report_epoch(EPOCH)
            time.sleep(1.5)
        elif action == "ignore":
            context.report_epoch(EPOCH)
            time.sleep(60)
        elif action == "hang":
            self._hang(context)
        context.report_epoch(EPOCH)
        return Outcome(MEASURED)

    @staticmethod
    def _checkpoint(task: Task, context: Context) -> None:
        key = f"{task.evaluation_id}/{task.token}/1.safetensors"
        path = Path(context.checkpoint_url, key)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"weights")
        context.report_checkpoint(SavedCheckpoint("resume", 1, key, "cd" * 32, 7))

    @staticmethod
    def _hang(context: Context) -> None:
        context.report_epoch(EPOCH)
        while not context.stop_requested():
            time.sleep(0.01)
        raise HandedBack("asked to stop")
