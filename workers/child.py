"""A training process: does what its supervisor tells it over a socket, one evaluation at a time.

Started by ``workers.process`` as ``python -m workers.child``. It ends when the supervisor's end of the
socket closes, however the supervisor ended. Everything that an evaluator prints goes to a pipe that
the supervisor reads.
"""

from __future__ import annotations

import errno
import faulthandler
import math
import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import click

from evolver import failpoints, objectives, registry
from evolver.errors import (
    EnvironmentFault,
    EvaluationFailed,
    EvolverError,
    HandedBack,
    InvalidGenome,
    InvalidInput,
    OutOfMemory,
)
from evolver.evaluation import Context, DatasetRef, Epoch, Evaluator, Outcome, SavedCheckpoint, Task
from workers import protocol, tracking, usage
from workers.protocol import Failed, Faulted
from workers.tracking import Ended, Tracker

BUILT_IN = (objectives.ERROR, objectives.LOSS, objectives.PARAMS, objectives.FLOPS)
HOST_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE})
RECEIVE_BYTES = 65536
TRACKED_ENDS: Mapping[str, Ended] = {"finished": "finished", "failed": "failed"}
"""Outcomes for trackers; after any other, the evaluation goes on elsewhere."""


class Session:
    """The process's side of the socket; implements ``evolver.evaluation.Context``.

    A thread reads, so that a request to stop, or the supervisor's end, is seen while an evaluator runs.
    """

    def __init__(
        self,
        connection: socket.socket,
        device: str,
        data_dir: Path,
        download: bool,
        checkpoint_url: str,
        *,
        device_slots: int = 1,
        track: Iterable[str] = (),
    ) -> None:
        self.device = device
        self.device_slots = device_slots
        self.data_dir = data_dir
        self.download = download
        self.checkpoint_url = checkpoint_url
        self._connection = connection
        self._tracker = Tracker(map(tracking.parse, track), self._warn)
        self._sending = threading.Lock()
        self._orders: queue.SimpleQueue[protocol.Check | protocol.Evaluate] = queue.SimpleQueue()
        self._token = ""
        self._stop_token = ""

    def listen(self) -> None:
        """Start to read from the supervisor."""
        threading.Thread(target=self._read, name="supervisor", daemon=True).start()

    def serve(self) -> None:
        """Carry out orders, for ever: the process ends in the reading thread."""
        while True:
            order = self._orders.get()
            answer: protocol.Checked | protocol.Outcome
            if isinstance(order, protocol.Check):
                answer = self._check(order)
            else:
                usage.begin_peak(self.device)
                answer = self._evaluate(Task.from_json(order.task), order.experiment)
                # Only who trained to the end has surely been at its peak.
                if answer.type == "finished" and (used := usage.used(self.device)):
                    self._send(used)
                failpoints.reach("child.before_outcome")
            sys.stdout.flush()
            sys.stderr.flush()
            self._send(answer)

    def started(self, *, dtype: str, resumed_from_epoch: int | None) -> None:
        self._send(protocol.Started(dtype=dtype, resumed_from_epoch=resumed_from_epoch))

    def report_epoch(self, epoch: Epoch) -> None:
        self._send(protocol.EpochEnded(epoch=epoch))
        self._tracker.epoch(epoch)

    def report_checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        self._send(protocol.CheckpointSaved(checkpoint=checkpoint))

    def stop_requested(self) -> bool:
        return self._stop_token == self._token

    def _check(self, order: protocol.Check) -> protocol.Checked:
        try:
            evaluator = _evaluator(order.evaluator)
            if order.objectives:
                evaluator.check_measures(objectives.measures(objectives.load(order.objectives)), self)
            sha256 = evaluator.check(DatasetRef.from_json(order.dataset), self)
        except Exception as error:
            traceback.print_exc()
            return protocol.Checked(sha256=None, fault=protocol.clean_text(_reason(error)))
        return protocol.Checked(sha256=sha256, fault=None)

    def _evaluate(self, task: Task, experiment: str) -> protocol.Outcome:
        self._token = task.token
        until = time.monotonic() + (task.timeout_s or math.inf)
        self._tracker.begin(experiment, task, self.device)
        outcome = self._outcome(task)
        values = outcome.values if isinstance(outcome, protocol.Finished) else {}
        self._tracker.end(TRACKED_ENDS.get(outcome.type, "killed"), values, until - time.monotonic())
        return outcome

    def _outcome(self, task: Task) -> protocol.Outcome:
        try:
            evaluator = _evaluator(task.evaluator)
            objectives.load(task.objectives)  # a plug-in that is missing here is missed before the training
            self._send(protocol.Begun())
            failpoints.reach("child.after_start")
            return protocol.Finished(values=values_to_record(task, measured_by(evaluator, task, self)))
        except Exception as error:
            return classify(error)

    def _warn(self, text: str) -> None:
        with suppress(OSError):  # without a supervisor, this process ends
            self._send(protocol.Warned(message=protocol.clean_text(text)))

    def _send(self, message: protocol.ToSupervisor) -> None:
        line = protocol.encode(message)
        # Checkpoints and warnings come from other threads, and sendall may send a line in pieces.
        with self._sending:
            self._connection.sendall(line)

    def _read(self) -> None:
        try:
            self._take_orders()
        finally:
            # The training in the main thread has no one to report to, and its device is wanted elsewhere.
            os._exit(0)

    def _take_orders(self) -> None:
        lines = protocol.Lines()
        with suppress(ConnectionError):
            while data := self._connection.recv(RECEIVE_BYTES):
                for line in lines.feed(data):
                    message = protocol.decode_to_child(line)
                    if isinstance(message, protocol.Stop):
                        self._stop_token = message.token
                    else:
                        self._orders.put(message)


