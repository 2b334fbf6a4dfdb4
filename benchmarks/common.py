"""What all benchmarks share: their options, the machine's description, a PostgreSQL server, the report.

Every script takes ``--quick`` (about a minute: smaller sizes, same method) and ``--json FILE``, whose
key ``headline`` maps the name of each figure to its value.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # for tests.postgres: scripts are run by their path

from sqlalchemy import create_engine, make_url, text  # noqa: E402

from evolver.store import migrate  # noqa: E402
from evolver.store.db import Database, resolve_url  # noqa: E402
from tests.postgres import Server  # noqa: E402


def options(description: str, *, needs_data: bool = False) -> argparse.Namespace:
    """The command line of a benchmark; with ``needs_data``, also where the data sets lie."""
    return option_parser(description, needs_data=needs_data).parse_args()


def option_parser(description: str, *, needs_data: bool = False) -> argparse.ArgumentParser:
    """The parser of ``options``, for a benchmark that has more of them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="about a minute: smaller sizes, same method")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    if needs_data:
        parser.add_argument("--data-dir", type=Path, default=Path("data"), help="where the data sets lie")
    return parser


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor()
    packages = ("evolver", "numpy", "SQLAlchemy", "psycopg", "torch", "moocore", "optuna", "pymoo", "deap")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in packages if _version(name)},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def report(args: argparse.Namespace, headline: Mapping[str, float], details: Mapping[str, Any]) -> None:
    """Print the figures, and write them where ``--json`` says."""
    for name, value in headline.items():
        print(f"{name}: {value:.4g}")
    write(args, headline, details)


def write(args: argparse.Namespace, headline: Mapping[str, float], details: Mapping[str, Any]) -> None:
    """Write the figures where ``--json`` says, if it does."""
    if args.json:
        found = {"headline": dict(headline), "quick": args.quick, "machine": machine(), **details}
        args.json.write_text(json.dumps(found, indent=2) + "\n")


def interleaved(runs: int, sides: Sequence[tuple[str, Callable[[], float]]]) -> dict[str, list[float]]:
    """Measure all sides in turn, so that a drift of the machine's speed meets them alike."""
    measured: dict[str, list[float]] = {name: [] for name, _ in sides}
    for _ in range(runs):
        for name, measure in sides:
            measured[name].append(measure())
    return measured


def median_of_ratios(first: Sequence[float], second: Sequence[float]) -> float:
    """The median of the pairwise ratios of two interleaved series."""
    return statistics.median(a / b for a, b in zip(first, second, strict=True))


@contextmanager
def postgresql(**settings: str) -> Iterator[Server]:
    """A PostgreSQL server of the benchmark's own, durable as it comes (fsync, synchronous_commit)."""
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory), settings=settings)
        server.start()
        try:
            yield server
        finally:
            server.stop()


def new_postgresql(server: Server, name: str) -> Database:
    """A new, migrated database on the server."""
    engine = create_engine(resolve_url(server.url("postgres")), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    database = Database(resolve_url(server.url(name)))
    migrate.upgrade(database)
    return database


def new_sqlite(directory: Path, name: str) -> Database:
    """A new, migrated SQLite file."""
    return Database.open(f"sqlite:///{directory / name}.db", create=True)


def url_of(database: Database) -> str:
    """The URL for a subprocess."""
    return make_url(database.url).render_as_string(hide_password=False)
