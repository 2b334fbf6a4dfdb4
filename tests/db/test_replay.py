"""Replay: it derives what was recorded, finds what was changed, and shows the search at any moment."""

from __future__ import annotations

import gc
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, text, update

from evolver import breeding
from evolver import replay as module
from evolver.errors import EvolverError, IllegalTransition, InvalidInput, UnknownName
from evolver.replay import replay
from evolver.scheduler import Scheduler
from evolver.store import experiments, facts, schema, steps
from evolver.store.claims import Claim
from evolver.store.db import Database
from evolver.store.history import BornRow, MembershipRow
from evolver.store.steps import Ended
from tests import factories
from tests.factories import do

BUDGET = 40
FOURTH = "(SELECT code FROM genome WHERE birth = 4)"


def search(database: Database) -> None:
    """A finished search in which some genomes failed, and whose first two were given."""

    def end(database: Database, claim: Claim) -> None:
        if claim.task.genome_id % 7 == 0:
            factories.fail(database, claim, "oom", "too large")
        else:
            factories.complete(database, claim)

    factories.finished(database, budget=BUDGET, population=6, seed_genomes="lenet,vgg", end=end)


@pytest.fixture(scope="module")
def finished_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("replay") / "evolver.db"
    database = Database.open(f"sqlite:///{path}", create=True)
    search(database)
    database.dispose()
    return path


@pytest.fixture
def copied(finished_file: Path, tmp_path: Path) -> Iterator[Database]:
    """A copy of that search, to be changed."""
    shutil.copyfile(finished_file, tmp_path / "copy.db")
    database = Database.open(f"sqlite:///{tmp_path}/copy.db")
    yield database
    database.dispose()


def change(database: Database, statement: str) -> None:
    """Change the records behind evolver's back, also those that the database guards."""
    with database.write() as connection:
        connection.execute(text("DROP TRIGGER genome_is_immutable"))
        connection.execute(text(statement))


def differences(database: Database) -> str:
    return "\n".join(replay(database, "search").differences)


def test_an_untouched_search_is_derived_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    search(database)
    told: list[tuple[int, int]] = []
    report = replay(database, "search", progress=lambda done, total: told.append((done, total)))
    assert report.is_clean, report.differences
    assert (report.births, report.results, report.not_comparable) == (BUDGET, BUDGET, 0)
    assert report.changes > 12
    assert told == [(done, 2 * BUDGET) for done in range(1, 2 * BUDGET + 1)]

    for page in (1, 7, BUDGET):
        monkeypatch.setattr(module, "PAGE", page)
        assert replay(database, "search") == report
    for until in (0, 1, 5, 6, 23, BUDGET):
        assert_state_is_as_recorded(database, until)


def assert_state_is_as_recorded(database: Database, until: int) -> None:
    report = replay(database, "search", until=until)
    assert report.is_clean, report.differences
    assert (report.results, report.state.results) == (until, until)
    with database.read() as connection:
        members = facts.front_members(connection, factories.current(database), until)
    front = {one.genome_id: one.objectives for one in members}
    assert {one.genome_id: one.objectives for one in report.state.front} == front
    assert {one.slot: one.genome_id for one in report.state.population} == holders(database, until)
    best = {name: min(values[name] for values in front.values()) for name in ("error", "loss") if front}
    assert report.state.best == best
    with database.read() as connection:
        born = text(f"SELECT count(*) FROM genome WHERE born_after_ingest <= {until}")
        assert report.births == connection.execute(born).scalar()


def holders(database: Database, at: int) -> dict[int | None, int]:
    stays = (
        f"SELECT slot, genome_id FROM membership WHERE kind = 'population' AND entered_at <= {at} "
        f"AND (left_at IS NULL OR left_at > {at})"
    )
    with database.read() as connection:
        return {row.slot: row.genome_id for row in connection.execute(text(stays))}


@pytest.mark.parametrize(
    ("statement", "difference"),
    [
        (f"UPDATE genome SET code = {FOURTH} WHERE birth = 20", "birth 20: code is"),
        (f"UPDATE genome SET code = {FOURTH} WHERE birth = 1", "birth 1: code is"),
        ("UPDATE genome SET phenotype = 'x' WHERE birth = 9", "birth 9: phenotype is x"),
        ("UPDATE genome SET tries = 19 WHERE birth = 9", "birth 9: tries is 19, derived 1"),
        ("UPDATE genome SET slot = 5 WHERE birth = 9", "birth 9: slot is 5"),
        ("UPDATE genome SET operator = 'seed' WHERE birth = 3", "birth 3: operator is seed, derived random"),
        ("UPDATE genome SET operator = 'random' WHERE birth = 2", "birth 2: operator is random, derived"),
        ("UPDATE genome SET duplicate_of = 2 WHERE birth = 9", "birth 9: duplicate_of is 2, derived None"),
        ("UPDATE genome SET born_after_ingest = 1 WHERE birth = 30", "birth 30: born_after_ingest is 1"),
        ("DELETE FROM parentage WHERE child_id IN (SELECT id FROM genome WHERE birth = 30)", "30: parents"),
        ("DELETE FROM seed_genome WHERE birth = 2", "birth 2: cannot be derived: its seed is not on record"),
        ("UPDATE seed_genome SET code = '{}' WHERE birth = 2", "birth 2: cannot be derived"),
        ("UPDATE experiment SET seed = 99", "birth 3: code"),
        ("UPDATE experiment SET ingested = 39", "the last ones are number 40 and 40"),
        ("UPDATE evaluation SET ingest_no = 99 WHERE ingest_no = 40", "the rows 40 and 39"),
        ("DELETE FROM membership WHERE kind = 'front' AND entered_at = 1", "derived but not recorded: Entry"),
        ("UPDATE membership SET reason = 'luck' WHERE left_at IS NOT NULL", "recorded but not derived: Exit"),
        ("UPDATE membership SET left_at = 40, reason = 'x' WHERE id = (SELECT max(id) FROM membership "
         "WHERE left_at IS NULL)", "recorded but not derived: Exit"),
        ("INSERT INTO membership (experiment_id, kind, genome_id, entered_at, left_at) "
         "SELECT experiment_id, kind, genome_id, entered_at, 1 FROM membership "
         "WHERE kind = 'front' AND entered_at = 1", "recorded twice: Entry"),
        ("INSERT INTO membership (experiment_id, kind, genome_id, entered_at, left_at) "
         "SELECT experiment_id, 'front', id, 5, 6 FROM genome WHERE birth = 7", "but not derived: Entry"),
    ],
)  # fmt: skip
def test_whatever_was_changed_is_found(copied: Database, statement: str, difference: str) -> None:
    change(copied, statement)
    assert difference in differences(copied)


