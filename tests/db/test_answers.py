"""A PostgreSQL server that keeps the connection and answers no more: who has leases does not hang."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

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
    with (
        pytest.raises(DatabaseUnavailable, match=r"did not answer|timeout expired"),
        database.write() as connection,
    ):
        connection.execute(text("SELECT 1"))
    assert time.monotonic() - began < 10
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
