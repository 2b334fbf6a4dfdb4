"""The wheel: an installation without the checkout migrates a database and finds its plug-ins."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from evolver.store.schema import REVISION

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = directory.glob("*.whl")
    return built


def test_the_wheel_holds_the_packages_and_the_migrations(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    migrations = {
        f"evolver/_migrations/versions/{path.name}" for path in ROOT.glob("migrations/versions/*.py")
    }
    assert migrations
    assert names >= {"evolver/_migrations/env.py", "evolver/py.typed", "workers/py.typed", *migrations}
    assert not any("__pycache__" in name or name.startswith("tests/") for name in names)


def test_the_wheel_holds_the_files_of_the_dashboard(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    files = {
        path.relative_to(ROOT).as_posix()
        for folder in ("templates", "static")
        for path in (ROOT / "evolver/dashboard" / folder).iterdir()
    }
    assert len(files) > 10
    assert names >= files


def test_the_wheel_alone_makes_a_database_and_finds_its_plug_ins(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    script = """
import evolver
from evolver import registry
from evolver.store.db import Database
from evolver.store.migrate import migrations_dir
print(evolver.__file__)
print(migrations_dir())
print(Database.open("sqlite:///new.db", create=True).revision())
print(registry.load("space", "conv").__name__, *registry.names("objective"))
"""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    package = installed / "evolver"
    assert done.stdout.splitlines() == [
        str(package / "__init__.py"),
        str(package / "_migrations"),
        REVISION,
        "ConvSpace energy_j error flops latency_ms loss params peak_memory_bytes train_s",
    ]
