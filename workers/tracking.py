"""Curves and results for TensorBoard and MLflow, for people who look at their trainings there.

One run for each evaluation, named by experiment, genome and evaluation. Off unless a worker is started
with ``--track``. Tracking never fails an evaluation, nor keeps it waiting for long: a thread of its own
writes, and where it fails or does not keep up there is no more tracking in this process.

parse             what a ``--track`` argument means.
require_packages  whether the packages that it needs are here.
Tracker           what a training process tells.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import math
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from evolver.errors import EnvironmentFault, InvalidInput
from evolver.evaluation import Epoch, Task
from workers.devices import device_name

PACKAGES = {"tensorboard": ("torch", "tensorboard"), "mlflow": ("mlflow",)}
"""Which packages a kind of tracking imports."""
QUEUED = 1000
"""So many records wait for the writing thread at most: the epochs of hundreds of trainings."""
FLUSH_S = 5.0
"""How long an evaluation that has ended waits until its records are written, as its process is killed
soon if its worker leaves. The next ones do not wait for who has not caught up."""
FLUSH_MARGIN_S = 1.0
"""The least that such a wait leaves of an evaluation's time-out."""
LOOK_S = 0.02

Ended = Literal["finished", "failed", "killed"]


@dataclass(frozen=True, slots=True)
class Destination:
    """Where runs are written: ``place`` is the directory of ``tensorboard``, or the URI of ``mlflow``."""

    kind: str
    place: str


def parse(argument: str) -> Destination:
    """What an argument such as ``tensorboard:runs`` means. Raises InvalidInput."""
    kind, _, place = argument.partition(":")
    if kind not in PACKAGES or not place:
        raise InvalidInput(f"cannot track to '{kind}'; give tensorboard:DIR or mlflow:URI")
    return Destination(kind, place)


def require_packages(arguments: Iterable[str]) -> None:
    """Check these ``--track`` arguments and that their packages are installed, without importing them.

    Raises InvalidInput or EnvironmentFault.
    """
    for kind in (parse(argument).kind for argument in arguments):
        for package in PACKAGES[kind]:
            if importlib.util.find_spec(package) is None:
                raise EnvironmentFault(
                    f"--track {kind} needs the package {package}: pip install 'evolver[tracking]'"
                )


@dataclass(frozen=True, slots=True)
class Run:
    """One evaluation, as a run is named and tagged."""

    experiment: str
    genome: str
    evaluation: str
    tags: Mapping[str, str]

    @property
    def name(self) -> str:
        return f"{self.experiment}/{self.genome}/{self.evaluation}"

    @classmethod
    def of(cls, experiment: str, task: Task, device: str) -> Run:
        """``device`` is the model of the device. The code is told by its sha256."""
        code = json.dumps(task.code, sort_keys=True, separators=(",", ":"))
        tags = {
            "genome": str(task.genome_id),
            "evaluation": str(task.evaluation_id),
            "purpose": task.purpose,
            "dataset": task.dataset.name,
            "recipe": str(task.recipe.get("name")),
            "recipe_settings": json.dumps(task.recipe, sort_keys=True),
            "device": device,
            "code_sha256": hashlib.sha256(code.encode()).hexdigest(),
            "seed": str(task.seed),
        }
        return cls(experiment, str(task.genome_id), str(task.evaluation_id), tags)


class Writer(Protocol):
    """Writes one run after the other to one destination. May raise anything."""

    def begin(self, run: Run) -> None:
        """A run begins, or goes on in another attempt."""
        ...

    def write(self, values: Mapping[str, float], step: int) -> None:
        """Metrics of the run after ``step`` epochs."""
        ...

    def end(self, how: Ended) -> None:
        """The run ended; when it was ``killed``, it goes on in another attempt."""
        ...


