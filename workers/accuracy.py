"""Loss and error of a network on one part of the data."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from evolver.errors import OutOfMemory
from workers.data.device import DeviceDataset
from workers.memory import memory_faults, release
from workers.numerics import autocast

MEASURE_BATCH = 512
"""Samples in a batch without gradients: large, yet no more memory than training in batches of 64 takes."""


def measure(
    network: nn.Module, part: DeviceDataset, device: torch.device, *, bf16: bool
) -> tuple[float, float]:
    """Mean cross entropy (without smoothing) and share of errors, in evaluation mode.

    Where there is no memory for a batch, the batches become smaller. Raises OutOfMemory at the last.
    """
    network.eval()
    size = MEASURE_BATCH
    while True:
        try:
            with memory_faults():
                return _measured(network, part, device, bf16, size)
        except OutOfMemory:
            if size == 1:
                raise
        size //= 2
        release(device)


def _measured(
    network: nn.Module, part: DeviceDataset, device: torch.device, bf16: bool, size: int
) -> tuple[float, float]:
    loss = torch.zeros((), device=device)
    errors = torch.zeros((), dtype=torch.int64, device=device)
    with torch.inference_mode():
        for x, y in part.batches(torch.arange(len(part)), size):
            with autocast(device, bf16):
                logits = network(part.normalised(x))
            loss += F.cross_entropy(logits.float(), y, reduction="sum")
            errors += (logits.argmax(1) != y).sum()
    return loss.item() / len(part), errors.item() / len(part)
