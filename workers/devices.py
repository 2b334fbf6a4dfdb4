"""The devices of this machine, found without torch: the supervisor must not hold a CUDA context.

parse_devices   the devices that a ``--device`` argument means.
available       all devices of this machine.
device_name     the model of a device, for the record of an attempt.
cpu_flags_bf16  whether the CPU multiplies bf16 in hardware.
cores           the cores that this process may use.
free_bytes      the memory of a device that nobody uses.
process_bytes   the memory of a device that one process uses.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evolver.errors import InvalidInput, UnknownName

ARGUMENTS = ("auto", "cpu", "cuda", "cuda:N", "mps", "all")
CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
OWN_CGROUPS = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")


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
    return gpus[index][1] if index < len(gpus) else device


def cpu_flags_bf16() -> bool:
    """Whether the CPU multiplies bf16 in hardware (AVX512-BF16 or AMX). False where it does not say."""
    return not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpuinfo("flags").split())


def cores() -> int:
    """The cores that this process may use, which a container or a batch system may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_bytes(device: str) -> int | None:
    """The memory of a device that nobody uses now; None where this machine does not tell.

    For the CPU it is what the kernel calls available, or a smaller limit of the process's control groups.
    """
    if device == "cpu":
        available = _field(MEMINFO, "MemAvailable").split()
        return min([int(available[0]) * 1024, *_cgroup_limits()]) if available else None
    return _ask_nvml(device, lambda nvml, gpu: int(nvml.nvmlDeviceGetMemoryInfo(gpu).free))


def process_bytes(device: str, pid: int) -> int | None:
    """The memory of a CUDA device that a process uses, with its context; None where NVML does not tell.

    In a container, NVML may know the process by the number that it has outside.
    """

    def used(nvml: Any, gpu: Any) -> int | None:
        processes = nvml.nvmlDeviceGetComputeRunningProcesses(gpu)
        return next((process.usedGpuMemory for process in processes if process.pid == pid), None)

    return _ask_nvml(device, used)


def _cgroup_limits() -> Iterator[int]:
    """The memory limits of this process's control groups (version 2), innermost first."""
    match = re.search(r"^0::/(.*)$", _text(OWN_CGROUPS), re.MULTILINE)
    if match is None:
        return
    own = CGROUPS / match[1]
    for directory in (own, *own.parents):
        limit = _text(directory / "memory.max").strip()
        if limit.isdecimal():
            yield int(limit)


def _cpu_name() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine() or "cpu"


def _cpuinfo(name: str) -> str:
    """A field of the first processor in /proc/cpuinfo, empty where there is none."""
    return _field(CPUINFO, name)


def _field(file: Path, name: str) -> str:
    """The first field of a name in a file of ``name: value`` lines, empty where there is none."""
    match = re.search(rf"^{re.escape(name)}\s*:[ \t]*(.*)$", _text(file), re.MULTILINE)
    return match[1].strip() if match else ""


def _text(file: Path) -> str:
    """The text of a file, empty where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _visible_gpus() -> list[tuple[str, str]]:
    """(UUID, name) of the GPUs that CUDA_VISIBLE_DEVICES leaves, in its order."""
    gpus = _gpus()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not gpus:
        return gpus
    chosen: list[tuple[str, str]] = []
    for entry in visible.split(","):
        gpu = _gpu_of(entry.strip(), gpus)
        if gpu is None:  # CUDA ignores everything from the first invalid entry on
            break
        chosen.append(gpu)
    return chosen


def _gpu_of(entry: str, gpus: list[tuple[str, str]]) -> tuple[str, str] | None:
    """The GPU that an entry of CUDA_VISIBLE_DEVICES means: a number or the start of a UUID."""
    if entry.isdecimal():
        return gpus[int(entry)] if int(entry) < len(gpus) else None
    if entry.startswith("MIG-"):  # a slice of a GPU has a UUID of its own, which NVML's device list omits
        return entry, gpus[0][1]
    matches = [gpu for gpu in gpus if entry and gpu[0].startswith(entry)]
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


def _ask_nvml(device: str, question: Callable[[Any, Any], int | None]) -> int | None:
    """What NVML answers about a CUDA device, asked with the module and its handle of the device.

    None where NVML is missing, does not know the device or does not answer.
    """
    kind, _, number = device.partition(":")
    gpus = _visible_gpus() if kind == "cuda" else []
    if int(number or 0) >= len(gpus):
        return None
    import pynvml

    try:
        with _nvml():
            return question(pynvml, pynvml.nvmlDeviceGetHandleByUUID(gpus[int(number or 0)][0]))
    except pynvml.NVMLError:
        return None


@contextmanager
def _nvml() -> Iterator[None]:
    import pynvml

    pynvml.nvmlInit()
    try:
        yield
    finally:
        pynvml.nvmlShutdown()