def writer(destination: Destination) -> Writer:
    """The writer to a destination. Raises ImportError, or whatever its package raises."""
    from workers import tracking_writers

    if destination.kind == "tensorboard":
        return tracking_writers.TensorBoard(destination.place)
    return tracking_writers.MLflow(destination.place)


class Tracker:
    """Passes what happens in a training process on to writers, in a thread of their own.

    No method raises. ``warn``, which any thread may call, is told once why tracking stopped.
    """

    def __init__(
        self,
        destinations: Iterable[Destination],
        warn: Callable[[str], None],
        make: Callable[[Destination], Writer] = writer,
    ) -> None:
        self._lanes = [_Lane(one, warn, make) for one in destinations]
        self._step = 0

    def begin(self, experiment: str, task: Task, device: str) -> None:
        """An evaluation begins on a device."""
        self._step = 0
        for lane in self._lanes:
            lane.put(lambda to: to.begin(Run.of(experiment, task, device_name(device))))

    def epoch(self, epoch: Epoch) -> None:
        """An epoch of it ended."""
        self._step = epoch.number
        self._write(
            {
                "train/loss": epoch.train_loss,
                "train/error": epoch.train_error,
                "validation/loss": epoch.validation_loss,
                "validation/error": epoch.validation_error,
                "lr": epoch.lr,
                "epoch_s": epoch.seconds,
            }
        )

    def end(self, how: Ended, values: Mapping[str, float], time_left_s: float) -> None:
        """It ended with these values (none unless it finished). Waits a little until all is written.

        ``time_left_s`` is what is left of the evaluation's own time.
        """
        if values:
            self._write({f"final/{name}": value for name, value in values.items()})
        for lane in self._lanes:
            lane.put(lambda to: to.end(how))
        deadline = time.monotonic() + max(0.0, min(FLUSH_S, time_left_s - FLUSH_MARGIN_S))
        for lane in self._lanes:
            lane.flush(deadline)

    def _write(self, values: Mapping[str, float | None]) -> None:
        step = self._step
        for lane in self._lanes:
            lane.put(lambda to: to.write(_finite(values), step))


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None and math.isfinite(value)}


Record = Callable[[Writer], None]


class _Lane:
    """One destination: its queue, and the thread that empties it."""

    def __init__(
        self,
        destination: Destination,
        warn: Callable[[str], None],
        make: Callable[[Destination], Writer],
    ) -> None:
        self._destination = destination
        self._warn = warn
        self._make = make
        self._records: queue.Queue[Record] = queue.Queue(QUEUED)
        self._is_off = threading.Event()
        self._flushed = threading.Event()
        self._flushed.set()
        threading.Thread(target=self._work, name=f"track {destination.kind}", daemon=True).start()

    def put(self, record: Record) -> None:
        """Have a record written, unless there is no more tracking."""
        if self._is_off.is_set():
            return
        try:
            self._records.put_nowait(record)
        except queue.Full:  # later records would go to the wrong run, if its beginning is lost
            self._turn_off(f"{QUEUED} records wait, and the next ones are dropped")

    def flush(self, deadline: float) -> None:
        """Wait until all is written, or the deadline."""
        if not self._flushed.is_set():
            return
        self._flushed = flushed = threading.Event()
        self.put(lambda to: flushed.set())
        while not (flushed.wait(LOOK_S) or self._is_off.is_set()):
            if time.monotonic() >= deadline:
                self._warn(f"tracking to {self._destination.kind} lags behind; no evaluation waits for it")
                return

    def _work(self) -> None:
        try:
            to = self._make(self._destination)
            while not self._is_off.is_set():
                self._records.get()(to)
        except Exception as error:
            reason = re.sub(r"//[^/@\s]*@", "//", str(error))  # a URI may have a password
            self._turn_off(f"{type(error).__name__}: {reason}")

    def _turn_off(self, reason: str) -> None:
        if not self._is_off.is_set():
            self._is_off.set()
            self._warn(f"no more tracking to {self._destination.kind} in this training process: {reason}")
