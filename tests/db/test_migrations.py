"""Migrations: they make what the models say, at once for any number of starters, and keep the data."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    CheckConstraint,
    Constraint,
    Index,
    Table,
    UniqueConstraint,
    exc,
    inspect,
    text,
)
from sqlalchemy.schema import CreateIndex

from evolver.errors import DatabaseError
from evolver.scheduler import Scheduler
from evolver.space import MUTATION_OF_KIND
from evolver.store import details, experiments, facts, leases, migrate, schema, states
from evolver.store.db import Database, DatabaseUnavailable, resolve_url
from tests import factories
from tests.factories import do

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without any table, on both kinds; not opened by revision."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        url = request.getfixturevalue("empty_postgresql_url")
    database = Database(resolve_url(url))
    yield database
    database.dispose()


def url_of(database: Database) -> str:
    return database.url.render_as_string(hide_password=False)


# --- head == models ----------------------------------------------------------------------------------


def test_the_revision_of_the_code_is_the_head_of_the_migrations() -> None:
    script = ScriptDirectory(str(migrate.migrations_dir()))
    assert script.get_heads() == [schema.REVISION]


def test_migrations_make_the_tables_of_the_models(database: Database) -> None:
    def is_comparable(_object: object, _name: str | None, kind: str, *_: object) -> bool:
        return kind != "index" or not database.is_sqlite  # alembic cannot read expressions from SQLite

    with database.read() as connection:
        options = {"compare_type": True, "include_object": is_comparable}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, schema.metadata) == []


def indexes() -> list[Index]:
    return [index for table in schema.metadata.sorted_tables for index in table.indexes]


def test_migrations_make_the_indexes_of_the_models_on_sqlite(sqlite_url: str) -> None:
    database = Database.open(sqlite_url)
    with database.read() as connection:
        made = text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        found = {row.name: row.sql for row in connection.execute(made)}
    database.dispose()
    wanted = {index.name: str(CreateIndex(index).compile(database.engine)) for index in indexes()}
    assert found == wanted


def test_migrations_make_the_partial_indexes_of_the_models_on_postgresql(postgresql_url: str) -> None:
    database = Database.open(postgresql_url)
    with database.read() as connection:
        inspector = inspect(connection)
        found = {
            index["name"]
            for table in schema.metadata.sorted_tables
            for index in inspector.get_indexes(table.name)
            if "postgresql_where" in index.get("dialect_options", {})
        }
    database.dispose()
    assert found == {one.name for one in indexes() if one.dialect_options["postgresql"]["where"] is not None}


def test_migrations_make_the_constraints_of_the_models(database: Database) -> None:
    with database.read() as connection:
        inspector = inspect(connection)
        for table in schema.metadata.sorted_tables:
            checks = {found["name"] for found in inspector.get_check_constraints(table.name)}
            assert checks == _names(table, CheckConstraint), table.name
            uniques = {found["name"] for found in inspector.get_unique_constraints(table.name)}
            assert uniques == _names(table, UniqueConstraint), table.name
            if not (database.is_sqlite and table is schema.worker):  # AUTOINCREMENT takes no name beside it
                assert inspector.get_pk_constraint(table.name)["name"] == f"pk_{table.name}"
            references = {
                (found["name"], found["options"]["ondelete"])
                for found in inspector.get_foreign_keys(table.name)
            }
            wanted = {(f"fk_{table.name}_{key.parent.name}", key.ondelete) for key in table.foreign_keys}
            assert references == wanted, table.name


def _names(table: Table, kind: type[Constraint]) -> set[str]:
    return {str(constraint.name) for constraint in table.constraints if isinstance(constraint, kind)}


@pytest.mark.parametrize(
    ("table", "column", "values"),
    [
        ("experiment", "state", states.EXPERIMENT_STATES),
        ("evaluation", "state", states.EVALUATION_STATES),
        ("evaluation", "purpose", states.PURPOSES),
        ("evaluation", "failure_kind", states.FAILURE_KINDS),
        ("attempt", "outcome", states.ATTEMPT_OUTCOMES),
        ("worker", "state", states.WORKER_STATES),
        ("genome", "operator", (*states.OPERATORS, MUTATION_OF_KIND)),
    ],
)
def test_the_database_knows_the_states_of_the_code(
    database: Database, table: str, column: str, values: tuple[str, ...]
) -> None:
    with database.read() as connection:
        checks = {one["name"]: one["sqltext"] for one in inspect(connection).get_check_constraints(table)}
    assert re.findall(r"'([^']*)'", checks[f"ck_{table}_{column}"]) == list(values)


@pytest.mark.parametrize(
    "statement",
    ["UPDATE genome SET code = NULL", "UPDATE genome SET slot = slot", "UPDATE parentage SET position = 5"],
)
def test_a_genome_and_its_parentage_never_change(database: Database, statement: str) -> None:
    factories.finished(database, budget=12)
    with pytest.raises(exc.DatabaseError, match="never changes"), database.write() as connection:
        connection.execute(text(statement))


# --- upgrade and downgrade ---------------------------------------------------------------------------


def test_an_empty_database_is_upgraded_once(empty: Database) -> None:
    assert migrate.upgrade(empty) == (None, schema.REVISION)
    assert migrate.upgrade(empty) == (schema.REVISION, schema.REVISION)
    factories.finished(empty)


def test_ten_starters_upgrade_one_database(empty: Database) -> None:
    def start(_number: int) -> str | None:
        own = Database(resolve_url(url_of(empty)))
        migrate.upgrade(own)
        own.dispose()
        opened = Database.open(url_of(empty))
        found = opened.revision()
        opened.dispose()
        return found

    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(start, range(10))) == {schema.REVISION}


def test_ten_starters_create_one_sqlite_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    with ThreadPoolExecutor(10) as pool:
        opened = list(pool.map(lambda _: Database.open(url, create=True), range(10)))
    with opened[0].read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    factories.created(opened[9])
    for database in opened:
        database.dispose()


def test_a_migration_that_fails_leaves_nothing_behind(empty: Database) -> None:
    with empty.write() as connection:
        connection.execute(text("CREATE VIEW objective_value AS SELECT 'in the way' AS what"))
    with pytest.raises((DatabaseUnavailable, exc.ProgrammingError), match="objective_value"):
        migrate.upgrade(empty)
    with empty.read() as connection:
        assert inspect(connection).get_table_names() == []


def test_a_downgrade_removes_everything_and_an_upgrade_makes_it_again(database: Database) -> None:
    factories.finished(database)
    with database.write() as connection:
        command.downgrade(migrate._config(connection), "base")
    with database.read() as connection:
        assert inspect(connection).get_table_names() == ["alembic_version"]
        assert inspect(connection).get_view_names() == []
    assert database.revision() is None

    assert migrate.upgrade(database) == (None, schema.REVISION)
    factories.created(database)


# --- databases at another revision -------------------------------------------------------------------


@pytest.mark.parametrize("create", [False, True])
@pytest.mark.parametrize(
    ("revision", "message"),
    [
        ("0000", f"is at revision 0000, this evolver needs {schema.REVISION}; run: evolver db upgrade"),
        ("9999", f"is at revision 9999, newer than evolver's {schema.REVISION}; upgrade evolver"),
    ],
)
def test_a_database_at_another_revision_is_refused(
    database: Database, create: bool, revision: str, message: str
) -> None:
    with database.write() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))

    with pytest.raises(DatabaseError, match=message):
        Database.open(url_of(database), create=create)
    if revision == "9999":
        with pytest.raises(DatabaseError, match="newer than this evolver's"):
            migrate.upgrade(database)


def test_a_database_without_a_schema_is_refused(empty: Database) -> None:
    with empty.write() as connection:
        connection.execute(text("CREATE TABLE something (id INTEGER)"))
    with pytest.raises(DatabaseError, match="has no schema yet; run: evolver db upgrade"):
        Database.open(url_of(empty))
    if not empty.is_sqlite:  # another people's server: migrated on request only
        with pytest.raises(DatabaseError, match="has no schema yet; run: evolver db upgrade"):
            Database.open(url_of(empty), create=True)


def test_the_database_of_another_program_stays_as_it_is(empty: Database) -> None:
    with empty.write() as connection:
        connection.execute(text("CREATE TABLE worker (name TEXT)"))
    with pytest.raises(
        DatabaseError, match=r"belongs to another program, .* \(worker\); nothing was changed"
    ):
        migrate.upgrade(empty)
    with empty.write() as connection:  # its migrations are alembic's too
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('1a2b')"))
    with pytest.raises(DatabaseError, match="belongs to another program"):
        migrate.upgrade(empty)
    with empty.read() as connection:
        assert sorted(inspect(connection).get_table_names()) == ["alembic_version", "worker"]
        if empty.is_sqlite:
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "delete"


def test_tables_of_others_in_a_schema_of_postgresql_are_left_alone(empty_postgresql_url: str) -> None:
    database = Database(resolve_url(empty_postgresql_url))
    with database.write() as connection:
        connection.execute(text("CREATE TABLE customers (name TEXT)"))
    assert migrate.upgrade(database) == (None, schema.REVISION)
    database.dispose()


def test_a_file_of_another_program_is_not_made_evolvers(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'contacts.db'}"
    database = Database(resolve_url(url))
    with database.write() as connection:
        for name in ("a", "b", "c", "d"):
            connection.execute(text(f"CREATE TABLE {name} (id INTEGER)"))
    database.dispose()
    with pytest.raises(DatabaseError, match=r"\(a, b, c, …\).*give another file"):
        Database.open(url, create=True)


def test_a_missing_file_is_made_on_request_only(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'missing.db'}"
    with pytest.raises(DatabaseError, match=r"there is no database at .*; 'evolver new' or 'evolver run'"):
        Database.open(url)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DatabaseError, match=r"the directory of the database .* does not exist"):
        Database.open(f"sqlite:///{tmp_path / 'no' / 'directory.db'}", create=True)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("these are notes, and no database at all " * 100)
    for create in (False, True):
        with pytest.raises(DatabaseError, match="is not a SQLite database; give the path of another file"):
            Database.open(f"sqlite:///{path}", create=create)


# --- data survive ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dump", sorted(FIXTURES.glob("*.sql")), ids=lambda path: path.stem)
def test_data_of_every_revision_survive_the_upgrade(dump: Path, tmp_path: Path) -> None:
    """``tests/fixtures/REVISION.sql`` is a search under way, see ``tests/fixtures/freeze.py``."""
    path = tmp_path / "frozen.db"
    connection = sqlite3.connect(path)
    connection.executescript(dump.read_text(encoding="utf-8"))
    connection.close()
    unopened = Database(resolve_url(f"sqlite:///{path}"))
    assert migrate.upgrade(unopened) == (dump.stem, schema.REVISION)
    unopened.dispose()

    database = Database.open(f"sqlite:///{path}")
    with database.read() as read:
        found = experiments.get(read, "search")
        status = facts.status(read, found)
        everything = facts.genomes(read, found)
        assert details.genome_detail(read, everything[0].genome_id).evaluations[0].curve
        assert any(details.lineage(read, one.genome_id)[1:] for one in everything)
    assert (status.budget, status.evaluated, status.running, status.failed) == (20, 14, 1, 2)
    assert status.front_size == len([one for one in everything if one.state == "done"]) - dominated(
        everything
    )

    do(database, leases.reap)
    while claim := factories.claimed(database, factories.registered_worker(database)):
        factories.complete(database, claim)
    Scheduler(database).step()
    assert factories.current(database).ingested >= 16
    database.dispose()


def test_every_revision_has_its_frozen_database() -> None:
    script = ScriptDirectory(str(migrate.migrations_dir()))
    revisions = {found.revision for found in script.walk_revisions()}
    assert {path.stem for path in FIXTURES.glob("*.sql")} >= revisions - {schema.REVISION}
    assert (FIXTURES / "0001.sql").is_file()


def dominated(genomes: list[facts.GenomeFact]) -> int:
    vectors = [(one.objectives["error"], one.objectives["loss"]) for one in genomes if one.state == "done"]
    return sum(any(e <= error and lo <= loss and (e, lo) != (error, loss) for e, lo in vectors)
               for error, loss in vectors)  # fmt: skip
