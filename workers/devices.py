"""The devices of this machine, found without torch: the supervisor must not hold a CUDA context.

parse_devices   the devices that a ``--device`` argument means.
available       all devices of this machine.
device_name     the model of a device, for the record of an attempt.
cpu_flags_bf16  whether the CPU multiplies bf16 in hardware.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from evolver.errors import InvalidInput, UnknownName

ARGUMENTS = ("auto", "cpu", "cuda", "cuda:N", "mps", "all")
CPUINFO = Path("/proc/cpuinfo")


def parse_devices(argument: str) -> tuple[str, ...]:
    """The devices that a ``--device`` argument means, as torch names them.

    ``auto`` is the first accelerator, else the CPU; ``all`` is every accelerator, else the CPU;
    ``cuda`` is ``cuda:0``. Raises UnknownName for another word, InvalidInput when the device is not here.
    """
    here = available()
    accelerators = here[1:]
    if argument == "auto":
        return accelerators[:1] or here
    if argument == "all":
        return accelerators or here
    if not re.fullmatch(r"cpu|mps|cuda(:\d+)?", argument):
        raise UnknownName("device", argument, ARGUMENTS)
    device = "cuda:0" if argument == "cuda" else argument
    if device not in here:
        raise InvalidInput(f"{argument} is not here; this machine has: {', '.join(here)}")
    return (device,)


def available() -> tuple[str, ...]:
    """All devices of this machine: ``cpu`` first, then each CUDA device or ``mps``."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return ("cpu", "mps")
    return ("cpu", *(f"cuda:{number}" for number in range(len(_visible_gpus()))))


def device_name(device: str) -> str:
    """The model of a device: the GPU's name, or the CPU's; the device itself where none can be read.

    On a machine with GPUs of different models, the numbers agree with torch's where
    ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` is set.
    """
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return _cpu_name()
    gpus = _visible_gpus()
    index = int(number or 0)
    return gpus[index] if index < len(gpus) else device


def cpu_flags_bf16() -> bool:
    """Whether the CPU multiplies bf16 in hardware (AVX512-BF16 or AMX). False where it does not say."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpuinfo("flags").split())


def _cpu_name() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine() or "cpu"


def _cpuinfo(field: str) -> str:
    """A field of the first processor in /proc/cpuinfo, empty where there is none."""
    try:
        text = CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    match = re.search(rf"^{re.escape(field)}\s*:[ \t]*(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else ""


def _visible_gpus() -> list[str]:
    """The names of the GPUs that CUDA_VISIBLE_DEVICES leaves, in its order."""
    gpus = _gpus()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not gpus:
        return [name for _, name in gpus]
    chosen: list[str] = []
    for entry in visible.split(","):
        name = _gpu_of(entry.strip(), gpus)
        if name is None:  # CUDA ignores everything from the first invalid entry on
            break
        chosen.append(name)
    return chosen


def _gpu_of(entry: str, gpus: list[tuple[str, str]]) -> str | None:
    """The name of the GPU that an entry of CUDA_VISIBLE_DEVICES means: a number or the start of a UUID."""
    if entry.isdecimal():
        return gpus[int(entry)][1] if int(entry) < len(gpus) else None
    if entry.startswith("MIG-"):  # a slice of a GPU has a UUID of its own, which NVML's device list omits
        return gpus[0][1]
    matches = [name for uuid, name in gpus if entry and uuid.startswith(entry)]
    return matches[0] if len(matches) == 1 else None


def _gpus() -> list[tuple[str, str]]:
    """(UUID, name) of each GPU that the driver knows; empty without a driver or without nvidia-ml-py."""
    try:
        import pynvml
    except ImportError:
        return []
    try:
        with _nvml():
            handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
            return [(pynvml.nvmlDeviceGetUUID(gpu), pynvml.nvmlDeviceGetName(gpu)) for gpu in handles]
    except pynvml.NVMLError:
        return []


@contextmanager
def _nvml() -> Iterator[None]:
    import pynvml

    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()
