"""The dashboard of a test's own database, as an application and as a server that a browser reaches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from starlette.testclient import TestClient

from evolver.dashboard.app import application
from evolver.dashboard.security import Access
from evolver.store.db import Database
from evolver.store.reading import Reader

HOST = "http://127.0.0.1"


@contextmanager
def opened(url: str, access: Access | None = None) -> Iterator[TestClient]:
    """A client of the dashboard of a database."""
    reader = Reader.open(url)
    served = application(reader, access or Access.to("127.0.0.1", None))
    with TestClient(served, base_url=HOST, raise_server_exceptions=False, follow_redirects=False) as made:
        yield made
    reader.dispose()


@pytest.fixture
def pages(database: Database) -> Iterator[TestClient]:
    """The pages of the test's database: on both kinds."""
    with opened(database.url.render_as_string(hide_password=False)) as made:
        yield made


@pytest.fixture
def serve() -> Iterator[Callable[[str], str]]:
    """Starts the server of a database; returns its address."""
    import uvicorn

    with ExitStack() as stack:

        def start(url: str) -> str:
            reader = Reader.open(url)
            stack.callback(reader.dispose)
            served = application(reader, Access.to("127.0.0.1", None))
            server = uvicorn.Server(uvicorn.Config(served, port=0, log_level="error", lifespan="off"))
            thread = threading.Thread(target=server.run)
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, server, "should_exit", True)
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            return f"{HOST}:{server.servers[0].sockets[0].getsockname()[1]}"

        yield start
