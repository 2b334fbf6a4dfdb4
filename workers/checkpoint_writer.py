"""Checkpoints written while training goes on.

The training thread only copies the tensors; one other thread serialises, hashes, writes (or uploads)
and then reports. Nothing is queued: a place too slow for its checkpoints gets fewer of them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch
from torch import Tensor

from evolver.evaluation import Context, Resume, SavedCheckpoint
from evolver.space import Json
from workers import checkpoints

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class State:
    """What a checkpoint to resume from holds after ``epoch`` full epochs (``workers.checkpoints.save``)."""

    key: str
    epoch: int
    tensors: Mapping[str, Tensor]
    meta: Mapping[str, Json]


class CheckpointWriter:
    """Writes the resume checkpoints of one training under the context's URL, and reports each once it is
    there, from a thread of its own.

    A context manager: at its end, the write in flight is waited for, so that neither the thread nor a
    file without a report outlives the training.
    """

    def __init__(self, context: Context, last: Resume | None = None) -> None:
        """``last`` is what the training resumes from."""
        self._context = context
        self.last = last
        """The last checkpoint of the evaluation; read it when no write is in flight."""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._in_flight: Future[None] | None = None

    def save(self, state: State) -> None:
        """Begin to write a state; its tensors may change as soon as this returns.

        Left out while the one before is still being written. Raises what ended the one before:
        EnvironmentFault where the place cannot be written or is full.
        """
        if self._in_flight is not None:
            if not self._in_flight.done():
                return
            self._in_flight.result()
        snapshot = Snapshot(state.tensors)
        self._in_flight = self._thread.submit(self._write, state, snapshot)

    def save_now(self, state: State) -> None:
        """Write a state before this returns: the last word of a training that hands over.

        The write in flight is waited for; if that was of this very state, it is the last word. Raises
        EnvironmentFault as ``save`` does, for this write only.
        """
        self._settle()
        # Keys are immutable: what was reported is not overwritten.
        if self.last is None or self.last.key != state.key:
            self._write(state, Snapshot(state.tensors))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An error is only logged: a training that has ended, in whatever way, needs no checkpoint.
        self._settle()
        self._thread.shutdown()

    def _settle(self) -> None:
        """Wait for the write in flight; its error is logged."""
        if self._in_flight is not None and (error := self._in_flight.exception()) is not None:
            logger.warning("a checkpoint is missing: %s", error)
        self._in_flight = None

    def _write(self, state: State, snapshot: Snapshot) -> None:
        base = self._context.checkpoint_url
        written = checkpoints.save(base, state.key, snapshot.tensors(), state.meta)
        self.last = Resume(written.key, written.sha256, state.epoch)
        self._context.report_checkpoint(
            SavedCheckpoint("resume", state.epoch, written.key, written.sha256, written.bytes)
        )


class Snapshot:
    """Copies, on the host, of tensors as they are at this point of their devices' work."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """CUDA tensors are copied in the order of the current stream, without waiting for the device."""
        self._copies = {name: _copy(tensor.detach()) for name, tensor in tensors.items()}
        devices = {tensor.device for tensor in tensors.values() if tensor.is_cuda}
        self._copied = [torch.cuda.current_stream(device).record_event(_event()) for device in devices]

    def tensors(self) -> dict[str, Tensor]:
        """The copies, by name, once they are complete. For any thread."""
        for event in self._copied:
            event.synchronize()
        return self._copies


def _event() -> torch.cuda.Event:
    # blocking: a thread that waits for it sleeps, where it would spin otherwise.
    return torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]


def _copy(tensor: Tensor) -> Tensor:
    if not tensor.is_cuda:
        return tensor.to("cpu", copy=True)
    # In the layout of the device, as another one would be made there, and waited for. torch keeps pinned
    # memory that is freed, so only a process's first snapshot has to allocate it.
    pinned = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, pin_memory=True)
    return pinned.copy_(tensor, non_blocking=True)
