"""What a worker is told when it is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import URL

MEMORY_SHARE = 0.9
"""The rest is for what others may want meanwhile, and for the gaps between blocks of memory."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker works, where its data are, and when it leaves. None as a limit: never.

    ``db_url``: None for the environment's, or the default. ``experiments``: names; empty for all.
    ``slots``: evaluations at a time, for each device. ``memory_share``: of a device's memory that is free
    when the worker starts, what its training processes may be given together. ``checkpoint_url``: None
    for a directory beside the database, see ``checkpoint_base``. ``track``: arguments of
    ``workers.tracking.parse``.
    """

    db_url: str | None = None
    experiments: tuple[str, ...] = ()
    device: str = "auto"
    slots: int | Literal["auto"] = 1
    memory_share: float = MEMORY_SHARE
    data_dir: Path = Path("data")
    download: bool = False
    checkpoint_url: str | None = None
    max_evaluations: int | None = None
    idle_timeout_s: float | None = None
    lease_s: float = 60.0
    track: tuple[str, ...] = ()


def checkpoint_base(options: WorkerOptions, database: URL) -> str:
    """Where checkpoints go: as told, else beside the SQLite file, else in this directory.

    Workers that share it can go on with each other's evaluations.
    """
    if options.checkpoint_url:
        return options.checkpoint_url
    if database.get_backend_name() == "sqlite" and database.database:
        return str(Path(database.database).resolve().with_suffix(".checkpoints"))
    return str(Path("evolver-checkpoints").resolve())
