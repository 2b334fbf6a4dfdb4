"""The description of a data set, and how a user's ``--dataset`` argument is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evolver import registry
from evolver.errors import InvalidInput
from evolver.space import Sample

VALIDATION_SHARE = 0.2
"""Of the training set: MO-ResNet trains on 40,000 of CIFAR's 50,000 images."""


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """Shape and counts of a data set, before its training set is split. ``sha256`` where it was read."""

    name: str
    sample: Sample
    train_total: int
    test: int
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class DatasetSpec:
    """A data set plug-in (entry-point group ``evolver.datasets``).

    ``loader`` names ("module:function") what loads it in the training process, with the signature of
    ``workers.data.base.Loader``; None for what no network is trained on. ``info`` is fixed, or read by
    ``peek(path)`` for data sets that are the user's files (``takes_path``). ``augmentation`` names what the
    recipe setting ``dataset`` means: of ``crop``, ``flip``, ``cutout``.
    """

    name: str
    title: str
    loader: str | None = None
    augmentation: tuple[str, ...] = ()
    info: DatasetInfo | None = None
    peek: Callable[[Path], DatasetInfo] | None = None

    @property
    def takes_path(self) -> bool:
        return self.info is None


def parse_argument(argument: str) -> tuple[DatasetSpec, str | None]:
    """The plug-in and the path of ``NAME`` or ``NAME:PATH``.

    Raises UnknownName, or InvalidInput for a missing or a needless path.
    """
    name, _, path = argument.partition(":")
    spec: object = registry.load("dataset", name)
    if not isinstance(spec, DatasetSpec):
        raise InvalidInput(f"the dataset plug-in '{name}' is no evolver.datasets.DatasetSpec but {spec!r}")
    if spec.takes_path and not path:
        raise InvalidInput(f"dataset '{name}' needs a path: --dataset {name}:PATH, relative to --data-dir")
    if path and not spec.takes_path:
        raise InvalidInput(f"dataset '{name}' takes no path: write --dataset {name} and --data-dir DIRECTORY")
    return spec, path or None


def describe(argument: str, data_dir: Path) -> DatasetInfo:
    """Shape and counts of the data set that a user's argument names.

    For the user's own files they are read under ``data_dir``. Raises InvalidInput when they are
    missing or malformed.
    """
    spec, path = parse_argument(argument)
    if spec.info is not None:
        return spec.info
    assert path is not None
    assert spec.peek is not None
    return spec.peek(data_dir / path)


def split_counts(train_total: int, limit_train: int | None) -> tuple[int, int]:
    """How many training and validation samples a training set is split into; none of none.

    ``limit_train`` keeps that many samples of the training set, before the split.
    """
    total = train_total if limit_train is None else min(limit_train, train_total)
    validation = max(1, round(total * VALIDATION_SHARE)) if total else 0
    return total - validation, validation