def measured_by(evaluator: Evaluator, task: Task, context: Context) -> dict[str, float]:
    """What an evaluator measures. Raises EvaluationFailed when it gives anything but numbers."""
    outcome: object = evaluator.evaluate(task, context)
    if not isinstance(outcome, Outcome):
        raise EvaluationFailed(
            f"the evaluator '{task.evaluator}' gave no evolver.evaluation.Outcome but {outcome!r}"
        )
    measured = {}
    for name, value in outcome.measured.items():
        try:
            measured[name] = float(value)
        except (TypeError, ValueError) as error:
            raise EvaluationFailed(f"{name} was measured as {value!r}, which is no number") from error
    return measured


def values_to_record(task: Task, measured: Mapping[str, float]) -> dict[str, float]:
    """What stands in the database after an evaluation: the values of its objectives, of the built-in
    objectives that were measured, and all other finite measurements under their own names.

    Raises EvaluationFailed when an objective was not measured or is not finite. After a purpose that
    has no validation part, the experiment's objectives need not be there.
    """
    derivable = [objective for objective in BUILT_IN if measured.keys() >= set(objective.measures)]
    renamed = {name for objective in derivable for name in objective.measures}
    values = {
        name: float(value) for name, value in measured.items() if name not in renamed and math.isfinite(value)
    }
    values |= objectives.derive(derivable, measured)
    if task.purpose in ("search", "repeat"):
        values |= objectives.derive(objectives.load(task.objectives), measured)
    return values


def classify(error: Exception) -> protocol.Outcome:
    """What an exception of an evaluator means: a failure of the genome, of the host, or neither."""
    message = protocol.clean_text(_reason(error))
    match error:
        case HandedBack():
            return protocol.HandedOver()
        case EvaluationFailed():
            return Failed(kind=error.kind, message=message)
        case InvalidGenome():
            return Failed(kind="invalid", message=message)
        case EnvironmentFault() | ImportError() | InvalidInput():
            # InvalidInput: the experiment was made where a plug-in is installed that this host lacks, or
            # has in a version that takes other settings.
            return Faulted(message=message)
        case MemoryError():
            return Failed(kind=OutOfMemory.kind, message=message)
        case OSError(errno=number) if number in HOST_ERRNOS:
            return Faulted(message=message)
    traceback.print_exception(error)
    # torch's error for a broken device context; by name, so that this process need not hold torch.
    crashed = type(error).__name__ == "AcceleratorError"
    return Failed(kind="crash" if crashed else "error", message=message)


def _reason(error: Exception) -> str:
    """The message of evolver's own errors as it is; of others, with their type."""
    return str(error) if isinstance(error, EvolverError) else f"{type(error).__name__}: {error}"


@cache
def _evaluator(name: str) -> Evaluator:
    made = registry.load("evaluator", name)()
    registry.require_methods("evaluator", name, type(made), Evaluator)
    return cast(Evaluator, made)


@click.command()
@click.option("--fd", type=int, required=True)
@click.option("--device", required=True)
@click.option("--data-dir", type=click.Path(path_type=Path), required=True)
@click.option("--checkpoint-url", required=True)
@click.option("--download", is_flag=True)
@click.option("--device-slots", type=int, default=1)
@click.option("--track", multiple=True)
def main(fd: int, **surroundings: Any) -> None:
    """Serve the supervisor at the other end of the socket FD."""
    # systemd, Slurm and others send SIGTERM to all processes of a service at once. Whether the
    # evaluation is to be handed over is the supervisor's to say; this process ends with its socket.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    session = Session(socket.socket(fileno=fd), **surroundings)
    session.listen()
    session.serve()


if __name__ == "__main__":
    main()
