"""Reading a database from notebooks and scripts.

Everything is returned as lists of frozen values; ``frame`` makes a pandas data frame of them::

    import evolver

    with evolver.open("sqlite:///evolver.db") as db:
        for one in db.experiments():
            print(one.settings.name, one.state)
        search = db.experiment("demo")
        print(search.status().best)
        best = search.front()[0]
        evolver.api.frame(db.curves(best.genome_id)).plot(x="epoch", y="validation_error")

Nothing here writes, and each call reads the state as of now.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from evolver.errors import EnvironmentFault
from evolver.store import details, experiments, facts
from evolver.store.db import Database
from evolver.store.details import Ancestor, GenomeDetail
from evolver.store.experiments import Experiment
from evolver.store.facts import GenomeFact, Status

if TYPE_CHECKING:
    import pandas as pd

    from evolver.replay import Replay

__all__ = ["CurvePoint", "Evolver", "Search", "frame"]


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One epoch of one evaluation of a genome; validation values are None where a purpose has none."""

    evaluation_id: int
    purpose: str
    seed_no: int
    epoch: int
    train_loss: float
    train_error: float
    validation_loss: float | None
    validation_error: float | None
    lr: float
    seconds: float


class Evolver:
    """An open database. A context manager; ``close`` ends it otherwise."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, url: str | None = None) -> Self:
        """Open a database; ``url`` defaults to EVOLVER_DATABASE_URL, then ``sqlite:///evolver.db``.

        Raises DatabaseError when it cannot be reached or is at another revision.
        """
        return cls(Database.open(url))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Evolver({str(self._database)!r})"

    def close(self) -> None:
        """Close the connection."""
        self._database.dispose()

    def experiments(self) -> list[Experiment]:
        """All experiments, oldest first."""
        with self._database.read() as connection:
            return experiments.every(connection)

    def experiment(self, name: str) -> Search:
        """One experiment, to ask further. Raises UnknownName."""
        with self._database.read() as connection:
            experiments.get(connection, name)
        return Search(self._database, name)

    def front(self, name: str) -> list[GenomeFact]:
        """The front of an experiment, sorted by the first objective. Raises UnknownName."""
        return self.experiment(name).front()

    def genomes(self, name: str) -> list[GenomeFact]:
        """All genomes of an experiment, in the order of birth. Raises UnknownName."""
        return self.experiment(name).genomes()

    def genome(self, genome_id: int) -> GenomeDetail:
        """Everything about one genome: code, evaluations, attempts, curves. Raises NotFound."""
        with self._database.read() as connection:
            return details.genome_detail(connection, genome_id)

    def lineage(self, genome_id: int) -> list[Ancestor]:
        """The genome itself (distance 0) and all its ancestors, nearest first. Raises NotFound."""
        with self._database.read() as connection:
            return details.lineage(connection, genome_id)

    def curves(self, genome_id: int) -> list[CurvePoint]:
        """The learning curves of all evaluations of a genome, a value for each epoch. Raises NotFound."""
        return [
            CurvePoint(
                evaluation_id=one.evaluation_id, purpose=one.purpose, seed_no=one.seed_no, **asdict(epoch)
            )
            for one in self.genome(genome_id).evaluations
            for epoch in one.curve
        ]


class Search:
    """One experiment of an open database."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self.name = name

    def __repr__(self) -> str:
        return f"Search({self.name!r})"

    def facts(self) -> Experiment:
        """Its settings, state and counters now. Raises UnknownName when it was deleted."""
        with self._database.read() as connection:
            return experiments.get(connection, self.name)

    def status(self) -> Status:
        """How it stands now."""
        with self._database.read() as connection:
            return facts.status(connection, experiments.get(connection, self.name))

    def front(self, at: int | None = None) -> list[GenomeFact]:
        """The front, sorted by the first objective: now, or as it stood after ingest number ``at``."""
        with self._database.read() as connection:
            return facts.front_members(connection, experiments.get(connection, self.name), at)

    def replay(self, until: int | None = None) -> Replay:
        """Derive its births, population and front again, all or ``until`` so many results, and compare.

        The population after them is in ``state``. Raises InvalidInput when there are fewer results.
        """
        from evolver.replay import replay  # what only reads needs no numpy

        return replay(self._database, self.name, until=until)

    def genomes(self) -> list[GenomeFact]:
        """All genomes in the order of birth, those that failed or wait included."""
        with self._database.read() as connection:
            return facts.genomes(connection, experiments.get(connection, self.name))


def frame(rows: Iterable[Any]) -> pd.DataFrame:
    """A data frame of frozen values, a row each; the values of ``objectives`` and others become columns.

    A field wins over a value of the same name, such as ``params``. Raises EnvironmentFault without
    pandas.
    """
    try:
        import pandas
    except ImportError as error:
        raise EnvironmentFault("data frames need pandas; run: pip install 'evolver[pandas]'") from error
    return pandas.DataFrame([_flat(asdict(row)) for row in rows])


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    values = {**row.pop("other_values", {}), **row.pop("objectives", {})}
    return {**row, **{name: value for name, value in values.items() if name not in row}}
