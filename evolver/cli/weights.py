"""Where weights lie: the database has keys, relative to the checkpoint URL of the worker that wrote them."""

from __future__ import annotations

from pathlib import Path

from evolver.store.db import Database


def path_of(database: Database, key: str, checkpoint_url: str | None = None) -> str:
    """The absolute path, or the URL, of weights under this checkpoint URL, or the workers' default here."""
    from workers.options import WorkerOptions, checkpoint_base

    base = checkpoint_base(WorkerOptions(checkpoint_url=checkpoint_url), database.url)
    if "://" in base:
        return f"{base.rstrip('/')}/{key}"
    return str(Path(base).resolve() / key)


def found(database: Database, key: str) -> str:
    """The absolute path where these weights are here, else the key, and what it is relative to."""
    path = path_of(database, key)
    return path if Path(path).is_file() else f"{key}, relative to its worker's --checkpoint-url"
