"""An experiment as tidy tables, in batches: what data analysis reads.

Each table stands in ``TABLES`` with its columns and their kinds. A batch is a few thousand rows, so that the
memory does not grow with the experiment; a table is one statement (genomes: two more for each batch).

columns  the columns of a table.
count    how many rows it has.
batches  its rows.
span     the least and the greatest value of a column of the genomes.
curves   a value of the epochs of some evaluations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import JSON, ColumnElement, Connection, Float, Integer, Select, and_, func, select

from evolver.store.experiments import Experiment
from evolver.store.queue import was_retried
from evolver.store.schema import (
    attempt,
    dataset,
    epoch_metric,
    evaluation,
    genome,
    membership,
    objective_value,
    parentage,
    recipe,
)
from evolver.store.types import Timestamp

BATCH = 2000
"""Rows in memory."""

Kind = Literal["integer", "real", "text", "time", "json", "integers"]
KINDS: Mapping[type, Kind] = {Integer: "integer", Float: "real", Timestamp: "time", JSON: "json"}
"""Those of the types in the schema."""
Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """A column; ``json`` is any JSON value, ``integers`` a list of them, ``time`` an aware datetime."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True, eq=False)
class TidyTable:
    """One table: ``query`` reads all experiments, ``owner`` is its column that tells which one a row is of.

    Of genomes, ``query`` is but a part: parents and objectives are read beside it.
    """

    name: str
    query: Select[Any]
    owner: ColumnElement[int]


def columns(found: Experiment, table: TidyTable) -> tuple[Column, ...]:
    """The columns of a table of this experiment. What has no other kind is text."""
    own = tuple(Column(name, _kind(one)) for name, one in table.query.selected_columns.items())
    if table is not GENOMES:
        return own
    objectives = (Column(objective_column(name), "real") for name in found.settings.objectives)
    return (*own, Column("parents", "integers"), *objectives)


def _kind(column: ColumnElement[Any]) -> Kind:
    return next((kind for type_, kind in KINDS.items() if isinstance(column.type, type_)), "text")


def count(connection: Connection, found: Experiment, table: TidyTable) -> int:
    """How many rows a table of this experiment has."""
    counted = table.query.with_only_columns(func.count(), maintain_column_froms=True).order_by(None)
    return int(connection.execute(counted.where(table.owner == found.id)).scalar_one())


def batches(connection: Connection, found: Experiment, table: TidyTable) -> Iterator[list[Row]]:
    """The rows of a table of this experiment, in the order of its key."""
    own = table.query.where(table.owner == found.id)
    for batch in connection.execute(own, execution_options={"yield_per": BATCH}).partitions():
        rows = [tuple(row) for row in batch]
        yield _with_parents_and_values(connection, found, rows) if table is GENOMES else rows


def span(connection: Connection, found: Experiment, name: str) -> tuple[int, int]:
    """The least and the greatest value of a column of the experiment's genomes; 0 and 0 without any."""
    column = genome.c[name]
    query = select(func.min(column), func.max(column)).where(genome.c.experiment_id == found.id)
    least, greatest = connection.execute(query).one()
    return least or 0, greatest or 0


def curves(connection: Connection, evaluation_ids: Sequence[int], name: str) -> dict[int, dict[int, float]]:
    """A column of ``epoch_metric`` by evaluation and epoch, where it has a value."""
    value = epoch_metric.c[name]
    query = select(epoch_metric.c.evaluation_id, epoch_metric.c.epoch, value).where(
        epoch_metric.c.evaluation_id.in_(evaluation_ids), value.is_not(None)
    )
    found: dict[int, dict[int, float]] = {}
    for evaluation_id, epoch, number in connection.execute(query):
        found.setdefault(evaluation_id, {})[epoch] = number
    return found


# --- genomes -----------------------------------------------------------------------------------------

_counts = and_(
    evaluation.c.genome_id == genome.c.id,
    evaluation.c.purpose == "search",
    ~was_retried(genome.c.id, evaluation.c.seed_no),
)
_began_at = select(func.min(attempt.c.started_at)).where(attempt.c.evaluation_id == evaluation.c.id)
_in_front = select(func.count(membership.c.id)).where(
    membership.c.experiment_id == genome.c.experiment_id,
    membership.c.kind == "front",
    membership.c.genome_id == genome.c.id,
    membership.c.left_at.is_(None),
)

