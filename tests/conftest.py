"""Databases for the tests: real SQLite files and a real PostgreSQL server that the session starts.

Each is migrated once in a session; a test gets a copy of the file, or a database cloned from a
template. ``EVOLVER_TEST_DATABASE_URL`` names another PostgreSQL server to use.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from evolver.store import migrate
from evolver.store.db import VARIABLE, Database, resolve_url

SERVER_VARIABLE = "EVOLVER_TEST_DATABASE_URL"


@pytest.fixture(autouse=True)
def _no_database_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server where databases may be made."""
    given = os.environ.get(SERVER_VARIABLE)
    if given:
        yield given
        return
    from tests.postgres import Server

    server = Server(tmp_path_factory.mktemp("postgresql"))
    server.start()
    yield server.url("postgres")
    server.stop()


def _execute(server: str, statement: str) -> None:
    engine = create_engine(resolve_url(server), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def _sibling(server: str, name: str) -> str:
    return make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def postgresql_template(postgresql_server: str) -> Iterator[str]:
    """The name of a migrated database, to clone."""
    name = f"evolver_template_{uuid.uuid4().hex[:8]}"
    _execute(postgresql_server, f"CREATE DATABASE {name}")
    database = Database(resolve_url(_sibling(postgresql_server, name)))
    migrate.upgrade(database)
    database.dispose()
    yield name
    _execute(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_postgresql_url(postgresql_server: str) -> Iterator[str]:
    """The URL of a database without any table."""
    name = f"evolver_{uuid.uuid4().hex[:12]}"
    _execute(postgresql_server, f"CREATE DATABASE {name}")
    yield _sibling(postgresql_server, name)
    _execute(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def _cloned(server: str, template: str) -> Iterator[str]:
    name = f"evolver_{uuid.uuid4().hex[:12]}"
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _sibling(server, name)
    _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgresql_url(postgresql_server: str, postgresql_template: str) -> Iterator[str]:
    """The URL of a migrated PostgreSQL database of this test's own."""
    with _cloned(postgresql_server, postgresql_template) as url:
        yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    Database.open(f"sqlite:///{path}", create=True).dispose()
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """The URL of a migrated SQLite file of this test's own."""
    path = tmp_path / "evolver.db"
    shutil.copyfile(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated database of this test's own: the test runs on both kinds."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An open database of this test's own: the test runs on both kinds."""
    opened = Database.open(database_url)
    yield opened
    opened.dispose()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def module_database(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Database]:
    """An open database that the tests of a module share, which only read it: on both kinds."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            path = tmp_path_factory.mktemp("module") / "evolver.db"
            shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
            url = f"sqlite:///{path}"
        else:
            names = ("postgresql_server", "postgresql_template")
            url = stack.enter_context(_cloned(*map(request.getfixturevalue, names)))
        opened = Database.open(url)
        stack.callback(opened.dispose)
        yield opened
