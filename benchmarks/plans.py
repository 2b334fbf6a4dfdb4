"""The query plans of what a search does often, at a long history: written to docs/query-plans.md.

The statements are recorded while the functions of the store run, and explained in a second transaction
with ANALYZE and BUFFERS on PostgreSQL. Buffers that are read say what a statement costs at this history;
a test (tests/db/test_plans.py) refuses plans that pass over a large table.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import common
import coordination
import history
from sqlalchemy import Connection, text

from evolver.store import claims, facts, leases, queue, steps
from evolver.store.claims import WorkerInfo
from evolver.store.experiments import Experiment
from evolver.store.leases import Lease
from tests.db.test_plans import recorded

OBJECTIVES = ("error", "loss")
COMPLETED = 8
"""Results that the scheduler has not seen yet."""
OUTPUT = Path(common.ROOT) / "docs" / "query-plans.md"


def claim(connection: Connection, found: Experiment) -> None:
    claims.claim(connection, 1, slot=0, device="cpu", device_name="cpu", versions={}, lease_s=60,
                 offers=claims.offers(connection))  # fmt: skip


def complete(connection: Connection, _found: Experiment) -> None:
    running = text("SELECT id, token FROM evaluation WHERE state = 'running' LIMIT 1")
    row = connection.execute(running).one()
    values = {"error": 0.5, "loss": 0.5, "params": 1.0, "flops": 1.0}
    leases.complete(connection, Lease(row.id, row.token), values, epochs=coordination.EPOCHS)


USES: dict[str, Any] = {
    "Claim": claim,
    "Completion": complete,
    "Results since the last step": lambda c, found: steps.newly_ended(c, found.id, OBJECTIVES, 256),
    "Depth of the queue": lambda c, found: queue.depth(c, found.id),
    "Phenotypes that were born before": lambda c, found: steps.first_births(
        c, found.id, [f"{i:064x}" for i in range(5)]
    ),
    "Population": lambda c, found: steps.members(c, found.id, "population", OBJECTIVES),
    "Status": facts.status,
    "Front": facts.front_members,
}


def main() -> None:
    args = common.options(__doc__ or "")
    genomes = 10_000 if args.quick else 1_000_000
    pages: dict[str, float] = {}
    lines = [
        "# Query plans",
        "",
        f"PostgreSQL 16, a search with {genomes:,} genomes behind it. A statement is what the store sends;",
        "`buffers` are the pages of 8 KiB that it touched. Written by `python benchmarks/plans.py`.",
    ]
    with common.postgresql() as server:
        database = common.new_postgresql(server, "plans")
        found = history.grow(database, genomes, epochs=1)
        with database.write() as connection:  # so many slots need a queue that is not empty at the end
            slots = 4 * (COMPLETED + 4)
            claims.register_worker(connection, WorkerInfo("bench", 1, "cpu", slots, {}), lease_s=600)
        coordination.fill_queue(database)
        evaluations = coordination.Evaluations(database)
        for _ in range(COMPLETED):
            evaluations.one()
        with database.write() as connection:
            claim(connection, found)
        for name, use in USES.items():
            use_twice = _explained(database, use, found)
            pages[name] = sum(number for _, _, number in use_twice)
            lines += ["", f"## {name}"]
            for sql, plan, number in use_twice:
                lines += ["", f"{number} buffers", "```sql", sql, "```", "```", plan, "```"]
    if not args.quick:
        OUTPUT.write_text("\n".join(lines) + "\n")
        print(f"wrote {OUTPUT}")
    common.report(
        args,
        {f"buffers_{name.split()[0].lower()}": value for name, value in pages.items()},
        {"genomes": genomes},
    )


def _explained(database: Any, use: Any, found: Experiment) -> list[tuple[str, str, int]]:
    """Statement, plan and buffers of each statement of one use; run once before, so that caches are warm."""
    with database.write() as connection, recorded(connection) as statements:
        use(connection, found)
        connection.rollback()
    plans = []
    with database.write() as connection:
        for sql, parameters in list(statements):  # explaining with ANALYZE carries it out, as before
            rows = connection.exec_driver_sql(
                f"EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF) {sql}", parameters
            )
            plan = [row[0] for row in rows]
            first = next((line for line in plan if "Buffers: shared" in line), "")
            number = sum(int(n) for n in re.findall(r"(?:hit|read)=(\d+)", first))
            plans.append((textwrap.dedent(sql).strip(), "\n".join(line[:150] for line in plan), number))
        connection.rollback()
    return plans


if __name__ == "__main__":
    main()
