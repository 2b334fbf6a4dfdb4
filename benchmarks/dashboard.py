"""What the pages of `evolver dashboard` cost at 100,000 genomes, on SQLite and on PostgreSQL.

The wall time of a request of every view, over HTTP from this machine, the views in turn; and when chromium
paints first on a page that it has not seen before (nothing cached), if there is a chromium.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import common
import history
import httpx
from sqlalchemy import text

from evolver.store.db import Database
from evolver.store.experiments import Experiment
from tests import chromium
from tests.dashboard.server import served

STAYS = 2_000
"""So many results later, a genome of the past leaves the front."""
ENTRY_EVERY = 20
"""Of so many results one enters the front."""


def grow(database: Database, genomes: int, name: str) -> Experiment:
    """A search with that many genomes behind it, and with the history of its front."""
    found = history.grow(database, genomes, name=name)
    with database.write() as connection:
        connection.execute(
            text(
                "INSERT INTO membership (experiment_id, kind, genome_id, entered_at, left_at, reason) "
                "SELECT experiment_id, 'front', genome_id, ingest_no, ingest_no + :stays, 'dominated' "
                "FROM evaluation WHERE experiment_id = :id AND ingest_no % :every = 0 "
                "AND ingest_no <= :last"
            ),
            {"id": found.id, "stays": STAYS, "every": ENTRY_EVERY, "last": genomes - STAYS},
        )
    with database.single() as connection:  # as PostgreSQL does by itself after a while
        connection.exec_driver_sql("ANALYZE")
    return found


def views(found: Experiment, genomes: int) -> dict[str, str]:
    """The address of every view."""
    here, last = f"/experiment/{found.id}", genomes - 1
    return {
        "overview": "/",
        "experiment": here,
        "growth": f"{here}/growth.json?over=hours",
        "front": f"{here}/front",
        "front_chart": f"{here}/front.json",
        "front_then": f"{here}/front.json?at={genomes // 2}",
        "front_3d": f"{here}/front.json?x=error&y=loss&z=params",
        "front_lineage": f"{here}/lineage?depth=10",
        "genome": f"/genome/{last}",
        "curves": f"/genome/{last}/curves.json",
        "lineage": f"/genome/{last}/lineage?depth=50",
        "compare": f"/compare?a={found.id}&b={found.id}",
        "compare_growth": f"/compare/growth.json?a={found.id}&b={found.id}",
        "compare_genomes": f"/compare/genomes?a={last}&b={last - 1}",
    }


def request_ms(client: httpx.Client, address: str) -> float:
    """How long one request takes."""
    began = time.perf_counter()
    answer = client.get(address)
    answer.raise_for_status()
    return 1000 * (time.perf_counter() - began)


def paints_ms(address: str, runs: int) -> list[float]:
    """When a new browser paints the first content of a page, from the start of the navigation."""
    painted = []
    with chromium.chromium() as browser:
        for _ in range(runs):
            context = browser.new_context()
            painted.append(chromium.first_paint_ms(context.new_page(), address))
            context.close()
    return painted


def main() -> None:
    args = common.options(__doc__ or "")
    genomes, runs, paints = (10_000, 5, 3) if args.quick else (100_000, 15, 7)
    headline: dict[str, float] = {}
    details: dict[str, object] = {"genomes": genomes}
    with common.postgresql() as server, tempfile.TemporaryDirectory() as directory:
        makers: dict[str, Callable[[], Database]] = {
            "sqlite": lambda: common.new_sqlite(Path(directory), "history"),
            "postgresql": lambda: common.new_postgresql(server, "history"),
        }
        for kind, make in makers.items():
            database = make()
            found = grow(database, genomes, "history")
            with (
                served(common.url_of(database)) as address,
                httpx.Client(base_url=address, timeout=60) as client,
            ):
                asked = views(found, genomes)
                for path in asked.values():  # the first request of a view reads its template
                    request_ms(client, path)
                sides = [(name, lambda path=path: request_ms(client, path)) for name, path in asked.items()]
                measured = common.interleaved(runs, sides)
                if chromium.EXECUTABLE:
                    paths = {"overview": "/", "front": asked["front"], "genome": asked["genome"]}
                    measured |= {
                        f"paint_{name}": paints_ms(address + path, paints) for name, path in paths.items()
                    }
            database.dispose()
            medians = {name: statistics.median(values) for name, values in measured.items()}
            paint = [value for name, value in medians.items() if name.startswith("paint_")]
            headline[f"slowest_view_ms_{kind}"] = max(medians[name] for name in asked)
            if paint:
                headline[f"first_paint_ms_{kind}"] = max(paint)
            details[kind] = {"median_ms": medians, "measured_ms": measured}
            for name, value in medians.items():
                print(f"{kind} {name}: {value:.0f} ms")
    common.report(args, headline, details)


if __name__ == "__main__":
    main()
