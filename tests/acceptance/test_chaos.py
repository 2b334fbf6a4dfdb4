"""The short form of ``benchmarks/chaos.py``: half a minute of random faults on PostgreSQL."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_search_under_random_faults(tmp_path: Path) -> None:
    figures = tmp_path / "chaos.json"
    command = [sys.executable, "benchmarks/chaos.py", "--quick", "--json", str(figures)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout[-5000:], done.stderr[-5000:])  # the seed, and what broke
    assert done.returncode == 0
    found = json.loads(figures.read_text())
    assert found["evaluations"] >= 200
    assert found["headline"]["faults_survived"] >= 5
