"""What those who run the searches read of a database: its health, and what lies about.

For ``evolver doctor``, ``evolver gc`` and ``evolver db copy``. Some of these reads scan whole tables;
none is part of a search.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, exists, func, literal, or_, select, text

from evolver.evaluation import DatasetRef
from evolver.store import experiments
from evolver.store.experiments import Experiment
from evolver.store.schema import (
    attempt,
    checkpoint,
    evaluation,
    experiment,
    genome,
    leader,
    objective_value,
)
from evolver.store.types import now, now_plus, seconds_between

RECENT_ATTEMPTS = 1000
"""Failures are counted over the last so many attempts that ended."""


# --- schedulers and leases ---------------------------------------------------------------------------


def leaders(connection: Connection) -> dict[str, str]:
    """The scheduler (host:pid) that leads each experiment now, by the experiment's name."""
    query = (
        select(experiment.c.name, leader.c.holder)
        .join(experiment, experiment.c.id == leader.c.experiment_id)
        .where(leader.c.expires_at > now())
        .order_by(experiment.c.id)
    )
    return {name: holder.rsplit(":", 1)[0] for name, holder in connection.execute(query)}


def without_leader(connection: Connection) -> list[str]:
    """The experiments that are running, and that no scheduler leads."""
    led = exists().where(leader.c.experiment_id == experiment.c.id, leader.c.expires_at > now())
    query = select(experiment.c.name).where(experiment.c.state == "running", ~led)
    return list(connection.execute(query.order_by(experiment.c.id)).scalars())


def unnumbered(connection: Connection, older_than_s: float) -> dict[str, int]:
    """How many results of running experiments wait for a scheduler for longer than that, by name."""
    query = (
        select(experiment.c.name, func.count())
        .join(evaluation, evaluation.c.experiment_id == experiment.c.id)
        .where(
            experiment.c.state == "running",
            evaluation.c.state.in_(["done", "failed"]),
            evaluation.c.purpose == "search",
            evaluation.c.ingest_no.is_(None),
            seconds_between(evaluation.c.ended_at, now()) > older_than_s,
        )
        .group_by(experiment.c.name)
    )
    return {row[0]: row[1] for row in connection.execute(query.order_by(experiment.c.name))}


def expired_leases(connection: Connection, older_than_s: float) -> list[int]:
    """The evaluations whose leases ran out longer ago than that, and that nobody took back."""
    query = select(evaluation.c.id).where(
        evaluation.c.state == "running", evaluation.c.lease_expires_at < now_plus(literal(-older_than_s))
    )
    return list(connection.execute(query.order_by(evaluation.c.id)).scalars())


def without_holder(connection: Connection) -> list[int]:
    """The evaluations that are leased, but to no worker, or without an attempt under way."""
    under_way = exists().where(attempt.c.token == evaluation.c.token, attempt.c.outcome == "running")
    query = select(evaluation.c.id).where(
        evaluation.c.state == "running", or_(evaluation.c.worker_id.is_(None), ~under_way)
    )
    return list(connection.execute(query.order_by(evaluation.c.id)).scalars())


# --- rows that do not fit together -------------------------------------------------------------------


def half_deleted(connection: Connection) -> list[str]:
    """The experiments whose deletion is under way, or was interrupted."""
    query = select(experiment.c.name).where(experiment.c.state == "deleting")
    return list(connection.execute(query.order_by(experiment.c.id)).scalars())


