"""Whole workers under test: their database and plug-in, and ways to start them and to wait for them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from evolver.store import schema
from evolver.store.db import Database
from tests.workers.searches import install_misbehaving, rows
from workers.options import WorkerOptions

WAIT_S = 30.0


def use_misbehaving(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the plug-in ``misbehaving`` there, for the processes that the test starts."""
    install_misbehaving(directory)
    monkeypatch.setenv("PYTHONPATH", f"{directory}{os.pathsep}{Path.cwd()}")


@contextmanager
def worker_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A migrated file, and the plug-in ``misbehaving``."""
    use_misbehaving(tmp_path / "plugins", monkeypatch)
    database = Database.open(f"sqlite:///{tmp_path / 'evolver.db'}", create=True)
    yield database
    database.dispose()


def options(database: Database, **changes: object) -> WorkerOptions:
    """A worker that leaves as soon as there is nothing to do."""
    given: dict[str, object] = {
        "db_url": str(database),
        "device": "cpu",
        "idle_timeout_s": 0.3,
        "data_dir": Path("data"),
        **changes,
    }
    return WorkerOptions(**given)  # type: ignore[arg-type]


def start_worker(database: Database, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "workers", "--db", str(database), "--device", "cpu", *arguments]
    return subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.02)


def has_curve(database: Database) -> Callable[[], object]:
    return lambda: rows(database, schema.epoch_metric)


class in_background:
    """Runs an action in a thread while the block runs; its failure is the block's."""

    def __init__(self, action: Callable[[], object]) -> None:
        self._thread = threading.Thread(target=self._run, args=[action])
        self._error: BaseException | None = None

    def _run(self, action: Callable[[], object]) -> None:
        try:
            action()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._error:
            raise self._error
