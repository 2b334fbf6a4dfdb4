"""The loaders of the data sets that torchvision knows, in the directories where torchvision keeps them.

CIFAR's files are pickles: torchvision checks their published MD5 before it opens them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from torchvision import datasets

from evolver.errors import EnvironmentFault
from workers.data.base import RawDataset


def mnist(path: str | None, data_dir: Path, download: bool) -> RawDataset:
    """MNIST, from ``DATA_DIR/MNIST/raw``."""
    return _load_idx("mnist", datasets.MNIST, data_dir, download)


def fashion_mnist(path: str | None, data_dir: Path, download: bool) -> RawDataset:
    """Fashion-MNIST, from ``DATA_DIR/FashionMNIST/raw``."""
    return _load_idx("fashion-mnist", datasets.FashionMNIST, data_dir, download)


def kmnist(path: str | None, data_dir: Path, download: bool) -> RawDataset:
    """Kuzushiji-MNIST, from ``DATA_DIR/KMNIST/raw``."""
    return _load_idx("kmnist", datasets.KMNIST, data_dir, download)


def cifar10(path: str | None, data_dir: Path, download: bool) -> RawDataset:
    """CIFAR-10, from ``DATA_DIR/cifar-10-batches-py``."""
    return _load_cifar("cifar10", datasets.CIFAR10, data_dir, download)


def cifar100(path: str | None, data_dir: Path, download: bool) -> RawDataset:
    """CIFAR-100 with its fine labels, from ``DATA_DIR/cifar-100-python``."""
    return _load_cifar("cifar100", datasets.CIFAR100, data_dir, download)


def svhn(path: str | None, data_dir: Path, download: bool) -> RawDataset:
    """SVHN without its extra part, from ``DATA_DIR/train_32x32.mat`` and ``test_32x32.mat``."""

    def part(split: str) -> datasets.SVHN:
        return _open(
            "svhn", data_dir, download, lambda: datasets.SVHN(data_dir, split=split, download=download)
        )

    train, test = part("train"), part("test")
    return _raw(train.data, train.labels, test.data, test.labels, classes=10)


def _load_idx(name: str, source: type[datasets.MNIST], data_dir: Path, download: bool) -> RawDataset:
    folder = data_dir / source.__name__ / "raw"
    train = _open(name, folder, download, lambda: source(data_dir, train=True, download=download))
    test = _open(name, folder, download, lambda: source(data_dir, train=False, download=download))
    return _raw(
        train.data.numpy()[:, np.newaxis],
        train.targets.numpy(),
        test.data.numpy()[:, np.newaxis],
        test.targets.numpy(),
        classes=10,
    )


def _load_cifar(name: str, source: type[datasets.CIFAR10], data_dir: Path, download: bool) -> RawDataset:
    folder = data_dir / source.base_folder
    train = _open(name, folder, download, lambda: source(data_dir, train=True, download=download))
    test = _open(name, folder, download, lambda: source(data_dir, train=False, download=download))
    return _raw(
        train.data.transpose(0, 3, 1, 2),
        train.targets,
        test.data.transpose(0, 3, 1, 2),
        test.targets,
        classes=len(train.classes),
    )


def _open(name: str, folder: Path, download: bool, source: Callable[[], Any]) -> Any:
    """The torchvision data set, or EnvironmentFault that says where it was looked for and how to get it."""
    try:
        return source()
    # What torchvision raises for missing files, a failed download, and files that are cut off.
    except (AssertionError, EOFError, OSError, RuntimeError, ValueError) as error:
        otherwise = "" if download else ", or add --download to fetch it there"
        raise EnvironmentFault(
            f"dataset '{name}' cannot be read from {folder.resolve()} ({str(error).strip()}): "
            f"point --data-dir at the directory that holds it{otherwise}"
        ) from error


def _raw(train_x: Any, train_y: Any, test_x: Any, test_y: Any, classes: int) -> RawDataset:
    return RawDataset(
        np.ascontiguousarray(train_x, np.uint8),
        np.asarray(train_y, np.int64),
        np.ascontiguousarray(test_x, np.uint8),
        np.asarray(test_y, np.int64),
        classes,
    )
