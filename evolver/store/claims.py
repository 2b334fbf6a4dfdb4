"""Claims: a worker registers, sees what there is to do, and leases one evaluation.

``claim`` leases one pending evaluation to a worker under a fresh token, until a time on the database's
clock. What follows under that lease is in ``leases.py``.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    and_,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from evolver.evaluation import DatasetRef, Origin, Resume, Task, Weights
from evolver.space import Sample
from evolver.store import single
from evolver.store.leases import Lease
from evolver.store.schema import (
    attempt,
    checkpoint,
    dataset,
    epoch_metric,
    evaluation,
    experiment,
    genome,
    recipe,
    worker,
)
from evolver.store.types import now, now_plus

FAULT_PAUSE_S = 300.0
"""How long an evaluation is left to others after a fault of this worker's host: the fault may pass, and
there may be no other worker."""


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker as it registers: ``slots`` is how many evaluations it runs at a time."""

    host: str
    pid: int
    device: str
    slots: int
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Claim:
    """A leased evaluation: ``attempt`` counts its tries from 1.

    ``trained_s``: how long the epochs took that are in the checkpoint to resume from, as the time-out is that
    of a training, however often it was interrupted.
    """

    lease: Lease
    task: Task
    experiment_id: int
    experiment: str
    attempt: int
    trained_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Offer:
    """An experiment that may have work, and what a worker needs for it.

    ``objectives`` are those that must be measured: none where only retrainings are to be done.
    """

    experiment_id: int
    experiment: str
    evaluator: str
    dataset: DatasetRef
    limit_train: int | None
    objectives: tuple[str, ...] = ()


# --- workers -----------------------------------------------------------------------------------------


def register_worker(connection: Connection, info: WorkerInfo, *, lease_s: float = 60.0) -> int:
    """Add a worker's row; returns its id."""
    values = {
        "host": info.host,
        "pid": info.pid,
        "device": info.device,
        "slots": info.slots,
        "versions": dict(info.versions),
        "expires_at": now_plus(literal(lease_s)),
    }
    return int(connection.execute(insert(worker).values(values).returning(worker.c.id)).scalar_one())


def worker_state(connection: Connection, worker_id: int, state: str, note: str | None = None) -> None:
    """Record what a worker does now (``states.WORKER_STATES``), with a note for people."""
    connection.execute(
        update(worker).where(worker.c.id == worker_id).values(state=state, note=note, heartbeat_at=now())
    )


# --- claiming ----------------------------------------------------------------------------------------

_IS_OPEN = or_(experiment.c.state == "running", evaluation.c.purpose != "search")
_IS_CLAIMABLE = and_(evaluation.c.state == "pending", evaluation.c.waits_for.is_(None))


def offers(connection: Connection, names: Sequence[str] = ()) -> list[Offer]:
    """The experiments that may have work: running ones, and those with other than search work waiting.

    With ``names``, only those. A search on one data set and its transfer to another are two offers, and
    that of the search comes first: a transfer takes what workers the search leaves.
    """
    waiting = (
        select(evaluation.c.experiment_id, evaluation.c.dataset_id)
        .join(experiment, experiment.c.id == evaluation.c.experiment_id)
        .where(_IS_CLAIMABLE, _IS_OPEN)
        .distinct()
    )
    running = select(experiment.c.id, experiment.c.dataset_id).where(experiment.c.state == "running")
    both = waiting.union(running).subquery()
    query = (
        select(
            experiment.c.id.label("experiment_id"),
            experiment.c.name.label("experiment"),
            experiment.c.evaluator,
            experiment.c.limit_train,
            experiment.c.objectives,
            and_(experiment.c.state == "running", dataset.c.id == experiment.c.dataset_id).label("searches"),
            dataset,
        )
        .join(both, both.c.experiment_id == experiment.c.id)
        .join(dataset, dataset.c.id == both.c.dataset_id)
        .order_by(experiment.c.id, dataset.c.id != experiment.c.dataset_id, dataset.c.id)
    )
    if names:
        query = query.where(experiment.c.name.in_(list(names)))
    return [
        Offer(
            row.experiment_id,
            row.experiment,
            row.evaluator,
            dataset_ref(row),
            row.limit_train,
            tuple(row.objectives) if row.searches else (),
        )
        for row in connection.execute(query)
    ]


