"""Latency, memory and energy: what is refused, and what the values are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from evolver.errors import EnvironmentFault, EvaluationFailed
from workers import measuring
from workers.data.device import DeviceDataset
from workers.measuring import ENERGY, PEAK_MEMORY, Meter

torch.set_num_threads(1)

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class Network(nn.Module):
    """Keeps the batches that it is given, and how."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(2)
        self.seen: list[tuple[tuple[int, ...], torch.dtype, bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append((tuple(x.shape), x.dtype, self.training, torch.is_grad_enabled()))
        y: Tensor = self.norm(x)
        return y


@pytest.fixture
def part() -> DeviceDataset:
    """Three series of two channels and length 5."""
    x = torch.arange(30, dtype=torch.uint8).view(3, 5, 2)
    constant = torch.ones(5, 2)
    return DeviceDataset(x, torch.zeros(3, dtype=torch.int64), constant, constant)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """Measured itself, not in a copy, so that it can be asked what it saw."""
    monkeypatch.setattr(measuring, "deepcopy", lambda network: network)
    return Network()


class FakeNVML(SimpleNamespace):
    """Counts 2 J with every look, for one GPU."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__(millijoules=0, step=2000, is_open=0, uuid="GPU-1234")

    def nvmlInit(self) -> None:
        self.is_open += 1

    def nvmlShutdown(self) -> None:
        self.is_open -= 1

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        if uuid != self.uuid:
            raise self.NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        self.millijoules += self.step
        return self.millijoules


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeNVML]:
    fake = FakeNVML()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid="1234"))
    yield fake
    assert fake.is_open == 0


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "device", "slots", "reason"),
    [
        (PEAK_MEMORY, CPU, 1, "peak_memory_bytes cannot be measured here: .* CUDA devices only, not on cpu"),
        (ENERGY, CPU, 1, "energy_j cannot be measured here: .* on NVIDIA GPUs only, not on cpu"),
        (ENERGY, CUDA, 2, "cuda:0 is shared by 2 trainings; start the worker with --slots 1"),
        ("latency_ms", CPU, 2, "cpu is shared by 2 trainings"),
        ("latency_ms:64", CUDA, 3, "cuda:0 is shared by 3 trainings"),
        ("test_error", CPU, 1, "test_error cannot be measured here: this evaluator does not know it"),
    ],
)  # fmt: skip
def test_what_says_nothing_of_the_genome_is_refused(
    measure: str, device: torch.device, slots: int, reason: str
) -> None:
    with pytest.raises(EnvironmentFault, match=reason):
        measuring.require([measure], device, slots)


def test_what_can_be_measured_is_not_refused(nvml: FakeNVML) -> None:
    measuring.require([], CPU, 2)
    measuring.require(["latency_ms", "latency_ms:64"], CPU, 1)
    measuring.require([PEAK_MEMORY], CUDA, 8)
    measuring.require([ENERGY, PEAK_MEMORY, "latency_ms"], CUDA, 1)


def test_energy_is_refused_where_nvml_does_not_know_the_device(
    nvml: FakeNVML, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvml.uuid = "GPU-5678"
    with pytest.raises(EnvironmentFault, match="NVML does not tell the energy of cuda:0: Not Found"):
        measuring.require([ENERGY], CUDA, 1)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(EnvironmentFault, match="nvidia-ml-py is not installed"):
        measuring.require([ENERGY], CUDA, 1)


# --- energy and memory -------------------------------------------------------------------------------


def test_energy_is_mean_power_for_the_seconds_of_all_attempts(
    nvml: FakeNVML, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 104.0])
    monkeypatch.setattr(measuring, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    meter = Meter([ENERGY], CUDA)
    assert meter.read(train_s=10.0) == {ENERGY: 2.0 / 4.0 * 10.0}


def test_a_training_too_short_for_the_counter_has_no_energy(nvml: FakeNVML) -> None:
    nvml.step = 0
    meter = Meter([ENERGY], CUDA)
    with pytest.raises(EvaluationFailed, match="energy_j is not known"):
        meter.read(train_s=10.0)


def test_memory_is_the_rise_over_what_was_allocated_before(monkeypatch: pytest.MonkeyPatch) -> None:
    reset: list[object] = []
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: reset.append("workspaces"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset.append)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 300)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 1000)
    assert Meter([PEAK_MEMORY], CUDA).read(1.0) == {PEAK_MEMORY: 700.0}
    assert reset == ["workspaces", CUDA]


def test_what_nobody_asks_for_is_not_measured() -> None:
    assert Meter(["latency_ms"], CPU).read(1.0) == {}
    assert measuring.latencies([ENERGY], Network(), None, CPU, bf16=False) == {}  # type: ignore[arg-type]


# --- latency -----------------------------------------------------------------------------------------


def test_latency_is_the_median_of_the_runs_after_the_first(
    network: Network, part: DeviceDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm_up = [1000.0] * measuring.WARM_UP_RUNS
    runs = [float(n) for n in range(measuring.RUNS)]
    times = iter([*warm_up, *runs])
    monkeypatch.setattr(measuring, "_timed_ms", lambda run, device: next(times))
    measured = measuring.latencies(["latency_ms"], network, part, CPU, bf16=False)
    assert measured == {"latency_ms": (measuring.RUNS - 1) / 2}
    assert next(times, None) is None


@pytest.mark.parametrize(("bf16", "dtype"), [(False, torch.float32), (True, torch.bfloat16)])
def test_batches_are_as_in_use(
    network: Network, part: DeviceDataset, monkeypatch: pytest.MonkeyPatch, bf16: bool, dtype: torch.dtype
) -> None:
    network.train()
    measured = measuring.latencies(["latency_ms", "latency_ms:4"], network, part, CPU, bf16=bf16)
    assert set(measured) == {"latency_ms", "latency_ms:4"}
    assert all(value > 0 for value in measured.values())
    runs = measuring.WARM_UP_RUNS + measuring.RUNS
    seen = network.seen
    assert seen == [((1, 2, 5), dtype, False, False)] * runs + [((4, 2, 5), dtype, False, False)] * runs


def test_the_network_is_left_as_it_is(part: DeviceDataset) -> None:
    network = Network().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    measuring.latencies(["latency_ms:3"], network, part, CPU, bf16=True)
    assert network.training
    assert network.seen == []
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
        assert tensor.dtype == before[name].dtype


def test_slow_networks_run_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(measuring, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def run() -> float:
        now[0] += 3.0
        return 3000.0

    assert len(measuring._repeat(run, times=100, seconds=4.0, at_least=1)) == 2
    assert len(measuring._repeat(run, times=100, seconds=4.0, at_least=5)) == 5
    assert len(measuring._repeat(run, times=1, seconds=60.0, at_least=1)) == 1


# --- on a GPU ----------------------------------------------------------------------------------------


@needs_cuda
def test_everything_is_measured_on_a_gpu(part: DeviceDataset) -> None:
    device = torch.device("cuda", torch.cuda.device_count() - 1)
    on_gpu = DeviceDataset(*(tensor.to(device) for tensor in (part.x, part.y, part.mean, part.std)))
    meter = Meter([PEAK_MEMORY], device)
    matrix = torch.ones(512, 512, device=device)
    assert meter.read(1.0)[PEAK_MEMORY] >= matrix.nbytes
    del matrix
    measured = measuring.latencies(["latency_ms:3"], Network(), on_gpu, device, bf16=True)
    assert 0 < measured["latency_ms:3"] < 1000


@needs_cuda
def test_a_run_is_timed_until_its_end() -> None:
    a = torch.ones(4096, 4096, device=CUDA)
    measuring._timed_ms(lambda: a @ a, CUDA)
    once_ms = measuring._timed_ms(lambda: a @ a, CUDA)
    many_ms = measuring._timed_ms(lambda: [a @ a for _ in range(20)], CUDA)
    assert many_ms > 5 * once_ms


@needs_cuda
def test_energy_grows_while_a_gpu_works() -> None:
    try:
        measuring.require([ENERGY], CUDA, 1)
    except EnvironmentFault as error:
        pytest.skip(str(error))
    meter = Meter([ENERGY], CUDA)
    a = torch.ones(8192, 8192, device=CUDA)
    for _ in range(200):
        a = (a @ a).clamp(max=1)
    torch.cuda.synchronize(CUDA)
    assert meter.read(1.0)[ENERGY] > 0
