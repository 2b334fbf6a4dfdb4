"""Checkpoints on local disks and other file systems."""

from __future__ import annotations

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import torch
from safetensors.torch import save as serialise

from evolver.errors import EnvironmentFault
from workers import checkpoints
from workers.checkpoints import CheckpointUnusable, Written, resume_key, weights_key

KEY = resume_key(12, "f3-a9", 4)
META = {"epoch": 4, "losses": [0.25, float("inf")], "name": "é", "nested": {"none": None}}


def tensors() -> dict[str, torch.Tensor]:
    return {
        "weight": torch.arange(24, dtype=torch.float32).reshape(2, 3, 2, 2),
        "steps": torch.tensor(7),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "rng": torch.Generator().manual_seed(1).get_state(),
        "empty": torch.empty(0),
    }


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "READ_PAUSES_S", (0.0, 0.0))


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(tmp_path / "shared")


@pytest.fixture
def written(base: str) -> Written:
    return checkpoints.save(base, KEY, tensors(), META)


@pytest.fixture
def memory_url() -> Iterator[str]:
    yield "memory://checkpoints"
    fsspec.filesystem("memory").store.clear()


def path_of(base: str, key: str = KEY) -> Path:
    return Path(base) / key


def files_under(base: str) -> list[str]:
    return sorted(str(path.relative_to(base)) for path in Path(base).rglob("*") if path.is_file())


def test_keys() -> None:
    assert resume_key(12, "token", 4) == "12/token/4.safetensors"
    assert resume_key(12, "token", 4, 250) == "12/token/4-250.safetensors"
    assert weights_key(12, "token") == "12/token/weights.safetensors"


def test_round_trip(base: str, written: Written) -> None:
    loaded, meta = checkpoints.load(base, KEY, written.sha256)
    assert meta == META
    assert loaded.keys() == tensors().keys()
    for name, tensor in tensors().items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)


def test_says_what_was_written(base: str, written: Written) -> None:
    data = path_of(base).read_bytes()
    assert written == Written(KEY, hashlib.sha256(data).hexdigest(), len(data))
    assert files_under(base) == [KEY]


def test_shared_strided_and_trained_tensors(base: str) -> None:
    weight = torch.nn.Parameter(torch.arange(24.0).reshape(1, 2, 3, 4))
    state = {"a": weight, "b": weight, "c": weight.to(memory_format=torch.channels_last), "d": weight[..., 1]}
    loaded, _ = checkpoints.load(base, KEY, checkpoints.save(base, KEY, state, {}).sha256)
    for name, tensor in state.items():
        assert torch.equal(loaded[name], tensor)


def test_file_url_is_the_same_place(base: str) -> None:
    written = checkpoints.save(f"file://{base}", KEY, tensors(), META)
    assert checkpoints.load(base, KEY, written.sha256)[1] == META


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints.save("shared", KEY, tensors(), META)
    assert files_under(str(tmp_path / "shared")) == [KEY]


def test_other_file_systems(memory_url: str) -> None:
    written = checkpoints.save(memory_url, KEY, tensors(), META)
    assert checkpoints.load(memory_url, KEY, written.sha256)[1] == META
    checkpoints.set_aside(memory_url, KEY)
    checkpoints.delete(memory_url, KEY)
    with pytest.raises(CheckpointUnusable, match="is not at"):
        checkpoints.load(memory_url, KEY, written.sha256)


