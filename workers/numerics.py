"""How numbers are computed: bf16, TF32, deterministic algorithms, as the recipe wants them.

uses_bf16      whether a recipe trains in bf16 on a device.
memory_format  the layout of a network's images.
autocast       the context of a forward pass.
settings       torch's settings of the whole process, for the time of one training.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from evolver.recipe import Recipe
from workers import devices

# cuBLAS reads it once, at its first use in the process; without it, deterministic recipes are refused.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

_CONV = torch.backends.cudnn.conv  # type: ignore[attr-defined]
_PRODUCTS = torch.backends.cuda.matmul


def uses_bf16(recipe: Recipe, device: torch.device) -> bool:
    """Whether the recipe trains in bf16 autocast on this device: where the hardware computes in bf16."""
    if recipe.precision != "auto":
        return False
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and devices.cpu_flags_bf16()


def memory_format(recipe: Recipe, network: nn.Module) -> torch.memory_format:
    """The layout of a network's images and of its convolutions' weights; series have but one."""
    is_for_images = any(parameter.dim() == 4 for parameter in network.parameters())
    return torch.channels_last if recipe.channels_last and is_for_images else torch.contiguous_format


def autocast(device: torch.device, bf16: bool) -> torch.autocast:
    """The context in which a network computes: bf16 where it is wanted, else as it is."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)


@contextmanager
def settings(recipe: Recipe) -> Iterator[None]:
    """torch's settings of the whole process as the recipe wants them; put back afterwards.

    A deterministic recipe gets deterministic algorithms; any other lets cuDNN try its algorithms for
    each shape once and keep the fastest. Under precision ``auto``, what stays fp32 may use TF32;
    ``fp32`` means fp32, in convolutions as well (where torch's own default is TF32).
    """
    before = _current()
    tf32 = "tf32" if recipe.precision == "auto" else "ieee"
    _put(recipe.deterministic, recipe.deterministic, not recipe.deterministic, tf32, tf32)
    try:
        yield
    finally:
        _put(*before)


def _current() -> tuple[bool, bool, bool, str, str]:
    cudnn = torch.backends.cudnn
    return (
        torch.are_deterministic_algorithms_enabled(),
        cudnn.deterministic,
        cudnn.benchmark,
        _CONV.fp32_precision,
        _PRODUCTS.fp32_precision,
    )


def _put(deterministic: bool, cudnn_deterministic: bool, benchmark: bool, conv: str, products: str) -> None:
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn_deterministic, benchmark
    _CONV.fp32_precision, _PRODUCTS.fp32_precision = conv, products
