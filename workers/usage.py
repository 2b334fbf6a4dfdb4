"""What a training process takes of its device's memory: its supervisor admits others by it.

Nothing here loads torch: an evaluator without torch has no use for it.
"""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from workers import devices
from workers.protocol import MemoryUsed

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
CONTEXT_BYTES = 600_000_000
"""A guess at a CUDA context with its libraries, where NVML does not tell."""


def begin_peak(device: str) -> None:
    """Forget the peak of earlier evaluations."""
    if device == "cpu":
        with suppress(OSError):  # then the peak is that of the process's life, which errs upwards
            CLEAR_REFS.write_text("5")  # see proc(5): resets VmHWM to VmRSS
    elif _uses_cuda():
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def used(device: str) -> MemoryUsed | None:
    """The memory that this process keeps now, and its peak since ``begin_peak``; None where unknown.

    On a CPU that is the resident memory without files, as processes share their libraries; on a CUDA device
    it is what torch's allocator has reserved, and the context.
    """
    if device == "cpu":
        return _of_host()
    return _of_gpu(device) if _uses_cuda() else None


def _uses_cuda() -> bool:
    if "torch" not in sys.modules:
        return False
    import torch

    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _of_gpu(device: str) -> MemoryUsed:
    import torch

    reserved = torch.cuda.memory_reserved(device)
    total = devices.process_bytes(device, os.getpid())
    context = CONTEXT_BYTES if total is None else max(0, total - reserved)
    return MemoryUsed(kept=context + reserved, peak=context + torch.cuda.max_memory_reserved(device))


def _of_host() -> MemoryUsed | None:
    try:
        found = re.findall(r"^(VmHWM|VmRSS|RssFile):\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    except OSError:
        return None
    sizes = {name: int(kilobytes) * 1024 for name, kilobytes in found}
    if len(sizes) < 3:
        return None
    files = sizes["RssFile"]
    return MemoryUsed(kept=sizes["VmRSS"] - files, peak=sizes["VmHWM"] - files)
