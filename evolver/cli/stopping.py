"""Ctrl-C and SIGTERM: the first asks to stop, so that commands can do so in good order."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from evolver.localrun import LocalWorkers

SLICE_S = 0.1
"""The longest that a request to stop waits."""


class Stopping:
    """Counts SIGINT and SIGTERM. A context manager for the main thread."""

    def __init__(self) -> None:
        self.requests = 0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._notice)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _notice(self, _number: int, _frame: FrameType | None) -> None:
        self.requests += 1

    @property
    def requested(self) -> bool:
        return self.requests > 0

    def wait(self, seconds: float, sleep: Callable[[float], object] = time.sleep) -> None:
        """Sleep, but no longer than until the next request, or until ``sleep`` returns True."""
        end, known = time.monotonic() + seconds, self.requests
        while self.requests == known and (left := end - time.monotonic()) > 0:
            if sleep(min(left, SLICE_S)):
                return


def stop_workers(workers: LocalWorkers, stopping: Stopping) -> None:
    """Have local workers hand back their work and end; a request from now on makes them leave at once."""
    known = stopping.requests
    workers.stop(stopping.wait, hurried=lambda: stopping.requests > known)
