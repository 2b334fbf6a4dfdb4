"""An experiment as a study of Optuna: for its plots, its dashboard, and its analyses.

A genome is a trial, in the order of birth. Parameters are a flat description of the network, since a code
has no fixed number of them; they describe, and cannot be turned back into a code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from evolver import constraints
from evolver.errors import EnvironmentFault, InvalidInput
from evolver.genome import code
from evolver.genome.bounds import Bounds, parse
from evolver.genome.code import ConvGene, PoolGene
from evolver.space import Json
from evolver.store import experiments, tables
from evolver.store.db import Database, without_password
from evolver.store.experiments import Experiment

if TYPE_CHECKING:
    import optuna

Progress = Callable[[int, int], object]
"""Hears of each batch: the trials so far, and in all."""

CURVE_OF = {"error": "validation_error", "loss": "validation_loss"}
"""The column of a learning curve whose last value is an objective."""
STATES = {"done": "COMPLETE", "failed": "FAIL", "running": "RUNNING", "pending": "WAITING"}


def write(
    database: Database,
    name: str,
    storage: str | optuna.storages.BaseStorage | None = None,
    progress: Progress = lambda done, total: None,
    *,
    force: bool = False,
) -> optuna.Study:
    """Write a study of the experiment's name; ``force`` replaces one that is there.

    ``storage`` is a URL, the path of a journal file, a storage of Optuna, or None for memory alone.
    Raises UnknownName for the experiment, InvalidInput when there is such a study or the storage cannot
    be used, EnvironmentFault without Optuna.
    """
    library = _optuna()
    with database.read() as connection:
        found = experiments.get(connection, name)
        where = _storage(library, storage)
        study: optuna.Study = _created(library, name, where, storage, len(found.settings.objectives), force)
        with _whole_or_gone(library, study, where):
            with _told_by_optuna(storage):
                study.set_user_attr("evolver_objectives", list(found.settings.objectives))
                _set_metric_names(library, study, found.settings.objectives)
            total = tables.count(connection, found, tables.GENOMES)
            for done, trial in enumerate(_trials(connection, found, library), start=1):
                with _told_by_optuna(storage):
                    study.add_trial(trial)
                progress(done, total)
    return study


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise EnvironmentFault("a study needs Optuna; run: pip install 'evolver[optuna]'") from error
    return optuna


def _storage(optuna: Any, storage: Any) -> Any:
    """A storage of Optuna for what the user named: ``sqlite:///FILE`` and the like, or a journal's path."""
    if not isinstance(storage, str):
        return storage
    with _told_by_optuna(storage):
        if "://" in storage:
            return optuna.storages.RDBStorage(storage)
        return optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(storage))


def _created(optuna: Any, name: str, where: Any, storage: Any, objectives: int, force: bool) -> Any:
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with _told_by_optuna(storage, optuna.exceptions.DuplicatedStudyError):
            if force and where is not None and name in optuna.get_all_study_names(where):
                optuna.delete_study(study_name=name, storage=where)
            return optuna.create_study(study_name=name, storage=where, directions=["minimize"] * objectives)
    except optuna.exceptions.DuplicatedStudyError as error:
        raise InvalidInput(
            f"there is a study '{name}' in that storage already; give another one, or --force to replace it"
        ) from error
    finally:
        optuna.logging.set_verbosity(verbosity)


@contextmanager
def _whole_or_gone(optuna: Any, study: optuna.Study, where: Any) -> Iterator[None]:
    """After an error, Ctrl-C included, the study is deleted, so that nobody takes it for a whole one."""
    try:
        yield
    except BaseException:
        if where is not None:
            with suppress(Exception):  # the storage itself may be what fails
                optuna.delete_study(study_name=study.study_name, storage=where)
        raise


@contextmanager
def _told_by_optuna(storage: Any, *passed: type[Exception]) -> Iterator[None]:
    """Whatever Optuna, a driver or a file system says of a storage, as one line; these errors pass."""
    try:
        yield
    except passed:
        raise
    except Exception as error:
        lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        named = f" '{without_password(storage)}'" if isinstance(storage, str) else ""
        raise InvalidInput(f"Optuna cannot use the storage{named}: {without_password(lines[0])}") from error