def orphans(connection: Connection) -> dict[str, int]:
    """How many rows there are of each kind that evolver never leaves behind; scans the history."""
    its_evaluation = evaluation.alias("its_evaluation")
    held = exists().where(
        its_evaluation.c.id == attempt.c.evaluation_id,
        its_evaluation.c.state == "running",
        its_evaluation.c.token == attempt.c.token,
    )
    searched = exists().where(evaluation.c.genome_id == genome.c.id, evaluation.c.purpose == "search")
    doomed = exists().where(experiment.c.id == genome.c.experiment_id, experiment.c.state == "deleting")
    valued = exists().where(objective_value.c.evaluation_id == evaluation.c.id)
    queries = {
        "open attempts of evaluations that do not run": select(func.count())
        .select_from(attempt)
        .where(attempt.c.outcome == "running", ~held),
        "genomes without an evaluation": select(func.count()).select_from(genome).where(~searched, ~doomed),
        "evaluations that are done but have no values": select(func.count())
        .select_from(evaluation)
        .where(evaluation.c.state == "done", ~valued),
    }
    found = {what: int(connection.execute(query).scalar_one()) for what, query in queries.items()}
    if connection.dialect.name == "sqlite":  # other programs may write to the file without its foreign keys
        broken = connection.execute(text("PRAGMA foreign_key_check")).all()
        found["references to rows that are not there"] = len(broken)
    return {what: number for what, number in found.items() if number}


# --- failures ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Of a host's last attempts: how many there were, and how many went wrong, by kind."""

    host: str
    attempts: int
    faults: dict[str, int]

    @property
    def failed(self) -> int:
        return sum(self.faults.values())


def recent_outcomes(connection: Connection) -> list[Outcomes]:
    """What became of the last ``RECENT_ATTEMPTS`` attempts, host by host."""
    recent = (
        select(attempt.c.host, attempt.c.outcome, attempt.c.failure_kind)
        .where(attempt.c.outcome.not_in(["running", "released"]))
        .order_by(attempt.c.id.desc())
        .limit(RECENT_ATTEMPTS)
        .subquery()
    )
    kind = func.coalesce(recent.c.failure_kind, recent.c.outcome)
    rows = connection.execute(select(recent.c.host, kind, func.count()).group_by(recent.c.host, kind)).all()
    by_host: dict[str, dict[str, int]] = {}
    for host, what, number in rows:
        by_host.setdefault(host, {})[what] = number
    return [
        Outcomes(host, sum(counts.values()), {what: n for what, n in counts.items() if what != "done"})
        for host, counts in sorted(by_host.items())
    ]


# --- data, checkpoints -------------------------------------------------------------------------------


def needed_data(connection: Connection) -> list[tuple[str, str, DatasetRef]]:
    """Experiment, evaluator and data set of every experiment that is not finished; one for each pair."""
    found = experiments.every(connection, ("created", "running", "paused", "stopped"))
    first: dict[tuple[str, int], Experiment] = {}
    for one in found:
        first.setdefault((one.settings.evaluator, one.dataset.id), one)
    return [(one.settings.name, one.settings.evaluator, one.dataset) for one in first.values()]


def useless_checkpoints(connection: Connection) -> list[str]:
    """The keys of resume checkpoints whose evaluations have ended."""
    query = (
        select(checkpoint.c.key)
        .join(evaluation, evaluation.c.id == checkpoint.c.evaluation_id)
        .where(checkpoint.c.kind == "resume", evaluation.c.state.in_(["done", "failed"]))
    )
    return list(connection.execute(query.order_by(checkpoint.c.id)).scalars())


def checkpoint_keys(connection: Connection) -> set[str]:
    """The keys of all checkpoints and weights on record."""
    return set(connection.execute(select(checkpoint.c.key)).scalars())


def open_evaluations(connection: Connection) -> set[int]:
    """The evaluations that are pending or running: their workers may write at any time."""
    query = select(evaluation.c.id).where(evaluation.c.state.in_(["pending", "running"]))
    return set(connection.execute(query).scalars())


# --- the server --------------------------------------------------------------------------------------


def clock(connection: Connection) -> datetime:
    """The database's clock."""
    return connection.execute(select(now())).scalar_one()


def setting(connection: Connection, name: str) -> str:
    """A setting of PostgreSQL, as SHOW prints it."""
    return str(connection.execute(text("SELECT current_setting(:name)"), {"name": name}).scalar_one())


def journal_mode(connection: Connection) -> str:
    """The journal mode of a SQLite file; evolver sets ``wal``."""
    return str(connection.execute(text("PRAGMA journal_mode")).scalar_one())