GENOMES = TidyTable(
    "genomes",
    select(
        genome.c.id.label("genome_id"),
        *(
            genome.c[name]
            for name in (
                "birth", "operator", "code", "phenotype", "duplicate_of", "tries", "slot",
                "born_after_ingest", "born_at", "params", "flops",
            )
        ),
        evaluation.c.id.label("evaluation_id"),
        *(evaluation.c[name] for name in ("state", "failure_kind", "ingest_no")),
        _began_at.scalar_subquery().label("started_at"),
        evaluation.c.ended_at,
        _in_front.scalar_subquery().label("in_front"),
    )
    .select_from(genome.join(evaluation, _counts, isouter=True))
    .order_by(genome.c.birth),
    genome.c.experiment_id,
)  # fmt: skip
"""With the search evaluation that counts: the newest, where there were several. ``in_front`` is 0 or 1."""


def objective_column(name: str) -> str:
    """The column with the values of an objective: its name, unless that is a cost, known since birth."""
    return f"{name}_objective" if name in GENOMES.query.selected_columns else name


def _with_parents_and_values(connection: Connection, found: Experiment, rows: list[Row]) -> list[Row]:
    """Genomes with what stands in other tables; they are in the order of birth."""
    births = and_(
        genome.c.experiment_id == found.id, genome.c.birth.between(rows[0][_BIRTH], rows[-1][_BIRTH])
    )
    parents: dict[int, list[int]] = {}
    of_parents = select(parentage.c.child_id, parentage.c.parent_id).join(
        genome, genome.c.id == parentage.c.child_id
    )
    ordered = of_parents.where(births).order_by(parentage.c.child_id, parentage.c.position)
    for child, parent in connection.execute(ordered):
        parents.setdefault(child, []).append(parent)
    of_values = (
        select(objective_value)
        .join(evaluation, evaluation.c.id == objective_value.c.evaluation_id)
        .join(genome, genome.c.id == evaluation.c.genome_id)
        .where(births, evaluation.c.purpose == "search")
    )
    values = {(row.evaluation_id, row.objective): row.value for row in connection.execute(of_values)}
    names = found.settings.objectives
    return [
        (*row, parents.get(row[0], []), *(values.get((row[_EVALUATION], name)) for name in names))
        for row in rows
    ]


_BIRTH, _EVALUATION = (
    list(GENOMES.query.selected_columns.keys()).index(name) for name in ("birth", "evaluation_id")
)

# --- the others --------------------------------------------------------------------------------------

TABLES = (
    GENOMES,
    TidyTable(
        "evaluations",
        select(
            evaluation.c.id.label("evaluation_id"),
            evaluation.c.genome_id,
            evaluation.c.purpose,
            evaluation.c.rung,
            dataset.c.name.label("dataset"),
            recipe.c.name.label("recipe"),
            *(
                evaluation.c[name]
                for name in (
                    "seed_no", "init_from", "state", "attempts", "strikes", "failure_kind",
                    "failure_message", "ingest_no", "enqueued_at", "ended_at",
                )
            ),
        )
        .select_from(
            evaluation.join(dataset, dataset.c.id == evaluation.c.dataset_id).join(
                recipe, recipe.c.id == evaluation.c.recipe_id
            )
        )
        .order_by(evaluation.c.id),
        evaluation.c.experiment_id,
    ),
    TidyTable(
        "values",
        select(evaluation.c.genome_id, evaluation.c.purpose, objective_value)
        .select_from(objective_value.join(evaluation, evaluation.c.id == objective_value.c.evaluation_id))
        .order_by(objective_value.c.evaluation_id, objective_value.c.objective),
        evaluation.c.experiment_id,
    ),
    TidyTable(
        "attempts",
        select(
            evaluation.c.genome_id,
            evaluation.c.purpose,
            *(
                attempt.c[name]
                for name in (
                    "evaluation_id", "number", "worker_id", "host", "slot", "device", "device_name", "dtype",
                    "versions", "started_at", "ended_at", "outcome", "failure_kind", "message",
                    "resumed_from_epoch",
                )
            ),
        )
        .select_from(attempt.join(evaluation, evaluation.c.id == attempt.c.evaluation_id))
        .order_by(attempt.c.evaluation_id, attempt.c.number),
        evaluation.c.experiment_id,
    ),
    TidyTable(
        "epochs",
        select(evaluation.c.genome_id, evaluation.c.purpose, epoch_metric)
        .select_from(epoch_metric.join(evaluation, evaluation.c.id == epoch_metric.c.evaluation_id))
        .order_by(epoch_metric.c.evaluation_id, epoch_metric.c.epoch),
        evaluation.c.experiment_id,
    ),
    TidyTable(
        "memberships",
        select(
            *(
                membership.c[name]
                for name in ("genome_id", "kind", "slot", "entered_at", "left_at", "reason")
            )
        ).order_by(membership.c.id),
        membership.c.experiment_id,
    ),
)  # fmt: skip
"""All tables of an export. ``values`` has everything that was measured, of all purposes."""