def _set_metric_names(optuna: Any, study: optuna.Study, names: Sequence[str]) -> None:
    """The axes of Optuna's plots; an experimental function of it, which says so each time."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(list(names))


# --- trials ------------------------------------------------------------------------------------------


def _trials(connection: Connection, found: Experiment, optuna: Any) -> Iterator[Any]:
    """A trial for each genome. One objective has a curve where it is a value of the epochs."""
    describe = _Description(connection, found, optuna)
    objectives = found.settings.objectives
    curve = CURVE_OF.get(objectives[0]) if len(objectives) == 1 else None  # Optuna allows no other
    names = [column.name for column in tables.columns(found, tables.GENOMES)]
    for batch in tables.batches(connection, found, tables.GENOMES):
        rows = [dict(zip(names, row, strict=True)) for row in batch]
        ids = [row["evaluation_id"] for row in rows if row["evaluation_id"] is not None]
        curves = tables.curves(connection, ids, curve) if curve else {}
        for row in rows:
            params = describe.params(row)
            yield optuna.trial.FrozenTrial(  # create_trial takes no times
                number=row["birth"] - 1,
                trial_id=row["birth"] - 1,
                value=None,
                **_outcome(row, found, optuna),
                params=params,
                distributions={name: describe.distributions[name] for name in params},
                intermediate_values=curves.get(row["evaluation_id"], {}),
                user_attrs={
                    "genome_id": row["genome_id"],
                    "birth": row["birth"],
                    "operator": row["operator"],
                    "parents": row["parents"],
                    "in_front": bool(row["in_front"]),
                    **({"duplicate_of": row["duplicate_of"]} if row["duplicate_of"] else {}),
                    **({"failure_kind": row["failure_kind"]} if row["failure_kind"] else {}),
                },
            )


def _outcome(row: Mapping[str, Any], found: Experiment, optuna: Any) -> dict[str, Any]:
    """State, values, times, and by how much each constraint is broken."""
    state = getattr(optuna.trial.TrialState, STATES[row["state"] or "pending"])
    began = row["started_at"] or row["born_at"]
    outcome: dict[str, Any] = {
        "state": state,
        "values": None,
        "datetime_start": None,
        "datetime_complete": None,
        "system_attrs": {},
    }
    if row["state"] in ("running", "done", "failed"):
        outcome["datetime_start"] = _local(began)
    if row["state"] in ("done", "failed"):
        outcome["datetime_complete"] = _local(row["ended_at"])
    if row["state"] == "done":
        values = {name: row[tables.objective_column(name)] for name in found.settings.objectives}
        outcome["values"] = list(values.values())
        bounds = constraints.of_results(found.settings.constraints)
        if bounds:
            outcome["system_attrs"] = {"constraints": [one.excess(values[one.name]) for one in bounds]}
    return outcome


def _local(moment: datetime) -> datetime:
    """As Optuna has times: of this machine's zone, which is not told."""
    return moment.astimezone().replace(tzinfo=None)


class _Description:
    """The parameters of trials: costs for every space, counts of layers for networks of convolutions."""

    def __init__(self, connection: Connection, found: Experiment, optuna: Any) -> None:
        self._is_conv = found.settings.space == "conv"
        spans = {name: tables.span(connection, found, name) for name in ("params", "flops")}
        whole = optuna.distributions.IntDistribution
        self.distributions: dict[str, Any] = {
            name: whole(low, high, log=low > 0) for name, (low, high) in spans.items()
        }
        if self._is_conv:
            limits = _limits(parse(found.settings.space_settings))
            self.distributions |= {name: whole(low, high) for name, (low, high) in limits.items()}

    def params(self, row: Mapping[str, Any]) -> dict[str, int]:
        """The parameters of one genome; a genome must be within the bounds of its space."""
        costs = {"params": row["params"], "flops": row["flops"]}
        return {**costs, **(_layers(row["code"]) if self._is_conv else {})}


def _limits(bounds: Bounds) -> dict[str, tuple[int, int]]:
    """The least and the greatest of each count of layers."""
    return {
        "blocks": bounds.blocks,
        "convolutions": (bounds.blocks[0], bounds.blocks[1] * bounds.max_convs_per_block),
        "poolings": bounds.pools,
        "dense_layers": bounds.dense_layers,
    }


def _layers(genome: Json) -> dict[str, int]:
    """How many layers of each kind a code has. Raises InvalidGenome."""
    found = code.from_json(genome)
    genes = [gene for block in found.blocks for gene in block]
    return {
        "blocks": len(found.blocks),
        "convolutions": sum(isinstance(gene, ConvGene) for gene in genes),
        "poolings": sum(isinstance(gene, PoolGene) for gene in genes),
        "dense_layers": len(found.dense),
    }
