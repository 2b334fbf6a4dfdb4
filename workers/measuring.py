"""What objectives ask of a training beside its loss: latency, memory and energy, on its device.

Measured only when an objective asks for it, as it takes time. A value that would say more of the host
than of the genome is refused: ``require`` says so before anything is claimed.

require     refuses measurements that cannot be made here.
Meter       memory and energy of one training.
latencies   the times of forward passes of a network.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection
from copy import deepcopy

import torch
from torch import nn

from evolver.errors import EnvironmentFault, EvaluationFailed
from evolver.objectives import latency_batch
from workers.data.device import DeviceDataset

PEAK_MEMORY, ENERGY = "peak_memory_bytes", "energy_j"
WARM_UP_RUNS, WARM_UP_S, WARM_UP_AT_LEAST = 10, 1.0, 2
"""Forward passes before the timed ones: so many, or fewer where they take longer, but some at least."""
RUNS, RUNS_S, RUNS_AT_LEAST = 100, 4.0, 5
"""The same of the timed ones."""


def require(measures: Collection[str], device: torch.device, slots: int) -> None:
    """Check that these can be measured on this device, which ``slots`` trainings share.

    Raises EnvironmentFault for the first that cannot, or that this module does not know.
    """
    for measure in sorted(measures):
        if obstacle := _obstacle(measure, device, slots):
            raise EnvironmentFault(f"{measure} cannot be measured here: {obstacle}")


def _obstacle(measure: str, device: torch.device, slots: int) -> str | None:
    """Why something cannot be measured; None where it can."""
    if measure == PEAK_MEMORY:
        return None if device.type == "cuda" else f"memory is counted on CUDA devices only, not on {device}"
    if measure != ENERGY and latency_batch(measure) is None:
        return "this evaluator does not know it"
    if slots > 1:
        return f"{device} is shared by {slots} trainings; start the worker with --slots 1"
    return _energy_obstacle(device) if measure == ENERGY else None


def _energy_obstacle(device: torch.device) -> str | None:
    if device.type != "cuda":
        return f"energy is counted on NVIDIA GPUs only, not on {device}"
    try:
        energy_counter_j(device)
    except EnvironmentFault as error:
        return str(error)
    return None


def energy_counter_j(device: torch.device) -> float:
    """The joules that a CUDA device has used since its driver was loaded.

    Raises EnvironmentFault where NVML, or its counter for this device, is missing.
    """
    try:
        import pynvml
    except ImportError as error:
        raise EnvironmentFault("the package nvidia-ml-py is not installed") from error
    # By UUID, since NVML counts the devices that CUDA_VISIBLE_DEVICES hides; torch's has no prefix.
    uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        pynvml.nvmlInit()
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as error:
        raise EnvironmentFault(f"NVML does not tell the energy of {device}: {error}") from error


class Meter:
    """Measures one training, from the meter's making to ``read``: what of it is asked for.

    Make it before the network is on the device. ``peak_memory_bytes`` is the rise above what is allocated
    then: the data sets that the process keeps are not the genome's.
    """

    def __init__(self, measures: Collection[str], device: torch.device) -> None:
        self._measures = measures
        self._device = device
        if PEAK_MEMORY in measures:
            # cuBLAS keeps a workspace for every stream; so each training counts that of its own.
            torch._C._cuda_clearCublasWorkspaces()
            torch.cuda.reset_peak_memory_stats(device)
            self._allocated_bytes = torch.cuda.memory_allocated(device)
        if ENERGY in measures:
            self._counter_j = energy_counter_j(device)
        self._began = time.monotonic()

    def read(self, train_s: float) -> dict[str, float]:
        """The measurements after the training, whose epochs took ``train_s`` over all attempts.

        Energy is mean power times ``train_s``, so that a training that was resumed has all of its energy.
        Raises EvaluationFailed when the training was too short for the device's counter.
        """
        seconds = time.monotonic() - self._began
        measured: dict[str, float] = {}
        if PEAK_MEMORY in self._measures:
            peak_bytes = torch.cuda.max_memory_allocated(self._device)
            measured[PEAK_MEMORY] = float(peak_bytes - self._allocated_bytes)
        if ENERGY in self._measures:
            used_j = energy_counter_j(self._device) - self._counter_j
            if used_j <= 0:
                raise EvaluationFailed(
                    f"{ENERGY} is not known: the counter of {self._device} did not move in {seconds:.2g} s"
                )
            measured[ENERGY] = used_j / seconds * train_s
        return measured


def latencies(
    measures: Collection[str], network: nn.Module, part: DeviceDataset, device: torch.device, *, bf16: bool
) -> dict[str, float]:
    """The latencies among these measurements, in ms: medians of runs, after some to warm up.

    A run is a forward pass in evaluation mode of a batch of ``part`` that is on the device already, from
    its launch until the result is there. With ``bf16``, weights and batch are bf16, as in a network that
    is put to use: autocast would convert the weights in every run. The network itself is left as it is.
    """
    batches = {measure: batch for measure in measures if (batch := latency_batch(measure)) is not None}
    if not batches:
        return {}
    dtype = torch.bfloat16 if bf16 else torch.float32
    copy = deepcopy(network).to(device, dtype).eval()
    return {name: _latency_ms(copy, part, batch, device, dtype) for name, batch in sorted(batches.items())}


def _latency_ms(
    network: nn.Module, part: DeviceDataset, batch: int, device: torch.device, dtype: torch.dtype
) -> float:
    raw, _ = next(part.batches(torch.arange(batch) % len(part), batch))
    x = part.normalised(raw).to(dtype)

    def run_ms() -> float:
        return _timed_ms(lambda: network(x), device)

    with torch.inference_mode():
        _repeat(run_ms, WARM_UP_RUNS, WARM_UP_S, WARM_UP_AT_LEAST)
        return statistics.median(_repeat(run_ms, RUNS, RUNS_S, RUNS_AT_LEAST))


def _repeat(run: Callable[[], float], times: int, seconds: float, at_least: int) -> list[float]:
    """The values of ``times`` runs, or of as many as begin within the seconds, but of ``at_least``."""
    values: list[float] = []
    end = time.monotonic() + seconds
    while len(values) < times and (len(values) < at_least or time.monotonic() < end):
        values.append(run())
    return values


def _timed_ms(run: Callable[[], object], device: torch.device) -> float:
    """How long something takes on a device, from its launch until it is done."""
    if device.type == "cuda":
        stream = torch.cuda.current_stream(device)
        begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        begin.record(stream)
        run()
        end.record(stream)
        end.synchronize()
        return float(begin.elapsed_time(end))
    began = time.perf_counter()
    run()
    if device.type == "mps":
        torch.mps.synchronize()
    return (time.perf_counter() - began) * 1000
