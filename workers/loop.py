"""Waiting, in one thread, for whatever comes first: messages, output, a signal, or a time.

The callers look for themselves what there is to do after each wait; so no work is done inside a
signal handler, and none in a callback.
"""

from __future__ import annotations

import os
import random
import selectors
import signal
from collections.abc import Iterable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any, Self

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
NOTICED_SIGNALS = (*STOP_SIGNALS, signal.SIGCHLD)


class Backoff:
    """Growing delays with jitter, in seconds: doubling from ``low`` to ``high``."""

    def __init__(self, low: float, high: float) -> None:
        self._low, self._high = low, high
        self._next = low

    def delay(self) -> float:
        """The next delay. Jitter keeps many processes from asking at the same time."""
        delay, self._next = self._next, min(2 * self._next, self._high)
        return jittered(delay)

    def reset(self) -> None:
        """Begin again with the shortest."""
        self._next = self._low


def jittered(seconds: float) -> float:
    """The time, shortened at random by up to half."""
    return seconds * random.uniform(0.5, 1.0)


class SignalWatch:
    """Counts SIGTERM and SIGINT, and interrupts ``wait`` for them and when a child process ends.

    A context manager for the main thread; what was installed before is put back at the end.
    """

    def __init__(self) -> None:
        self.stops = 0
        """How many times the process was told to stop."""
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        self._wake, wake_write = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(wake_write, False)
        self._wake_write = wake_write
        self._previous_wakeup = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in NOTICED_SIGNALS:
            self._previous[number] = signal.signal(number, self._notice)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_wakeup)
        os.close(self._wake)
        os.close(self._wake_write)

    def wait(self, timeout_s: float, readable: Iterable[int], writable: Iterable[int]) -> None:
        """Until a file descriptor is ready, a signal came, or the time is over."""
        events = dict.fromkeys([self._wake, *readable], selectors.EVENT_READ)
        for fd in writable:
            events[fd] = events.get(fd, 0) | selectors.EVENT_WRITE
        with selectors.DefaultSelector() as selector:
            for fd, event in events.items():
                selector.register(fd, event)
            selector.select(max(0.0, timeout_s))
        with suppress(BlockingIOError):
            while os.read(self._wake, 4096):
                pass

    def _notice(self, number: int, _frame: FrameType | None) -> None:
        if number in STOP_SIGNALS:
            self.stops += 1
