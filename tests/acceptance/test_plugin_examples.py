"""The plug-ins in ``examples/``, installed from their wheels, and searches with them from start to end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pytest

from tests.acceptance.helpers import cli, facts_of

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
TABLE = EXAMPLES / "table"
WRONG = ("NotANumber", "Unmeasuring")

Evolver = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with both packages, as pip would unpack them, and the wrong evaluators of the tests."""
    wheels, target = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("installed")
    for name in ("vectors", "table"):
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(wheels)]
        done = subprocess.run(build, cwd=EXAMPLES / name, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    for wheel in wheels.iterdir():
        zipfile.ZipFile(wheel).extractall(target)
    wrong = target / "wrong-1.0.dist-info"
    wrong.mkdir()
    (wrong / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong\nVersion: 1.0\n")
    points = "\n".join(f"{name} = tests.acceptance.wrong_plugins:{name}" for name in WRONG)
    (wrong / "entry_points.txt").write_text(f"[evolver.evaluators]\n{points}\n")
    return target


@pytest.fixture
def evolver(installed: Path, tmp_path: Path) -> Evolver:
    """Calls the command line in a process that has the plug-ins, in a directory of its own."""

    def call(*arguments: object, url: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "evolver", *map(str, arguments)],
            cwd=tmp_path,
            env={
                **os.environ,
                "EVOLVER_DATABASE_URL": url,
                "PYTHONPATH": os.pathsep.join([str(installed), str(ROOT)]),
                "OMP_NUM_THREADS": "1",
            },
            capture_output=True,
            text=True,
            timeout=150,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return call


def front(name: str, url: str) -> list[dict[str, float]]:
    """The objectives of the front's members."""
    return [member["objectives"] for member in facts_of("front", name, url=url)]


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The line by which a command ends on an error; there is no traceback."""
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("evolver: ")
    return line


def message_of(genome_id: int, url: str) -> str:
    """The reason for which a genome failed."""
    (evaluation,) = facts_of("show", genome_id, url=url)["evaluations"]
    return str(evaluation["failure_message"])


# --- vectors -----------------------------------------------------------------------------------------


def zdt1(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """ZDT1 of vectors (N, n), written out anew: (N, 2)."""
    g = 1 + 9 * x[:, 1:].sum(axis=1) / (x.shape[1] - 1)
    return np.column_stack([x[:, 0], g - np.sqrt(g * x[:, 0])])


@pytest.mark.slow
def test_a_search_beats_a_random_sample_on_zdt1(evolver: Evolver, sqlite_url: str) -> None:
    evolver("run", "z", "--space", "zdt1", "--evaluator", "zdt1", "--objectives", "f1,f2",
            "--selector", "nsga2", "--population", 20, "--budget", 300, url=sqlite_url)  # fmt: skip
    found = np.array([[values["f1"], values["f2"]] for values in front("z", sqlite_url)])
    sampled = [zdt1(np.random.default_rng(seed).random((300, 30))) for seed in range(10)]
    best = max(moocore.hypervolume(sample, ref=[1.0, 7.0]) for sample in sampled)
    assert moocore.hypervolume(found, ref=[1.0, 7.0]) > best + 0.5
    shown = evolver("show", 1, url=sqlite_url).stdout
    assert shown.count("x26") == 1
    assert "params" not in cli("front", "z", url=sqlite_url).stdout


def test_three_objectives_on_postgresql(evolver: Evolver, postgresql_url: str) -> None:
    evolver("run", "d", "--space", "dtlz2", "--evaluator", "dtlz2", "--objectives", "f1,f2,f3",
            "--dataset", "none", "--population", 10, "--budget", 60, url=postgresql_url)  # fmt: skip
    norms = [sum(value**2 for value in values.values()) for values in front("d", postgresql_url)]
    assert len(norms) > 3
    assert min(norms) >= 1


def test_what_a_problem_does_not_measure_is_told_at_once(evolver: Evolver, sqlite_url: str) -> None:
    done = evolver("run", "z", "--space", "zdt1", "--evaluator", "zdt1", "--objectives", "f1,f3",
                   url=sqlite_url, code=4)  # fmt: skip
    assert "the evaluator 'zdt1' measures f1, f2, not f3" in last_line(done)
    assert facts_of("list", url=sqlite_url) == []


# --- table -------------------------------------------------------------------------------------------


def search_in_table(
    evolver: Evolver, url: str, data_dir: Path, code: int = 0
) -> subprocess.CompletedProcess[str]:
    return evolver(
        "run", "cells", "--config", TABLE / "cells.toml", "--data-dir", data_dir,
        "--population", 8, "--budget", 16, url=url, code=code,
    )  # fmt: skip


def results() -> Mapping[str, list[float]]:
    found: Mapping[str, list[float]] = json.loads((TABLE / "cells.json").read_text())["results"]
    return found


def test_the_front_of_a_table_search_is_of_the_table(evolver: Evolver, sqlite_url: str) -> None:
    search_in_table(evolver, sqlite_url, TABLE)
    found = front("cells", sqlite_url)
    assert found
    values = {(error, latency) for error, _, latency in results().values()}
    assert {(one["error"], one["column:latency"]) for one in found} <= values


def test_a_genome_that_the_table_lacks_fails_with_a_reason(
    evolver: Evolver, sqlite_url: str, tmp_path: Path
) -> None:
    table = json.loads((TABLE / "cells.json").read_text())
    table["results"] = {
        cell: values for cell, values in table["results"].items() if not cell.startswith("pool3")
    }
    (tmp_path / "cells.json").write_text(json.dumps(table))
    done = search_in_table(evolver, sqlite_url, tmp_path)
    assert "Traceback" not in done.stderr
    status = facts_of("status", "cells", url=sqlite_url)
    assert (status["state"], status["evaluated"]) == ("finished", 16)
    (failures,) = status["failures"]
    assert 0 < failures["number"] < 16
    message = message_of(failures["genome_id"], sqlite_url)
    assert message.startswith("table:cells.json has no result for ")


def test_another_table_than_the_experiments_is_refused(
    evolver: Evolver, sqlite_url: str, tmp_path: Path
) -> None:
    evolver("new", "cells", "--config", TABLE / "cells.toml", "--data-dir", TABLE, url=sqlite_url)
    (tmp_path / "cells.json").write_text((TABLE / "cells.json").read_text() + "\n")
    done = evolver("run", "cells", "--data-dir", tmp_path, url=sqlite_url, code=4)
    assert "is not the experiment's table" in last_line(done)


def test_the_table_is_what_its_script_writes(tmp_path: Path) -> None:
    script = tmp_path / "make_table.py"
    script.write_text((TABLE / "make_table.py").read_text())
    subprocess.run([sys.executable, script], check=True, capture_output=True)
    for name in ("cells.json", "cells.toml"):
        assert (tmp_path / name).read_bytes() == (TABLE / name).read_bytes()


# --- wrong evaluators --------------------------------------------------------------------------------


def test_a_result_that_is_not_a_number_is_the_reason_of_a_failure(evolver: Evolver, sqlite_url: str) -> None:
    done = evolver("run", "w", "--space", "tiny", "--evaluator", "NotANumber", "--population", 4,
                   "--budget", 4, url=sqlite_url, code=1)  # fmt: skip
    assert "all 4 evaluations of 'w' failed: 4 error" in last_line(done)
    assert message_of(1, sqlite_url) == "objective 'error' is nan, not a finite number"


def test_an_evaluator_that_lacks_a_method_is_refused(evolver: Evolver, sqlite_url: str) -> None:
    done = evolver("run", "w", "--space", "tiny", "--evaluator", "Unmeasuring", url=sqlite_url, code=4)
    assert "does not implement evolver.evaluation.Evaluator: it lacks check_measures" in last_line(done)
