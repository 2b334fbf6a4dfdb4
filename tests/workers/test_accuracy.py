"""Measuring a network on one part of the data."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evolver.errors import OutOfMemory
from tests.workers.jobs import part, small_network
from workers import accuracy

torch.set_num_threads(1)

CPU = torch.device("cpu")


def test_measuring_takes_every_sample_once_and_changes_nothing() -> None:
    network, data = small_network(), part(accuracy.MEASURE_BATCH + 7, 4)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    loss, error = accuracy.measure(network, data, CPU, bf16=False)
    with torch.no_grad():
        logits = network(data.normalised(data.x))
    assert loss == pytest.approx(nn.functional.cross_entropy(logits, data.y).item(), rel=1e-5)
    assert error == (logits.argmax(1) != data.y).sum().item() / len(data)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def limited(samples: int, seen: list[int]) -> nn.Module:
    """A network for which batches of more samples than these have no memory."""

    def look(module: nn.Module, arguments: tuple[Tensor, ...]) -> Any:
        seen.append(len(arguments[0]))
        if len(arguments[0]) > samples:
            raise torch.OutOfMemoryError("CUDA out of memory")

    network = small_network()
    network.register_forward_pre_hook(look)
    return network


def test_batches_become_smaller_until_there_is_memory() -> None:
    seen: list[int] = []
    data = part(300, 4)
    loss, error = accuracy.measure(limited(100, seen), data, CPU, bf16=False)
    assert seen == [300, 256, 128, *[64] * 4, 44]
    expected = accuracy.measure(small_network(), data, CPU, bf16=False)
    assert (loss, error) == (pytest.approx(expected[0], rel=1e-5), expected[1])


def test_a_sample_without_memory_is_the_end() -> None:
    seen: list[int] = []
    with pytest.raises(OutOfMemory):
        accuracy.measure(limited(0, seen), part(3, 4), CPU, bf16=False)
    assert seen[-1] == 1
