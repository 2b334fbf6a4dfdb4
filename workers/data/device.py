"""The parts of a data set as tensors on the device that trains.

Data stay as they were read (uint8 for images) and are normalised batch by batch: a quarter of the
memory, and no host in between. Data that would take too much of the device's memory stay on the host,
which then sends batch after batch.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
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

DEVICE_SHARE = 0.1
"""Of the device's free memory, what a data set may take: slots share the rest, and sending is cheap."""
_CHUNK = 1024

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class DeviceDataset:
    """One part of a data set, in batches on a device.

    ``x`` has shape (N, H, W, C) or (N, L, C), uint8 or float32: channels last, so that a batch is a
    view in the memory format that convolutions like best. ``y`` has shape (N,), int64. Both lie on the
    device or both in the host's memory. ``mean`` and ``std``, on the device, belong to raw values; they
    have the shape of a sample, (H, W, C) or (L, C), as arithmetic on whole samples is many times faster
    than on one pixel's channels after another.
    """

    x: Tensor
    y: Tensor
    mean: Tensor
    std: Tensor
    augmentation: tuple[str, ...] = ()
    """Names of changes in ``workers.data.augment``."""

    def __len__(self) -> int:
        return len(self.y)

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The samples in an order (shape (n,), int64), ``size`` at a time, on the device: raw x, and y.

        The last batch may be smaller. Each is a copy, which ``normalised`` may change.
        """
        order = order.to(self.x.device)
        for start in range(0, len(order), size):
            indices = order[start : start + size]
            yield (
                self._brought(self.x.index_select(0, indices)),
                self._brought(self.y.index_select(0, indices)),
            )

    def normalised(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        """The raw x of a batch as float32 of shape (B, C, H, W), channels last in memory, or (B, C, L).

        With a generator (of this device), it is augmented as ``augmentation`` says; without, it is not.
        """
        x = x.movedim(-1, 1)
        if generator is None:
            return self._normalise(x)
        x = augment(x, [name for name in self.augmentation if name != "cutout"], generator)
        x = self._normalise(x)
        # After normalisation, as its zeros stand for the mean.
        return cutout(x, generator) if "cutout" in self.augmentation else x

    def augmented(self, names: Iterable[str]) -> DeviceDataset:
        """The same samples with these augmentations, without a copy."""
        return replace(self, augmentation=tuple(names))

    def part(self, start: int, stop: int) -> DeviceDataset:
        """Some of the samples, without a copy."""
        return replace(self, x=self.x[start:stop], y=self.y[start:stop])

    def _brought(self, batch: Tensor) -> Tensor:
        """On the device. The host does not wait for that: the device reads from pinned memory."""
        if batch.device == self.mean.device:
            return batch
        return batch.pin_memory().to(self.mean.device, non_blocking=True)

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
        x, y = _placed(self.raw.test_x, self.raw.test_y, self.device)
        return replace(self.train_and_validation, x=x, y=y)


@lru_cache(maxsize=2)
def prepare(ref: DatasetRef, limit_train: int | None, raw: RawDataset, device: torch.device) -> DeviceData:
    """The data set on a device, split as its row says.

    The last two are kept, so a process that trains genome after genome moves its data once.
    """
    train, validation = split_indices(ref, limit_train)
    mean, std = channel_statistics(raw.train_x, train)
    kept = np.concatenate([train, validation])
    x, y = _placed(raw.train_x[kept], raw.train_y[kept], device)
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


def _placed(x: Pixels, y: Labels, device: torch.device) -> tuple[Tensor, Tensor]:
    """Channels last, on the device, or in the host's memory where they would take too much of it."""
    tensors = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, 1, -1))), torch.from_numpy(y)
    if x.nbytes > DEVICE_SHARE * _free_bytes(device):
        logger.info("%d samples (%.1f GB) stay on the host, too large for %s", len(y), x.nbytes / 1e9, device)
        return tensors
    return tensors[0].to(device), tensors[1].to(device)


def _free_bytes(device: torch.device) -> float:
    """Memory of the device that nobody uses; infinite where it is the host's own."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf
