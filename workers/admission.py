"""Which trainings share a device: as many as its memory holds, by arithmetic first, then by measurement.

estimate      the memory that a task's training takes, by arithmetic.
auto_slots    how many evaluations at a time a device is good for.
DeviceMemory  the memory of one device: what is set aside, what was learned, what fits beside what.

All numbers are bytes. An estimate that was too low is not fatal: the training that finds no memory goes
on in a more thrifty way (``workers.memory``). It costs time, though, so estimates err upwards.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from evolver.evaluation import Task
from evolver.genome.cost import memory_bytes
from workers.individual import individual_of, recipe_of

PROCESS_BYTES = {"cuda": 1_000_000_000, "cpu": 500_000_000}
"""What a training process keeps between trainings, until one has told: a guess. A CUDA context with its
libraries takes 0.5 to 0.8 GB, torch on a CPU 0.3 GB (measured); the rest is for the data set.
"""
WORKSPACE_BYTES = 250_000_000
"""What any training takes beside the arithmetic, until one has told: a guess at the work space of cuBLAS and
cuDNN, and at what the allocator leaves unused.
"""
GUESSED, MEASURED = 1.5, 1.25
"""Safety factors: on arithmetic alone, and on what trainings of about the size were measured to take."""
MAX_GPU_SLOTS = 8
"""Without NVIDIA's MPS, processes take turns on a GPU: more of them only fill gaps, for a context each."""

log = logging.getLogger("evolver.worker")


def estimate(task: Task) -> int:
    """The memory of parameters, gradients, momentum and kept activations in fp32, as refused at birth.

    0 where the code cannot be read here: the training process will say why.
    """
    try:
        return memory_bytes(individual_of(task).cost, recipe_of(task).batch_size)
    except Exception as error:  # a space may be anybody's plug-in, and must not end the supervisor
        log.debug("the memory of genome %d is not known: %s", task.genome_id, error)
        return 0


def auto_slots(device: str, available: int | None, cores: int) -> int:
    """How many evaluations at a time a device is good for, whose memory is ``available`` if that is known.

    ``cores`` are those of the host that the device can count on. A training process keeps one of them
    busy with launching the device's kernels; on a CPU, it computes on it. At least half of the memory is
    left for trainings, beside what their processes keep.
    """
    kind = device.partition(":")[0]
    if kind not in PROCESS_BYTES:
        return 1
    limits = [cores]
    if kind == "cuda":
        limits.append(MAX_GPU_SLOTS)
    if available is not None:
        limits.append(available // (2 * PROCESS_BYTES[kind]))
    return max(1, min(limits))


class DeviceMemory:
    """The memory of one device that ``slots`` training processes share; None available is not known.

    What the processes keep between trainings is set aside for all of them. The rest is for trainings.

    Arithmetic is corrected by measurement separately for each power of two of its estimates: what a
    training takes beside its activations dominates small ones and says nothing of large ones, and the
    other way round. Within such a class, the largest ratio of measured to estimated counts.
    """

    def __init__(self, device: str, available: int | None, slots: int) -> None:
        self.device = device
        self.slots = slots
        self._available = available
        self._process_bytes = PROCESS_BYTES.get(device.partition(":")[0], 0)
        self._least_kept: int | None = None
        self._ratios: dict[int, float] = {}

    @property
    def room(self) -> float:
        """What trainings may take together; infinite where the device's memory is not known."""
        if self._available is None:
            return float("inf")
        return max(0, self._available - self.slots * self._process_bytes)

    def promised(self, estimate: int) -> float:
        """What a training of this estimate is given."""
        base = estimate + WORKSPACE_BYTES
        ratio = self._ratios.get(base.bit_length())
        return base * (GUESSED if ratio is None else MEASURED * ratio)

    def fits(self, estimate: int, beside: Sequence[int]) -> bool:
        """Whether a training may begin beside others, by their estimates. One that is alone always may."""
        return not beside or sum(map(self.promised, [estimate, *beside])) <= self.room

    def learn(self, estimate: int, *, kept: int, peak: int) -> None:
        """A training of this estimate took ``peak`` in all; its process keeps ``kept`` after it."""
        if self._least_kept is None:
            self._process_bytes = self._least_kept = kept
        self._process_bytes = max(self._process_bytes, kept)
        # A CPU's allocator keeps what trainings have freed: measured from ``kept``, they would take nothing.
        self._least_kept = min(self._least_kept, kept)
        base = estimate + WORKSPACE_BYTES
        ratio = (peak - self._least_kept) / base
        self._ratios[base.bit_length()] = max(ratio, self._ratios.get(base.bit_length(), 0.0))

    def __str__(self) -> str:
        room = "not known" if self._available is None else f"{self.room / 1e9:.1f} GB"
        return f"slots {self.slots}, memory for trainings {room}"
