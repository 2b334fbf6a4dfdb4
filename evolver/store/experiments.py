"""Experiments, data sets and recipes: create, find, change state, delete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from shlex import quote
from typing import Any

from sqlalchemy import Connection, Row, Select, case, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from evolver import constraints
from evolver.constraints import Constraints
from evolver.errors import IllegalTransition, InvalidInput, NotFound, UnknownName
from evolver.evaluation import DatasetRef
from evolver.space import Json, Sample
from evolver.store import leadership, queue, seeds
from evolver.store.schema import dataset, evaluation, experiment, genome, recipe
from evolver.store.seeds import Seed
from evolver.store.states import EXPERIMENT_TRANSITIONS, ExperimentState
from evolver.store.types import now
from evolver.store.wakeups import WORK, announce

REMOVER = "evolver delete:"
"""Who takes the lead of an experiment that is to be deleted."""
REMOVAL_S = 60.0
"""For how long: longer than any transaction that began before."""


@dataclass(frozen=True, slots=True)
class NewDataset:
    """A data set to register: ``sha256`` is None until somebody who holds the data has read them."""

    name: str
    sample: Sample
    train: int
    validation: int
    test: int
    split_seed: int
    sha256: str | None

    def as_ref(self) -> DatasetRef:
        """For a look at the data before they are on record."""
        return DatasetRef(id=0, **{field.name: getattr(self, field.name) for field in fields(self)})


@dataclass(frozen=True, slots=True)
class Settings:
    """What defines an experiment, fixed at its creation (``budget`` alone can be raised).

    ``parents``, ``candidates`` and ``operators`` say how children are bred (``breeding.Practice``);
    ``seed_genomes`` and ``seed_from`` are what the user asked the search to begin with.
    """

    name: str
    limit_train: int | None
    space: str
    space_version: int
    space_settings: Mapping[str, Json]
    recipe: Mapping[str, Json]
    objectives: tuple[str, ...]
    selector: str
    evaluator: str
    population: int
    budget: int
    seed: int
    max_hours: float | None
    patience: int | None
    max_params: int | None
    max_memory_bytes: int | None
    timeout_s: float | None
    max_attempts: int
    front_limit: int
    breeder_version: int
    parents: str = "drawn"
    candidates: int = 1
    operators: str = "fixed"
    constraints: Constraints = ()
    seed_genomes: str | None = None
    seed_from: str | None = None


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment as it stands: its settings, state, and the counters that the scheduler keeps.

    Its first ``seeds`` births are stored genomes. ``born`` genomes, ``ingested`` results of which ``failed``
    are failures; ``front_changed_at`` is the ingest number at which the front last changed, ``active_s`` how
    long schedulers have led it; both are counted anew when a finished search goes on.
    """

    id: int
    settings: Settings
    dataset: DatasetRef
    recipe_id: int
    state: ExperimentState
    state_reason: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    selector_state: Mapping[str, Json]
    operator_credit: Mapping[str, Json]
    seeds: int
    born: int
    ingested: int
    failed: int
    front_changed_at: int
    active_s: float


