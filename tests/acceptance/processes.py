"""Real scheduler and worker processes for tests of crashes, and ways to end them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from evolver.store.db import VARIABLE


class Process:
    """A process group of ours: a scheduler, or a worker with its training processes."""

    def __init__(self, arguments: list[str], log: Path, environment: dict[str, str]) -> None:
        self.log = log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )

    @property
    def is_alive(self) -> bool:
        return self.popen.poll() is None

    def children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.popen.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def send(self, number: signal.Signals) -> None:
        """A signal to this process alone; none if it is gone already."""
        if self.is_alive:
            self.popen.send_signal(number)

    def send_tree(self, number: signal.Signals) -> None:
        """A signal to this process and all that it started."""
        for child in self.children():
            with suppress(psutil.NoSuchProcess):
                child.send_signal(number)
        self.send(number)

    def end(self) -> None:
        """Kill it with all that it started, if it still runs."""
        self.send_tree(signal.SIGCONT)
        self.send_tree(signal.SIGKILL)
        self.popen.wait(10)


class Farm:
    """Processes of one database; ended together."""

    def __init__(self, url: str, directory: Path, *, seconds: str = "0.03:0.15") -> None:
        self.directory = directory
        self.environment = {
            **os.environ,
            VARIABLE: url,
            "EVOLVER_SURROGATE_SECONDS": seconds,
            "OMP_NUM_THREADS": "1",
        }
        self.started: list[Process] = []

    def scheduler(self, *, failpoints: str = "") -> Process:
        return self._start("scheduler", ["-m", "evolver", "scheduler", "--lease", "2"], failpoints)

    def worker(self, *options: str, failpoints: str = "", lease_s: int = 3) -> Process:
        checkpoints = str(self.directory / "checkpoints")
        arguments = [
            "-m",
            "workers",
            "--device",
            "cpu",
            "--lease",
            str(lease_s),
            "--checkpoint-url",
            checkpoints,
        ]
        return self._start("worker", [*arguments, *options], failpoints)

    def command(self, *arguments: str, failpoints: str = "") -> Process:
        return self._start(arguments[0], ["-m", "evolver", *arguments], failpoints)

    def _start(self, name: str, arguments: list[str], failpoints: str) -> Process:
        log = self.directory / f"{name}-{len(self.started)}.log"
        environment = {**self.environment, "EVOLVER_FAILPOINTS": failpoints}
        process = Process(arguments, log, environment)
        self.started.append(process)
        return process

    def logs(self) -> str:
        return "\n".join(f"== {one.log.name}\n{one.log.read_text()[-3000:]}" for one in self.started)


@contextmanager
def farm(url: str, directory: Path, *, seconds: str = "0.03:0.15") -> Iterator[Farm]:
    """A farm whose processes are all ended at the end; prints their logs when a test fails."""
    running = Farm(url, directory, seconds=seconds)
    try:
        yield running
    except BaseException:
        print(running.logs())
        raise
    finally:
        for process in running.started:
            process.end()


def wait_until(condition: Callable[[], bool], *, seconds: float = 60.0, what: str = "the condition") -> None:
    """Wait for a condition, and fail when it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {seconds:g} s")
        time.sleep(0.02)