def test_a_driver_may_have_errors_of_its_own(memory_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of credentials that are missing: a fault of the host, not of the genome."""

    class NoCredentials(Exception):
        pass

    def refuse(*arguments: object, **more: object) -> None:
        raise NoCredentials

    for name in ("pipe_file", "cat_file", "rm_file", "mv"):
        monkeypatch.setattr(fsspec.filesystem("memory"), name, refuse)
    with pytest.raises(EnvironmentFault, match="cannot be written: NoCredentials"):
        checkpoints.save(memory_url, KEY, tensors(), META)
    with pytest.raises(CheckpointUnusable, match="cannot be read: NoCredentials"):
        checkpoints.load(memory_url, KEY, "0" * 64)
    for use, what in ((checkpoints.delete, "deleted"), (checkpoints.set_aside, "renamed")):
        with pytest.raises(EnvironmentFault, match=f"cannot be {what}: NoCredentials"):
            use(memory_url, KEY)


def test_missing(base: str) -> None:
    with pytest.raises(
        CheckpointUnusable, match=f"checkpoint {KEY} cannot be used: it is not at {path_of(base)}"
    ):
        checkpoints.load(base, KEY, "0" * 64)


def test_truncated(base: str, written: Written) -> None:
    path_of(base).write_bytes(path_of(base).read_bytes()[:-8])
    with pytest.raises(CheckpointUnusable, match="sha256 differs"):
        checkpoints.load(base, KEY, written.sha256)


def test_one_flipped_bit(base: str, written: Written) -> None:
    data = bytearray(path_of(base).read_bytes())
    data[-1] ^= 1
    path_of(base).write_bytes(data)
    with pytest.raises(CheckpointUnusable, match="sha256 differs"):
        checkpoints.load(base, KEY, written.sha256)


@pytest.mark.parametrize(
    "data",
    [b"", b"short", b"\xff" * 64, b"\x80\x04N.", serialise({"a": torch.zeros(1)})],
    ids=["empty", "short", "huge header", "a pickle", "safetensors without meta"],
)
def test_right_hash_of_something_else(base: str, data: bytes) -> None:
    path_of(base).parent.mkdir(parents=True)
    path_of(base).write_bytes(data)
    with pytest.raises(CheckpointUnusable, match="not a checkpoint of evolver"):
        checkpoints.load(base, KEY, hashlib.sha256(data).hexdigest())


def test_unreadable(base: str) -> None:
    path_of(base).mkdir(parents=True)
    with pytest.raises(CheckpointUnusable, match="cannot be read"):
        checkpoints.load(base, KEY, "0" * 64)


def test_what_cannot_be_read_for_a_moment_is_read_again(
    memory_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = checkpoints.save(memory_url, KEY, tensors(), META)
    filesystem = fsspec.filesystem("memory")
    read, failures = filesystem.cat_file, iter([True, True, False])

    def stale_twice(path: str) -> bytes:
        if next(failures):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return bytes(read(path))

    monkeypatch.setattr(filesystem, "cat_file", stale_twice)
    assert checkpoints.load(memory_url, KEY, written.sha256)[1] == META


@pytest.mark.parametrize(
    "key", ["../../etc/passwd", "1/../../x/1.safetensors", "1/t/1.safetensors.bad", "/1/t/1", ""]
)
def test_a_key_never_leads_out_of_the_base(base: str, key: str) -> None:
    for use in (checkpoints.delete, checkpoints.set_aside):
        with pytest.raises(CheckpointUnusable, match="not the key of a checkpoint"):
            use(base, key)
    with pytest.raises(CheckpointUnusable, match="not the key of a checkpoint"):
        checkpoints.load(base, key, "0" * 64)


def test_delete(base: str, written: Written) -> None:
    for _ in range(2):
        checkpoints.delete(base, KEY)
        assert list(Path(base).iterdir()) == [], "hundreds of thousands of directories would pile up"


def test_deletion_leaves_what_is_beside_it(base: str, written: Written) -> None:
    beside = [resume_key(12, "f3-a9", 5), weights_key(12, "another")]
    for key in beside:
        checkpoints.save(base, key, {}, {})
    checkpoints.delete(base, KEY)
    assert files_under(base) == sorted(beside)
    checkpoints.delete(base, beside[0])
    assert files_under(base) == [beside[1]]
    assert [path.name for path in path_of(base).parent.parent.iterdir()] == ["another"]


def test_set_aside(base: str, written: Written) -> None:
    for _ in range(2):
        checkpoints.set_aside(base, KEY)
        assert files_under(base) == [f"{KEY}.bad"]


def test_no_part_of_a_file_is_visible_under_its_key(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    flush = os.fsync

    def look_then_flush(descriptor: int) -> None:
        seen.append(files_under(base))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", look_then_flush)
    checkpoints.save(base, KEY, tensors(), META)
    assert seen == [[f"{KEY}.partial"], [KEY]]


def test_full_disk_leaves_the_older_file(
    base: str, written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EnvironmentFault, match="cannot be written: No space left on device"):
            checkpoints.save(base, KEY, {}, {})
    assert files_under(base) == [KEY]
    assert checkpoints.load(base, KEY, written.sha256)[1] == META


def test_killed_while_writing(base: str, written: Written) -> None:
    """What a killed process leaves is not taken for a checkpoint, and does not stop the next one."""
    partial = path_of(base).with_name(f"{path_of(base).name}.partial")
    partial.write_bytes(b"half")
    again = checkpoints.save(base, KEY, tensors(), META)
    assert again == written
    assert files_under(base) == [KEY]


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault, match=r"cannot be written: Not a directory"):
        checkpoints.save(str(tmp_path / "file"), KEY, tensors(), META)


@pytest.mark.parametrize("url", ["nonsense://host/path", "gopher://x"])
def test_unknown_kind_of_url(url: str) -> None:
    with pytest.raises(EnvironmentFault, match="cannot be kept at this URL"):
        checkpoints.save(url, KEY, {}, {})


def test_the_supervisor_deletes_without_torch(base: str, written: Written) -> None:
    code = (
        "import sys; from workers import checkpoints; "
        f"checkpoints.delete({base!r}, {KEY!r}); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert files_under(base) == []
