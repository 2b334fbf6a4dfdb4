"""Memory: what to do when the device or the host has none left.

memory_faults  turns the lack of memory into OutOfMemory.
Fit            how a training is made to fit, from the plain way to ever more thrifty ones.
recomputed     computes a part of a network again in the backward pass instead of keeping it.
release        gives the memory that nothing uses any more back to the device.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from evolver.errors import OutOfMemory

_LIBC = ctypes.CDLL(None)


@contextmanager
def memory_faults() -> Iterator[None]:
    """Raise OutOfMemory where the device or the host has no memory left."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise OutOfMemory(first_line(error)) from error
    except RuntimeError as error:
        # The CPU's and MPS's allocators, cuDNN and cuBLAS have no error type of their own.
        texts = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
        if any(text in str(error) for text in texts):
            raise OutOfMemory(first_line(error)) from error
        raise


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@dataclass(frozen=True, slots=True)
class Fit:
    """How a training is made to fit into memory.

    ``recompute``: residual blocks keep their input alone and compute their activations again in the
    backward pass; the results are the same to the last bit, for about a third more time.
    ``micro_batch``: the gradients of a batch are summed over micro-batches of at most so many samples.
    That is not the same mathematics, since batch norm then normalises by the statistics of a
    micro-batch, and moves its running ones once for each.
    """

    recompute: bool = False
    micro_batch: int | None = None

    def thriftier(self, batch_size: int) -> Fit | None:
        """The next way to try, for batches of this size; None after the last."""
        if not self.recompute:
            return Fit(recompute=True)
        halved = math.ceil((self.micro_batch or batch_size) / 2)
        # Batch norm cannot train on a single sample, and halving 3 could leave one.
        return Fit(recompute=True, micro_batch=halved) if halved >= 2 and self.micro_batch != 2 else None

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """A batch (axis 0) as its micro-batches, of nearly equal size, none of them a single sample."""
        if self.micro_batch is None:
            return (x,)
        parts = min(math.ceil(len(x) / self.micro_batch), len(x) // 2)
        return torch.tensor_split(x, parts)

    def __str__(self) -> str:
        if not self.recompute:
            return "as it is"
        if self.micro_batch is None:
            return "with recomputed activations"
        return (
            f"with recomputed activations, in micro-batches of {self.micro_batch}, by whose statistics "
            "batch norm normalises"
        )


def release(device: torch.device) -> None:
    """Give the memory that no tensor uses any more back to the device, or to the host's other processes."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "cpu" and hasattr(_LIBC, "malloc_trim"):  # glibc's
        _LIBC.malloc_trim(0)


def recomputed(module: nn.Module, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function(x)``, a part of ``module``, of which nothing but x is kept for the backward pass.

    There it is computed again, with the same result, gradient and running statistics as without.
    """
    y: Tensor = checkpoint(
        function,
        x,
        use_reentrant=False,
        preserve_rng_state=False,  # networks draw no random numbers, and a CUDA graph cannot keep the state
        context_fn=lambda: (nullcontext(), _statistics_kept(module)),
    )
    return y


@contextmanager
def _statistics_kept(module: nn.Module) -> Iterator[None]:
    """Batch norm's running statistics stay as they are: the forward pass has moved them already.

    Copies are moved instead, as torch expects the second pass to save the same tensors as the first.
    """
    norms = [part for part in module.modules() if isinstance(part, _BatchNorm)]
    kept = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers()]
    for norm, name, buffer in kept:
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, name, buffer in kept:
            setattr(norm, name, buffer)
