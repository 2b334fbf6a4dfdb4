"""The evaluator ``table``: what is measured of a genome stands in the table."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from evolver.errors import EnvironmentFault, EvaluationFailed, InvalidInput
from evolver.evaluation import Context, DatasetRef, Outcome, Task
from evolver_table.space import ChoiceSpace
from evolver_table.table import SEPARATOR, Table, read


class TableEvaluator:
    """Implements ``evolver.evaluation.Evaluator`` for genomes that are lists of labels."""

    def check(self, dataset: DatasetRef, context: Context) -> str | None:
        """The sha256 of the table on this machine. Raises EnvironmentFault when it is not here."""
        return _table(dataset, context.data_dir).sha256

    def check_measures(self, measures: Collection[str], context: Context) -> None:
        """Nothing to look for: a table's measures are the same on every machine."""

    def evaluate(self, task: Task, context: Context) -> Outcome:
        """The genome's values. Raises EvaluationFailed when the table lacks it."""
        if task.space != ChoiceSpace.name:
            raise EvaluationFailed(f"a table holds genomes of the space 'choices', not of '{task.space}'")
        genome = ChoiceSpace.from_settings(task.space_settings).from_json(task.code)
        context.started(dtype="table", resumed_from_epoch=None)
        measured = _table(task.dataset, context.data_dir).result(genome)
        if measured is None:
            raise EvaluationFailed(f"{task.dataset.name} has no result for {SEPARATOR.join(genome)}")
        return Outcome(measured)


def _table(dataset: DatasetRef, data_dir: Path) -> Table:
    """The experiment's table. Raises EnvironmentFault when this machine does not have it."""
    plugin, _, file = dataset.name.partition(":")
    if plugin != "table":
        raise EnvironmentFault(f"'{dataset.name}' is no table; give --dataset table:FILE.json")
    try:
        table = read(data_dir / file)
    except InvalidInput as error:
        raise EnvironmentFault(f"{error}; give its directory as --data-dir") from error
    if dataset.sha256 not in (None, table.sha256):
        raise EnvironmentFault(f"{data_dir / file} is not the experiment's table: its sha256 differs")
    return table
