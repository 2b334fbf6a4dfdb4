"""Which trainings share a device, by arithmetic alone; and what a process tells of its memory."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from evolver import recipe
from evolver.genome.cost import memory_bytes
from evolver.genome.space import ConvSpace
from tests.workers.test_child import TASK
from workers import admission, devices, usage
from workers.admission import GUESSED, MEASURED, PROCESS_BYTES, WORKSPACE_BYTES, DeviceMemory
from workers.main import make_slots
from workers.options import WorkerOptions
from workers.protocol import MemoryUsed

GB = 1_000_000_000
SPACE = ConvSpace.from_settings(ConvSpace.presets()["tiny"])


def test_a_training_is_estimated_as_at_its_birth() -> None:
    genome = SPACE.random(np.random.default_rng(1))
    task = replace(
        TASK,
        space_settings=SPACE.settings(),
        code=SPACE.to_json(genome),
        recipe=recipe.load("fast", {"batch_size": 32}).to_json(),
    )
    assert admission.estimate(task) == memory_bytes(SPACE.cost(genome, task.dataset.sample), 32)


@pytest.mark.parametrize(
    "change", [{"code": {"do": "finish"}}, {"space": "unheard-of"}, {"recipe": {"batch_size": 0}}]
)
def test_what_cannot_be_read_is_left_to_the_training_process(change: dict[str, Any]) -> None:
    assert admission.estimate(replace(TASK, **change)) == 0


def test_trainings_fit_until_the_room_is_promised() -> None:
    memory = DeviceMemory("cuda:0", 10 * GB, slots=4)
    assert memory.room == 10 * GB - 4 * PROCESS_BYTES["cuda"]
    half = int(memory.room / GUESSED / 2 - WORKSPACE_BYTES)
    assert 2 * memory.promised(half) <= memory.room
    assert memory.fits(half, beside=[half])
    assert not memory.fits(half + GB // 100, beside=[half])
    assert not memory.fits(half, beside=[half, 0])


def test_one_that_is_alone_always_fits() -> None:
    memory = DeviceMemory("cpu", GB, slots=4)
    assert memory.room == 0
    assert memory.fits(100 * GB, beside=[])
    assert not memory.fits(0, beside=[0])


def test_where_the_memory_is_not_known_everything_fits() -> None:
    memory = DeviceMemory("mps", None, slots=2)
    assert memory.fits(100 * GB, beside=[100 * GB])
    assert str(memory) == "slots 2, memory for trainings not known"


@pytest.mark.parametrize("ratio", [0.3, 2.0])
def test_measurement_replaces_the_guess_in_both_directions(ratio: float) -> None:
    memory, took = DeviceMemory("cuda:0", 80 * GB, slots=1), int(ratio * (4 * GB + WORKSPACE_BYTES))
    assert memory.promised(4 * GB) == GUESSED * (4 * GB + WORKSPACE_BYTES)
    memory.learn(4 * GB, kept=GB, peak=GB + took)
    assert memory.promised(4 * GB) == pytest.approx(MEASURED * took)


def test_the_largest_measurement_of_a_size_counts() -> None:
    memory = DeviceMemory("cuda:0", 80 * GB, slots=1)
    for peak in (3 * GB, 6 * GB, 2 * GB):
        memory.learn(4 * GB, kept=GB, peak=peak)
    assert memory.promised(4 * GB) == pytest.approx(MEASURED * 5 * GB)


def test_what_an_allocator_keeps_of_a_training_counts_as_the_trainings() -> None:
    memory = DeviceMemory("cpu", 80 * GB, slots=1)
    memory.learn(0, kept=GB, peak=GB)
    memory.learn(4 * GB, kept=5 * GB, peak=5 * GB)
    assert memory.promised(4 * GB) == pytest.approx(MEASURED * 4 * GB)


def test_small_trainings_say_nothing_of_large_ones() -> None:
    memory = DeviceMemory("cuda:0", 80 * GB, slots=1)
    before = memory.promised(8 * GB)
    memory.learn(GB // 100, kept=GB, peak=GB)
    memory.learn(GB, kept=GB, peak=20 * GB)
    assert memory.promised(8 * GB) == before


def test_what_processes_keep_is_set_aside_for_each_slot() -> None:
    memory = DeviceMemory("cuda:0", 80 * GB, slots=4)
    memory.learn(GB, kept=GB // 2, peak=GB)
    assert memory.room == 78 * GB
    memory.learn(GB, kept=2 * GB, peak=3 * GB)
    memory.learn(GB, kept=GB, peak=3 * GB)
    assert memory.room == 72 * GB


@pytest.mark.parametrize(
    ("device", "available", "cores", "slots"),
    [
        ("cuda:0", 80 * GB, 64, 8),
        ("cuda:0", 80 * GB, 5, 5),
        ("cuda:1", 8 * GB, 64, 4),
        ("cuda:0", GB, 64, 1),
        ("cuda:0", None, 64, 8),
        ("cuda:0", 80 * GB, 0, 1),
        ("cpu", 100 * GB, 64, 64),
        ("cpu", 8 * GB, 64, 8),
        ("cpu", None, 2, 2),
        ("mps", None, 8, 1),
    ],
)
def test_automatic_slots(device: str, available: int | None, cores: int, slots: int) -> None:
    assert admission.auto_slots(device, available, cores) == slots


def test_each_device_gets_its_own_number_of_automatic_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"cuda:0": 80 * GB, "cuda:1": 5 * GB}
    monkeypatch.setattr(devices, "free_bytes", free.get)
    monkeypatch.setattr(devices, "cores", lambda: 13)
    slots = make_slots(("cuda:0", "cuda:1"), WorkerOptions(slots="auto", memory_share=0.8), "/checkpoints")
    assert [slot.device for slot in slots] == ["cuda:0"] * 6 + ["cuda:1"] * 2
    assert [slot._surroundings.device_slots for slot in slots] == [6] * 6 + [2] * 2
    assert {slot._surroundings.cpu_threads for slot in slots} == {1}
    assert [str(slots[n].memory) for n in (0, 7)] == [
        "slots 6, memory for trainings 58.0 GB",
        "slots 2, memory for trainings 2.0 GB",
    ]


# --- what a process tells ----------------------------------------------------------------------------


@pytest.mark.skipif(not usage.CLEAR_REFS.exists(), reason="needs Linux's /proc")
def test_the_peak_on_a_cpu_is_that_of_the_last_evaluation() -> None:
    usage.begin_peak("cpu")
    del_me = np.ones(20_000_000)
    del del_me
    used = usage.used("cpu")
    assert used is not None
    assert used.peak - used.kept > 100_000_000
    usage.begin_peak("cpu")
    used = usage.used("cpu")
    assert used is not None
    assert used.peak - used.kept < 100_000_000


def test_nothing_is_known_of_a_device_that_was_not_used() -> None:
    assert usage.used("mps") is None
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        usage.begin_peak("cuda:0")
        assert usage.used("cuda:0") is None


@pytest.mark.parametrize(("by_nvml", "context"), [(2 * GB, GB), (None, usage.CONTEXT_BYTES), (GB // 2, 0)])
def test_on_a_gpu_the_context_counts(
    monkeypatch: pytest.MonkeyPatch, by_nvml: int | None, context: int
) -> None:
    fake = SimpleNamespace(
        is_initialized=lambda: True, memory_reserved=lambda _: GB, max_memory_reserved=lambda _: 5 * GB
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=fake))
    monkeypatch.setattr(devices, "process_bytes", lambda device, pid: by_nvml)
    assert usage.used("cuda:0") == MemoryUsed(kept=context + GB, peak=context + 5 * GB)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_the_peak_on_a_real_gpu() -> None:
    torch.zeros(1, device="cuda:0")
    usage.begin_peak("cuda:0")
    before = usage.used("cuda:0")
    block = torch.zeros(500_000_000, dtype=torch.uint8, device="cuda:0")
    del block
    torch.cuda.empty_cache()
    after = usage.used("cuda:0")
    assert before is not None
    assert after is not None
    assert after.kept < before.kept + 100_000_000
    assert after.peak - before.kept >= 500_000_000
    free = devices.free_bytes("cuda:0")
    assert free is not None
    assert 0 < free < torch.cuda.get_device_properties(0).total_memory
