"""What notifications are made of: how a search goes on, read while it runs.

Every function reads what is new or open; none of them counts over a history.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from evolver.store import facts
from evolver.store.experiments import Experiment
from evolver.store.facts import GenomeFact
from evolver.store.schema import evaluation, experiment, membership


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is: ``ingested`` results, of which ``failed`` are failures that were not retried."""

    id: int
    name: str
    state: str
    state_reason: str | None
    budget: int
    ingested: int
    failed: int


def progress(connection: Connection, experiment_ids: Collection[int]) -> list[Progress]:
    """How far these searches are; those that were deleted are left out."""
    columns = [experiment.c[name] for name in Progress.__slots__]
    query = select(*columns).where(experiment.c.id.in_(list(experiment_ids))).order_by(experiment.c.id)
    return [Progress(*row) for row in connection.execute(query)]


def new_in_front(connection: Connection, found: Experiment, since: int) -> list[GenomeFact]:
    """The members of the front that entered it after ingest number ``since`` and are in it now."""
    entered = select(membership.c.genome_id).where(
        membership.c.experiment_id == found.id,
        membership.c.kind == "front",
        membership.c.entered_at > since,
        membership.c.left_at.is_(None),
    )
    ids = set(connection.execute(entered).scalars())
    return [one for one in facts.front_members(connection, found) if one.genome_id in ids] if ids else []


def last_failures(connection: Connection, experiment_id: int, window: int) -> Sequence[str | None]:
    """The kinds of failure of the last results, the newest first; None for a success."""
    query = facts.last_results(experiment_id, window, evaluation.c.failure_kind)
    return connection.execute(query).scalars().all()
