"""Checkpoints in the background: what training pays for, what is left out, and where errors go."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from evolver.errors import EnvironmentFault, HandedBack
from evolver.evaluation import Epoch, Resume
from tests.workers.recorder import Recorder
from tests.workers.test_trainer import STEPS, job, small_network
from workers import checkpoints, trainer
from workers.checkpoint_writer import CheckpointWriter, Snapshot, State
from workers.checkpoints import Written

torch.set_num_threads(1)

URL = "bucket://checkpoints"
WAIT_S = 30.0


class BucketError(Exception):
    """No OSError, as the errors of many drivers."""


class Bucket(MemoryFileSystem):  # type: ignore[misc]
    """A file system whose uploads wait for ``gate``, and fail with ``failure`` if there is one."""

    protocol = "bucket"
    gate = threading.Event()
    failure: Exception | None = None
    uploads = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> Any:
        return super()._strip_protocol(path.removeprefix("bucket:/"))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **more: Any) -> None:
        cls = type(self)
        cls.uploads += 1
        assert cls.gate.wait(WAIT_S), "nobody opened the gate"
        if cls.failure is not None:
            raise cls.failure
        super().pipe_file(path, value, mode, **more)


@pytest.fixture
def bucket() -> Iterator[type[Bucket]]:
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    Bucket.gate.set()
    Bucket.failure, Bucket.uploads = None, 0
    yield Bucket
    Bucket.gate.set()
    Bucket.store.clear()


@pytest.fixture
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_INTERVAL_S", 0.0)


def state(epoch: int, value: float = 0.0) -> State:
    key = checkpoints.resume_key(3, "a", epoch)
    return State(key, epoch, {"weight": torch.full((3,), value)}, {"epoch": epoch})


def reported(context: Recorder) -> list[int]:
    return [saved.epoch for saved in context.checkpoints]


def test_tensors_may_change_once_save_has_returned(
    bucket: type[Bucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = Recorder(URL)
    save = checkpoints.save

    def save_later(*arguments: Any) -> Written:
        assert bucket.gate.wait(WAIT_S)
        return save(*arguments)

    monkeypatch.setattr(checkpoints, "save", save_later)
    image = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    tensors = {"image": image, "count": torch.tensor(7), "shared": image}
    expected = {name: tensor.clone() for name, tensor in tensors.items()}
    bucket.gate.clear()
    with CheckpointWriter(context) as writer:
        writer.save(State("3/a/1.safetensors", 1, tensors, {"epoch": 1}))
        image.zero_()
        assert context.checkpoints == []
        bucket.gate.set()
    (saved,) = context.checkpoints
    loaded, meta = checkpoints.load(URL, saved.key, saved.sha256)
    assert (saved.kind, saved.epoch, meta) == ("resume", 1, {"epoch": 1})
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())


def test_a_checkpoint_is_left_out_while_the_one_before_is_written(bucket: type[Bucket]) -> None:
    context = Recorder(URL)
    bucket.gate.clear()
    with CheckpointWriter(context) as writer:
        for epoch in (1, 2, 3):
            writer.save(state(epoch))
        bucket.gate.set()
        writer.save_now(state(4))
        writer.save(state(5))
    assert reported(context) == [1, 4, 5]
    assert bucket.uploads == 3


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), BucketError("no space left")])
def test_an_error_surfaces_at_the_next_save_and_nothing_is_reported(
    bucket: type[Bucket], failure: Exception
) -> None:
    context = Recorder(URL)
    bucket.failure = failure
    with CheckpointWriter(context) as writer:
        writer.save(state(1))
        _write_ends(writer)
        with pytest.raises(EnvironmentFault, match=r"1\.safetensors cannot be written: [Nn]o space left"):
            writer.save(state(2))
    assert context.checkpoints == []
    assert bucket.uploads == 1


def _write_ends(writer: CheckpointWriter) -> None:
    assert writer._in_flight is not None
    assert writer._in_flight.exception(WAIT_S) is not None


def test_a_training_that_has_ended_needs_no_checkpoint(
    bucket: type[Bucket], caplog: pytest.LogCaptureFixture
) -> None:
    bucket.failure = BucketError("no space left")
    with caplog.at_level(logging.WARNING), CheckpointWriter(Recorder(URL)) as writer:
        writer.save(state(1))
    assert "cannot be written: no space left" in caplog.text


def test_the_last_word_is_written_whatever_became_of_the_one_before(bucket: type[Bucket]) -> None:
    context = Recorder(URL)
    bucket.failure = BucketError("a moment's trouble")
    with CheckpointWriter(context) as writer:
        writer.save(state(1))
        _write_ends(writer)
        bucket.failure = None
        writer.save_now(state(2))
        assert reported(context) == [2]
        bucket.failure = BucketError("no space left")
        with pytest.raises(EnvironmentFault, match="no space left"):
            writer.save_now(state(3))
    assert reported(context) == [2]


def test_the_last_word_is_not_written_twice(bucket: type[Bucket]) -> None:
    """Its key would be the same, but not its sha256: the times in it have gone on."""
    context = Recorder(URL)
    with CheckpointWriter(context) as writer:
        writer.save(state(1))
        writer.save_now(state(1, value=5.0))
    (saved,) = context.checkpoints
    assert bucket.uploads == 1
    loaded, _ = checkpoints.load(URL, saved.key, saved.sha256)
    assert torch.equal(loaded["weight"], torch.zeros(3))


def test_what_a_training_resumes_from_is_not_written_again(bucket: type[Bucket]) -> None:
    """As when it begins again, more thriftily, under the same token, and is stopped at once."""
    context = Recorder(URL)
    with CheckpointWriter(context, last=Resume(state(1).key, "0" * 64, 1)) as writer:
        writer.save_now(state(1))
        assert bucket.uploads == 0
        writer.save_now(state(2))
    assert reported(context) == [2]
    assert writer.last == context.last_checkpoint()


@dataclass
class Watching(Recorder):
    """Opens the bucket's gate at the end of an epoch, or when it asks to stop."""

    open_after: int | None = None
    seen: list[tuple[int, int]] = field(default_factory=list)
    """Epochs and checkpoints that were reported, after each epoch."""

    def report_epoch(self, epoch: Epoch) -> None:
        super().report_epoch(epoch)
        self.seen.append((epoch.number, len(self.checkpoints)))
        if epoch.number == self.open_after:
            Bucket.gate.set()

    def stop_requested(self) -> bool:
        stop = super().stop_requested()
        if stop:
            Bucket.gate.set()
        return stop


