"""What is redrawn in place on a terminal: the state of a search, and bars of progress.

Elsewhere, the state is a line from time to time, and there are no bars.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import Progress, TaskID

from evolver.cli import output

LINE_EVERY_S = 5.0
"""Where the output is no terminal, a line is printed at most this often."""


class Display:
    """A context manager. Warnings of evolver's own loggers are shown above it meanwhile.

    Redrawn by the caller only, not by a thread: what starts processes here must not have threads.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._handler = _ConsoleHandler(console)
        self._last_line = ""
        self._line_at = 0.0

    def __enter__(self) -> Self:
        logging.getLogger("evolver").addHandler(self._handler)
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()
        logging.getLogger("evolver").removeHandler(self._handler)

    def show(self, view: RenderableType, line: str) -> None:
        """Show the state of things: ``view`` on a terminal; elsewhere ``line``, if it is new and due."""
        if self.console.is_terminal:
            self._live.update(view, refresh=True)
        elif line != self._last_line and time.monotonic() >= self._line_at:
            self._last_line, self._line_at = line, time.monotonic() + LINE_EVERY_S
            self.say(line)

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self.console.print(line, markup=False, soft_wrap=True)


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(record.getMessage(), markup=False, soft_wrap=True, style="yellow")


@contextmanager
def progress_bars(*, hidden: bool) -> Iterator[Callable[[str, int, int], object]]:
    """A bar for each thing that is told of: its name, how much is done, how much there is."""
    terminal = output.console(stderr=True)
    with Progress(console=terminal, disable=hidden or not terminal.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done)

        yield show
