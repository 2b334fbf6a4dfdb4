"""What `evolver status` costs at 100,000 genomes, against what it costs at 100.

Process time (user + system) of the whole command, both sides in turn, on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import common
import history

from evolver.store.db import VARIABLE, Database

SMALL = 100


def process_seconds(database: Database) -> float:
    """User and system time of one `evolver status`."""
    before = os.times()
    subprocess.run(
        [sys.executable, "-m", "evolver", "status", "history"],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, VARIABLE: common.url_of(database)},
        cwd=common.ROOT,
    )
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    args = common.options(__doc__ or "")
    large, runs = (10_000, 7) if args.quick else (100_000, 15)
    headline: dict[str, float] = {}
    details: dict[str, object] = {"genomes": large}
    with common.postgresql() as server, tempfile.TemporaryDirectory() as directory:
        for kind in ("sqlite", "postgresql"):
            make: Callable[[str], Database] = (
                (lambda name: common.new_sqlite(Path(directory), name))
                if kind == "sqlite"
                else (lambda name: common.new_postgresql(server, name))
            )
            sides = []
            for size in (SMALL, large):
                database = make(f"history_{size}")
                history.grow(database, size, epochs=1)
                sides.append((str(size), lambda database=database: process_seconds(database)))
            measured = common.interleaved(runs, sides)
            headline[f"status_ratio_{kind}"] = common.median_of_ratios(
                measured[str(large)], measured[str(SMALL)]
            )
            headline[f"status_s_{kind}"] = statistics.median(measured[str(large)])
            details[kind] = measured
    common.report(args, headline, details)


if __name__ == "__main__":
    main()
