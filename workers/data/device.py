"""The parts of a data set as tensors on the device that trains.

Data stay as they were read (uint8 for images) and are normalised batch by batch: a quarter of the
memory, and no host in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from evolver.datasets.files import Labels, Pixels, RawDataset
from evolver.evaluation import DatasetRef
from workers.data.augment import augment, cutout
from workers.data.split import split_indices

_CHUNK = 1024


@dataclass(frozen=True, eq=False)
class DeviceDataset:
    """One part of a data set on a device.

    ``x`` has shape (N, H, W, C) or (N, L, C), uint8 or float32: channels last, so that a batch is a
    view in the memory format that convolutions like best. ``y`` has shape (N,), int64. ``mean`` and
    ``std`` belong to raw values; they have the shape of a sample, (H, W, C) or (L, C), as arithmetic on
    whole samples is many times faster than on one pixel's channels after another.
    """

    x: Tensor
    y: Tensor
    mean: Tensor
    std: Tensor
    augmentation: tuple[str, ...] = ()
    """Names of changes in ``workers.data.augment``."""

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: Tensor, generator: Generator | None = None) -> tuple[Tensor, Tensor]:
        """The samples at ``indices`` (shape (B,), int64, on the device), normalised, and their labels.

        x is float32 of shape (B, C, H, W), channels last in memory, or (B, C, L). With a generator (of
        this device), it is augmented as ``augmentation`` says; without, it is not.
        """
        x = self.x.index_select(0, indices).movedim(-1, 1)
        if generator is None:
            return self._normalise(x), self.y[indices]
        x = augment(x, [name for name in self.augmentation if name != "cutout"], generator)
        x = self._normalise(x)
        if "cutout" in self.augmentation:
            # After normalisation, as its zeros stand for the mean.
            x = cutout(x, generator)
        return x, self.y[indices]

    def augmented(self, names: Iterable[str]) -> DeviceDataset:
        """The same samples with these augmentations, without a copy."""
        return replace(self, augmentation=tuple(names))

    def part(self, start: int, stop: int) -> DeviceDataset:
        """Some of the samples, without a copy."""
        return replace(self, x=self.x[start:stop], y=self.y[start:stop])

    def _normalise(self, x: Tensor) -> Tensor:
        """In place where x is float32: a batch is already a copy."""
        values = x.movedim(1, -1).float()
        return values.sub_(self.mean).div_(self.std).movedim(-1, 1)


@dataclass(frozen=True, eq=False)
class DeviceData:
    """The parts of a data set on a device, all normalised by mean and deviation of the training part."""

    train_and_validation: DeviceDataset
    """Both parts, in this order: what a final retraining trains on."""
    train_count: int
    raw: RawDataset
    device: torch.device

    @cached_property
    def train(self) -> DeviceDataset:
        return self.train_and_validation.part(0, self.train_count)

    @cached_property
    def validation(self) -> DeviceDataset:
        return self.train_and_validation.part(self.train_count, len(self.train_and_validation))

    @cached_property
    def test(self) -> DeviceDataset:
        """The test part. It goes to the device when it is first asked for: a search never does."""
        x, y = _to_device(self.raw.test_x, self.raw.test_y, self.device)
        return replace(self.train_and_validation, x=x, y=y)


@lru_cache(maxsize=2)
def prepare(ref: DatasetRef, limit_train: int | None, raw: RawDataset, device: torch.device) -> DeviceData:
    """The data set on a device, split as its row says.

    The last two are kept, so a process that trains genome after genome moves its data once.
    """
    train, validation = split_indices(ref, limit_train)
    mean, std = channel_statistics(raw.train_x, train)
    kept = np.concatenate([train, validation])
    x, y = _to_device(raw.train_x[kept], raw.train_y[kept], device)
    mean_tensor, std_tensor = (
        torch.from_numpy(constant).to(device).expand(x.shape[1:]).contiguous() for constant in (mean, std)
    )
    return DeviceData(DeviceDataset(x, y, mean_tensor, std_tensor), len(train), raw, device)


def channel_statistics(
    x: Pixels, indices: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each channel over the samples at ``indices``, both of shape (C,).

    A channel that is constant gets the deviation 1.
    """
    axes = (0, *range(2, x.ndim))
    total = np.zeros(x.shape[1])
    squares = np.zeros(x.shape[1])
    # In chunks: float64 of a whole data set may not fit into memory.
    for start in range(0, len(indices), _CHUNK):
        chunk = x[indices[start : start + _CHUNK]].astype(np.float64)
        total += chunk.sum(axes)
        squares += np.square(chunk).sum(axes)
    count = len(indices) * np.prod(x.shape[2:])
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    # A difference of squares leaves about sqrt(float64 epsilon) × mean of a deviation that is zero.
    constant = std <= 1e-7 * np.abs(mean)
    return mean.astype(np.float32), np.where(constant, 1, std).astype(np.float32)


def _to_device(x: Pixels, y: Labels, device: torch.device) -> tuple[Tensor, Tensor]:
    channels_last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    return torch.from_numpy(channels_last).to(device), torch.from_numpy(y).to(device)
