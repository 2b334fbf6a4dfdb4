"""``evolver export``: one line for what cannot be exported, and files that err as the training measured."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evolver.api import Evolver
from evolver.cli import export as command
from evolver.genome.space import ConvSpace
from evolver.space import Sample
from evolver.store.db import Database
from evolver.store.experiments import NewDataset
from tests import factories
from tests.acceptance.helpers import cli, create, facts_of, refused, search
from tests.workers.exported import retrained, searched, transferred

ROOT = Path(__file__).parents[2]
KINDS = ("onnx", "pt2", "safetensors", "python")


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def sqlite(sqlite_url: str) -> Iterator[Database]:
    opened = Database.open(sqlite_url)
    yield opened
    opened.dispose()


def snippet(card: Path) -> str:
    """The lines of a model card that say how to use the file."""
    (found,) = re.findall(r"## Use\n\n```python\n(.*?)```", card.read_text(), re.DOTALL)
    return str(found)


def run_snippet(card: Path) -> str:
    """Run them beside the file, where there is no evolver; returns what they print."""
    code = f"import sys\nsys.modules['evolver'] = sys.modules['workers'] = None\n{snippet(card)}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=card.parent, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_and_its_card_appear_and_are_not_replaced_unasked(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    genome_id = retrained(database, tmp_path / "kept")
    ask = ("export", genome_id, "--format", "safetensors", "--checkpoint-url", tmp_path / "kept")
    done = cli(*ask, url=database_url)
    assert done.exit_code == 0, done.stderr
    name = f"demo-g{genome_id}.safetensors"
    assert done.stdout.splitlines()[:3] == [
        f"exported genome {genome_id} of 'demo'.",
        f"file: {name}",
        f"card: {name}.md",
    ]
    assert {path.name for path in tmp_path.glob("demo*")} == {name, f"{name}.md"}
    assert f"{name} exists already" in refused(*ask, url=database_url)
    found = facts_of(*ask, "--force", "--output", tmp_path, url=database_url)
    assert (found["trained"], found["path"], found["card"]) == (
        True,
        str(tmp_path / name),
        str(tmp_path / f"{name}.md"),
    )
    assert found["checks"]["largest_difference"] <= found["checks"]["tolerance"]


@pytest.mark.parametrize("kind", KINDS)
def test_untrained_weights_are_called_so_and_the_cards_lines_run(
    sqlite: Database, sqlite_url: str, tmp_path: Path, kind: str
) -> None:
    genome_id = searched(sqlite)[0]
    done = cli("export", genome_id, "--format", kind, "--untrained", url=sqlite_url)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[0].endswith(
        "UNTRAINED: its weights are initial ones, which predict nothing."
    )
    (card,) = tmp_path.glob("demo*.md")
    assert "**UNTRAINED.**" in card.read_text()
    printed = run_snippet(card)
    assert re.search(
        r"\d+ tensors" if kind == "safetensors" else r"\[\d \d \d \d\]|\[\d, \d, \d, \d\]", printed
    )


def test_weights_on_other_data_are_asked_for_by_name(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    genome_id = retrained(database, tmp_path / "kept")
    data = NewDataset("npz:big pets.npz", Sample(1, (16, 16), 4), 80, 20, 50, 0, None)
    evaluation_id = transferred(database, tmp_path / "kept", genome_id, data, "scratch")
    ask = ("export", genome_id, "--format", "safetensors", "--checkpoint-url", tmp_path / "kept")
    done = cli(*ask, "--dataset", "npz:big pets.npz", url=database_url)
    assert done.stdout.splitlines()[:2] == [
        f"exported genome {genome_id} of 'demo', trained on npz:big pets.npz.",
        f"file: demo-g{genome_id}-npz-big-pets.npz.safetensors",
    ]
    found = facts_of(*ask, "--evaluation", evaluation_id, "--force", url=database_url)
    assert found["path"] == f"demo-g{genome_id}-npz-big-pets.npz.safetensors"
    cases: list[tuple[list[Any], str]] = [
        (["--dataset", "mnist"], "evolver transfer demo --dataset mnist"),
        (["--evaluation", 1], f"evaluation 1 is no final training of genome {genome_id} that kept weights"),
        (
            ["--evaluation", evaluation_id, "--untrained"],
            "give one of --dataset, --evaluation and --untrained",
        ),
        (["--evaluation", 0], "--evaluation"),
    ]
    for wrong, message in cases:
        assert message in refused(*ask, *wrong, url=database_url)


# --- what cannot be exported -------------------------------------------------------------------------


def test_a_genome_without_weights_says_how_to_get_them(sqlite: Database, sqlite_url: str) -> None:
    genome_id = searched(sqlite)[0]
    line = refused("export", genome_id, "--format", "onnx", url=sqlite_url)
    assert f"evolver retrain demo --genome {genome_id}" in line
    assert "--untrained" in line
    enqueued = cli("retrain", "demo", "--genome", genome_id, "--workers", "0", url=sqlite_url)
    assert enqueued.exit_code == 0, enqueued.stderr
    assert "has not ended" in refused("export", genome_id, "--format", "onnx", url=sqlite_url)
    factories.fail(sqlite, factories.must_claim(sqlite, factories.registered_worker(sqlite)), "oom")
    line = refused("export", genome_id, "--format", "onnx", url=sqlite_url)
    assert f"its final training failed (oom); try again: evolver retrain demo --genome {genome_id}" in line


def test_weights_that_lie_elsewhere(sqlite: Database, sqlite_url: str, tmp_path: Path) -> None:
    genome_id = retrained(sqlite, tmp_path / "kept")
    line = refused("export", genome_id, "--format", "pt2", url=sqlite_url, code=1)
    assert f"the weights of genome {genome_id} cannot be read" in line
    assert "--checkpoint-url" in line
    assert not list(tmp_path.glob("demo*"))


def test_genomes_that_have_no_network(
    sqlite: Database, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no genome 999" in refused("export", 999, "--format", "onnx", url=sqlite_url)
    create(sqlite, "trained", evaluator="train")
    search(sqlite, "trained", failing=[2])
    for options in ([], ["--untrained"]):
        line = refused("export", 2, "--format", "onnx", *options, url=sqlite_url)
        assert line == "evolver: genome 2 failed (oom): too large; see why: evolver logs 2"
    create(sqlite, "made-up")
    search(sqlite, "made-up")
    genome_id = facts_of("front", "made-up", url=sqlite_url)[0]["genome_id"]
    line = refused("export", genome_id, "--format", "pt2", "--untrained", url=sqlite_url)
    assert "has no network to export: the evaluator 'surrogate' of 'made-up' trains none" in line
    monkeypatch.delattr(ConvSpace, "plan")
    assert "which has no plan()" in refused("export", genome_id, "--format", "pt2", url=sqlite_url)


@pytest.mark.parametrize(
    ("missing", "kind", "extra"),
    [("onnxscript", "onnx", "export"), ("torch", "pt2", "worker"), ("safetensors", "onnx", "worker")],
)
def test_packages_that_are_missing(
    sqlite_url: str, missing: str, kind: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        command, "find_spec", lambda name: None if name == missing else importlib.util.find_spec(name)
    )
    line = refused("export", 1, "--format", kind, url=sqlite_url, code=4)
    assert f"({missing})" in line
    assert f"pip install 'evolver[{extra}]'" in line


def test_other_formats_need_no_onnx(
    sqlite: Database, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        command, "find_spec", lambda name: None if "onnx" in name else importlib.util.find_spec(name)
    )
    genome_id = searched(sqlite)[0]
    done = cli("export", genome_id, "--format", "safetensors", "--untrained", url=sqlite_url)
    assert done.exit_code == 0, done.stderr


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("evolver.cli.export", {"torch", "numpy", "onnx", "workers"}),
        ("workers.export.subject, workers.export.facts, workers.export.source", {"torch", "onnx"}),
        ("workers.export.card", {"torch", "onnx"}),
    ],
)
def test_modules_load_no_more_than_they_need(modules: str, absent: set[str]) -> None:
    code = f"import sys, {modules}; print(*{absent} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


# --- a real one --------------------------------------------------------------------------------------


def evolver(*arguments: object, url: str) -> None:
    environment = {
        **os.environ,
        "EVOLVER_DATABASE_URL": url,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "evolver", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_exported_errs_as_its_training_measured(sqlite_url: str, tmp_path: Path) -> None:
    """On the data of the search, and brought to larger images in colour, with other classes."""
    # In fp32: where training computes in bf16, a sample may change sides.
    (tmp_path / "config.toml").write_text(
        'epochs = 1\nrecipe = "fast"\n[recipe_settings]\nprecision = "fp32"\n'
    )
    options = ("--space", "tiny", "--population", 4, "--budget", 4, "--config", "config.toml")
    evolver("run", "demo", *options, url=sqlite_url)
    genome_id = facts_of("front", "demo", url=sqlite_url)[0]["genome_id"]
    coloured_digits(tmp_path / "colours.npz")
    begun = ("--from", "weights", "--top", 4, "--data-dir", tmp_path, "--epochs", 3)
    evolver("retrain", "demo", *everyone(sqlite_url), "--epochs", 3, url=sqlite_url)
    evolver("transfer", "demo", "--dataset", "npz:colours.npz", *begun, url=sqlite_url)

    from workers.data.digits import digits

    raw = digits(None, Path(), False)
    with np.load(tmp_path / "colours.npz") as colours:
        x, y = np.moveaxis(colours["x_test"], -1, 1), colours["y_test"]
    for purpose, which, x_test, y_test in [
        ("retrain", [], raw.test_x, raw.test_y),
        ("transfer", ["--dataset", "npz:colours.npz"], x, y),
    ]:
        ask = ("export", genome_id, *which, "--format")
        measured = measured_error(sqlite_url, genome_id, purpose)
        made = {kind: facts_of(*ask, kind, url=sqlite_url) for kind in KINDS}
        for one in made.values():
            assert one["trained"] is True
            assert f"(accuracy {100 * (1 - measured):.2f} %)" in Path(one["card"]).read_text()
        for name, predict in predictors(made).items():
            error = float((predict(x_test.astype(np.float32)).argmax(1) != y_test).mean())
            assert error == pytest.approx(measured, abs=1e-9), (purpose, name)


def coloured_digits(path: Path) -> None:
    """The digits from 0 to 6, three times as large, each in one of three colours."""
    from workers.data.digits import digits

    def coloured(x: Any, y: Any) -> tuple[Any, Any]:
        large = np.kron(x[y < 7], np.ones((3, 3)))[:, 0, :, :, None].astype(np.uint8) * np.uint8(15)
        return large * np.eye(3, dtype=np.uint8)[np.arange(len(large)) % 3][:, None, None, :], y[y < 7]

    raw = digits(None, Path(), False)
    (x_train, y_train), (x_test, y_test) = (
        coloured(raw.train_x, raw.train_y),
        coloured(raw.test_x, raw.test_y),
    )
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)


def everyone(url: str) -> list[object]:
    """All genomes of the search, to be retrained."""
    with Evolver.open(url) as known:
        return [part for one in known.genomes("demo") for part in ("--genome", one.genome_id)]


def measured_error(url: str, genome_id: int, purpose: str) -> float:
    evaluations = facts_of("show", genome_id, url=url)["evaluations"]
    (detail,) = [one for one in evaluations if one["purpose"] == purpose]
    measured = detail["other_values"]["test_error"]
    assert 0 < measured < 0.6
    return float(measured)


def predictors(made: dict[str, Any]) -> dict[str, Any]:
    """What each kind of file makes of raw samples, as logits."""
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(made["onnx"]["path"])
    program = torch.export.load(made["pt2"]["path"]).module()
    path = Path(made["python"]["path"])
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    weights = Path(made["safetensors"]["path"])
    return {
        "onnx": lambda x: session.run(["logits"], {"input": x})[0],
        "pt2": lambda x: program(torch.from_numpy(x)).detach().numpy(),
        "python": lambda x: module.load()(torch.from_numpy(x)).detach().numpy(),
        "safetensors": lambda x: module.load(weights)(torch.from_numpy(x)).detach().numpy(),
        "bytes": lambda x: module.load()(torch.from_numpy(x.astype(np.uint8))).detach().numpy(),
    }
