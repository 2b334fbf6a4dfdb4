"""What a database and its checkpoint directory no longer need.

``sweep`` removes, or with ``dry_run`` counts:

- resume checkpoints of evaluations that have ended, files and rows;
- files that no row knows, when they are older than a day: what a killed process left half-written
  (``.partial``), what could not be read (``.bad``), what belongs to a deleted experiment;
- directories that this leaves empty;
- the rows of workers that are gone for long.

Weights are never removed. Those that no row knows are counted: they are of a deleted experiment, or of
another database that keeps its checkpoints in the same place.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from evolver.store import fleet, leases, operations
from evolver.store.db import Database

LEFTOVER_AGE_S = 24 * 3600.0
"""A file is written before its row is: one without a row is a leftover only when it is older than this."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file below the checkpoint base: its path from there, its size, and its age in seconds."""

    name: str
    bytes: int
    age_s: float

    @property
    def is_weights(self) -> bool:
        return self.name.endswith("/weights.safetensors")


class CheckpointFiles(Protocol):
    """The files of checkpoints, as ``workers.checkpoint_files`` has them. Others there are not touched.

    All methods raise EnvironmentFault when the place cannot be used.
    """

    def files(self) -> list[StoredFile]:
        """All files that are checkpoints, weights, or leftovers of either."""
        ...

    def directories(self) -> list[str]:
        """The directories of evaluations and their attempts, deepest first: ``17/TOKEN``, ``17``."""
        ...

    def delete(self, name: str) -> None:
        """Delete a file; one that is not there is fine."""
        ...

    def delete_empty(self, directories: Iterable[str]) -> int:
        """Delete those of these directories that are empty; returns how many."""
        ...


@dataclass(frozen=True, slots=True)
class Freed:
    """What was removed, or would be. ``kept_weights``: weights that no row knows."""

    checkpoints: int
    leftovers: int
    bytes: int
    directories: int
    workers: int
    kept_weights: int
    kept_weights_bytes: int


def sweep(database: Database, store: CheckpointFiles, *, workers_older_than_s: float, dry_run: bool) -> Freed:
    """Remove what is no longer needed. Raises EnvironmentFault when a file cannot be deleted.

    Searches may go on meanwhile: the files are listed before the rows are read, so that what is written
    in between is not seen.
    """
    files, directories = store.files(), store.directories()
    with database.read() as connection:
        useless = operations.useless_checkpoints(connection)
        known = operations.checkpoint_keys(connection)
        in_use = operations.open_evaluations(connection)
        workers = fleet.long_gone(connection, workers_older_than_s)
    unknown = [file for file in files if file.name not in known]
    leftovers = [file for file in unknown if file.age_s > LEFTOVER_AGE_S and not file.is_weights]
    kept = [file for file in unknown if file.is_weights]
    removed = {*useless, *(file.name for file in leftovers)}
    remaining = [file.name for file in files if file.name not in removed]
    empty = _empty(directories, remaining, in_use)
    if not dry_run:
        for name in sorted(removed):
            store.delete(name)
        with database.write() as connection:
            leases.forget_checkpoints(connection, useless)
            workers = fleet.forget(connection, workers_older_than_s)
        store.delete_empty(empty)
    return Freed(
        checkpoints=len(useless),
        leftovers=len(leftovers),
        bytes=sum(file.bytes for file in files if file.name in removed),
        directories=len(empty),
        workers=workers,
        kept_weights=len(kept),
        kept_weights_bytes=sum(file.bytes for file in kept),
    )


def _empty(directories: Sequence[str], remaining: Sequence[str], in_use: Collection[int]) -> list[str]:
    """The directories that hold no file. Those of open evaluations stay: a worker may have just made one."""
    needed = {parent for name in remaining for parent in (name.split("/")[0], name.rpartition("/")[0])}
    return [one for one in directories if one not in needed and int(one.split("/")[0]) not in in_use]