def register_dataset(connection: Connection, dataset_id: int, sha256: str) -> str:
    """Store a data set's hash unless one is stored; returns the stored one."""
    connection.execute(
        update(dataset).where(dataset.c.id == dataset_id, dataset.c.sha256.is_(None)).values(sha256=sha256)
    )
    return str(connection.execute(select(dataset.c.sha256).where(dataset.c.id == dataset_id)).scalar_one())


def new_token() -> str:
    """What a claim may be made under: nobody else has it."""
    return secrets.token_hex(16)


def claim(
    connection: Connection,
    worker_id: int,
    *,
    token: str | None = None,
    slot: int,
    device: str,
    device_name: str,
    versions: Mapping[str, str],
    lease_s: float,
    offers: Sequence[Offer],
    after: int | None = None,
) -> Claim | None:
    """Lease the best pending evaluation of these offers, or None when there is none.

    Experiments take turns: the first one after the experiment ``after``, of which this worker claimed
    last. Within one, higher priority first, then older. An evaluation that met a fault of this
    worker's host is left to others for ``FAULT_PAUSE_S``. A worker whose row is gone gets nothing. Who gives
    a ``token`` can hand back what it got when the answer is lost (``leases.release_tokens``).
    """
    token = token or new_token()
    # The sort is stable: within both halves, the order is that of the ids.
    in_turn = sorted(offers, key=lambda offer: offer.experiment_id <= (after or 0))
    if connection.dialect.name == "postgresql":
        row = single.claim(
            connection,
            token=token,
            experiments=[offer.experiment_id for offer in in_turn],
            datasets=[offer.dataset.id for offer in in_turn],
            versions=versions,
            worker_id=worker_id,
            slot=slot,
            device=device,
            device_name=device_name,
            lease_s=lease_s,
            fault_pause_s=FAULT_PAUSE_S,
        )
        return None if row is None else _claim_of(connection, row, token, row.resume_key and _resume(row))
    host = connection.execute(select(worker.c.host).where(worker.c.id == worker_id)).scalar()
    chosen = _next_claimable(connection, worker_id, in_turn)
    if host is None or chosen is None:
        return None
    claimed = connection.execute(
        update(evaluation)
        .where(evaluation.c.id == chosen, evaluation.c.state == "pending")
        .values(
            state="running",
            worker_id=worker_id,
            token=token,
            lease_expires_at=now_plus(literal(lease_s)),
            attempts=evaluation.c.attempts + 1,
        )
        .returning(evaluation.c.attempts)
    ).scalar()
    if claimed is None:
        return None
    connection.execute(
        insert(attempt).values(
            evaluation_id=chosen,
            number=claimed,
            worker_id=worker_id,
            host=host,
            slot=slot,
            token=token,
            device=device,
            device_name=device_name,
            versions=dict(versions),
        )
    )
    return _claim_of(connection, _task_row(connection, chosen), token, _last_checkpoint(connection, chosen))


def _next_claimable(connection: Connection, worker_id: int, offers: Sequence[Offer]) -> int | None:
    """The evaluation that this worker is to claim next: of the first of these offers that has one."""
    faulted_here = exists().where(
        attempt.c.evaluation_id == evaluation.c.id,
        attempt.c.worker_id == worker_id,
        attempt.c.outcome == "environment",
        attempt.c.ended_at > now_plus(literal(-FAULT_PAUSE_S)),
    )
    for offer in offers:
        query = (
            select(evaluation.c.id)
            .join(experiment, experiment.c.id == evaluation.c.experiment_id)
            .where(
                evaluation.c.experiment_id == offer.experiment_id,
                evaluation.c.dataset_id == offer.dataset.id,
                _IS_CLAIMABLE,
                _IS_OPEN,
                ~faulted_here,
            )
            .order_by(evaluation.c.priority.desc(), evaluation.c.id)
            .limit(1)
        )
        found = connection.execute(query).scalar()
        if found is not None:
            return int(found)
    return None


