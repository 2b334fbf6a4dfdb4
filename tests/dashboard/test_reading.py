"""The database under the dashboard: it cannot write, it does not last, and a reader's rights are enough."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import exc, make_url, text

from evolver.errors import DatabaseError
from evolver.store import roles
from evolver.store.db import Database, DatabaseUnavailable
from evolver.store.reading import Reader
from tests import factories
from tests.dashboard.conftest import opened

FOR_EVER = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) "
    "SELECT count(*) FROM n"
)


WRITES = (
    "DELETE FROM experiment", "INSERT INTO recipe (sha256, name, settings) VALUES ('x', 'x', '{}')",
    "CREATE TABLE other (id integer)",
)  # fmt: skip


def test_a_write_is_impossible(database_url: str) -> None:
    reader = Reader.open(database_url)
    for statement in WRITES:
        with pytest.raises((DatabaseError, exc.DBAPIError), match=r"read.?only"), reader.read() as connection:
            connection.execute(text(statement))
    reader.dispose()


def test_a_statement_that_takes_too_long_is_cut_off(database_url: str) -> None:
    reader = Reader.open(database_url, statement_s=0.2)
    with pytest.raises(DatabaseUnavailable), reader.read() as connection:
        connection.execute(text(FOR_EVER))
    with reader.read() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    reader.dispose()


def test_a_file_that_is_gone_is_not_made_anew(sqlite_url: str, tmp_path: Path) -> None:
    factories.finished(Database.open(sqlite_url))
    file, kept = Path(make_url(sqlite_url).database or ""), tmp_path / "kept"
    with opened(sqlite_url) as pages:
        assert pages.get("/experiment/1").status_code == 200
        file.rename(kept)
        answer = pages.get("/experiment/1")
        assert (answer.status_code, file.exists()) == (503, False)
        assert "is gone" in answer.text
        shutil.copy(kept, file)  # another file under the same name
        assert pages.get("/experiment/1").status_code == 200


@pytest.fixture
def guest_url(postgresql_url: str) -> Iterator[str]:
    """The database as a user sees it who has the reader role alone."""
    prefix, user = (f"{kind}_{uuid.uuid4().hex[:8]}" for kind in ("dash", "guest"))
    database = Database.open(postgresql_url)
    factories.finished(database)
    with database.write() as connection:
        roles.apply(connection, prefix)
        connection.execute(text(f"CREATE ROLE {user} LOGIN IN ROLE {prefix}_reader"))
    yield make_url(postgresql_url).set(username=user).render_as_string(hide_password=False)
    with database.write() as connection:
        for role in (user, *(f"{prefix}_{kind}" for kind in ("owner", "worker", "reader"))):
            connection.execute(text(f"REASSIGN OWNED BY {role} TO CURRENT_USER"))
            connection.execute(text(f"DROP OWNED BY {role}"))
            connection.execute(text(f"DROP ROLE {role}"))
    database.dispose()


def test_a_readers_rights_are_enough(guest_url: str) -> None:
    with opened(guest_url) as pages:
        for path in ("/", "/experiment/1", "/experiment/1/front.json", "/experiment/1/lineage", "/genome/1",
                     "/experiment/1/growth.json", "/compare?a=1&b=1"):  # fmt: skip
            assert pages.get(path).status_code == 200, path
