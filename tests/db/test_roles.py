"""Roles of PostgreSQL with real login users, and what a password must never get into.

The server of this module listens on TCP and asks for passwords; it has no TLS.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest
from sqlalchemy import create_engine, make_url, text

from evolver.errors import InvalidInput
from evolver.evaluation import Epoch, SavedCheckpoint
from evolver.replay import replay
from evolver.scheduler import Scheduler
from evolver.store import claims, experiments, leases, migrate, operations, roles
from evolver.store.db import VARIABLE, Database, resolve_url
from evolver.store.schema import metadata
from tests import factories
from tests.acceptance.helpers import cli, refused
from tests.acceptance.processes import farm, wait_until
from tests.postgres import Server

PASSWORD = "s3cret@w:rd/x"  # with signs that must be quoted in a URL
ASKS_FOR_PASSWORDS = """
local all all trust
host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
"""
USERS = {"boss": "evolver_owner", "hand": "evolver_worker", "guest": "evolver_reader"}
EVALUATIONS = 16
FORBIDDEN_TO_WORKERS = (
    "UPDATE genome SET code = '{}'",
    "DELETE FROM genome",
    "INSERT INTO parentage VALUES (1, 9, 1)",
    "DELETE FROM parentage",
    "UPDATE membership SET left_at = 1",
    "INSERT INTO membership (experiment_id, kind, genome_id, entered_at) VALUES (1, 'front', 1, 1)",
    "UPDATE experiment SET budget = 1000",
    "UPDATE experiment SET state = 'stopped'",
    "DELETE FROM experiment",
    "UPDATE recipe SET settings = '{}'",
    "UPDATE dataset SET train = 1",
    "UPDATE leader SET token = ''",
    "INSERT INTO leader (experiment_id, holder, token, expires_at) VALUES (1, 'x', 'x', now())",
    "UPDATE evaluation SET ingest_no = 1",
    "UPDATE evaluation SET priority = 1",
    "UPDATE evaluation SET genome_id = 1",
    "INSERT INTO evaluation (experiment_id) VALUES (1)",
    "DELETE FROM evaluation",
    "UPDATE attempt SET host = 'elsewhere'",
    "DELETE FROM attempt",
    "UPDATE objective_value SET value = 0",
    "DELETE FROM objective_value",
    "DELETE FROM epoch_metric",
    "UPDATE checkpoint SET key = 'x'",
    "DELETE FROM worker",
    "UPDATE alembic_version SET version_num = 'x'",
    "DROP TABLE genome",
    "ALTER TABLE genome DISABLE TRIGGER ALL",
)


@dataclass(frozen=True)
class Site:
    """A database with the three roles, and a login user in each."""

    admin: str
    urls: dict[str, str]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = Server(tmp_path_factory.mktemp("postgresql"), port=port)
    started.start()
    (started.data / "pg_hba.conf").write_text(ASKS_FOR_PASSWORDS)
    execute(started.url("postgres"), "SELECT pg_reload_conf()")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def site(server: Server) -> Site:
    execute(server.url("postgres"), "CREATE DATABASE site")
    admin = server.url("site")
    opened = Database(resolve_url(admin))
    migrate.upgrade(opened)
    opened.dispose()
    assert cli("db", "roles", "--apply", url=admin).exit_code == 0
    for user, role in USERS.items():
        execute(admin, f"CREATE USER {user} PASSWORD '{PASSWORD}' IN ROLE {role}")
    login = make_url(admin).set(password=PASSWORD)
    return Site(admin, {one: login.set(username=one).render_as_string(hide_password=False) for one in USERS})


@pytest.fixture
def search(site: Site) -> Iterator[Database]:
    """A search ``search`` that the owner has made, deleted at the end."""
    owner = Database.open(site.urls["boss"])
    factories.created(owner, budget=EVALUATIONS)
    yield owner
    with owner.write() as connection:
        for table in ("experiment", "worker", "recipe", "dataset"):
            connection.execute(text(f"DELETE FROM {table}"))
    owner.dispose()


def execute(url: str, statement: str) -> None:
    engine = create_engine(resolve_url(url), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
    finally:
        engine.dispose()


def attempt(url: str, statement: str) -> None:
    """Run a statement and roll it back."""
    with psycopg.connect(make_url(url).render_as_string(hide_password=False)) as connection:
        connection.execute(statement)
        connection.rollback()


# --- roles -------------------------------------------------------------------------------------------


def test_a_search_runs_with_each_process_in_its_own_role(
    site: Site, search: Database, tmp_path: Path
) -> None:
    with farm(site.urls["boss"], tmp_path, seconds="0.01") as processes:
        processes.scheduler()
        processes.environment[VARIABLE] = site.urls["hand"]
        processes.worker()
        wait_until(lambda: factories.current(search).state == "finished", what="the end of the search")
        for command in (
            ("status",), ("status", "search"), ("list",), ("front", "search"), ("show", "1"),
            ("lineage", "1"), ("logs", "1"), ("workers",), ("db", "check"), ("doctor",),
        ):  # fmt: skip
            result = cli(*command, url=site.urls["guest"])
            assert result.exit_code == 0, (command, result.output)
        log = processes.logs()
    assert factories.current(search).ingested == EVALUATIONS
    assert replay(search, "search").is_clean
    assert " ERROR " not in log
    assert PASSWORD not in log


def test_a_worker_may_do_all_that_the_lease_protocol_does(site: Site, search: Database) -> None:
    factories.running(search, "other")
    hand = Database.open(site.urls["hand"])
    worker_id = factories.registered_worker(hand)
    first = factories.must_claim(hand, worker_id)
    factories.do(hand, leases.heartbeat, worker_id, [first.lease], 60.0)
    factories.do(hand, leases.attempt_started, first.lease, dtype="fp32", resumed_from_epoch=None)
    for _ in range(2):  # a repeated write of the same row
        factories.do(hand, leases.record_epochs, first.lease, [Epoch(1, 1.0, 0.5, 1.0, 0.5, 0.1, 2.0)])
        key = f"{first.lease.evaluation_id}/{first.lease.token}/1.safetensors"
        factories.do(
            hand, leases.record_checkpoint, first.lease, SavedCheckpoint("resume", 1, key, "0" * 64, 1)
        )
    factories.do(hand, leases.forget_checkpoints, [key])
    factories.do(hand, claims.register_dataset, first.task.dataset.id, "a" * 64)
    factories.do(hand, leases.environment_fault, first.lease, "no disk")
    second = factories.must_claim(hand, factories.registered_worker(hand), lease_s=-1.0)
    assert factories.do(hand, leases.reap) == 1
    third = factories.must_claim(hand, factories.registered_worker(hand))
    assert third.lease.evaluation_id == second.lease.evaluation_id or third.attempt == 1
    factories.do(hand, leases.release, third.lease)
    factories.fail(hand, factories.must_claim(hand, factories.registered_worker(hand)), "oom")
    factories.complete(hand, factories.must_claim(hand, factories.registered_worker(hand)))
    factories.do(hand, claims.worker_state, worker_id, "stopped")
    hand.dispose()


def test_a_worker_may_not_delete_weights(site: Site, search: Database) -> None:
    hand = Database.open(site.urls["hand"])
    Scheduler(search).step()
    claim = factories.must_claim(hand, factories.registered_worker(hand))
    lease = claim.lease
    keys = {kind: f"{lease.evaluation_id}/{lease.token}/{kind}" for kind in ("resume", "weights")}
    for saved in (
        SavedCheckpoint("resume", 1, keys["resume"], "0" * 64, 1),
        SavedCheckpoint("weights", 1, keys["weights"], "0" * 64, 1),
    ):
        factories.do(hand, leases.record_checkpoint, lease, saved)
    factories.complete(hand, claim)
    factories.do(hand, leases.forget_checkpoints, list(keys.values()))
    with hand.write() as connection:
        connection.execute(text("DELETE FROM checkpoint"))
    hand.dispose()

    for url in site.urls.values():
        reading = Database.open(url)
        with reading.read() as connection:
            assert operations.checkpoint_keys(connection) == {keys["weights"]}
        reading.dispose()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):  # what pg_dump asks for
        attempt(site.urls["guest"], "SET row_security = off; SELECT * FROM checkpoint")
    factories.do(search, experiments.remove, factories.current(search))
    with search.read() as connection:
        assert operations.checkpoint_keys(connection) == set()


def test_a_worker_writes_the_hash_of_a_data_set_once(site: Site, search: Database) -> None:
    hand = Database.open(site.urls["hand"])
    with search.read() as connection:
        dataset_id = connection.execute(text("SELECT id FROM dataset WHERE sha256 IS NULL")).scalar_one()
    assert factories.do(hand, claims.register_dataset, dataset_id, "a" * 64) == "a" * 64
    with hand.write() as connection:
        connection.execute(text("UPDATE dataset SET sha256 = repeat('b', 64)"))
    assert factories.do(hand, claims.register_dataset, dataset_id, "b" * 64) == "a" * 64
    hand.dispose()


@pytest.mark.parametrize("statement", FORBIDDEN_TO_WORKERS)
def test_a_worker_may_not_change_what_was_bred_or_selected(site: Site, statement: str) -> None:
    for user in ("hand", "guest"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            attempt(site.urls[user], statement)


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_a_reader_may_only_select(site: Site, table: str) -> None:
    column = next(iter(metadata.tables[table].columns)).name
    attempt(site.urls["guest"], f"SELECT * FROM {table}")
    for statement in (
        f"INSERT INTO {table} DEFAULT VALUES",
        f"UPDATE {table} SET {column} = {column}",
        f"DELETE FROM {table}",
        f"SELECT * FROM {table} FOR UPDATE",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            attempt(site.urls["guest"], statement)


def test_a_command_without_the_right_says_so_in_one_line(site: Site, search: Database) -> None:
    line = refused("pause", "search", url=site.urls["guest"], code=3)
    assert "this user may not do that" in line
    assert "permission denied for table experiment" in line
    assert "evolver db roles" in line


def test_all_that_migrations_make_is_owned_and_can_be_granted_again(site: Site) -> None:
    owner = Database.open(site.urls["boss"])
    with owner.read() as connection:
        relations = connection.execute(
            text("SELECT relname, relkind::text, pg_get_userbyid(relowner) FROM pg_class "
                 "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'S')")
        ).all()  # fmt: skip
        functions = connection.execute(
            text(
                "SELECT proname, pg_get_userbyid(proowner) FROM pg_proc "
                "WHERE pronamespace = 'public'::regnamespace"
            )
        ).all()
    assert {owner for *_, owner in [*relations, *functions]} == {"evolver_owner"}
    assert {name for name, kind, _ in relations if kind == "v"} == set(roles.VIEWS)
    assert {name for name, _ in functions} == set(roles.FUNCTIONS)
    with owner.write() as connection:  # by a member of the owner now, who may not make roles
        connection.execute(text("ALTER TABLE genome ADD COLUMN nonsense integer"))
        connection.rollback()
    for _ in range(2):
        assert cli("db", "roles", "--apply", url=site.admin).exit_code == 0
    owner.dispose()


def test_who_may_not_make_roles_is_told(site: Site) -> None:
    line = refused("db", "roles", "--apply", "--prefix", "fresh", url=site.urls["boss"], code=3)
    assert "CREATEROLE" in line


def test_the_sql_is_printed_and_runs_as_it_stands(server: Server, site: Site) -> None:
    printed = cli("db", "roles", "--prefix", "printed", url=site.admin).stdout
    assert printed.startswith("BEGIN;\n")
    execute(server.url("postgres"), "CREATE DATABASE printed TEMPLATE site")
    with psycopg.connect(server.url("printed"), autocommit=True) as connection:
        connection.execute(printed)
    execute(server.url("postgres"), "DROP DATABASE printed")


def test_only_postgresql_has_roles(sqlite_url: str) -> None:
    assert "SQLite has no roles" in refused("db", "roles", url=sqlite_url)
    with pytest.raises(InvalidInput, match="no prefix"):
        roles.statements("x; DROP TABLE genome")


# --- passwords and TLS -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [({}, 0), ({"password": PASSWORD + "!"}, 3), ({"host": "nowhere.invalid"}, 3), ({"port": 1}, 3)],
    ids=["right", "wrong password", "wrong host", "wrong port"],
)
def test_a_password_is_never_printed(site: Site, change: dict[str, object], code: int) -> None:
    url = make_url(site.urls["boss"]).set(**change).render_as_string(hide_password=False)  # type: ignore[arg-type]
    in_query = make_url(url).set(password=None).update_query_dict({"password": make_url(url).password or ""})
    for one in (url, in_query.render_as_string(hide_password=False)):
        for command in (["db", "check"], ["status"], ["doctor"], ["workers", "--json"]):
            result = cli(*command, url=one)
            assert (result.exit_code != 0) == (code != 0), result.output
            assert "s3cret" not in result.output
            assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:/boss:s3cret@w@localhost/site",
        "postgresql://boss:s3cret@w@localhost:port/site",
        "boss:s3cret@localhost/site",
        "mysql://boss:s3cret@localhost/site",
    ],
)
def test_a_malformed_url_is_refused_without_its_password(url: str) -> None:
    assert "s3cret" not in refused("status", url=url, code=3)


def test_processes_keep_the_password_out_of_their_titles_and_logs(
    site: Site, search: Database, tmp_path: Path
) -> None:
    environment = {**os.environ, VARIABLE: site.urls["boss"], "EVOLVER_SURROGATE_SECONDS": "0.2"}
    command = [sys.executable, "-m", "evolver", "run", "search", "--workers", "1", "--device", "cpu"]
    environment["TMPDIR"] = str(tmp_path)  # where the logs of its workers go
    run = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    titles: set[str] = set()
    try:
        deadline = time.monotonic() + 60
        while factories.current(search).ingested < 2:
            assert time.monotonic() < deadline
            me = psutil.Process(run.pid)
            for process in (me, *me.children(recursive=True)):
                titles.add(Path(f"/proc/{process.pid}/cmdline").read_text().replace("\0", " "))
            time.sleep(0.05)
    finally:
        run.terminate()
        output, _ = run.communicate(timeout=60)
    logs = [path.read_text() for path in tmp_path.rglob("*.log")]
    assert len(titles) >= 3
    assert logs
    assert not [seen for seen in (*titles, *logs, output) if "s3cret" in seen]


def test_tls_parameters_of_the_url_reach_the_driver(site: Site) -> None:
    url = f"{site.urls['boss']}?sslmode=require"
    assert "server does not support SSL" in refused("status", url=url, code=3)
    assert json.loads(cli("status", "--json", url=f"{site.urls['boss']}?sslmode=prefer").stdout) == []
