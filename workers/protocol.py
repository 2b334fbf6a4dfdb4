"""What a supervisor and its training processes say to each other: JSON lines over a socket.

Nothing that arrives is executed, and what comes from a training process is parsed strictly: an
unknown message, a missing or unknown field, NaN and infinity are refused.

To the training process    Check, Evaluate, Stop.
To the supervisor          Checked; Begun, Started, EpochEnded, CheckpointSaved, MemoryUsed, and then one
                           outcome: Finished, Failed, Faulted, HandedOver. Warned at any time.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from evolver.errors import EvolverError
from evolver.evaluation import Epoch, SavedCheckpoint

M = TypeVar("M")

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is a fault of the sender; without a bound it could fill the supervisor's memory."""


class ProtocolError(EvolverError):
    """A line is not a message of this protocol."""


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Check(_Message):
    """Are this evaluator and the data set (``DatasetRef`` as JSON) here, and can what these objectives
    need be measured? Answered by ``Checked``.
    """

    type: Literal["check"] = "check"
    evaluator: str
    dataset: Mapping[str, Any]
    objectives: tuple[str, ...] = ()


class Evaluate(_Message):
    """Evaluate a ``Task`` (as JSON). Answered by ``Begun`` and, in the end, one outcome.

    ``experiment`` is its name, for people.
    """

    type: Literal["evaluate"] = "evaluate"
    task: Mapping[str, Any]
    experiment: str = ""


class Stop(_Message):
    """Save a checkpoint and hand over the evaluation of this token; ignored when it is not under way."""

    type: Literal["stop"] = "stop"
    token: str


class Checked(_Message):
    """What is here: the data's sha256 (None where none are needed), or why the evaluation can't be done."""

    type: Literal["checked"] = "checked"
    sha256: str | None
    fault: str | None


class Begun(_Message):
    """The plug-in is loaded and the evaluation starts: its time runs from here."""

    type: Literal["begun"] = "begun"


class Started(_Message):
    """How the attempt runs: number format, and the epoch of the checkpoint it goes on from."""

    type: Literal["started"] = "started"
    dtype: str
    resumed_from_epoch: int | None


class EpochEnded(_Message):
    """The metrics of one epoch."""

    type: Literal["epoch"] = "epoch"
    epoch: Epoch


class CheckpointSaved(_Message):
    """A checkpoint was written."""

    type: Literal["checkpoint"] = "checkpoint"
    checkpoint: SavedCheckpoint


class MemoryUsed(_Message):
    """The memory of the process on its device, in bytes: at its peak in the evaluation, and kept after it."""

    type: Literal["memory"] = "memory"
    kept: int = Field(ge=0)
    peak: int = Field(ge=0)


class Warned(_Message):
    """Something for the worker's log, whatever becomes of the evaluation."""

    type: Literal["warned"] = "warned"
    message: str


class Finished(_Message):
    """The evaluation succeeded with these values, by objective or measurement."""

    type: Literal["finished"] = "finished"
    values: dict[str, float]


class Failed(_Message):
    """The genome failed: ``kind`` is one of the genome's failure kinds."""

    type: Literal["failed"] = "failed"
    kind: str
    message: str


class Faulted(_Message):
    """The host failed: another worker may do the evaluation."""

    type: Literal["faulted"] = "faulted"
    message: str


class HandedOver(_Message):
    """The evaluation stopped because it was asked to."""

    type: Literal["handed_over"] = "handed_over"


ToChild = Check | Evaluate | Stop
Outcome = Finished | Failed | Faulted | HandedOver
ToSupervisor = Checked | Begun | Started | EpochEnded | CheckpointSaved | MemoryUsed | Warned | Outcome

_TO_CHILD: TypeAdapter[ToChild] = TypeAdapter(Annotated[ToChild, Field(discriminator="type")])
_TO_SUPERVISOR: TypeAdapter[ToSupervisor] = TypeAdapter(Annotated[ToSupervisor, Field(discriminator="type")])


def encode(message: ToChild | ToSupervisor) -> bytes:
    """The message as one line. Raises ValueError when it holds NaN or infinity, which JSON lacks."""
    return json.dumps(message.model_dump(), allow_nan=False).encode() + b"\n"


def decode_to_child(line: bytes) -> ToChild:
    """The message of one line. Raises ProtocolError."""
    return _decode(_TO_CHILD, line)


def decode_to_supervisor(line: bytes) -> ToSupervisor:
    """The message of one line. Raises ProtocolError."""
    return _decode(_TO_SUPERVISOR, line)


class Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that ``data`` completes, without their ends. Raises ProtocolError for an overlong one."""
        self._rest += data
        while (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
            yield line
        if len(self._rest) > MAX_LINE_BYTES:
            raise ProtocolError(f"a message is longer than {MAX_LINE_BYTES} bytes")


def clean_text(text: str) -> str:
    """The text without what a database refuses: NUL, which PostgreSQL lacks, and lone surrogates."""
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def _decode(adapter: TypeAdapter[M], line: bytes) -> M:
    try:
        return adapter.validate_python(json.loads(line, parse_constant=_finite, parse_float=_finite))
    except (ValueError, RecursionError) as error:  # pydantic's ValidationError is a ValueError
        raise ProtocolError(f"not a message: {line[:200]!r}: {error}") from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value
