"""Checkpoints: safetensors files under a base URL that workers may share.

Keys are immutable: ``EVALUATION/TOKEN/EPOCH.safetensors`` to resume from (``EPOCH-STEP`` within an
epoch), and ``EVALUATION/TOKEN/weights.safetensors``. Since the token is the lease's, a worker that
lost its lease cannot overwrite what its successor writes. Numbers that are not tensors travel as JSON
in the file's header; nothing is ever unpickled.

The base is a directory, a ``file://`` URL, or any other URL that fsspec and its installed drivers
understand. On local disks a file appears whole or not at all, even when the power fails. The
supervisor calls ``delete``, also where neither torch nor safetensors is installed, so this module loads them
only where tensors are handled.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from evolver import failpoints
from evolver.errors import EnvironmentFault, EvolverError
from evolver.space import Json

if TYPE_CHECKING:
    from torch import Tensor

_KEY = re.compile(r"\d+/[\w-]+/(\d+(-\d+)?|weights)\.safetensors", re.ASCII)
_META = "evolver"
READ_PAUSES_S = (0.5, 2.0, 5.0)
"""Between tries to read a checkpoint that is there and cannot be read."""


class CheckpointUnusable(EvolverError):
    """A checkpoint is missing, out of reach, cut off, or not the one that was written."""

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        super().__init__(f"checkpoint {key} cannot be used: {reason}")


@dataclass(frozen=True, slots=True)
class Written:
    """A checkpoint that was written, with the sha256 (hex) and the size of its file."""

    key: str
    sha256: str
    bytes: int


def resume_key(evaluation_id: int, token: str, epoch: int, step: int = 0) -> str:
    """The key of a state after ``epoch`` full epochs and ``step`` steps of the next one."""
    name = f"{epoch}-{step}" if step else f"{epoch}"
    return f"{evaluation_id}/{token}/{name}.safetensors"


def weights_key(evaluation_id: int, token: str) -> str:
    """The key of the final weights."""
    return f"{evaluation_id}/{token}/weights.safetensors"


def save(base: str, key: str, tensors: Mapping[str, Tensor], meta: Mapping[str, Json]) -> Written:
    """Write tensors (from any device) and ``meta`` (JSON) under ``key``.

    Raises EnvironmentFault when the place cannot be written or is full.
    """
    import torch
    from safetensors.torch import save as serialise

    # Copies, as safetensors refuses tensors that share memory or are not contiguous.
    plain = {
        name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for name, tensor in tensors.items()
    }
    data = serialise(plain, metadata={_META: json.dumps(dict(meta))})
    filesystem, path = _locate(base, key)
    with _reported(path, "written"):
        if isinstance(filesystem, LocalFileSystem):
            _write_atomically(Path(path), data)
        else:
            filesystem.pipe_file(path, data)
    return Written(key, hashlib.sha256(data).hexdigest(), len(data))


def load(base: str, key: str, sha256: str) -> tuple[dict[str, Tensor], dict[str, Json]]:
    """The tensors (on the CPU) and the meta of the checkpoint ``key``.

    Raises CheckpointUnusable when it is missing, out of reach, or its contents are not those of
    ``sha256``; EnvironmentFault when the base URL is of a kind that cannot be used here.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load as deserialise

    filesystem, path = _locate(base, key)
    data = _read(filesystem, path, key)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CheckpointUnusable(
            key, f"the {len(data)} bytes at {path} are not what was written (sha256 differs)"
        )
    try:
        return deserialise(data), _meta(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointUnusable(key, f"{path} is not a checkpoint of evolver: {error}") from error


def _read(filesystem: Any, path: str, key: str) -> bytes:
    """The bytes of a file. What hinders may pass, and who gives up trains anew: so not at once."""
    pauses = iter(READ_PAUSES_S)
    while True:
        try:
            data: bytes = filesystem.cat_file(path)
            return data
        except FileNotFoundError as error:
            raise CheckpointUnusable(key, f"it is not at {path}") from error
        except Exception as error:  # see _reported
            pause_s = next(pauses, None)
            if pause_s is None:
                raise CheckpointUnusable(key, f"{path} cannot be read: {_reason(error)}") from error
            time.sleep(pause_s)


def delete(base: str, key: str) -> None:
    """Delete a checkpoint, and the directories that this leaves empty; one that is not there is fine.

    Raises EnvironmentFault when that fails, CheckpointUnusable for a malformed key.
    """
    filesystem, path = _locate(base, key)
    with _reported(path, "deleted"), suppress(FileNotFoundError):
        filesystem.rm_file(path)
    if isinstance(filesystem, LocalFileSystem):
        of_attempt = Path(path).parent
        with suppress(OSError):  # not empty: there are others of the attempt, or of the evaluation
            of_attempt.rmdir()
            of_attempt.parent.rmdir()


def set_aside(base: str, key: str) -> None:
    """Rename an unusable checkpoint to ``KEY.bad``, for people to look at; one that is not there is fine.

    Raises EnvironmentFault when that fails, CheckpointUnusable for a malformed key.
    """
    filesystem, path = _locate(base, key)
    with _reported(path, "renamed"), suppress(FileNotFoundError):
        filesystem.mv(path, f"{path}.bad")


def _locate(base: str, key: str) -> tuple[Any, str]:
    """The file system of a base URL and the path of a key in it."""
    # Keys come from the database: a tampered one must not lead out of the base.
    if not _KEY.fullmatch(key):
        raise CheckpointUnusable(key, "this is not the key of a checkpoint")
    try:
        filesystem, root = fsspec.url_to_fs(base)
    except (ImportError, ValueError) as error:
        raise EnvironmentFault(f"checkpoints cannot be kept at this URL: {error}") from error
    return filesystem, f"{root.rstrip('/')}/{key}"


@contextmanager
def _reported(path: str, what: str) -> Iterator[None]:
    """Raise EnvironmentFault for what the file system raises.

    Drivers of buckets have error types of their own, many of which are no OSError: unchanged, the want
    of a credential would count as a failure of the genome.
    """
    try:
        yield
    except Exception as error:
        raise EnvironmentFault(f"checkpoint {path} cannot be {what}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _write_atomically(path: Path, data: bytes) -> None:
    """Write under another name, flush to disk, then rename.

    The other name is fixed, so that what a killed process left is overwritten: a token has one writer.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        failpoints.reach("child.mid_checkpoint")
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise
    _flush_directory(path.parent)


def _flush_directory(path: Path) -> None:
    """Make a rename last through a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _meta(data: bytes) -> dict[str, Json]:
    """The JSON in the header: a little-endian length of 8 bytes, then the header itself."""
    length = int.from_bytes(data[:8], "little")
    meta = json.loads(json.loads(data[8 : 8 + length])["__metadata__"][_META])
    return dict(meta)
