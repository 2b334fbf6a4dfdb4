"""The training process by itself: what it answers, how it fails, and when it ends."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evolver.errors import (
    Diverged,
    EnvironmentFault,
    EvaluationFailed,
    HandedBack,
    InvalidGenome,
    UnknownName,
)
from evolver.evaluation import SavedCheckpoint
from tests.workers import fake_mlflow
from tests.workers.running import WAIT_S, use_misbehaving
from tests.workers.searches import TASK
from workers import child, process, protocol
from workers.process import Surroundings, TrainingProcess


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], TrainingProcess]]:
    use_misbehaving(tmp_path, monkeypatch)
    started: list[TrainingProcess] = []

    def start_process(**more: Any) -> TrainingProcess:
        surroundings = Surroundings(tmp_path, False, str(tmp_path / "checkpoints"), 1, **more)
        started.append(TrainingProcess("cpu", surroundings))
        return started[-1]

    yield start_process
    for one in started:
        with suppress(OSError):  # a test may have killed it
            one.kill()


def received(running: TrainingProcess, until: type[Any]) -> list[Any]:
    """The messages up to the first of a type."""
    messages: list[Any] = []
    deadline = time.monotonic() + WAIT_S
    while not any(isinstance(message, until) for message in messages):
        assert time.monotonic() < deadline, f"no {until.__name__} came, only {messages}: {running.log_tail()}"
        select.select(list(running.readable()), [], [], 0.1)
        running.read_log()
        messages += running.receive()
    return messages


def ended(running: TrainingProcess) -> process.Death:
    """How the process ends by itself."""
    deadline = time.monotonic() + WAIT_S
    while (death := running.death()) is None:
        assert time.monotonic() < deadline, "the process lives"
        select.select(list(running.readable()), [], [], 0.1)
        running.receive()
    return death


def evaluate(running: TrainingProcess, action: str) -> None:
    running.send(protocol.Evaluate(task=replace(TASK, code={"do": action}).to_json()))


def test_evaluates_one_genome_after_the_other(start: Callable[[], TrainingProcess]) -> None:
    running = start()
    for _ in range(2):
        evaluate(running, "finish")
        begun, started, epoch, memory, finished = received(running, protocol.Finished)
        assert begun == protocol.Begun()
        assert started == protocol.Started(dtype="fp32", resumed_from_epoch=None)
        assert epoch.epoch.number == 1
        assert memory.peak >= memory.kept > 1_000_000
        assert finished.values == {"error": 0.25, "loss": 0.5, "params": 10.0, "flops": 20.0, "train_s": 1.0}
    assert "about to finish" in running.log_tail()


def test_checks_plug_in_and_data(start: Callable[[], TrainingProcess]) -> None:
    running = start()
    running.send(protocol.Check(evaluator="misbehaving", dataset=TASK.dataset.to_json()))
    assert received(running, protocol.Checked) == [protocol.Checked(sha256="ab" * 32, fault=None)]
    running.send(protocol.Check(evaluator="trian", dataset=TASK.dataset.to_json()))
    (answer,) = received(running, protocol.Checked)
    assert "unknown evaluator 'trian'; did you mean train?" in answer.fault


@pytest.mark.parametrize(
    ("objectives", "fault"),
    [
        (("error", "params"), ""),
        (("error", "latency_ms:8"), "latency_ms cannot be measured here: there is no clock"),
        (("error", "latency_s"), "unknown objective 'latency_s'; did you mean latency_ms"),
    ],
)
def test_checks_whether_the_objectives_can_be_measured(
    start: Callable[[], TrainingProcess], objectives: tuple[str, ...], fault: str
) -> None:
    running = start()
    data = TASK.dataset.to_json()
    running.send(protocol.Check(evaluator="misbehaving", dataset=data, objectives=objectives))
    (answer,) = received(running, protocol.Checked)
    assert (answer.fault or "").startswith(fault)
    assert (answer.sha256 is None) == bool(fault)


@pytest.mark.parametrize(("device_slots", "fault"), [(1, None), (3, "cpu is shared by 3")])
def test_knows_how_many_share_its_device(
    start: Callable[..., TrainingProcess], device_slots: int, fault: str | None
) -> None:
    running = start(device_slots=device_slots)
    data = TASK.dataset.to_json()
    running.send(protocol.Check(evaluator="misbehaving", dataset=data, objectives=("train_s",)))
    (answer,) = received(running, protocol.Checked)
    assert answer.fault == fault


def test_tracks_what_it_evaluates_and_tells_when_that_fails(
    tmp_path: Path, start: Callable[..., TrainingProcess]
) -> None:
    fake_mlflow.install(tmp_path)
    running = start(track=(f"mlflow:{tmp_path / 'told'}",))
    running.send(protocol.Evaluate(task=TASK.to_json(), experiment="shirts"))
    received(running, protocol.Finished)
    assert (tmp_path / "told").read_text().split() == ["shirts/3/7", "epoch", "final", "FINISHED"]
    running.send(protocol.Evaluate(task=replace(TASK, evaluation_id=13).to_json(), experiment="shirts"))
    assert [type(one) for one in received(running, protocol.Finished)].count(protocol.Warned) == 1
    evaluate(running, "diverge")
    assert not any(isinstance(one, protocol.Warned) for one in received(running, protocol.Failed))


def test_stops_when_asked_and_works_on(start: Callable[[], TrainingProcess]) -> None:
    running = start()
    evaluate(running, "hang")
    received(running, protocol.EpochEnded)
    running.send(protocol.Stop(token="of another evaluation"))
    running.send(protocol.Stop(token=TASK.token))
    assert received(running, protocol.HandedOver) == [protocol.HandedOver()]
    running.send(protocol.Evaluate(task=replace(TASK, token="next").to_json()))
    received(running, protocol.Finished)


def test_ends_with_its_supervisor_even_while_it_trains(start: Callable[[], TrainingProcess]) -> None:
    running = start()
    evaluate(running, "hang")
    received(running, protocol.EpochEnded)
    running._socket.shutdown(1)  # what the kernel does when the supervisor dies
    assert ended(running).returncode == 0


def test_leaves_signals_to_its_supervisor(start: Callable[[], TrainingProcess]) -> None:
    running = start()
    evaluate(running, "hang")
    received(running, protocol.EpochEnded)
    os.kill(running.pid, signal.SIGTERM)
    os.kill(running.pid, signal.SIGINT)
    running.send(protocol.Stop(token=TASK.token))
    received(running, protocol.HandedOver)


@pytest.mark.parametrize(
    ("action", "death"),
    [
        ("segfault", "the training process was killed by SIGSEGV"),
        ("exit", "the training process exited with status 3"),
    ],
)
def test_dies_of_what_kills_it(start: Callable[[], TrainingProcess], action: str, death: str) -> None:
    running = start()
    evaluate(running, action)
    assert str(ended(running)) == death
    assert f"about to {action}" in running.log_tail()


def test_keeps_the_end_of_a_long_log(start: Callable[[], TrainingProcess]) -> None:
    running = start()
    evaluate(running, "babble")
    received(running, protocol.Finished)
    tail = running.log_tail()
    assert len(tail) == process.LOG_TAIL_BYTES
    assert tail.endswith("xthe end\n")


def test_what_it_started_ends_with_it(start: Callable[[], TrainingProcess]) -> None:
    running = start()
    evaluate(running, "spawn")
    received(running, protocol.Finished)
    output = os.dup(running._log)
    os.set_blocking(output, True)
    assert running.kill().by_sigkill
    assert os.read(output, 1) == b"", "something still holds the pipe"
    os.close(output)


def test_is_given_its_share_of_the_cpu_and_no_database_url() -> None:
    seen = process._environment(
        {"EVOLVER_DATABASE_URL": "postgresql://me:secret@host/db", "MKL_NUM_THREADS": "7"}, 2
    )
    assert "EVOLVER_DATABASE_URL" not in seen
    assert (seen["OMP_NUM_THREADS"], seen["MKL_NUM_THREADS"]) == ("7", "7")
    assert seen["OMP_WAIT_POLICY"] == "PASSIVE"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (HandedBack("asked"), protocol.HandedOver()),
        (Diverged("nan"), protocol.Failed(kind="diverged", message="nan")),
        (InvalidGenome("bad"), protocol.Failed(kind="invalid", message="bad")),
        (MemoryError("full"), protocol.Failed(kind="oom", message="MemoryError: full")),
        (KeyError("x\0"), protocol.Failed(kind="error", message="KeyError: 'x\\x00'")),
        (ValueError("x\0"), protocol.Failed(kind="error", message="ValueError: x\ufffd")),
        (EnvironmentFault("fan"), protocol.Faulted(message="fan")),
        (ImportError("torch"), protocol.Faulted(message="ImportError: torch")),
        (UnknownName("space", "x", []), protocol.Faulted(message="unknown space 'x'; known: none.")),
        (OSError(errno.ENOSPC, "full"), protocol.Faulted(message="OSError: [Errno 28] full")),
        (FileNotFoundError("x"), protocol.Failed(kind="error", message="FileNotFoundError: x")),
        (type("AcceleratorError", (RuntimeError,), {})("CUDA"),
         protocol.Failed(kind="crash", message="AcceleratorError: CUDA")),
    ],
)  # fmt: skip
def test_exceptions_are_classified(error: Exception, outcome: protocol.Outcome) -> None:
    assert child.classify(error) == outcome


def test_two_threads_may_report_at_once(tmp_path: Path) -> None:
    """Lines longer than the socket's buffer are sent in pieces, which must not mingle."""
    ours, theirs = socket.socketpair()
    session = child.Session(theirs, "cpu", tmp_path, False, "")
    saved = [SavedCheckpoint("resume", 1, letter * 2**20, "", 1) for letter in "ab"]
    threads = [threading.Thread(target=_report, args=(session, one, 4), daemon=True) for one in saved]
    for thread in threads:
        thread.start()
    lines, messages = protocol.Lines(), []
    ours.settimeout(WAIT_S)
    while len(messages) < 8:
        messages += [protocol.decode_to_supervisor(line) for line in lines.feed(ours.recv(65536))]
    for thread in threads:
        thread.join()
    assert [messages.count(protocol.CheckpointSaved(checkpoint=one)) for one in saved] == [4, 4]
    ours.close()
    theirs.close()


def _report(session: child.Session, saved: SavedCheckpoint, times: int) -> None:
    for _ in range(times):
        session.report_checkpoint(saved)


def test_records_objectives_and_what_else_was_measured() -> None:
    measured = {"validation_error": 0.1, "validation_loss": 0.2, "train_s": 3.0, "spare": float("inf")}
    assert child.values_to_record(TASK, measured) == {"error": 0.1, "loss": 0.2, "train_s": 3.0}


def test_a_missing_objective_is_a_failure() -> None:
    with pytest.raises(EvaluationFailed, match="needs validation_loss"):
        child.values_to_record(TASK, {"validation_error": 0.1})


def test_a_retrained_genome_has_no_validation_values() -> None:
    measured = {"test_error": 0.1, "test_loss": 0.2, "params": 5}
    assert child.values_to_record(replace(TASK, purpose="retrain"), measured) == measured
