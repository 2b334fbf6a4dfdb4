"""Loading a data set by its row in the database.

The row says which data set it is and what it must look like; where it lies on this machine is the
business of the process that trains (``--data-dir``).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import cast

from evolver.datasets import DatasetSpec, parse_argument
from evolver.datasets.files import RawDataset, fingerprint
from evolver.errors import EnvironmentFault, InvalidInput
from evolver.evaluation import DatasetRef
from evolver.space import Sample

__all__ = ["Loader", "RawDataset", "fingerprint", "load"]

Loader = Callable[[str | None, Path, bool], RawDataset]
"""Called with the path argument (``npz:PATH``), the data directory, and whether to download.

Raises EnvironmentFault when the data are missing or unreadable.
"""


@lru_cache(maxsize=2)
def load(ref: DatasetRef, data_dir: Path, download: bool) -> RawDataset:
    """The data set, checked against its row. A process reads it once; do not write into the arrays.

    Raises EnvironmentFault when the plug-in or the data are missing, unreadable, or not those that
    the experiment was made for.
    """
    try:
        spec, path = parse_argument(ref.name)
    except InvalidInput as error:
        # The row was valid where it was made: what is missing is missing on this machine.
        raise EnvironmentFault(f"dataset '{ref.name}' is not usable here: {error}") from error
    raw = _loader(spec)(path, data_dir, download)
    _check(raw, ref)
    return raw


def _loader(spec: DatasetSpec) -> Loader:
    module, _, function = spec.loader.partition(":")
    try:
        return cast("Loader", getattr(importlib.import_module(module), function))
    except (ImportError, AttributeError) as error:
        raise EnvironmentFault(
            f"the loader of dataset '{spec.name}' cannot be imported here: {error}"
        ) from error


def _check(raw: RawDataset, ref: DatasetRef) -> None:
    expected = _facts(ref.sample, ref.train + ref.validation, ref.test)
    found = _facts(raw.sample, len(raw.train_x), len(raw.test_x))
    if expected != found:
        raise EnvironmentFault(
            f"dataset '{ref.name}': the experiment expects {expected}; here it has {found}"
        )
    for x, y in ((raw.train_x, raw.train_y), (raw.test_x, raw.test_y)):
        # On a GPU such a label would end the training process instead of raising.
        if len(x) != len(y) or y.min() < 0 or y.max() >= raw.classes:
            raise EnvironmentFault(
                f"dataset '{ref.name}': its labels are not {len(x)} of 0 … {raw.classes - 1}"
            )


def _facts(sample: Sample, train_total: int, test: int) -> str:
    shape = "×".join(str(size) for size in sample.shape)
    return f"samples of {shape}, {sample.classes} classes, {train_total} to train and {test} to test on"
