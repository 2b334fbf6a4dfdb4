"""The files of a model: what they compute, what they say of themselves, and that they are whole or absent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import nn

from evolver.errors import EnvironmentFault, EvolverError, InvalidInput
from evolver.recipe import load as recipe_named
from evolver.retraining import enqueue
from evolver.space import Sample
from evolver.store import claims
from evolver.store.db import Database
from evolver.store.experiments import NewDataset
from evolver.store.weights import to_begin_with
from tests import factories
from tests.workers.exported import (
    MEAN,
    MEASURED,
    STD,
    begin,
    finish,
    random_plan,
    retrained,
    searched,
    transferred,
)
from workers.decoder import decode
from workers.export import exporting, formats
from workers.export.exporting import export, target_of
from workers.export.facts import about, facts
from workers.export.formats import FORMATS, CheckFailed
from workers.export.model import Model, WeightsUnusable, model_of
from workers.export.subject import Subject, Wanted, gather
from workers.seeds import Stream, stream, torch_generator

KINDS = sorted(FORMATS)
COLOURS = NewDataset("colours", Sample(3, (28, 20), 7), 80, 20, 50, 0, None)
"""Other data than those of the searches, larger and in colour."""


@pytest.fixture
def database(sqlite_url: str) -> Iterator[Database]:
    opened = Database.open(sqlite_url)
    yield opened
    opened.dispose()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Where weights are kept."""
    return tmp_path / "weights"


@pytest.fixture
def subject(database: Database, base: Path) -> Subject:
    """A genome that was retrained."""
    return gathered(database, retrained(database, base))


def gathered(database: Database, genome_id: int, *, untrained: bool = False) -> Subject:
    with database.read() as connection:
        return gather(connection, genome_id, Wanted(untrained=untrained))


def read_facts(kind: str, path: Path) -> dict[str, Any]:
    """The metadata of a file, as a program finds them."""
    if kind == "onnx":
        import onnx

        return json.loads({one.key: one.value for one in onnx.load(path).metadata_props}["evolver"])
    if kind == "pt2":
        files = {"evolver.json": ""}
        torch.export.load(path, extra_files=files)
        return json.loads(files["evolver.json"])
    with safe_open(path.with_suffix(".safetensors"), "pt") as file:
        return json.loads(file.metadata()["evolver"])


@pytest.mark.parametrize("kind", KINDS)
def test_files_say_what_they_are(subject: Subject, base: Path, tmp_path: Path, kind: str) -> None:
    exported = export(subject, target_of(subject, kind, tmp_path, force=False), str(base))
    assert exported.trained
    assert {path.name for path in tmp_path.iterdir() if path.is_file() and path.suffix != ".db"} >= {
        path.name for path in (*exported.files, exported.card)
    }
    assert not list(tmp_path.glob(".evolver-export-*"))
    known = read_facts(kind, exported.path)
    detail = subject.detail
    assert known["trained"] is True
    assert known["code"] == detail.code
    assert known["sample"] == {"channels": 1, "spatial": [8, 8], "classes": 10}
    assert known["normalisation"] == {"included": True, "mean": [MEAN], "std": [STD]}
    assert known["metrics"]["training"] == MEASURED
    assert known["metrics"]["search"]["error"] == detail.evaluations[0].objectives["error"]
    assert known["recipe"]["training"]["epochs"] == 3
    assert known["output"]["softmax"] is False
    card = exported.card.read_text()
    assert "87.50 %" in card
    assert "UNTRAINED" not in card
    assert f"`{detail.phenotype}`" in card
    assert exported.checks["batches"] == [1, 2, 7, 32]
    assert exported.checks["largest_difference"] <= exported.checks["tolerance"]


@pytest.mark.parametrize("kind", KINDS)
def test_untrained_weights_are_those_that_a_training_begins_with(
    database: Database, tmp_path: Path, kind: str
) -> None:
    genome_id = searched(database)[0]
    subject = gathered(database, genome_id, untrained=True)
    exported = export(subject, target_of(subject, kind, tmp_path, force=False), "nowhere")
    assert not exported.trained
    known = read_facts(kind, exported.path)
    assert (known["trained"], known["metrics"]["training"], known["training"]) == (False, None, None)
    assert known["normalisation"] == {"included": True, "mean": [0.0], "std": [1.0]}
    assert "**UNTRAINED.**" in exported.card.read_text()
    assert "not of the weights in this file" in exported.card.read_text()
    if kind == "python":
        assert "UNTRAINED" in exported.path.read_text()
    experiment = factories.current(database, "demo").settings
    seed = claims.training_seed(experiment.seed, subject.detail.birth, 0)
    begun = decode(subject.plan, torch_generator(stream(seed, Stream.WEIGHTS))).eval()
    x = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(model_of(subject, "", about(subject)).module(x), begun(x))


