"""An experiment as files for data analysis: tidy tables in Parquet or CSV, and its settings in JSON.

Tables are those of ``evolver.store.tables``, a file each, of one consistent state of the database. They are
written in batches, under other names until all of them are whole.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from sqlalchemy import Connection

from evolver.errors import EnvironmentFault, InvalidInput
from evolver.store import experiments
from evolver.store import tables as store
from evolver.store.db import Database
from evolver.store.experiments import Experiment
from evolver.store.tables import Column, Row, TidyTable

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

Format = Literal["parquet", "csv"]
Progress = Callable[[str, int, int], object]
"""Hears of each batch: the table, its rows so far, its rows in all."""

SETTINGS_FILE = "experiment.json"
UNFINISHED = ".partial"


def export(
    database: Database,
    name: str,
    directory: Path,
    format: Format,
    progress: Progress,
    *,
    force: bool = False,
) -> dict[str, int]:
    """Write the tables of an experiment into a directory, which is made; returns their rows.

    Raises UnknownName for the experiment, InvalidInput when a file is there already (unless ``force``) or
    cannot be written, EnvironmentFault for Parquet without pyarrow.
    """
    opened = _parquet_file if format == "parquet" else _csv_file
    if format == "parquet":
        _require_pyarrow()
    with database.read() as connection:
        found = experiments.get(connection, name)
        files = {table: directory / f"{table.name}.{format}" for table in store.TABLES}
        everything = [*files.values(), directory / SETTINGS_FILE]
        if not force:
            _require_absent(everything)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with _finished_together(everything) as partial:
                rows = {
                    table.name: _write(connection, found, table, opened, partial[path], progress)
                    for table, path in files.items()
                }
                partial[directory / SETTINGS_FILE].write_text(_settings(found), encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"cannot write into {directory}: {error.strerror or error}") from error
    return rows


def _require_absent(files: Sequence[Path]) -> None:
    for path in files:
        if path.exists():
            raise InvalidInput(f"{path} exists already; give another --output, or --force to overwrite")


@contextmanager
def _finished_together(files: Sequence[Path]) -> Iterator[dict[Path, Path]]:
    """Where to write each file meanwhile; they get their names at the end, and are gone after an error."""
    partial = {path: path.with_name(path.name + UNFINISHED) for path in files}
    try:
        yield partial
        for path, unfinished in partial.items():
            unfinished.replace(path)
    finally:
        for unfinished in partial.values():
            unfinished.unlink(missing_ok=True)


def _write(
    connection: Connection,
    found: Experiment,
    table: TidyTable,
    opened: Callable[[ExitStack, Path, Sequence[Column]], Callable[[list[Row]], None]],
    path: Path,
    progress: Progress,
) -> int:
    total, done = store.count(connection, found, table), 0
    progress(table.name, done, total)
    with ExitStack() as stack:
        write = opened(stack, path, store.columns(found, table))
        for batch in store.batches(connection, found, table):
            write(batch)
            done += len(batch)
            progress(table.name, done, total)
    return done


def _settings(found: Experiment) -> str:
    """Everything about the experiment but its rows."""
    return json.dumps(asdict(found), indent=2, default=_as_json, ensure_ascii=False) + "\n"


def _as_json(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


# --- CSV ---------------------------------------------------------------------------------------------


def _csv_file(stack: ExitStack, path: Path, columns: Sequence[Column]) -> Callable[[list[Row]], None]:
    """A file with a head; an empty field is NULL, times are ISO 8601 in UTC."""
    file: TextIO = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column.name for column in columns])
    return lambda rows: writer.writerows([_field(value) for value in row] for row in rows)


def _field(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds")
    return _json(value) if isinstance(value, dict | list) else value


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# --- Parquet -----------------------------------------------------------------------------------------


def _require_pyarrow() -> None:
    try:
        import pyarrow.parquet  # type: ignore[import-untyped] # noqa: F401
    except ImportError as error:
        raise EnvironmentFault(
            "Parquet needs pyarrow; run: pip install 'evolver[parquet]', or give --format csv"
        ) from error


def _parquet_file(stack: ExitStack, path: Path, columns: Sequence[Column]) -> Callable[[list[Row]], None]:
    """A file whose row groups are the batches; times are of UTC, JSON is text, parents are lists."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = pa.schema([(column.name, _type(column)) for column in columns])
    writer = stack.enter_context(parquet.ParquetWriter(path, schema, compression="zstd"))

    def write(rows: list[Row]) -> None:
        arrays = [
            pa.array([_cell(column, row[i]) for row in rows], schema.field(i).type)
            for i, column in enumerate(columns)
        ]
        writer.write_batch(pa.record_batch(arrays, schema=schema))

    return write


def _type(column: Column) -> pa.DataType:
    import pyarrow as pa

    types = {
        "integer": pa.int64(),
        "real": pa.float64(),
        "text": pa.string(),
        "json": pa.string(),
        "time": pa.timestamp("us", tz="UTC"),
        "integers": pa.list_(pa.int64()),
    }
    return types[column.kind]


def _cell(column: Column, value: Any) -> Any:
    return _json(value) if column.kind == "json" and value is not None else value
