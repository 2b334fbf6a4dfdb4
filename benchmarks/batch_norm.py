"""Batch normalisation on the CPU: by folded rows (``workers.batch_norm``) against torch's own.

Forward and backward, of batches of 64 images, channels-last, in bf16 where the CPU has it; medians of
interleaved runs.
"""

from __future__ import annotations

import statistics
import time
from argparse import Namespace
from typing import Any

import common
import torch
from torch import nn

from workers import devices
from workers.batch_norm import BatchNorm2d, pixels_in_row

SIZES = (14, 28)
CHANNELS = (6, 13, 24, 37, 50)


def milliseconds(module: nn.Module, x: torch.Tensor, gradient: torch.Tensor) -> float:
    """One forward and backward pass."""
    began = time.perf_counter()
    torch.autograd.grad(module(x), (x, *module.parameters()), gradient)
    return 1000 * (time.perf_counter() - began)


def compare(channels: int, size: int, dtype: torch.dtype, runs: int) -> dict[str, Any]:
    """Both sides on one shape."""
    x = torch.randn(64, channels, size, size).to(dtype).contiguous(memory_format=torch.channels_last)
    gradient = torch.randn_like(x)
    x.requires_grad_()
    assert pixels_in_row(x) > 1
    ours, torchs = BatchNorm2d(channels), nn.BatchNorm2d(channels)
    sides = [
        ("torch", lambda: milliseconds(torchs, x, gradient)),
        ("folded", lambda: milliseconds(ours, x, gradient)),
    ]
    common.interleaved(3, sides)
    measured = common.interleaved(runs, sides)
    ratio = common.median_of_ratios(measured["torch"], measured["folded"])
    medians = {name: statistics.median(times) for name, times in measured.items()}
    print(
        f"{size}x{size}, {channels:2d} channels: torch {medians['torch']:.2f} ms, ratio {ratio:.2f}",
        flush=True,
    )
    return {"channels": channels, "size": size, "ratio": ratio, "milliseconds": medians}


def main(args: Namespace) -> None:
    dtype = torch.bfloat16 if devices.cpu_flags_bf16() else torch.float32
    runs = 20 if args.quick else 100
    found = [compare(channels, size, dtype, runs) for size in SIZES for channels in CHANNELS]
    ratios = [one["ratio"] for one in found]
    headline = {"torch_over_folded": statistics.median(ratios), "greatest": max(ratios), "least": min(ratios)}
    common.report(args, headline, {"dtype": str(dtype), "shapes": found})


if __name__ == "__main__":
    main(common.options(__doc__ or ""))