def sha256_of(data: Json) -> str:
    """The hash of a JSON value, equal for equal values."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def create(
    connection: Connection,
    settings: Settings,
    data: NewDataset,
    selector_state: Mapping[str, Json],
    first: Sequence[Seed] = (),
) -> Experiment:
    """Add an experiment, with the genomes that are born ``first``.

    Raises InvalidInput when its name is taken.
    """
    if taken := find(connection, settings.name):
        require_whole(taken)
    columns = {
        field.name: getattr(settings, field.name) for field in fields(settings) if field.name != "recipe"
    }
    columns["objectives"] = list(settings.objectives)
    columns["constraints"] = [asdict(one) for one in settings.constraints]
    try:
        made = connection.execute(
            insert(experiment)
            .values(
                **columns,
                space_sha256=sha256_of(settings.space_settings),
                dataset_id=ensure_dataset(connection, data),
                recipe_id=recipe_id(connection, settings.recipe),
                selector_state=dict(selector_state),
                operator_credit={},
                seeds=len(first),
            )
            .returning(experiment.c.id)
        )
    except IntegrityError as error:
        # PostgreSQL names the constraint, SQLite the column.
        if any(what in str(error.orig) for what in ("uq_experiment_name", "experiment.name")):
            raise InvalidInput(
                f"an experiment '{settings.name}' exists already; choose another name"
            ) from None
        raise
    seeds.insert_all(connection, made.scalar_one(), first)
    return get(connection, settings.name)


def dataset_id(connection: Connection, data: NewDataset) -> int | None:
    """The row of a data set, if there is one: same name, split and (where known) contents."""
    same = select(dataset.c.id).where(
        dataset.c.name == data.name,
        dataset.c.split_seed == data.split_seed,
        dataset.c.train == data.train,
        dataset.c.validation == data.validation,
        dataset.c.test == data.test,
    )
    if data.sha256 is not None:
        same = same.where(dataset.c.sha256 == data.sha256)
    return connection.execute(same.order_by(dataset.c.id)).scalar()


def ensure_dataset(connection: Connection, data: NewDataset) -> int:
    """The row of a data set, added when there is none."""
    found = dataset_id(connection, data)
    if found is not None:
        return found
    row = insert(dataset).values(
        name=data.name,
        sample=data.sample.to_json(),
        classes=data.sample.classes,
        train=data.train,
        validation=data.validation,
        test=data.test,
        split_seed=data.split_seed,
        sha256=data.sha256,
    )
    return int(connection.execute(row.returning(dataset.c.id)).scalar_one())


def recipe_id(connection: Connection, settings: Mapping[str, Json]) -> int:
    """The row of a recipe, added when there is none with these settings."""
    digest = sha256_of(settings)
    find = select(recipe.c.id).where(recipe.c.sha256 == digest)
    found = connection.execute(find).scalar()
    if found is None:
        try:
            with connection.begin_nested():
                connection.execute(
                    insert(recipe).values(sha256=digest, name=settings["name"], settings=dict(settings))
                )
        except IntegrityError:  # another process has just added it
            pass
        found = connection.execute(find).scalar_one()
    return int(found)


def _query() -> Select[Any]:
    return (
        select(
            experiment,
            recipe.c.settings.label("recipe"),
            dataset.c.name.label("dataset_name"),
            dataset.c.sample,
            dataset.c.train,
            dataset.c.validation,
            dataset.c.test,
            dataset.c.split_seed,
            dataset.c.sha256,
        )
        .join(recipe, recipe.c.id == experiment.c.recipe_id)
        .join(dataset, dataset.c.id == experiment.c.dataset_id)
    )


def get(connection: Connection, name: str) -> Experiment:
    """The experiment of this name. Raises UnknownName."""
    row = connection.execute(_query().where(experiment.c.name == name)).first()
    if row is None:
        known = connection.execute(select(experiment.c.name)).scalars()
        raise UnknownName("experiment", name, known)
    return _experiment(row)


def find(connection: Connection, name: str) -> Experiment | None:
    """The experiment of this name, or None."""
    row = connection.execute(_query().where(experiment.c.name == name)).first()
    return None if row is None else _experiment(row)


def by_id(connection: Connection, experiment_id: int) -> Experiment | None:
    """The experiment of this id, or None when it was deleted."""
    row = connection.execute(_query().where(experiment.c.id == experiment_id)).first()
    return None if row is None else _experiment(row)


def every(connection: Connection, states: Sequence[ExperimentState] = ()) -> list[Experiment]:
    """All experiments, oldest first; with ``states``, only those in one of them."""
    query = _query().order_by(experiment.c.id)
    if states:
        query = query.where(experiment.c.state.in_(list(states)))
    return [_experiment(row) for row in connection.execute(query)]


def listed(connection: Connection, *, first: int, number: int | None) -> list[Experiment]:
    """Experiments ``first`` (from 0) and following, at most ``number``: running ones first, then the
    youngest.
    """
    runs_last = case((experiment.c.state == "running", 0), else_=1)
    query = _query().order_by(runs_last, experiment.c.id.desc()).offset(first).limit(number)
    return [_experiment(row) for row in connection.execute(query)]


def to_lead(connection: Connection) -> list[Experiment]:
    """The experiments that need a scheduler, oldest first: all that have not ended, and those that have
    while results which were under way at their end wait to be taken in. None that is being deleted.
    """
    waiting = select(evaluation.c.experiment_id).where(
        evaluation.c.purpose == "search",
        evaluation.c.state.in_(["done", "failed"]),
        evaluation.c.ingest_no.is_(None),
    )
    query = _query().where(
        experiment.c.state != "deleting",
        or_(experiment.c.state.in_(["created", "running", "paused"]), experiment.c.id.in_(waiting)),
    )
    return [_experiment(row) for row in connection.execute(query.order_by(experiment.c.id))]


def _experiment(row: Row[Any]) -> Experiment:
    own: dict[str, Any] = {
        "name": row.name,
        "recipe": row.recipe,
        "objectives": tuple(row.objectives),
        "constraints": constraints.from_json(row.constraints),
    }
    settings = Settings(
        **own, **{field.name: getattr(row, field.name) for field in fields(Settings) if field.name not in own}
    )
    data = DatasetRef(
        id=row.dataset_id,
        name=row.dataset_name,
        sample=Sample.from_json(row.sample),
        train=row.train,
        validation=row.validation,
        test=row.test,
        split_seed=row.split_seed,
        sha256=row.sha256,
    )
    built: dict[str, Any] = {"settings": settings, "dataset": data}
    return Experiment(
        **built,
        **{field.name: getattr(row, field.name) for field in fields(Experiment) if field.name not in built},
    )


def transition(
    connection: Connection, found: Experiment, to: ExperimentState, reason: str | None = None
) -> None:
    """Bring an experiment into another state. Raises IllegalTransition where there is no such arrow, and
    NotFound when it was deleted since it was read.

    A finished search that goes on has its patience and its hours again: the limit that ended it would
    end it at once.
    """
    allowed = [state for state, targets in EXPERIMENT_TRANSITIONS.items() if to in targets]
    ends = to in ("stopped", "finished", "deleting")
    was_finished = experiment.c.state == "finished"
    changed = connection.execute(
        update(experiment)
        .where(experiment.c.id == found.id, experiment.c.state.in_(allowed))
        .values(
            state=to,
            state_reason=reason,
            started_at=case(
                (experiment.c.started_at.is_(None), now()), else_=experiment.c.started_at
            ) if to == "running" else experiment.c.started_at,
            ended_at=now() if ends else None,
            front_changed_at=case((was_finished, experiment.c.ingested), else_=experiment.c.front_changed_at),
            active_s=case((was_finished, 0.0), else_=experiment.c.active_s),
        )
    )  # fmt: skip
    if changed.rowcount == 0:
        current = by_id(connection, found.id)
        if current is None:
            raise NotFound(f"experiment '{found.settings.name}' was deleted meanwhile")
        require_whole(current)
        raise IllegalTransition(
            f"experiment '{found.settings.name}' is {current.state}; "
            f"only {' or '.join(allowed)} can become {to}"
        )
    if to == "running":
        announce(connection, WORK)  # what was pending can be claimed again


def begin(connection: Connection, experiment_id: int) -> None:
    """created → running, by the scheduler that leads it; any other state stays as it is."""
    connection.execute(
        update(experiment)
        .where(experiment.c.id == experiment_id, experiment.c.state == "created")
        .values(state="running", started_at=now())
    )


def finish(connection: Connection, found: Experiment, reason: str) -> bool:
    """running → finished, unless its state or its budget was changed since ``found`` was read."""
    finished = connection.execute(
        update(experiment)
        .where(
            experiment.c.id == found.id,
            experiment.c.state == "running",
            experiment.c.budget == found.settings.budget,
        )
        .values(state="finished", state_reason=reason, ended_at=now())
    )
    return finished.rowcount == 1


def extend(connection: Connection, found: Experiment, budget: int) -> None:
    """Raise the budget; a finished experiment goes on. Raises InvalidInput when it is not raised, and
    IllegalTransition while the experiment is being deleted.
    """
    require_whole(found)
    state = connection.execute(
        update(experiment)
        .where(experiment.c.id == found.id, experiment.c.budget < budget)
        .values(budget=budget)
        .returning(experiment.c.state)  # a scheduler may have finished it since it was read
    ).scalar()
    if state is None:
        raise InvalidInput(
            f"experiment '{found.settings.name}' has a budget of {found.settings.budget}; "
            f"give --budget a larger number than that (got {budget})"
        )
    if state == "finished":
        transition(connection, found, "running", "extended")


# --- deletion in parts ------------------------------------------------------------------------------


def require_whole(found: Experiment) -> None:
    """Raises IllegalTransition for an experiment of which a part may be gone already."""
    if found.state == "deleting":
        name = found.settings.name
        raise IllegalTransition(
            f"experiment '{name}' is being deleted; end that: evolver delete {quote(name)}"
        )


def begin_removal(connection: Connection, found: Experiment) -> None:
    """Any state → deleting: from here on nobody goes on with it, and repeating the deletion ends it.

    Its scheduler loses the lead, so that no step refers to what is gone, and its workers lose their
    leases. What is open, for whatever purpose, goes at once: there is nothing left to claim.
    """
    leadership.lead(connection, found.id, REMOVER, REMOVAL_S, by_force=True)
    transition(connection, found, "deleting")
    queue.withdraw_open(connection, found.id)


def remove_genomes(connection: Connection, found: Experiment, limit: int) -> int:
    """Delete the last genomes of an experiment with all that belongs to them; returns how many."""
    last = select(genome.c.id).where(genome.c.experiment_id == found.id).order_by(genome.c.birth.desc())
    return connection.execute(delete(genome).where(genome.c.id.in_(last.limit(limit)))).rowcount


def remove(connection: Connection, found: Experiment) -> None:
    """Delete an experiment with everything that still belongs to it."""
    connection.execute(delete(experiment).where(experiment.c.id == found.id))


def count(connection: Connection) -> int:
    """How many experiments there are."""
    return int(connection.execute(select(func.count()).select_from(experiment)).scalar_one())
