"""A program in a terminal of its own, as a user sits before it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class Terminal:
    """A program before a terminal of 24 lines; ``output`` is all that it has printed so far."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], columns: int, directory: Path | None
    ) -> None:
        self.master, self.slave = pty.openpty()
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.before = termios.tcgetattr(self.slave)
        self.output = ""
        self.process = subprocess.Popen(
            command, stdin=self.slave, stdout=self.slave, stderr=self.slave, env=environment, cwd=directory,
            start_new_session=True, preexec_fn=_take_the_terminal,  # noqa: PLW1509  it is one system call
        )  # fmt: skip

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def read_until(self, condition: Callable[[str], object], seconds: float = 30.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition(self.output):
            assert time.monotonic() < deadline, self.output
            if select.select([self.master], [], [], 0.1)[0]:
                self.output += os.read(self.master, 65536).decode("utf-8", "replace")
            elif self.process.poll() is not None:
                assert condition(self.output), self.output
                return

    def end(self) -> int:
        """Its exit code, when it has ended by itself, and all that it printed is read."""
        code = self.process.wait(20)
        while select.select([self.master], [], [], 0.1)[0]:
            self.output += os.read(self.master, 65536).decode("utf-8", "replace")
        return code


def _take_the_terminal() -> None:
    """Make standard input the controlling terminal, so that Ctrl-C arrives as a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def terminal(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    columns: int = 80,
    directory: Path | None = None,
) -> Iterator[Terminal]:
    """The program, which is killed at the end if it is still there."""
    opened = Terminal(command, environment, columns, directory)
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()
        os.close(opened.master)
        os.close(opened.slave)
