"""Whether checkpoints can be kept somewhere is known before anything is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from evolver.errors import EnvironmentFault
from workers.checkpoint_files import require_writable


def test_a_place_that_can_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    require_writable(str(tmp_path / "not" / "made" / "yet"))
    require_writable(f"file://{tmp_path}")
    require_writable("memory://checkpoints")
    assert list(tmp_path.iterdir()) == []
    assert MemoryFileSystem().find("/checkpoints") == []


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("no directory")
    for base in (tmp_path / "notes", tmp_path / "notes" / "below"):
        with pytest.raises(EnvironmentFault, match="Not a directory; give another --checkpoint-url"):
            require_writable(str(base))


def test_a_place_where_nothing_can_be_made() -> None:
    with pytest.raises(EnvironmentFault, match="checkpoints at /proc/evolver cannot be written"):
        require_writable("/proc/evolver")


def test_a_driver_that_refuses_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoCredentials(Exception):
        pass

    def refuse(*_arguments: object, **_options: object) -> None:
        raise NoCredentials("Unable to locate credentials")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    with pytest.raises(
        EnvironmentFault, match="cannot be written: Unable to locate credentials; give another"
    ):
        require_writable("memory://checkpoints")