def test_training_goes_on_while_a_checkpoint_is_uploaded(bucket: type[Bucket], every_epoch: None) -> None:
    bucket.gate.clear()
    context = Watching(URL, open_after=4)
    trainer.train(job(epochs=4), context)
    assert context.seen == [(1, 0), (2, 0), (3, 0), (4, 0)]
    assert reported(context) == [1]


def test_a_hand_over_waits_for_the_write_in_flight_and_is_the_last_word(
    bucket: type[Bucket], every_epoch: None
) -> None:
    whole = Recorder(URL)
    trainer.train(job(epochs=3), whole)
    bucket.gate.clear()
    first = Watching(URL, stop_after=STEPS + 2)
    with pytest.raises(HandedBack):
        trainer.train(job(epochs=3, token="b"), first)
    assert [saved.key for saved in first.checkpoints] == ["3/b/1.safetensors", "3/b/1-2.safetensors"]
    second = Recorder(URL)
    trainer.train(job(epochs=3, token="c", resume=first.last_checkpoint()), second)
    assert first.curve() + second.curve() == whole.curve()


def test_a_crash_leaves_a_checkpoint_that_continues_the_same_curve(
    bucket: type[Bucket], every_epoch: None
) -> None:
    whole = Recorder(URL)
    trainer.train(job(epochs=4), whole)

    class Crashing(Recorder):
        def report_epoch(self, epoch: Epoch) -> None:
            if epoch.number == 3:
                raise RuntimeError("struck by lightning")
            super().report_epoch(epoch)

    first = Crashing(URL)
    with pytest.raises(RuntimeError, match="lightning"):
        trainer.train(job(epochs=4, token="b"), first)
    resume = first.last_checkpoint()
    second = Recorder(URL)
    trainer.train(job(epochs=4, token="c", resume=resume, network=small_network(seed=9)), second)
    assert second.resumed_from_epoch == resume.epoch
    assert second.curve() == whole.curve()[resume.epoch :]


def test_a_full_place_ends_a_training_that_would_go_on(bucket: type[Bucket], every_epoch: None) -> None:
    bucket.failure = OSError(28, "No space left on device")
    context = Recorder(URL)
    with pytest.raises(EnvironmentFault, match="No space left on device"):
        trainer.train(job(epochs=500), context)
    assert context.checkpoints == []


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_snapshot_of_a_device_is_in_the_order_of_its_work() -> None:
    device = torch.device("cuda")
    large = torch.ones(4096, 4096, device=device)
    image = torch.rand(8, 3, 5, 5, device=device).to(memory_format=torch.channels_last)
    expected = image.cpu()
    for _ in range(20):  # the device is busy for a while
        large = large @ large / 4096
    value = large[0, 0] * 0 + 3.0
    snapshot = Snapshot({"value": value, "image": image, "state": torch.ones(3)})
    value.fill_(9.0)
    image.zero_()
    copies = snapshot.tensors()
    assert copies["value"].item() == 3.0
    assert torch.equal(copies["image"], expected)
    assert copies["image"].is_pinned()
    assert all(copy.device.type == "cpu" for copy in copies.values())
