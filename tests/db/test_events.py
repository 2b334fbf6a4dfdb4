"""What the scheduler tells of a search, and that it tells each thing once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from evolver import events
from evolver.events import Event, Limits, Observer
from evolver.scheduler import Scheduler
from evolver.store import experiments
from evolver.store.db import Database, DatabaseUnavailable
from evolver.store.states import ExperimentState
from tests import factories

LIMITS = Limits(stalled_after_s=600, failure_limit=0.5, failure_window=10, front_every_s=60)


class Led:
    """A search that a scheduler leads, under a clock that stands still, with all that it told."""

    def __init__(self, database: Database, name: str = "search", **values: object) -> None:
        self.database, self.name = database, name
        self.seconds = 0.0
        self.told: list[Event] = []
        factories.created(database, name, **{"budget": 100, **values})
        self.worker_id = factories.registered_worker(database)
        self.observer = Observer(database, self.told.append, LIMITS, lambda: self.seconds)
        self.scheduler = Scheduler(database, [name], observer=self.observer)
        self.scheduler.step()

    def later(self, seconds: float = events.LOOK_EVERY_S) -> None:
        self.seconds += seconds
        self.scheduler.step()

    def result(self, error: float, loss: float) -> int:
        claim = factories.must_claim(self.database, self.worker_id)
        factories.complete(self.database, claim, {"error": error, "loss": loss})
        return claim.task.genome_id

    def failure(self) -> None:
        factories.fail(self.database, factories.must_claim(self.database, self.worker_id), "oom")

    def kinds(self) -> list[str]:
        return [one.kind for one in self.told]


@pytest.fixture
def led(database: Database) -> Iterator[Led]:
    made = Led(database)
    yield made
    made.scheduler.close()


def test_new_members_of_the_front_are_merged(led: Led) -> None:
    first = led.result(0.5, 0.5)
    led.later()
    assert [one["genome_id"] for one in led.told[0].facts["genomes"]] == [first]
    assert led.told[0].facts["genomes"][0]["objectives"] == {"error": 0.5, "loss": 0.5}
    assert led.told[0].message.startswith("search: 1 new in the front: genome")

    dominated = led.result(0.4, 0.4)
    led.later()
    better, other = led.result(0.3, 0.3), led.result(0.2, 0.9)
    led.later()
    led.result(0.9, 0.9)
    led.later()
    assert led.kinds() == ["new-front-member"]
    led.later(60)
    assert led.kinds() == ["new-front-member"] * 2
    ids = {one["genome_id"] for one in led.told[1].facts["genomes"]}
    assert ids == {better, other}
    assert dominated not in ids
    led.later(60)
    led.result(0.9, 0.9)
    led.later(60)
    assert len(led.told) == 2


def test_the_end_is_told_once_with_what_was_still_to_be_told(database: Database) -> None:
    led = Led(database, budget=5)
    for number in range(1, 6):
        led.result(0.5 / number, 0.5 / number)
        led.later(0.0)
    assert led.told == []  # no second has passed
    led.scheduler.step()
    led.scheduler.close()
    assert led.kinds() == ["new-front-member", "finished"]
    facts = led.told[1].facts
    assert (facts["reason"], facts["ingested"], facts["front_size"]) == ("budget", 5, 1)
    assert facts["best"] == {"error": 0.1, "loss": 0.1}

    again = Scheduler(database, ["search"], observer=led.observer)
    again.step()
    again.close()
    assert len(led.told) == 2
    with database.write() as connection:
        experiments.extend(connection, factories.current(database), 6)
    again = Scheduler(database, ["search"], observer=led.observer)
    again.step()
    led.result(0.9, 0.9)
    again.step()
    again.close()
    assert led.kinds()[2:] == ["finished"]


def test_what_happened_before_is_not_told(led: Led, database: Database) -> None:
    led.result(0.5, 0.5)
    led.later()
    told: list[Event] = []
    led.scheduler.close()
    successor = Scheduler(database, ["search"], observer=Observer(database, told.append, LIMITS))
    successor.step()
    successor.close()
    assert told == []


def test_failures_are_told_when_their_rate_rises_above_the_limit(led: Led) -> None:
    for _ in range(9):
        led.failure()
        led.later()
    assert led.told == []  # of fewer than ten results nothing is told
    led.failure()
    led.later()
    assert led.kinds() == ["failure-rate"]
    assert led.told[0].facts["kinds"] == {"oom": 10}
    assert led.told[0].message == "search: 10 of the last 10 results failed (10 oom)"
    led.failure()
    led.later()
    assert led.kinds() == ["failure-rate"]
    for _ in range(5):
        led.result(0.9, 0.9)
        led.later()
    assert "failure-rate" not in led.kinds()[1:]
    for _ in range(6):
        led.failure()
        led.later()
    assert led.kinds()[1:].count("failure-rate") == 1


def test_a_stall_is_told_once_until_a_result_ends(led: Led) -> None:
    led.later(599)
    assert led.told == []
    led.later(2)
    assert led.kinds() == ["stalled"]
    assert led.told[0].facts["workers"] == 1
    led.later(6000)
    assert led.kinds() == ["stalled"]
    led.failure()
    led.later(1)
    led.later(601)
    assert led.kinds() == ["stalled"] * 2


def test_a_stall_without_workers_says_so(led: Led, database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE worker SET state = 'stopped'"))
    led.later(601)
    assert led.told[0].message == "search: no result for 10 minutes; no worker is alive"


def test_a_paused_search_does_not_stall(led: Led, database: Database) -> None:
    def to(state: ExperimentState) -> None:
        with database.write() as connection:
            experiments.transition(connection, factories.current(database), state)

    to("paused")
    led.later(601)
    to("running")
    led.later(1)
    led.later(598)
    assert led.told == []
    led.later(10)
    assert led.kinds() == ["stalled"]


def test_who_lost_the_lead_tells_nothing(database: Database) -> None:
    led = Led(database, budget=4)
    claim = factories.must_claim(database, led.worker_id)
    with database.write() as connection:
        connection.execute(text("UPDATE leader SET token = 'of another', expires_at = '2000-01-01'"))
        connection.execute(text("UPDATE experiment SET state = 'finished', state_reason = 'budget'"))
    factories.complete(database, claim)
    led.later()
    led.later()
    assert led.told == []


def test_a_database_that_is_away_disturbs_nobody(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.running(database)
    told: list[Event] = []
    observer = Observer(database, told.append, LIMITS, lambda: 1.0)
    observer.begin(factories.current(database))

    @contextmanager
    def away() -> Iterator[None]:
        raise DatabaseUnavailable("the server is away")
        yield

    monkeypatch.setattr(database, "read", away)
    for _ in range(3):
        observer.look([1], is_last=True)
    assert [record.message for record in caplog.records] == ["cannot look for events: the server is away"]
