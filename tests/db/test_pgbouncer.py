"""Behind PgBouncer in transaction mode: a search, its workers, and wake-ups around the pooler."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import make_url

from evolver.replay import replay
from evolver.store.db import Database
from evolver.store.wakeups import DIRECT_VARIABLE, WORK, Wakeups
from tests import factories
from tests.acceptance.processes import farm, wait_until

PROGRAM = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no pgbouncer here: apt-get install pgbouncer")


@pytest.fixture
def pooled_url(postgresql_url: str, tmp_path: Path) -> Iterator[str]:
    """The same database, through a pooler with two server connections in transaction mode."""
    given = make_url(postgresql_url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    behind = f"host={given.query.get('host') or given.host} port={given.port or 5432}"
    home = tmp_path / "pgbouncer"
    home.mkdir()
    (home / "users.txt").write_text(f'"{given.username}" "{given.password or ""}"\n')
    (home / "pgbouncer.ini").write_text(
        f"[databases]\n{given.database} = {behind} dbname={given.database}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {home}/users.txt\npool_mode = transaction\ndefault_pool_size = 2\n"
        f"ignore_startup_parameters = extra_float_digits\nlogfile = {home}/log\n"
    )
    user = None
    if os.geteuid() == 0:  # it refuses to run as root
        user = "nobody"
        owner = pwd.getpwnam(user)
        for path in (home, *home.iterdir()):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        for parent in home.parents:
            with suppress(PermissionError):
                parent.chmod(parent.stat().st_mode | 0o011)
    assert PROGRAM is not None
    process = subprocess.Popen(
        [PROGRAM, "-q", str(home / "pgbouncer.ini")], user=user, stdin=subprocess.DEVNULL
    )
    wait_until(lambda: _listens(port), what="pgbouncer")
    through = given.set(host="127.0.0.1", port=port, query={})
    yield through.render_as_string(hide_password=False)
    process.terminate()
    process.wait(10)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.fixture(autouse=True)
def _direct(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DIRECT_VARIABLE, postgresql_url)


def test_a_search_through_the_pooler(pooled_url: str) -> None:
    databases = [Database.open(pooled_url) for _ in range(2)]
    found = factories.finished(databases[0], budget=30, population=6)
    assert found.ingested == 30
    assert replay(databases[1], "search").is_clean
    for database in databases:
        database.dispose()


def test_workers_and_schedulers_through_the_pooler(pooled_url: str, tmp_path: Path) -> None:
    database = Database.open(pooled_url)
    factories.created(database, budget=24, population=4)
    with farm(pooled_url, tmp_path, seconds="0") as processes:
        processes.scheduler()
        workers = [processes.worker("--slots", "2", "--idle-timeout", "2", lease_s=30) for _ in range(2)]
        wait_until(lambda: factories.current(database).state == "finished", what="the end of the search")
        wait_until(lambda: not any(one.is_alive for one in workers), what="the workers' leave")
        assert {one.popen.returncode for one in workers} == {0}
        assert "prepared statement" not in processes.logs()
    assert replay(database, "search").is_clean
    database.dispose()


def test_wake_ups_go_around_the_pooler(pooled_url: str) -> None:
    database = Database.open(pooled_url)
    work = Wakeups(database.engine, WORK)
    work.take()
    factories.running(database)
    assert work.wait(20)
    database.dispose()