def test_a_changed_result_is_found_by_what_follows_from_it(copied: Database) -> None:
    ninth = "evaluation_id = (SELECT id FROM evaluation WHERE ingest_no = 9)"
    change(copied, f"UPDATE objective_value SET value = 0.001 WHERE objective = 'error' AND {ninth}")
    assert "recorded but not derived" in differences(copied)


def test_a_result_that_lacks_a_value_is_told(copied: Database) -> None:
    change(copied, "DELETE FROM objective_value WHERE objective = 'loss'")
    with pytest.raises(EvolverError, match="a result has no value of 'loss'"):
        replay(copied, "search")


def test_births_of_another_breeder_cannot_be_compared(copied: Database) -> None:
    version = breeding.BREEDER_VERSION + 1
    change(copied, f"UPDATE genome SET breeder_version = {version}, tries = 19 WHERE birth > 30")
    report = replay(copied, "search")
    assert (report.differences, report.not_comparable) == ((), 10)
    assert not report.is_clean


def test_a_search_of_another_space_version_cannot_be_compared(copied: Database) -> None:
    with copied.write() as connection:
        connection.execute(update(schema.experiment).values(space_version=99))
    with pytest.raises(EvolverError, match=r"not comparable: .* made with version 99 of the space"):
        replay(copied, "search")


def test_what_cannot_be_replayed(copied: Database) -> None:
    with pytest.raises(UnknownName, match="did you mean search"):
        replay(copied, "serch")
    with pytest.raises(
        InvalidInput, match="has taken in 40 results so far; give --until a number from 0 to 40"
    ):
        replay(copied, "search", until=41)
    with pytest.raises(InvalidInput, match="got -1"):
        replay(copied, "search", until=-1)
    do(copied, experiments.begin_removal, factories.current(copied))
    with pytest.raises(IllegalTransition, match="being deleted"):
        replay(copied, "search")


def test_changes_after_that_moment_are_none_of_its_business(copied: Database) -> None:
    change(copied, "UPDATE genome SET tries = 19 WHERE born_after_ingest > 20")
    assert replay(copied, "search", until=20).is_clean
    assert not replay(copied, "search").is_clean


def test_a_search_that_is_going_on_is_replayed_to_where_it_stands(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.running(database, budget=30)
    monkeypatch.setattr(module, "PAGE", 4)
    worker_id = factories.registered_worker(database)
    scheduler = Scheduler(database, ["search"])

    def go_on(done: int, total: int) -> None:
        claim = factories.claimed(database, worker_id)
        if claim is not None:
            factories.complete(database, claim)
        scheduler.step()

    for _ in range(12):
        go_on(0, 0)
    before = factories.current(database)
    report = replay(database, "search", progress=go_on)
    scheduler.close()
    assert report.is_clean, report.differences
    assert (report.births, report.results) == (before.born, before.ingested)
    assert factories.current(database).ingested > before.ingested
    assert replay(database, "search").is_clean


def test_no_more_than_a_page_is_held_at_a_time(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database.open(sqlite_url)
    factories.finished(database, budget=60)
    monkeypatch.setattr(module, "PAGE", 5)
    held: Counter[type] = Counter()

    def count(done: int, total: int) -> None:
        if done % 10 == 0:
            counts = Counter(map(type, gc.get_objects()))
            for kind in (BornRow, Ended, MembershipRow):
                held[kind] = max(held[kind], counts[kind])

    report = replay(database, "search", progress=count)
    database.dispose()
    assert report.is_clean
    assert 0 < held[BornRow] <= 10
    assert 0 < held[Ended] <= 10
    assert 0 < held[MembershipRow] < report.changes / 2


def test_what_a_birth_tries_is_looked_up_at_once(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database.open(sqlite_url)
    factories.finished(database, budget=BUDGET, objectives=["error", "params"], candidates=16, seed=5)
    asked: list[int] = []
    first_births = steps.first_births

    def counted(connection: Connection, experiment_id: int, phenotypes: list[str]) -> dict[str, int]:
        asked.append(len(phenotypes))
        return first_births(connection, experiment_id, phenotypes)

    monkeypatch.setattr(steps, "first_births", counted)
    assert replay(database, "search").is_clean
    assert max(asked[1:]) > 8, "candidates that were not born"
    assert len(asked) <= BUDGET + 1
    database.dispose()
