"""A table of results, and how evolver finds it: as the data set ``table:FILE.json`` under ``--data-dir``.

The file is a JSON object: ``measures`` names the columns, ``results`` has a list of their values for each
genome, whose labels are joined by ``|``. Other keys are ignored.

The database keeps the file's name and sha256. A worker that has another file of this name is refused.

Table    what a file holds.
read     a file's table.
DATASET  the data set plug-in.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from evolver.datasets import DatasetInfo, DatasetSpec
from evolver.errors import InvalidInput
from evolver.space import Sample

SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class Table:
    """The results of a file; ``sha256`` is the file's."""

    measures: tuple[str, ...]
    results: Mapping[str, Sequence[float]]
    sha256: str

    def result(self, genome: Sequence[str]) -> dict[str, float] | None:
        """The values of a genome by measure; None when the table lacks it."""
        values = self.results.get(SEPARATOR.join(genome))
        return None if values is None else dict(zip(self.measures, map(float, values), strict=True))


@lru_cache(maxsize=2)
def read(path: Path) -> Table:
    """The table of a file. Raises InvalidInput when it is missing or malformed."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read the table {path}: {error.strerror}") from error
    try:
        found = json.loads(data)
        measures, results = tuple(found["measures"]), found["results"]
        is_whole = all(len(values) == len(measures) for values in results.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{path} is no table: it needs 'measures' and 'results' (see README.md)"
        ) from error
    if not is_whole:
        raise InvalidInput(f"{path} is no table: some results have not {len(measures)} values")
    return Table(measures, results, hashlib.sha256(data).hexdigest())


def peek(path: Path) -> DatasetInfo:
    """What the database keeps of a file: its hash. It holds no samples."""
    sha256 = read(path).sha256
    return DatasetInfo(f"table:{path.name}", Sample(1, (1,), 1), train_total=0, test=0, sha256=sha256)


DATASET = DatasetSpec(name="table", title="Results by genome, in a JSON file", peek=peek)
