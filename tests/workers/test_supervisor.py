"""A whole worker, with real training processes, against SQLite."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Connection, delete, update

from evolver.errors import UnknownName
from evolver.store import claims, experiments, leases, schema
from evolver.store.db import Database, DatabaseUnavailable
from tests.workers.running import (
    WAIT_S,
    has_curve,
    in_background,
    options,
    start_worker,
    wait_for,
    worker_database,
)
from tests.workers.searches import rows, set_timeout, start_search
from workers import slots
from workers.claiming import Claimer
from workers.main import make_slots, run_worker, worker_command
from workers.supervisor import Supervisor, WorkerEvent
from workers.work import Ending, Work


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A migrated file, and the plug-in ``misbehaving`` installed for the processes that the test starts."""
    with worker_database(tmp_path, monkeypatch) as opened:
        yield opened


def test_a_training_process_is_replaced_after_so_many_evaluations(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    class Counted(slots.TrainingProcess):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            begun.append(1)

    monkeypatch.setattr(slots, "EVALUATIONS_OF_A_PROCESS", 2)
    monkeypatch.setattr(slots, "TrainingProcess", Counted)
    start_search(database, [{"do": "finish"}] * 4)
    assert run_worker(options(database), lambda _: None) == 0
    assert [one.state for one in rows(database, schema.evaluation)] == ["done"] * 4
    assert [one.number for one in rows(database, schema.attempt)] == [1] * 4
    assert len(begun) == 2


def test_records_results_curves_and_attempts(database: Database) -> None:
    start_search(database, [{"do": "finish"}, {"do": "finish"}])
    events: list[WorkerEvent] = []
    assert run_worker(options(database), events.append) == 0
    assert [one.state for one in rows(database, schema.evaluation)] == ["done", "done"]
    values = {(one.evaluation_id, one.objective): one.value for one in rows(database, schema.objective_value)}
    assert (values[1, "error"], values[2, "loss"]) == (0.25, 0.5)
    assert len(rows(database, schema.epoch_metric)) == 2
    first, second = rows(database, schema.attempt)
    assert (first.outcome, first.dtype, first.device, first.slot) == ("done", "fp32", "cpu", 0)
    assert "about to finish" in second.log_tail
    (worker,) = rows(database, schema.worker)
    assert (worker.state, worker.slots) == ("stopped", 1)
    assert [event.what for event in events] == ["claimed", "done"] * 2


def test_the_supervisor_does_not_load_torch(database: Database) -> None:
    start_search(database, [{"do": "finish"}])
    script = (
        "import sys; from pathlib import Path; from workers.main import run_worker, WorkerOptions; "
        f"run_worker(WorkerOptions(db_url={str(database)!r}, device='cpu', idle_timeout_s=0.2)); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
    assert rows(database, schema.evaluation)[0].state == "done"


@pytest.mark.parametrize(
    ("action", "kind", "message"),
    [
        ("diverge", "diverged", "the loss is nan in epoch 3"),
        ("oom", "oom", "too large for cpu"),
        ("memory", "oom", "MemoryError"),
        ("invalid", "invalid", "tampered with"),
        ("raise", "error", "KeyError: 'surprise"),
        ("nan", "error", "objective 'loss' is nan"),
        ("segfault", "crash", "the training process was killed by SIGSEGV"),
        ("exit", "crash", "the training process exited with status 3"),
    ],
)
def test_a_failing_genome_costs_one_evaluation(
    database: Database, action: str, kind: str, message: str
) -> None:
    start_search(database, [{"do": action}, {"do": "finish"}])
    assert run_worker(options(database)) == 0
    failed, done = rows(database, schema.evaluation)
    assert (failed.state, failed.failure_kind, done.state) == ("failed", kind, "done")
    assert message in failed.failure_message
    tries = [one for one in rows(database, schema.attempt) if one.evaluation_id == failed.id]
    assert len(tries) == (2 if kind == "crash" else 1)
    assert all(f"about to {action}" in one.log_tail for one in tries)


def test_an_evaluation_that_takes_too_long_is_ended(database: Database) -> None:
    start_search(database, [{"do": "hang"}, {"do": "finish"}])
    set_timeout(database, 0.5)
    assert run_worker(options(database)) == 0
    failed, done = rows(database, schema.evaluation)
    assert (failed.failure_kind, done.state) == ("timeout", "done")
    assert failed.failure_message == "the evaluation took longer than 0.5 s"


@pytest.mark.parametrize("action", ["fault", "import", "disk"])
def test_three_faults_of_the_host_and_it_claims_no_more(database: Database, action: str) -> None:
    start_search(database, [{"do": action}] * 4)
    assert run_worker(options(database)) == 4
    assert [one.state for one in rows(database, schema.evaluation)] == ["pending"] * 4
    assert [one.outcome for one in rows(database, schema.attempt)] == ["environment"] * 3
    (worker,) = rows(database, schema.worker)
    assert worker.state == "faulted"
    assert worker.note.startswith("3 faults of this host in a row; the last: ")


def test_a_success_between_faults_shows_that_the_host_works(database: Database) -> None:
    start_search(database, [{"do": action} for action in ("fault", "fault", "finish", "fault")])
    assert run_worker(options(database)) == 0
    assert [one.state for one in rows(database, schema.evaluation)] == [
        "pending",
        "pending",
        "done",
        "pending",
    ]


def test_leaves_after_so_many_evaluations(database: Database) -> None:
    start_search(database, [{"do": "finish"}] * 3)
    assert run_worker(options(database, max_evaluations=2, slots=2, idle_timeout_s=None)) == 0
    assert [one.state for one in rows(database, schema.evaluation)] == ["done", "done", "pending"]


def test_slots_work_side_by_side(database: Database) -> None:
    start_search(database, [{"do": "finish"}] * 4)
    assert run_worker(options(database, slots=2)) == 0
    assert {one.slot for one in rows(database, schema.attempt)} == {0, 1}
    assert {one.state for one in rows(database, schema.evaluation)} == {"done"}


def test_serves_only_what_it_is_told_to(database: Database) -> None:
    start_search(database, [{"do": "finish"}], name="wanted")
    start_search(database, [{"do": "finish"}], name="other")
    assert run_worker(options(database, experiments=("wanted",))) == 0
    assert [one.state for one in rows(database, schema.evaluation)] == ["done", "pending"]
    with pytest.raises(UnknownName, match="unknown experiment 'wnated'; did you mean wanted"):
        run_worker(options(database, experiments=("wnated",)))


def test_workers_that_live_for_one_claim_each_serve_all_experiments(database: Database) -> None:
    for name in ("first", "second"):
        start_search(database, [{"do": "finish"}] * 8, name=name)
    place = make_slots(("cpu",), options(database), "checkpoints")[0]
    info = claims.WorkerInfo("host", 1, "cpu", 1, {})
    served: Counter[str] = Counter()
    for _ in range(8):
        with database.write() as conn:
            worker_id, offers = claims.register_worker(conn, info), claims.offers(conn)
        claim = Claimer(database, info, lease_s=60.0).claim(worker_id, place, offers)
        assert claim is not None
        served[claim.experiment] += 1
    assert served == {"first": 4, "second": 4}


def test_skips_what_it_has_no_data_for_and_says_so(database: Database, tmp_path: Path) -> None:
    start_search(database, [{"do": "finish"}], name="lacking")
    assert run_worker(options(database, data_dir=tmp_path / "missing")) == 0
    assert rows(database, schema.attempt) == []
    (worker,) = rows(database, schema.worker)
    assert (worker.state, worker.note) == ("stopped", None)


def test_a_check_of_the_data_that_hangs_is_ended(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(slots, "CHECK_S", 1.0)
    start_search(database, [{"do": "finish"}], name="lacking")
    assert run_worker(options(database, data_dir=tmp_path / "hanging")) == 0
    assert "skipping experiment 'lacking': the check of the data took longer than 1 s" in caplog.text
    assert rows(database, schema.attempt) == []


def test_other_data_than_the_experiment_has_are_refused(database: Database) -> None:
    start_search(database, [{"do": "finish"}])
    with database.write() as conn:
        claims.register_dataset(conn, 1, "cd" * 32)
    assert run_worker(options(database)) == 0
    assert rows(database, schema.attempt) == []


def test_the_row_of_a_waiting_worker_says_what_it_lacks(database: Database, tmp_path: Path) -> None:
    start_search(database, [{"do": "finish"}], name="lacking")
    worker = start_worker(database, "--data-dir", str(tmp_path / "missing"))
    wait_for(lambda: any(one.note for one in rows(database, schema.worker)))
    assert rows(database, schema.worker)[0].note == "lacking: the data are missing; give --data-dir"
    worker.send_signal(signal.SIGTERM)
    _, errors = worker.communicate(timeout=WAIT_S)
    assert worker.returncode == 0
    assert errors.count("skipping experiment 'lacking'") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_hands_the_work_back(database: Database, number: signal.Signals) -> None:
    start_search(database, [{"do": "hang"}])
    worker = start_worker(database)
    wait_for(has_curve(database))
    worker.send_signal(number)
    worker.communicate(timeout=WAIT_S)
    assert worker.returncode == 0
    assert rows(database, schema.evaluation)[0].state == "pending"
    assert rows(database, schema.attempt)[0].outcome == "released"
    assert rows(database, schema.worker)[0].state == "stopped"


def test_a_second_signal_does_not_wait_for_the_training(database: Database) -> None:
    start_search(database, [{"do": "ignore"}])
    worker = start_worker(database)
    wait_for(has_curve(database))
    worker.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    worker.send_signal(signal.SIGTERM)
    worker.communicate(timeout=10)
    assert worker.returncode == 0
    assert rows(database, schema.attempt)[0].outcome == "released"


def test_who_does_not_stop_in_time_is_killed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "STOP_S", 0.5)
    start_search(database, [{"do": "ignore"}])

    def terminate() -> None:
        wait_for(has_curve(database))
        os.kill(os.getpid(), signal.SIGTERM)

    with in_background(terminate):
        assert run_worker(options(database)) == 0
    assert rows(database, schema.attempt)[0].outcome == "released"


def test_work_of_a_stopped_experiment_is_handed_back(database: Database) -> None:
    start_search(database, [{"do": "hang"}])

    def stop() -> None:
        wait_for(has_curve(database))
        with database.write() as conn:
            experiments.transition(conn, experiments.get(conn, "search"), "stopped")

    with in_background(stop):
        assert run_worker(options(database, lease_s=1.0)) == 0
    assert rows(database, schema.attempt)[0].outcome == "released"


def test_drains_when_asked(database: Database) -> None:
    start_search(database, [{"do": "slow"}, {"do": "finish"}])

    def drain() -> None:
        wait_for(has_curve(database))
        with database.write() as conn:
            claims.worker_state(conn, 1, "draining")

    with in_background(drain):
        assert run_worker(options(database, lease_s=1.0, idle_timeout_s=None)) == 0
    assert [one.state for one in rows(database, schema.evaluation)] == ["done", "pending"]


def test_a_result_of_a_lost_lease_is_dropped(database: Database) -> None:
    start_search(database, [{"do": "hang"}])
    events: list[WorkerEvent] = []

    def take_away() -> None:
        wait_for(has_curve(database))
        with database.write() as conn:
            conn.execute(update(schema.evaluation).values(token="of another worker"))

    with in_background(take_away):
        assert run_worker(options(database, lease_s=1.0), events.append) == 0
    assert [event.what for event in events] == ["claimed", "dropped"]
    assert rows(database, schema.evaluation)[0].state == "running"


def test_a_frozen_worker_drops_its_work_and_goes_on(database: Database) -> None:
    start_search(database, [{"do": "hang once"}])
    frozen = start_worker(database, "--lease", "1", "--idle-timeout", "1")
    wait_for(has_curve(database))
    frozen.send_signal(signal.SIGSTOP)
    assert run_worker(options(database, max_evaluations=1, idle_timeout_s=None, lease_s=1.0)) == 0
    start_search(database, [{"do": "finish"}], name="later")
    frozen.send_signal(signal.SIGCONT)
    frozen.communicate(timeout=WAIT_S)
    assert [one.state for one in rows(database, schema.evaluation)] == ["done", "done"]
    assert [(one.worker_id, one.outcome) for one in rows(database, schema.attempt)] == [
        (1, "lost"),
        (2, "done"),
        (1, "done"),
    ]


def test_a_worker_that_was_frozen_with_its_training_goes_on_where_nobody_took_its_lease(
    database: Database,
) -> None:
    """As when a container is paused, or a laptop sleeps, with all processes of the search in it."""
    start_search(database, [{"do": "slow"}])
    worker = start_worker(database, "--lease", "1", "--idle-timeout", "1")
    wait_for(has_curve(database))
    training = int(Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text())
    for pid in (worker.pid, training):
        os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: rows(database, schema.evaluation)[0].lease_expires_at < datetime.now(UTC))
    for pid in (training, worker.pid):
        os.kill(pid, signal.SIGCONT)
    worker.communicate(timeout=WAIT_S)
    assert [one.outcome for one in rows(database, schema.attempt)] == ["done"]


def test_training_outlives_an_outage_of_the_database(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_search(database, [{"do": "finish"}])
    complete, failures = leases.complete, iter([True, True, False])

    def unreachable_twice(*arguments: object, **named: object) -> None:
        if next(failures):
            raise DatabaseUnavailable("the server is away")
        complete(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(leases, "complete", unreachable_twice)
    assert run_worker(options(database)) == 0
    assert rows(database, schema.evaluation)[0].state == "done"
    assert len(rows(database, schema.attempt)) == 1


def test_a_result_outlives_an_outage_that_is_longer_than_its_lease(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_search(database, [{"do": "finish"}])
    complete, heartbeat, back_at = leases.complete, leases.heartbeat, [math.inf]

    def completing(*arguments: object, **named: object) -> None:
        if back_at == [math.inf]:
            back_at[0] = time.monotonic() + 1.5
        if time.monotonic() < back_at[0]:
            raise DatabaseUnavailable("the server is away")
        complete(*arguments, **named)  # type: ignore[arg-type]

    def beating(*arguments: object) -> leases.Heartbeat:
        if back_at[0] != math.inf and time.monotonic() < back_at[0]:
            raise DatabaseUnavailable("the server is away")
        return heartbeat(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(leases, "complete", completing)
    monkeypatch.setattr(leases, "heartbeat", beating)
    assert run_worker(options(database, lease_s=1.0)) == 0
    assert rows(database, schema.evaluation)[0].state == "done"
    assert [one.outcome for one in rows(database, schema.attempt)] == ["done"]


def test_work_that_was_given_up_in_an_outage_costs_no_strike(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_search(database, [{"do": "hang once"}])
    heartbeat, events = leases.heartbeat, list[WorkerEvent]()

    def beating(connection: Connection, *arguments: object) -> leases.Heartbeat:
        if any(event.what == "claimed" for event in events) and len(events) < 2:
            raise DatabaseUnavailable("the server is away")
        return heartbeat(connection, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(leases, "heartbeat", beating)
    given = options(database, max_evaluations=1, idle_timeout_s=None, lease_s=4.0)
    assert run_worker(given, events.append) == 0
    assert [event.what for event in events] == ["claimed", "dropped", "claimed", "done"]
    assert [one.outcome for one in rows(database, schema.attempt)] == ["released", "done"]
    assert rows(database, schema.evaluation)[0].strikes == 0


def test_a_turn_tries_a_database_that_is_away_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_search(database, [{"do": "finish"}] * 3)
    places = make_slots(("cpu",), options(database, slots=3), "checkpoints")
    info = claims.WorkerInfo("host", 1, "cpu", 3, {})
    supervisor = Supervisor(database, places, info, options(database))
    with database.write() as conn:
        supervisor._register(conn)
        offers = claims.offers(conn)
    for place in places:
        claim = Claimer(database, info, lease_s=60.0).claim(supervisor._worker_id, place, offers)
        assert claim is not None
        place.work = Work(claim, trusted_until=math.inf)
        place.work.end(Ending.done(claim.lease, {"error": 0.25, "loss": 0.5}, ""))
    tries: list[str] = []

    def away(_database: Database, mode: str) -> Connection:
        tries.append(mode)
        raise DatabaseUnavailable("the server is away")

    with supervisor._signals:
        with monkeypatch.context() as patched:
            patched.setattr(Database, "_begin", away)
            for _ in range(6):
                before = len(tries)
                supervisor._turn()
                assert len(tries) <= before + 1
        assert len(tries) >= 4, "the renewal and each result, in turns of their own"
        while any(place.work for place in places):
            supervisor._turn()
    assert {one.state for one in rows(database, schema.evaluation)} == {"done"}


def test_a_claim_whose_answer_is_lost_costs_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_search(database, [{"do": "finish"}])
    claim, single, claimed = claims.claim, Database.single, []

    def claiming(*arguments: object, **named: object) -> claims.Claim | None:
        claimed.append(claim(*arguments, **named))  # type: ignore[arg-type]
        return claimed[-1]

    @contextmanager
    def severed_after_the_claim(opened: Database) -> Iterator[Connection]:
        with single(opened) as conn:
            yield conn
        if len(claimed) == 1:
            raise DatabaseUnavailable("the connection was lost")

    monkeypatch.setattr(claims, "claim", claiming)
    monkeypatch.setattr(Database, "single", severed_after_the_claim)
    assert run_worker(options(database, max_evaluations=1, idle_timeout_s=None, lease_s=4.0)) == 0
    assert [one.outcome for one in rows(database, schema.attempt)] == ["released", "done"]
    assert rows(database, schema.evaluation)[0].strikes == 0


def test_who_leaves_hands_back_a_claim_whose_answer_is_lost(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_search(database, [{"do": "finish"}])
    claim = claims.claim

    def committed_in_vain(conn: Connection, *arguments: object, **named: object) -> None:
        claim(conn, *arguments, **named)  # type: ignore[arg-type]
        conn.commit()
        os.kill(os.getpid(), signal.SIGTERM)
        raise DatabaseUnavailable("the connection was lost")

    monkeypatch.setattr(claims, "claim", committed_in_vain)
    assert run_worker(options(database)) == 0
    assert [one.outcome for one in rows(database, schema.attempt)] == ["released"]
    assert rows(database, schema.worker)[0].state == "stopped"


def test_a_worker_that_was_taken_for_dead_registers_again(database: Database) -> None:
    def forget_it() -> None:
        wait_for(lambda: rows(database, schema.worker))
        with database.write() as conn:
            conn.execute(delete(schema.worker))
        wait_for(lambda: rows(database, schema.worker))
        start_search(database, [{"do": "finish"}])

    with in_background(forget_it):
        assert run_worker(options(database, lease_s=1.0, idle_timeout_s=None, max_evaluations=1)) == 0
    assert rows(database, schema.evaluation)[0].state == "done"
    assert [one.state for one in rows(database, schema.worker)] == ["stopped"]


def test_an_end_that_was_committed_is_not_written_twice(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_search(database, [{"do": "finish"}])
    complete, write, ends = leases.complete, Database.write, []

    def completing(*arguments: object, **named: object) -> None:
        complete(*arguments, **named)  # type: ignore[arg-type]
        ends.append("written")

    @contextmanager
    def severed_after_the_end(opened: Database) -> Iterator[Connection]:
        with write(opened) as conn:
            yield conn
        if ends == ["written"]:
            ends.append("severed")
            raise DatabaseUnavailable("the connection was lost")

    monkeypatch.setattr(leases, "complete", completing)
    monkeypatch.setattr(Database, "write", severed_after_the_end)
    events: list[WorkerEvent] = []
    assert run_worker(options(database), events.append) == 0
    assert ends == ["written", "severed"]
    assert [event.what for event in events] == ["claimed", "done"]


@pytest.mark.parametrize(
    ("action", "error"),
    [("odd", "IntegrityError"), ("boundless", "OverflowError"), ("surrogate", "UnicodeEncodeError")],
)
def test_values_that_the_database_refuses_are_a_failure(database: Database, action: str, error: str) -> None:
    start_search(database, [{"do": action}, {"do": "finish"}])
    assert run_worker(options(database)) == 0
    failed, done = rows(database, schema.evaluation)
    assert (failed.state, failed.failure_kind, done.state) == ("failed", "error", "done")
    assert failed.failure_message == f"the database refuses the results: {error}"


def test_resume_checkpoints_go_when_the_evaluation_has_ended(database: Database, tmp_path: Path) -> None:
    start_search(database, [{"do": "checkpoint"}])
    assert run_worker(options(database)) == 0
    assert rows(database, schema.checkpoint) == []
    assert (tmp_path / "evolver.checkpoints").is_dir()
    assert list((tmp_path / "evolver.checkpoints").iterdir()) == []


def test_training_processes_end_with_a_killed_supervisor(database: Database) -> None:
    start_search(database, [{"do": "hang"}])
    worker = start_worker(database)
    wait_for(has_curve(database))
    children = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()
    assert len(children) == 1
    worker.kill()
    worker.communicate()
    wait_for(lambda: not is_alive(int(children[0])))


@pytest.mark.parametrize("place", ["worker.after_claim", "worker.before_complete", "worker.after_complete"])
def test_a_worker_killed_at_any_place_loses_nothing(database: Database, place: str) -> None:
    start_search(database, [{"do": "finish"}])
    killed = start_worker(database, "--lease", "1", EVOLVER_FAILPOINTS=f"{place}=kill")
    killed.communicate(timeout=WAIT_S)
    assert killed.returncode == -signal.SIGKILL
    wait_s = 0.2 if place == "worker.after_complete" else WAIT_S
    assert run_worker(options(database, max_evaluations=1, idle_timeout_s=wait_s, lease_s=1.0)) == 0
    assert rows(database, schema.evaluation)[0].state == "done"
    assert [one.outcome for one in rows(database, schema.attempt)].count("done") == 1


@pytest.mark.parametrize("place", ["child.after_start", "child.before_outcome"])
def test_a_killed_training_process_costs_one_try(database: Database, place: str) -> None:
    start_search(database, [{"do": "finish"}])
    worker = start_worker(database, "--idle-timeout", "0.3", EVOLVER_FAILPOINTS=f"{place}=kill")
    worker.communicate(timeout=WAIT_S)
    assert worker.returncode == 0
    (evaluation,) = rows(database, schema.evaluation)
    assert evaluation.failure_kind == "crash"
    assert evaluation.failure_message.startswith("the training process was killed by SIGKILL")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--device", "cuda:99"], 2, "cuda:99 is not here"),
        (["--device", "gpu"], 2, "unknown device 'gpu'"),
        (["--db", "mysql://host/db"], 3, "database 'mysql' is not supported"),
        (["--slots", "0"], 2, "0 is not in the range x>=1"),
        (["--slots", "many"], 2, "'many' is not a valid number of slots"),
        (["--memory-share", "1.5"], 2, "1.5 is not in the range 0<x<=1"),
    ],
)
def test_bad_options_end_with_one_line(
    arguments: list[str], status: int, message: str, tmp_path: Path
) -> None:
    result = CliRunner().invoke(worker_command, ["--db", f"sqlite:///{tmp_path}/none.db", *arguments])
    assert result.exit_code == status
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_help_shows_examples() -> None:
    result = CliRunner().invoke(worker_command, ["--help"])
    assert "evolver worker --device all --slots 2" in result.output


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits for its parent to notice does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
