"""Everything of one database into another, empty one, of either kind.

Ids are kept, so that lineages, keys of checkpoints and people's notes stay true. The copy is one
consistent state of the source, written in one transaction. What was running there is pending here:
its workers report to the source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, func, insert, select, text

from evolver.errors import DatabaseError, InvalidInput
from evolver.store import fleet, operations, queue
from evolver.store.db import Database
from evolver.store.schema import leader, metadata, worker

CHUNK = 1000
"""Rows in memory, and in one INSERT."""

Progress = Callable[[str, int, int], object]
"""Hears of each chunk: the table, its rows so far, its rows in all."""


@dataclass(frozen=True, slots=True)
class Copied:
    """How many rows of each table were copied, and how many evaluations went back to the queue."""

    rows: dict[str, int]
    handed_back: int


def require_idle(source: Connection) -> None:
    """Raises InvalidInput when schedulers or workers are at it: what they write later would be missing."""
    leading = operations.leaders(source)
    working = fleet.live(source)
    if leading or working:
        named = [f"scheduler {holder} ({name})" for name, holder in leading.items()]
        named += [f"worker {one.name}" for one in working]
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        raise InvalidInput(
            f"the source is in use by {', '.join(named[:3])}{more}: what they write after the copy would "
            "be missing in it; end them first, or copy the state of this moment with --force"
        )


def copy(source: Database, target: Database, progress: Progress, *, force: bool = False) -> Copied:
    """Copy all rows but those of leaders.

    Raises InvalidInput when the target is not empty, or, without ``force``, when the source is in use;
    DatabaseError when the rows do not arrive in full. Nothing is written then.
    """
    with source.read() as reading, target.long_write() as writing:
        if not force:
            require_idle(reading)
        _require_empty(writing, str(target))
        rows = {table.name: _copy_table(reading, writing, table, progress) for table in _tables()}
        handed_back = queue.hand_back_all(writing)
        if not target.is_sqlite:
            _set_sequences(writing)
        _verify(writing, rows)
    return Copied(rows, handed_back)


def _tables() -> Iterator[Table]:
    """All tables that are copied, parents before their children."""
    return (table for table in metadata.sorted_tables if table is not leader)


def _require_empty(target: Connection, name: str) -> None:
    for table in _tables():
        if count := _count(target, table):
            raise InvalidInput(
                f"{name} is not empty (its table {table.name} has {count} rows); copy into a new database"
            )


def _copy_table(source: Connection, target: Connection, table: Table, progress: Progress) -> int:
    """Copy a table in the order of its key: a row that refers to its own table refers to an older row."""
    total, done = _count(source, table), 0
    query = select(table).order_by(*table.primary_key.columns)
    for chunk in source.execute(query, execution_options={"yield_per": CHUNK}).mappings().partitions():
        target.execute(insert(table), [_arriving(table, dict(row)) for row in chunk])
        done += len(chunk)
        progress(table.name, done, total)
    if done != total:
        raise DatabaseError(f"{done} of {total} rows of {table.name} were read; nothing was copied")
    return done


def _arriving(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """A worker that is alive is so in the source alone."""
    if table is worker and row["state"] in ("active", "draining"):
        return {**row, "state": "stopped"}
    return row


def _set_sequences(target: Connection) -> None:
    """The next ids follow those that were copied; SQLite does so by itself."""
    for table in _tables():
        if "id" in table.columns:
            target.execute(
                text(
                    f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), max(id)) "
                    f"FROM {table.name} HAVING max(id) IS NOT NULL"
                )
            )


def _verify(target: Connection, rows: dict[str, int]) -> None:
    for table in _tables():
        if (arrived := _count(target, table)) != rows[table.name]:
            raise DatabaseError(
                f"{arrived} of {rows[table.name]} rows of {table.name} arrived; nothing was copied"
            )


def _count(connection: Connection, table: Table) -> int:
    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())
