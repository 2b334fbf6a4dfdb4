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

import numpy as np

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
    if spec.loader is None:
        raise EnvironmentFault(f"dataset '{spec.name}' is nothing that a network can be trained on")
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
    fault = _fault_of(raw)
    if fault is not None:
        raise EnvironmentFault(f"dataset '{ref.name}': {fault}")


def _fault_of(raw: RawDataset) -> str | None:
    """The first thing in which arrays of a loader, which may be a plug-in's, are not as RawDataset says."""
    if raw.classes < 2:
        return f"it has {raw.classes} class(es); a classifier needs at least 2"
    for part, x, y in (("train", raw.train_x, raw.train_y), ("test", raw.test_x, raw.test_y)):
        if x.dtype not in (np.uint8, np.float32):
            return f"its {part}_x is of type {x.dtype}; expected uint8 or float32"
        if x.dtype == np.float32 and not np.isfinite(x).all():
            return f"its {part}_x has values that are not finite numbers"
        if y.dtype != np.int64 or y.shape != (len(x),):
            return f"its {part}_y is of type {y.dtype} and shape {y.shape}; expected int64 and ({len(x)},)"
        # On a GPU such a label would end the training process instead of raising.
        if len(y) and (y.min() < 0 or y.max() >= raw.classes):
            return (
                f"its {part}_y has the label {y[(y < 0) | (y >= raw.classes)][0]}, not 0 … {raw.classes - 1}"
            )
    if raw.test_x.dtype != raw.train_x.dtype or raw.test_x.shape[1:] != raw.train_x.shape[1:]:
        return (
            f"samples of its train_x are {raw.train_x.dtype} of shape {raw.train_x.shape[1:]}, "
            f"those of its test_x {raw.test_x.dtype} of shape {raw.test_x.shape[1:]}"
        )
    return None


def _facts(sample: Sample, train_total: int, test: int) -> str:
    shape = "×".join(str(size) for size in sample.shape)
    return f"samples of {shape}, {sample.classes} classes, {train_total} to train and {test} to test on"
