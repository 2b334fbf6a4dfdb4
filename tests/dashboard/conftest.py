"""The dashboard of a test's own database, as an application and as a server that a browser reaches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from starlette.testclient import TestClient

from evolver.dashboard.app import application
from evolver.dashboard.security import Access
from evolver.store.reading import Reader
from tests.dashboard.server import HOST, served


@contextmanager
def opened(url: str, access: Access | None = None) -> Iterator[TestClient]:
    """A client of the dashboard of a database."""
    reader = Reader.open(url)
    asked = application(reader, access or Access.to("127.0.0.1", None))
    with TestClient(asked, base_url=HOST, raise_server_exceptions=False, follow_redirects=False) as made:
        yield made
    reader.dispose()


@pytest.fixture
def pages(database_url: str) -> Iterator[TestClient]:
    """The pages of the test's database: on both kinds."""
    with opened(database_url) as made:
        yield made


@pytest.fixture
def serve() -> Iterator[Callable[[str], str]]:
    """Starts the server of a database; returns its address."""
    with ExitStack() as stack:
        yield lambda url: stack.enter_context(served(url))
