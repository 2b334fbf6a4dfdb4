"""The dashboard of a database as a server, for tests and benchmarks."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from evolver.dashboard.app import application
from evolver.dashboard.security import Access
from evolver.store.reading import Reader

HOST = "http://127.0.0.1"


@contextmanager
def served(url: str) -> Iterator[str]:
    """The dashboard of a database, in a thread; yields its address."""
    reader = Reader.open(url)
    pages = application(reader, Access.to("127.0.0.1", None))
    server = uvicorn.Server(uvicorn.Config(pages, port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"{HOST}:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        reader.dispose()
