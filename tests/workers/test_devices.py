"""Devices by name, on machines of every kind: the driver and the processor are stood in for."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from evolver.errors import InvalidInput, UnknownName
from workers import devices

GPUS = [("GPU-aaaa-1", "NVIDIA A100"), ("GPU-bbbb-2", "NVIDIA H100"), ("GPU-bbcc-3", "NVIDIA L4")]


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_gpus", list)
    monkeypatch.setattr(platform, "system", lambda: "Linux")


@pytest.fixture
def three_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_gpus", lambda: GPUS)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def apple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("argument", ["auto", "cpu", "all"])
def test_without_accelerator_it_is_the_cpu(argument: str) -> None:
    assert devices.parse_devices(argument) == ("cpu",)


@pytest.mark.usefixtures("three_gpus")
@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("auto", ("cuda:0",)),
        ("cuda", ("cuda:0",)),
        ("cuda:2", ("cuda:2",)),
        ("cpu", ("cpu",)),
        ("all", ("cuda:0", "cuda:1", "cuda:2")),
    ],
)
def test_with_gpus(argument: str, expected: tuple[str, ...]) -> None:
    assert devices.parse_devices(argument) == expected


@pytest.mark.usefixtures("apple")
@pytest.mark.parametrize("argument", ["auto", "mps", "all"])
def test_on_apple_silicon(argument: str) -> None:
    assert devices.parse_devices(argument) == ("mps",)


@pytest.mark.usefixtures("three_gpus")
def test_a_device_that_is_not_here_is_named_with_those_that_are() -> None:
    with pytest.raises(
        InvalidInput, match=r"cuda:7 is not here; this machine has: cpu, cuda:0, cuda:1, cuda:2"
    ):
        devices.parse_devices("cuda:7")


@pytest.mark.parametrize("argument", ["gpu", "cuda:", "cuda:-1", "cuda:x", "", "cpu:0", "CUDA"])
def test_another_word_is_unknown(argument: str) -> None:
    with pytest.raises(UnknownName):
        devices.parse_devices(argument)


@pytest.mark.usefixtures("three_gpus")
@pytest.mark.parametrize(
    ("visible", "names"),
    [
        ("", []),
        ("-1", []),
        ("1", ["NVIDIA H100"]),
        ("2,0", ["NVIDIA L4", "NVIDIA A100"]),
        ("0,9,1", ["NVIDIA A100"]),
        ("GPU-aaaa", ["NVIDIA A100"]),
        ("GPU-bb", []),
        ("MIG-1234", ["NVIDIA A100"]),
    ],
)
def test_visible_devices_are_cudas(monkeypatch: pytest.MonkeyPatch, visible: str, names: list[str]) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.available() == ("cpu", *(f"cuda:{n}" for n in range(len(names))))
    assert [devices.device_name(f"cuda:{n}") for n in range(len(names))] == names


class Nvml:
    """NVML on a machine where GPUs have 10, 20 and 30 GB free, and process 7 uses 1 GB of each."""

    class NVMLError(Exception):
        pass

    def nvmlInit(self) -> None: ...
    def nvmlShutdown(self) -> None: ...

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:
        return [one for one, _ in GPUS].index(uuid)

    def nvmlDeviceGetMemoryInfo(self, gpu: int) -> SimpleNamespace:
        return SimpleNamespace(free=(gpu + 1) * 10_000_000_000)

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: int) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(pid=7, usedGpuMemory=1_000_000_000),
            SimpleNamespace(pid=8, usedGpuMemory=None),
        ]


@pytest.mark.usefixtures("three_gpus")
def test_the_memory_of_the_gpu_that_cuda_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())  # type: ignore[arg-type]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert devices.free_bytes("cuda:0") == 30_000_000_000
    assert devices.free_bytes("cuda:1") == 10_000_000_000
    assert devices.free_bytes("cuda:2") is None
    assert [devices.process_bytes("cuda:0", pid) for pid in (7, 8, 9)] == [1_000_000_000, None, None]


@pytest.mark.usefixtures("three_gpus")
def test_nvml_that_does_not_answer_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = Nvml()

    def refuse() -> None:
        raise Nvml.NVMLError("not loaded")

    monkeypatch.setattr(silent, "nvmlInit", refuse)
    monkeypatch.setitem(sys.modules, "pynvml", silent)  # type: ignore[arg-type]
    assert devices.free_bytes("cuda:0") is None


def test_the_free_memory_of_the_host_is_within_its_control_groups(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(devices, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(devices, "OWN_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(devices, "CGROUPS", tmp_path / "groups")
    assert devices.free_bytes("cpu") is None
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemAvailable:    8000 kB\n")
    assert devices.free_bytes("cpu") == 8_192_000
    job = tmp_path / "groups" / "slurm" / "job_1"
    job.mkdir(parents=True)
    (tmp_path / "cgroup").write_text("4:memory:/old\n0::/slurm/job_1\n")
    (job / "memory.max").write_text("max\n")
    assert devices.free_bytes("cpu") == 8_192_000
    (job.parent / "memory.max").write_text("5000000\n")
    assert devices.free_bytes("cpu") == 5_000_000


def test_the_cpu_by_its_model_and_flags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr(devices, "CPUINFO", cpuinfo)
    assert devices.device_name("cpu")
    assert not devices.cpu_flags_bf16()
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Test CPU 3\nflags\t\t: fpu avx512f\n\nprocessor\t: 1\n")
    assert devices.device_name("cpu") == "Test CPU 3"
    assert not devices.cpu_flags_bf16()
    cpuinfo.write_text("model name\t: Test CPU 4\nflags\t\t: fpu avx512_bf16 amx_tile\n")
    assert devices.cpu_flags_bf16()


def test_torch_is_not_loaded() -> None:
    code = (
        "import sys, workers.devices as d; d.device_name(d.available()[0]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
