"""What several modules of acceptance tests share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def url(filled_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of this test's own copy of the module's ``filled_file``, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(filled_file, tmp_path / "evolver.db")
    return f"sqlite:///{tmp_path}/evolver.db"