@pytest.mark.parametrize(("preset", "shape"), [("paper", (20, 17)), ("small", (50,))])
def test_onnx_and_pt2_of_other_networks(
    subject: Subject, base: Path, tmp_path: Path, preset: str, shape: tuple[int, ...]
) -> None:
    plan = random_plan(preset, replace(subject.plan.sample, spatial=shape, channels=2), 4)
    other = replace(subject, plan=plan, weights=None)
    model = model_of(other, "", about(other))
    known = facts(model, "2")
    for kind in ("onnx", "pt2"):
        checks = FORMATS[kind].write(model, known, tmp_path / f"model.{kind}")
        assert checks["largest_difference"] <= 1e-4


def test_an_onnx_file_takes_any_batch_and_no_other_shape(
    subject: Subject, base: Path, tmp_path: Path
) -> None:
    import onnx
    import onnxruntime

    exported = export(subject, target_of(subject, "onnx", tmp_path, force=False), str(base))
    proto = onnx.load(exported.path)
    onnx.checker.check_model(proto, full_check=True)
    assert [one.version for one in proto.opset_import if one.domain == ""] == [18]
    session = onnxruntime.InferenceSession(exported.path)
    (pixels,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (pixels.name, pixels.shape, pixels.type) == ("input", ["batch", 1, 8, 8], "tensor(float)")
    assert (logits.name, logits.shape) == ("logits", ["batch", 10])
    reference = model_of(subject, str(base), about(subject)).reference
    x = 16 * torch.rand(61, 1, 8, 8)
    with torch.no_grad():
        expected = reference(x)
    (found,) = session.run(None, {"input": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(Exception, match="Got invalid dimensions"):
        session.run(None, {"input": x[:, :, :7].numpy()})


# --- which weights -----------------------------------------------------------------------------------


def wanted(database: Database, genome_id: int, **which: Any) -> Subject:
    with database.read() as connection:
        return gather(connection, genome_id, Wanted(**which))


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_was_brought_to_other_data(
    database: Database, base: Path, tmp_path: Path, kind: str
) -> None:
    genome_id = retrained(database, base)
    evaluation_id = transferred(database, base, genome_id, COLOURS, "weights")
    subject = wanted(database, genome_id, dataset="colours")
    target = target_of(subject, kind, tmp_path, force=False)
    assert target.path.stem.replace("_", "-") == f"demo-g{genome_id}-colours"
    exported = export(subject, target, str(base))
    assert exported.checks["largest_difference"] <= exported.checks["tolerance"]
    known = read_facts(kind, exported.path)
    assert (known["sample"], known["dataset"]["name"]) == (COLOURS.sample.to_json(), "colours")
    assert known["searched_on"]["name"] == "digits"
    source = wanted(database, genome_id).weights
    assert source is not None
    assert known["training"] == {
        "evaluation_id": evaluation_id,
        "purpose": "transfer",
        "repetition": 0,
        "init_from": source.evaluation_id,
    }
    assert known["params"] == sum(one.numel() for one in decode(subject.plan, torch.Generator()).parameters())
    assert (known["recipe"]["training"]["epochs"], known["metrics"]["training"]) == (4, MEASURED)
    card = exported.card.read_text()
    assert "found by evolver on the data set `digits` and brought to `colours`" in card
    assert f"Began with the weights of evaluation {source.evaluation_id}" in card
    assert "resize" in card


def test_weights_are_those_that_are_asked_for(database: Database, base: Path) -> None:
    genome_id = retrained(database, base)
    first = wanted(database, genome_id).weights
    assert first is not None
    scratch = transferred(database, base, genome_id, COLOURS, "scratch")
    begun = transferred(database, base, genome_id, COLOURS, "weights")
    chosen = {
        "of the search": wanted(database, genome_id),
        "on its data": wanted(database, genome_id, dataset="digits"),
        "last on others": wanted(database, genome_id, dataset="colours"),
        "this one": wanted(database, genome_id, evaluation_id=scratch),
    }
    assert {name: one.weights.evaluation_id for name, one in chosen.items() if one.weights} == {
        "of the search": first.evaluation_id,
        "on its data": first.evaluation_id,
        "last on others": begun,
        "this one": scratch,
    }
    with pytest.raises(InvalidInput, match=rf"there are: {first.evaluation_id} \(digits\), {scratch} \(col"):
        wanted(database, genome_id, evaluation_id=genome_id + 999)
    with pytest.raises(InvalidInput, match=r"no weights trained on 'svhn' \(it has for: colours, digits\)"):
        wanted(database, genome_id, dataset="svhn")


def test_the_last_training_is_the_one_that_ended_last(database: Database, base: Path) -> None:
    """Here and for transfers that begin with weights, when two trainings overlap."""
    genome_id = retrained(database, base)
    found = factories.current(database, "demo")
    for epochs in (6, 7):
        factories.do(database, enqueue, found, [genome_id], recipe_named("fast", {"epochs": epochs}))
    early, late = begin(database), begin(database)
    finish(database, base, late)
    finish(database, base, early)
    chosen = wanted(database, genome_id).weights
    assert chosen is not None
    assert chosen.evaluation_id == early.task.evaluation_id
    with database.read() as connection:
        assert to_begin_with(connection, [genome_id])[genome_id].evaluation_id == chosen.evaluation_id


# --- whole or absent ---------------------------------------------------------------------------------


class Wrong(nn.Module):
    """A network whose weights are the right ones and whose logits are not, by a little."""

    def __init__(self, right: nn.Module) -> None:
        super().__init__()
        self.right = right

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.right(x)
        return logits + 0.001 * logits.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_check_leaves_the_old_files(
    subject: Subject, base: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*arguments: Any) -> Model:
        model = model_of(*arguments)
        return replace(model, reference=Wrong(model.reference))

    directory = tmp_path / "models"
    directory.mkdir()
    target = target_of(subject, kind, directory, force=False)
    monkeypatch.setattr(exporting, "model_of", wrong)
    with pytest.raises(CheckFailed, match="for a batch of 1 its logits differ"):
        export(subject, target, str(base))
    assert list(directory.iterdir()) == []

    target.path.write_text("old")
    with pytest.raises(CheckFailed):
        export(subject, target, str(base))
    assert [path.name for path in directory.iterdir()] == [target.path.name]
    assert target.path.read_text() == "old"


def test_what_a_converter_raises_is_one_line(
    subject: Subject, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("no such operator\nand a long report")

    monkeypatch.setattr(torch.onnx, "export", broken)
    with pytest.raises(CheckFailed, match=r"cannot be converted to ONNX: no such operator$"):
        export(subject, target_of(subject, "onnx", tmp_path, force=False), str(base))


def test_networks_beyond_the_limit_of_onnx_are_refused(
    subject: Subject, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(formats, "ONNX_LIMIT_BYTES", 1000)
    with pytest.raises(InvalidInput, match="too large for an ONNX file"):
        export(subject, target_of(subject, "onnx", tmp_path, force=False), str(base))


def test_a_directory_that_goes_away_is_a_fault_of_the_machine(
    subject: Subject, base: Path, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    target = target_of(subject, "safetensors", tmp_path / "gone", force=False)
    (tmp_path / "gone").rmdir()
    with pytest.raises(EnvironmentFault, match="cannot write to"):
        export(subject, target, str(base))


def test_weights_that_are_missing_or_changed(subject: Subject, base: Path, tmp_path: Path) -> None:
    assert subject.weights is not None
    target = target_of(subject, "safetensors", tmp_path, force=False)
    with pytest.raises(WeightsUnusable, match=r"it is not at .*--checkpoint-url"):
        export(subject, target, str(tmp_path))
    path = base / subject.weights.key
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsUnusable, match="not what was written"):
        export(subject, target, str(base))
    assert not target.path.exists()


def test_weights_of_another_network_are_refused(subject: Subject, base: Path, tmp_path: Path) -> None:
    other = replace(subject, phenotype="0" * 64)
    with pytest.raises(WeightsUnusable, match="those of another network"):
        export(other, target_of(other, "safetensors", tmp_path, force=False), str(base))


# --- names -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("demo", "onnx", "demo-g{}.onnx"),
        ("../etc/x y", "pt2", "etc-x-y-g{}.pt2"),
        ("v1.2", "python", "v1_2_g{}.py"),
        ("2 runs", "python", "_2_runs_g{}.py"),
        ("größe", "safetensors", "größe-g{}.safetensors"),
        ("///", "onnx", "search-g{}.onnx"),
    ],
)
def test_names_of_files(subject: Subject, name: str, kind: str, expected: str) -> None:
    settings = replace(subject.experiment.settings, name=name)
    renamed = replace(subject, experiment=replace(subject.experiment, settings=settings))
    target = target_of(renamed, kind, None, force=True)
    assert target.path == Path(expected.format(subject.detail.genome_id))


@pytest.mark.parametrize(
    ("kind", "output", "message"),
    [
        ("onnx", "model.pt2", r"is no directory, and does not end in \.onnx"),
        ("python", "my-model.py", "no name that Python can import"),
        ("python", "class.py", "no name that Python can import"),
        ("python", "torch.py", "no name that Python can import"),
        ("pt2", "missing/model.pt2", "there is no directory missing"),
    ],
)
def test_outputs_that_are_refused(subject: Subject, kind: str, output: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        target_of(subject, kind, Path(output), force=True)


@pytest.mark.parametrize("taken", ["model.py", "model.safetensors", "model.py.md"])
def test_no_file_is_replaced_unasked(subject: Subject, tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine")
    with pytest.raises(EvolverError, match=f"{taken} exists already"):
        target_of(subject, "python", tmp_path / "model.py", force=False)
    assert target_of(subject, "python", tmp_path / "model.py", force=True).path == tmp_path / "model.py"