def _task_row(connection: Connection, evaluation_id: int) -> Any:
    """What the task of a claimed evaluation is made of; the names are those of ``single.CLAIM``."""
    query = (
        select(
            evaluation.c.id.label("evaluation_id"),
            evaluation.c.genome_id,
            evaluation.c.purpose,
            evaluation.c.rung,
            evaluation.c.seed_no,
            evaluation.c.attempts,
            experiment.c.id.label("experiment_id"),
            experiment.c.name.label("experiment"),
            experiment.c.evaluator,
            experiment.c.space,
            experiment.c.space_settings,
            experiment.c.limit_train,
            experiment.c.objectives,
            experiment.c.seed,
            experiment.c.timeout_s,
            genome.c.birth,
            genome.c.code,
            recipe.c.settings.label("recipe"),
            dataset,
        )
        .join(experiment, experiment.c.id == evaluation.c.experiment_id)
        .join(genome, genome.c.id == evaluation.c.genome_id)
        .join(recipe, recipe.c.id == evaluation.c.recipe_id)
        .join(dataset, dataset.c.id == evaluation.c.dataset_id)
        .where(evaluation.c.id == evaluation_id)
    )
    return connection.execute(query).one()


def _claim_of(connection: Connection, row: Any, token: str, resume: Resume | None) -> Claim:
    is_transfer = row.purpose == "transfer"
    task = Task(
        evaluation_id=row.evaluation_id,
        genome_id=row.genome_id,
        token=token,
        purpose=row.purpose,
        rung=row.rung,
        evaluator=row.evaluator,
        space=row.space,
        space_settings=row.space_settings,
        code=row.code,
        dataset=dataset_ref(row),
        limit_train=None if is_transfer else row.limit_train,  # it is of the search's own data
        recipe=row.recipe,
        objectives=tuple(row.objectives),
        seed=training_seed(row.seed, row.birth, row.seed_no),
        timeout_s=row.timeout_s if row.purpose in ("search", "repeat") else None,
        resume=resume,
        origin=_origin(connection, row.evaluation_id) if is_transfer else None,
    )
    trained_s = _trained_s(connection, task) if task.timeout_s and resume else 0.0
    lease = Lease(row.evaluation_id, token)
    return Claim(lease, task, row.experiment_id, row.experiment, row.attempts, trained_s)


def _trained_s(connection: Connection, task: Task) -> float:
    assert task.resume is not None
    epochs = (epoch_metric.c.evaluation_id == task.evaluation_id, epoch_metric.c.epoch <= task.resume.epoch)
    return float(connection.execute(select(func.sum(epoch_metric.c.seconds)).where(*epochs)).scalar() or 0.0)


def _resume(row: Any) -> Resume:
    return Resume(row.resume_key, row.resume_sha256, row.resume_epoch)


def _origin(connection: Connection, evaluation_id: int) -> Origin:
    """Where the genome of a transfer comes from. Read apart: few claims are of transfers."""
    kept = and_(checkpoint.c.evaluation_id == evaluation.c.init_from, checkpoint.c.kind == "weights")
    query = (
        select(dataset.c.sample, evaluation.c.init_from, checkpoint.c.key, checkpoint.c.sha256)
        .select_from(evaluation)
        .join(experiment, experiment.c.id == evaluation.c.experiment_id)
        .join(dataset, dataset.c.id == experiment.c.dataset_id)
        .join(checkpoint, kept, isouter=True)
        .where(evaluation.c.id == evaluation_id)
        .order_by(checkpoint.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).one()
    # Without the row of its file, the evaluator must say so, and not train from scratch.
    weights = Weights(row.init_from, row.key or "", row.sha256 or "") if row.init_from else None
    return Origin(Sample.from_json(row.sample), weights)


def training_seed(seed: int, birth: int, seed_no: int) -> int:
    """The seed (32 bits) of one training, fixed by experiment, genome and repetition."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{birth}:{seed_no}".encode()).digest()[:4])


def dataset_ref(row: Any) -> DatasetRef:
    """The data set of a row that has all columns of its table."""
    return DatasetRef(
        id=row.id,
        name=row.name,
        sample=Sample.from_json(row.sample),
        train=row.train,
        validation=row.validation,
        test=row.test,
        split_seed=row.split_seed,
        sha256=row.sha256,
    )


def _last_checkpoint(connection: Connection, evaluation_id: int) -> Resume | None:
    row = connection.execute(
        select(checkpoint.c.key, checkpoint.c.sha256, checkpoint.c.epoch)
        .where(checkpoint.c.evaluation_id == evaluation_id, checkpoint.c.kind == "resume")
        .order_by(checkpoint.c.id.desc())
        .limit(1)
    ).first()
    return Resume(row.key, row.sha256, row.epoch) if row else None
