"""Which devices the values of a front were measured on is cheap to ask, however long the history is."""

from __future__ import annotations

from sqlalchemy import text

from evolver.store import facts
from evolver.store.db import Database
from tests.db.test_plans import GENOMES, assert_through_indexes, with_history

MEMBERS = 1_000


def test_the_devices_of_a_large_front_are_found_through_indexes(database: Database) -> None:
    with_history(database, GENOMES)
    with database.write() as connection:
        connection.execute(
            text(
                "INSERT INTO membership (experiment_id, kind, genome_id, entered_at) "
                "SELECT experiment_id, 'front', genome_id, id FROM evaluation "
                f"WHERE ingest_no % 10 = 5 ORDER BY id LIMIT {MEMBERS}"
            )
        )
    if not database.is_sqlite:
        with database.single() as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")
    assert_through_indexes(database, {"mixed devices": facts.mixed_devices})
