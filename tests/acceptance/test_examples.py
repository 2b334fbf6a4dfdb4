"""The examples, as their first lines tell people to run them."""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.helpers import cli, facts_of

ROOT = Path(__file__).parents[2]
TINY = ["--population", "4", "--budget", "4", "--epochs", "2"]


@pytest.mark.slow
def test_a_search_on_series(tmp_path: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    script = ROOT / "examples" / "series.py"
    told = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    command = told.partition("evolver run ")[2].partition("\n\n")[0].replace("\\\n", "")
    environment = {**os.environ, "EVOLVER_DATABASE_URL": sqlite_url, "PYTHONPATH": str(ROOT)}
    for arguments in ([str(script)], ["-m", "evolver", "run", *shlex.split(command), *TINY]):
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    (made,) = facts_of("list", url=sqlite_url)
    assert (made["dataset"], made["state"]) == ("npz:digits-series.npz", "finished")
    best = facts_of("front", "series", url=sqlite_url)[0]
    assert best["objectives"]["error"] < 0.5
    shown = cli("show", best["genome_id"], url=sqlite_url).stdout
    assert re.search(r"^input +8 x 8$", shown, re.MULTILINE)
