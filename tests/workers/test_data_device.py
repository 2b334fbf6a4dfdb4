"""The parts of a data set on the device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from evolver.evaluation import DatasetRef
from evolver.space import Sample
from workers.data import device
from workers.data.augment import crop, cutout
from workers.data.base import RawDataset
from workers.data.device import DeviceData, DeviceDataset, channel_statistics, prepare
from workers.data.split import split_indices

CPU = torch.device("cpu")


def raw_dataset(*shape: int, dtype: Any = np.uint8) -> RawDataset:
    rng = np.random.default_rng(4)

    def part(count: int) -> tuple[Any, Any]:
        return rng.integers(0, 256, (count, *shape)).astype(dtype), rng.integers(0, 3, count)

    return RawDataset(*part(50), *part(10), classes=3)


def ref_of(raw: RawDataset) -> DatasetRef:
    return DatasetRef(1, "npz:own.npz", raw.sample, 40, 10, len(raw.test_y), split_seed=2, sha256=None)


def batch(
    part: DeviceDataset, indices: torch.Tensor, generator: torch.Generator | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The samples at some indices, normalised, and augmented with a generator."""
    ((x, y),) = part.batches(indices, len(indices))
    return part.normalised(x, generator), y


def prepared(raw: RawDataset, limit_train: int | None = None) -> DeviceData:
    return prepare(ref_of(raw), limit_train, raw, CPU)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(1, 6, 5), (3, 6, 5), (2, 7)])
def test_batches_are_the_normalised_samples_of_the_split(shape: tuple[int, ...], dtype: Any) -> None:
    raw = raw_dataset(*shape, dtype=dtype)
    data = prepared(raw)
    train, validation = split_indices(ref_of(raw), None)
    axes = (0, *range(2, raw.train_x.ndim))
    mean = raw.train_x[train].mean(axes, dtype=np.float64, keepdims=True)
    std = raw.train_x[train].std(axes, dtype=np.float64, keepdims=True)
    parts = (
        (data.train, raw.train_x[train], raw.train_y[train]),
        (data.validation, raw.train_x[validation], raw.train_y[validation]),
        (data.test, raw.test_x, raw.test_y),
    )
    for part, expected_x, expected_y in parts:
        indices = torch.tensor([3, 0, 3, 9])
        x, y = batch(part, indices)
        assert len(part) == len(expected_y)
        assert (x.dtype, x.shape) == (torch.float32, (4, *shape))
        np.testing.assert_allclose(x, ((expected_x - mean) / std)[indices], rtol=1e-5, atol=1e-5)
        assert y.tolist() == expected_y[indices].tolist()


def test_batches_leave_the_data_as_they_are() -> None:
    data = prepared(raw_dataset(3, 6, 5, dtype=np.float32))
    part = data.train.augmented(["crop", "flip", "cutout"])
    before = part.x.clone()
    batch(part, torch.arange(8), torch.Generator().manual_seed(1))
    assert torch.equal(part.x, before)


def test_image_batches_are_channels_last() -> None:
    part = prepared(raw_dataset(3, 16, 16)).train.augmented(["crop", "flip", "cutout"])
    for rng in (None, torch.Generator()):
        x, _ = batch(part, torch.arange(8), rng)
        assert x.is_contiguous(memory_format=torch.channels_last)


def test_retraining_sees_both_parts_and_no_test_data() -> None:
    data = prepared(raw_dataset(1, 6, 5))
    both = data.train_and_validation
    assert torch.equal(both.y, torch.cat([data.train.y, data.validation.y]))
    assert both.x.data_ptr() == data.train.x.data_ptr()


def test_test_data_reach_the_device_only_when_asked_for() -> None:
    data = prepared(raw_dataset(1, 6, 5))
    assert "test" not in vars(data)
    assert len(data.test) == 10
    assert data.test is data.test


def test_augmentation_crops_raw_values_and_cuts_out_normalised_ones() -> None:
    data = prepared(raw_dataset(1, 16, 16))
    part = data.train.augmented(["crop", "cutout"])
    indices = torch.arange(5)
    x, _ = batch(part, indices, torch.Generator().manual_seed(3))
    rng = torch.Generator().manual_seed(3)
    cropped = crop(part.x[indices].movedim(-1, 1), rng)
    expected = cutout((cropped.float() - part.mean[0, 0]) / part.std[0, 0], rng)
    assert torch.equal(x, expected)


def test_without_a_generator_nothing_is_augmented() -> None:
    data = prepared(raw_dataset(1, 16, 16))
    indices = torch.arange(5)
    assert torch.equal(batch(data.train.augmented(["crop"]), indices)[0], batch(data.train, indices)[0])


def test_limit_train() -> None:
    data = prepared(raw_dataset(1, 6, 5), limit_train=20)
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 4, 10)


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    x = np.full((5, 2, 3, 3), 0.1, np.float32)
    x[:, 1] = np.arange(5)[:, None, None]
    mean, std = channel_statistics(x, np.arange(5))
    assert mean.tolist() == pytest.approx([0.1, 2.0])
    assert std.tolist() == pytest.approx([1.0, np.sqrt(2)])


def test_statistics_over_several_chunks() -> None:
    x = np.random.default_rng(0).normal(3, 2, (2500, 2, 4)).astype(np.float32)
    mean, std = channel_statistics(x, np.arange(2500))
    np.testing.assert_allclose(mean, x.mean((0, 2)), rtol=1e-4)
    np.testing.assert_allclose(std, x.std((0, 2)), rtol=1e-4)


def test_a_process_moves_its_data_once() -> None:
    raw = raw_dataset(1, 6, 5)
    assert prepared(raw) is prepared(raw)
    assert prepared(raw) is not prepared(raw, limit_train=20)


def test_sample_shape_comes_from_the_arrays() -> None:
    assert raw_dataset(2, 7).sample == Sample(2, (7,), 3)


def test_batches_follow_the_order_and_the_last_may_be_smaller() -> None:
    part = prepared(raw_dataset(1, 6, 5)).train
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(1))
    batches = list(part.batches(order, 16))
    assert [len(y) for _, y in batches] == [16, 16, 8]
    assert torch.equal(torch.cat([x for x, _ in batches]), part.x[order])
    assert torch.equal(torch.cat([y for _, y in batches]), part.y[order])
    assert list(part.batches(order[:0], 16)) == []


def test_large_data_stay_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = raw_dataset(1, 6, 5)
    size = raw.train_x.nbytes
    monkeypatch.setattr(device, "DEVICE_SHARE", 0.5)
    for free, place in ((2 * size, "meta"), (2 * size - 1, "cpu")):
        monkeypatch.setattr(device, "_free_bytes", lambda _, free=free: free)
        prepare.cache_clear()
        data = prepare(ref_of(raw), None, raw, torch.device("meta"))
        assert (data.train.x.device.type, data.train.y.device.type) == (place, place)
        assert data.train.mean.device.type == "meta"
    prepare.cache_clear()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_batches_from_the_host_equal_those_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = raw_dataset(3, 6, 5)
    parts = []
    for share in (1.0, 0.0):
        monkeypatch.setattr(device, "DEVICE_SHARE", share)
        prepare.cache_clear()
        parts.append(prepare(ref_of(raw), None, raw, torch.device("cuda:0")).train)
    prepare.cache_clear()
    assert [part.x.device.type for part in parts] == ["cuda", "cpu"]
    order = torch.randperm(len(parts[0]))
    for here, there in zip(*(part.batches(order, 16) for part in parts), strict=True):
        assert all(map(torch.equal, here, there))
