"""The messages between supervisor and training process."""

from __future__ import annotations

import pytest

from evolver.evaluation import Epoch, SavedCheckpoint
from workers import protocol

TO_SUPERVISOR = [
    protocol.Checked(sha256="ab", fault=None),
    protocol.Begun(),
    protocol.Started(dtype="bf16", resumed_from_epoch=3),
    protocol.EpochEnded(epoch=Epoch(1, 0.1, 0.2, None, None, 0.3, 0.4, {"grad_norm": [1.5, None]})),
    protocol.CheckpointSaved(checkpoint=SavedCheckpoint("resume", 1, "1/token/1", "cd", 10)),
    protocol.Finished(values={"error": 0.1, "params": 12.0}),
    protocol.Failed(kind="diverged", message="loss is nan\nin epoch 3"),
    protocol.Faulted(message="no disk"),
    protocol.HandedOver(),
]
TO_CHILD = [
    protocol.Check(evaluator="train", dataset={"name": "digits"}),
    protocol.Evaluate(task={"code": {"blocks": [1, 2]}, "resume": None}),
    protocol.Stop(token="token"),
]


@pytest.mark.parametrize("message", TO_SUPERVISOR)
def test_messages_to_the_supervisor_survive_the_way(message: protocol.ToSupervisor) -> None:
    assert protocol.decode_to_supervisor(protocol.encode(message)) == message


@pytest.mark.parametrize("message", TO_CHILD)
def test_messages_to_the_child_survive_the_way(message: protocol.ToChild) -> None:
    assert protocol.decode_to_child(protocol.encode(message)) == message


@pytest.mark.parametrize("message", [*TO_SUPERVISOR, *TO_CHILD])
def test_a_message_is_one_line(message: protocol.ToChild | protocol.ToSupervisor) -> None:
    assert protocol.encode(message).count(b"\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not json",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"type": "unheard of"}',
        b'{"type": "stop", "token": "a message to the child"}',
        b'{"type": "handed_over", "more": 1}',
        b'{"type": "epoch", "epoch": {"number": 1}}',
        b'{"type": "finished", "values": {"error": NaN}}',
        b'{"type": "finished", "values": {"error": 1e999}}',
        b'{"type": "finished", "values": {"error": "low"}}',
    ],
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(protocol.ProtocolError):
        protocol.decode_to_supervisor(line)


def test_nan_is_not_sent() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        protocol.encode(protocol.Finished(values={"error": float("nan")}))


def test_lines_are_cut_wherever_the_stream_was() -> None:
    lines = protocol.Lines()
    assert list(lines.feed(b"fir")) == []
    assert list(lines.feed(b"st\nsecond\nth")) == [b"first", b"second"]
    assert list(lines.feed(b"ird\n")) == [b"third"]


def test_an_endless_line_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_LINE_BYTES", 10)
    with pytest.raises(protocol.ProtocolError, match="longer than 10 bytes"):
        list(protocol.Lines().feed(b"x" * 11))


def test_text_is_cleaned_of_what_databases_refuse() -> None:
    assert protocol.clean_text("a\0b\ud800é") == "a\N{REPLACEMENT CHARACTER}b?é"
