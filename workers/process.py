"""The supervisor's end of a training process.

The process has a session of its own, so that Ctrl-C in a terminal reaches the supervisor only, and a
process group, so that what it started ends with it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evolver.store.db import VARIABLE as DATABASE_VARIABLE
from evolver.store.wakeups import DIRECT_VARIABLE
from workers import protocol

LOG_TAIL_BYTES = 16 * 1024
READ_BYTES = 65536
READS_AT_ONCE = 64
"""A process that prints without end must not keep the supervisor from its leases."""
REAP_S = 5.0
"""How long a killed process is waited for; one that hangs in a driver is left behind."""
EXIT_S = 0.5
"""How long after its connection a process may take to end before it counts as gone."""
DATABASE_VARIABLES = (DATABASE_VARIABLE, DIRECT_VARIABLE, "PGPASSWORD", "PGPASSFILE")
"""Where the password of the database may stand, or the way to it: an evaluator could print them."""
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all training processes of a worker are given.

    ``device_slots``: how many of them share a device. ``track``: see ``workers.tracking``.
    """

    data_dir: Path
    download: bool
    checkpoint_url: str
    cpu_threads: int
    device_slots: int = 1
    track: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Death:
    """How a training process ended: its exit status, or minus the number of a signal."""

    returncode: int | None

    @property
    def by_sigkill(self) -> bool:
        return self.returncode == -signal.SIGKILL

    def __str__(self) -> str:
        if self.returncode is None:
            return "the training process closed its connection"
        if self.returncode >= 0:
            return f"the training process exited with status {self.returncode}"
        try:
            name = signal.Signals(-self.returncode).name
        except ValueError:
            name = f"signal {-self.returncode}"
        hint = ", perhaps by the system for want of memory" if self.by_sigkill else ""
        return f"the training process was killed by {name}{hint}"


class TrainingProcess:
    """A running ``workers.child``. No method blocks, except ``kill`` for at most ``REAP_S`` seconds."""

    def __init__(self, device: str, surroundings: Surroundings) -> None:
        self._socket, theirs = socket.socketpair()
        log, their_log = os.pipe()
        try:
            self._process = subprocess.Popen(
                _command(theirs.fileno(), device, surroundings),
                stdin=subprocess.DEVNULL,
                stdout=their_log,
                stderr=their_log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env=_environment(os.environ, surroundings.cpu_threads),
            )
        except BaseException:
            self._socket.close()
            os.close(log)
            raise
        finally:
            theirs.close()
            os.close(their_log)
        self._socket.setblocking(False)
        os.set_blocking(log, False)
        self._log = log
        self._log_ended = False
        self._tail = bytearray()
        self._lines = protocol.Lines()
        self._unsent = bytearray()
        self._closed_by_peer = False

    @property
    def pid(self) -> int:
        return self._process.pid

    def readable(self) -> Iterator[int]:
        """The file descriptors to wait for."""
        yield self._socket.fileno()
        if not self._log_ended:
            yield self._log

    def writable(self) -> Iterator[int]:
        """The file descriptor to wait for while a message is not sent whole."""
        if self._unsent:
            yield self._socket.fileno()

    def send(self, message: protocol.ToChild) -> None:
        """Send a message, or as much of it as the process takes now; ``flush`` sends the rest."""
        self._unsent += protocol.encode(message)
        self.flush()

    def flush(self) -> None:
        """Send what is left of earlier messages. A connection that is gone is left to ``death``."""
        with suppress(BlockingIOError, ConnectionError):
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]

    def receive(self) -> list[protocol.ToSupervisor]:
        """The messages that have come. Raises ProtocolError for a malformed one."""
        messages: list[protocol.ToSupervisor] = []
        with suppress(BlockingIOError):
            for _ in range(READS_AT_ONCE):
                data = self._receive()
                if not data:
                    self._closed_by_peer = True
                    break
                messages += map(protocol.decode_to_supervisor, self._lines.feed(data))
        return messages

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(READ_BYTES)
        except ConnectionError:
            return b""

    def read_log(self) -> None:
        """Keep the end of what the process has printed."""
        with suppress(BlockingIOError):
            for _ in range(READS_AT_ONCE):
                data = os.read(self._log, READ_BYTES)
                if not data:
                    self._log_ended = True
                    break
                self._tail += data
                del self._tail[:-LOG_TAIL_BYTES]

    def forget_log(self) -> None:
        """Another evaluation begins: what was printed before is not its."""
        self.read_log()
        self._tail.clear()

    def log_tail(self) -> str:
        """The last 16 KiB that the process printed."""
        self.read_log()
        return protocol.clean_text(self._tail.decode("utf-8", "replace"))

    def death(self) -> Death | None:
        """How the process ended; None while it lives and listens.

        Ask before ``receive``: then the last messages of a process that has ended are all there.
        """
        if self._closed_by_peer:  # as the first sign of its end, as a rule: the status follows at once
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(EXIT_S)
            return Death(self._process.returncode)
        returncode = self._process.poll()
        return None if returncode is None else Death(returncode)

    def kill(self) -> Death:
        """End the process and all that it started, and close the connection. Says how it ended."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(REAP_S)
        self.read_log()
        self._socket.close()
        os.close(self._log)
        return Death(self._process.returncode)


def _command(fd: int, device: str, surroundings: Surroundings) -> list[str]:
    command = [sys.executable, "-m", "workers.child", f"--fd={fd}", f"--device={device}"]
    command += [f"--data-dir={surroundings.data_dir}", f"--checkpoint-url={surroundings.checkpoint_url}"]
    command += [f"--device-slots={surroundings.device_slots}"]
    command += [f"--track={destination}" for destination in surroundings.track]
    return [*command, "--download"] if surroundings.download else command


def thread_variables(environment: Mapping[str, str], cpu_threads: int) -> dict[str, str]:
    """All variables that say how many threads to use: as the user chose with one of them, or else as given.

    All of them, since one that is not set (MKL's) overrules one that is (OpenMP's).
    """
    chosen = next((environment[name] for name in THREAD_VARIABLES if name in environment), str(cpu_threads))
    return {name: environment.get(name, chosen) for name in THREAD_VARIABLES}


def _environment(environment: Mapping[str, str], cpu_threads: int) -> dict[str, str]:
    """The process's environment: its share of the CPU unless the user chose one; no way to the database."""
    kept = {name: value for name, value in environment.items() if name not in DATABASE_VARIABLES}
    # Threads that wait by spinning stall each other when training processes share cores: measured on two
    # busy cores, 26 ms a step against 10 ms.
    threads = thread_variables(kept, cpu_threads)
    return {"PYTHONUNBUFFERED": "1", "OMP_WAIT_POLICY": "PASSIVE", **kept, **threads}
