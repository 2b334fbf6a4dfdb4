"""The files below a checkpoint base, for those who clean up and look after it.

Touches nothing but what ``checkpoints.py`` writes: a base may be a directory that holds other things.
Loads no torch.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from evolver.errors import EnvironmentFault
from evolver.garbage import StoredFile

_FILE = re.compile(r"\d+/[\w-]+/(\d+(-\d+)?|weights)\.safetensors(\.partial|\.bad)?", re.ASCII)
_DIRECTORY = re.compile(r"\d+(/[\w-]+)?", re.ASCII)


class CheckpointDirectory:
    """Implements ``evolver.garbage.CheckpointFiles`` for a base URL."""

    def __init__(self, base: str) -> None:
        """Raises EnvironmentFault when URLs of this kind cannot be used here."""
        self.base = base
        try:
            self._filesystem, root = fsspec.url_to_fs(base)
        except (ImportError, ValueError) as error:
            raise EnvironmentFault(f"checkpoints cannot be kept at this URL: {error}") from error
        self._root = root.rstrip("/")

    @property
    def exists(self) -> bool:
        """Whether anything was ever kept here."""
        return bool(self._filesystem.exists(self._root))

    def files(self) -> list[StoredFile]:
        """All checkpoints, weights, and leftovers of either."""
        now = datetime.now(UTC)
        with self._reported("listed"):
            found = [entry for entry in self._entries(3) if entry["type"] == "file"]
            return [
                StoredFile(name, int(entry["size"] or 0), self._age_s(entry, now))
                for entry in found
                if _FILE.fullmatch(name := self._name(entry))
            ]

    def directories(self) -> list[str]:
        """The directories of evaluations and their attempts, deepest first."""
        with self._reported("listed"):
            found = [entry for entry in self._entries(2) if entry["type"] == "directory"]
        names = [name for entry in found if _DIRECTORY.fullmatch(name := self._name(entry))]
        return sorted(names, key=lambda name: -name.count("/"))

    def delete(self, name: str) -> None:
        """Delete a file; one that is not there is fine. Raises EnvironmentFault for any other name."""
        if not _FILE.fullmatch(name):  # names come from the database: none may lead out of the base
            raise EnvironmentFault(f"{name!r} is not the name of a checkpoint; nothing was deleted")
        with self._reported("deleted"), suppress(FileNotFoundError):
            self._filesystem.rm_file(f"{self._root}/{name}")

    def delete_empty(self, directories: Iterable[str]) -> int:
        """Delete those of these directories that are empty; returns how many."""
        deleted = 0
        for name in directories:
            with suppress(OSError):  # not empty after all
                self._filesystem.rmdir(f"{self._root}/{name}")
                deleted += 1
        return deleted

    def probe(self) -> int | None:
        """Write something here and remove it again; returns the free bytes, None where nobody knows.

        Makes no directory. Raises EnvironmentFault when this place cannot be written.
        """
        try:
            if isinstance(self._filesystem, LocalFileSystem):
                place = _nearest(Path(self._root))
                with tempfile.TemporaryFile(dir=place) as file:
                    file.write(b"evolver")
                return shutil.disk_usage(place).free
            path = f"{self._root}/evolver-doctor-{os.getpid()}"
            self._filesystem.pipe_file(path, b"evolver")
            self._filesystem.rm_file(path)
            return None
        except Exception as error:  # drivers raise what they like: wrong credentials are no OSError
            reason = getattr(error, "strerror", None) or error
            raise EnvironmentFault(f"checkpoints at {self.base} cannot be written: {reason}") from error

    def _entries(self, depth: int) -> Iterator[dict[str, Any]]:
        """Everything so many levels down, and above."""
        with suppress(FileNotFoundError):
            yield from self._filesystem.find(self._root, maxdepth=depth, withdirs=True, detail=True).values()

    def _name(self, entry: dict[str, Any]) -> str:
        return str(entry["name"]).removeprefix(self._root).strip("/")

    def _age_s(self, entry: dict[str, Any], now: datetime) -> float:
        modified: datetime = self._filesystem.modified(entry["name"])
        if modified.tzinfo is None:
            modified = modified.replace(tzinfo=UTC)
        return (now - modified).total_seconds()

    @contextmanager
    def _reported(self, what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise EnvironmentFault(
                f"checkpoints at {self.base} cannot be {what}: {error.strerror or error}"
            ) from error


def require_writable(base: str) -> None:
    """Raises EnvironmentFault, with what to do, when no checkpoints can be kept under this base."""
    try:
        CheckpointDirectory(base).probe()
    except EnvironmentFault as error:
        raise EnvironmentFault(f"{error}; give another --checkpoint-url") from error


def _nearest(path: Path) -> Path:
    """The path, or the nearest one above it that is there: a directory, unless a file is in the way."""
    return next(one for one in (path, *path.parents) if one.exists())
