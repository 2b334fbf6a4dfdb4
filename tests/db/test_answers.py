"""A PostgreSQL server that keeps the connection and answers no more: who has leases does not hang."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url, text

from evolver.store.bounded import SHORTEST_CONNECT_S, connect_within
from evolver.store.db import Database, DatabaseUnavailable
from tests.proxy import Proxy


@pytest.fixture
def proxied(postgresql_url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before the server, and the URL through it."""
    given = make_url(postgresql_url)
    home = given.query.get("host")
    target = str(Path(str(home)) / ".s.PGSQL.5432") if home else (given.host or "", given.port or 5432)
    with Proxy(target) as proxy:
        through = given.set(host="127.0.0.1", port=proxy.port, query={})
        yield proxy, through.render_as_string(hide_password=False)


def test_a_silent_server_is_left_in_time_and_found_again(proxied: tuple[Proxy, str]) -> None:
    proxy, url = proxied
    database = Database.open(url, answer_within_s=0.5)
    with database.read() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    proxy.stall()
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="did not answer"), database.write() as connection:
        connection.execute(text("SELECT 1"))
    assert time.monotonic() - began < SHORTEST_CONNECT_S, "a second connection was waited for"
    proxy.go_on()
    with database.read() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    database.dispose()


def test_a_slow_answer_is_waited_for(proxied: tuple[Proxy, str]) -> None:
    proxy, url = proxied
    database = Database.open(url, answer_within_s=20)
    proxy.stall()
    threading.Timer(0.5, proxy.go_on).start()
    with database.write() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    database.dispose()


def test_a_cut_connection_is_replaced_before_it_is_used(proxied: tuple[Proxy, str]) -> None:
    proxy, url = proxied
    database = Database.open(url)
    proxy.cut()
    with database.write() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    database.dispose()


def test_all_hosts_share_the_time_for_connecting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match="timeout expired"):
            connect_within(4, host="127.0.0.1,127.0.0.1", port=f"{port},{port}")
    assert 3 < time.monotonic() - began < 6


def test_of_several_hosts_the_one_that_answers_is_used(proxied: tuple[Proxy, str]) -> None:
    proxy, url = proxied
    with socket.create_server(("127.0.0.1", 0)) as closed:
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
    hosts = make_url(url).set(
        host=None,
        port=None,
        query={"host": [nobody, f"127.0.0.1:{proxy.port}"], "target_session_attrs": "read-write"},
    )
    database = Database.open(hosts.render_as_string(hide_password=False), answer_within_s=20)
    with database.write() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    database.dispose()


@pytest.mark.parametrize(
    ("answer_within_s", "lock", "statement", "idle"),
    [(None, "10s", "15s", "10s"), (60, "10s", "15s", "10s"), (1.25, "1250ms", "1250ms", "1250ms")],
)
def test_the_server_works_on_a_write_no_longer_than_it_is_waited_for(
    postgresql_url: str, answer_within_s: float | None, lock: str, statement: str, idle: str
) -> None:
    database = Database.open(postgresql_url, answer_within_s=answer_within_s)
    names = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    with database.write() as connection:
        found = tuple(connection.execute(text(f"SHOW {name}")).scalar() for name in names)
    assert found == (lock, statement, idle)
    database.dispose()


def test_the_proxy_passes_bytes_both_ways() -> None:
    """What the other tests rely on."""
    server = socket.create_server(("127.0.0.1", 0))
    with server, Proxy(server.getsockname()) as proxy:
        client = socket.create_connection(("127.0.0.1", proxy.port))
        behind, _ = server.accept()
        with client, behind:
            client.sendall(b"there")
            assert behind.recv(5) == b"there"
            behind.sendall(b"back")
            assert client.recv(4) == b"back"
