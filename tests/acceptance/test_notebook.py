"""The notebook among the examples: stored without outputs, with commands that evolver takes, and executed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from evolver import config
from tests.unit.test_deploy import require_accepted
from tests.unit.test_examples import commands

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOK = EXAMPLES / "walkthrough.ipynb"
TEST_IMAGES = 359


def cells(kind: str) -> dict[str, str]:
    """The sources of the stored notebook's cells of that kind, by their ids."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    return {cell.id: cell.source for cell in notebook.cells if cell.cell_type == kind}


def shown_commands() -> Iterator[list[str]]:
    """The arguments of evolver in lines that begin with ``!``, in strings, and in the text."""
    for source in cells("code").values():
        lines = re.sub(r"^!", "", re.sub(r"\{\w+\}", "1", source), flags=re.MULTILINE)
        yield from commands(lines)
        yield from commands("\n".join(re.findall(r'"(evolver [^"]+)"', source)))
    for source in cells("markdown").values():
        yield from commands("\n".join(re.findall(r"`(evolver \w+ [^`]+)`", source)))


# --- as it is stored ---------------------------------------------------------------------------------


def test_it_is_valid_and_stored_without_outputs() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert cell.metadata == {}
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None), cell.id


def test_its_commands_and_settings_are_taken(tmp_path: Path) -> None:
    shown = list(shown_commands())
    for arguments in shown:
        require_accepted(arguments)
    assert {arguments[0] for arguments in shown} == {
        "new", "run", "status", "front", "plot", "sql", "show", "lineage", "retrain", "export", "delete",
    }  # fmt: skip
    magic, _, settings = cells("code")["settings"].partition("\n")
    assert magic == "%%writefile digits.toml"
    (tmp_path / "digits.toml").write_text(settings)
    made, _ = config.build("digits", config.parse(config.read_file(tmp_path / "digits.toml")), tmp_path)
    assert made.objectives == ("error", "params")


def test_the_index_names_every_example() -> None:
    named = re.findall(r"^\| \[.+?\]\((.+?)\) \|", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    there = [path.name for path in EXAMPLES.iterdir() if path.name[0] not in "._"]
    assert sorted(named) == sorted(set(there) - {"README.md"})


# --- as it runs --------------------------------------------------------------------------------------


def executed(directory: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Run all cells, on one thread a process; returns the outputs by the cells' ids.

    The kernel is the one of this interpreter. What Jupyter and the notebook write lies in ``directory``.
    """
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "TMPDIR"):
        (directory / variable).mkdir()
        monkeypatch.setenv(variable, str(directory / variable))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (directory / "beside").mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    resources = {"metadata": {"path": str(directory / "beside")}}
    NotebookClient(notebook, timeout=200, resources=resources).execute()
    return {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}


def text(outputs: list[Any]) -> str:
    """What a cell printed; a command that runs on a pseudo-terminal ends its lines as one does."""
    return "".join(one.text for one in outputs if one.output_type == "stream").replace("\r\n", "\n")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_it_runs_and_what_it_exports_errs_as_the_retraining_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = executed(tmp_path, monkeypatch)
    printed = {name: text(found) for name, found in outputs.items()}
    # A command that is refused stops no notebook; it only says so.
    assert not re.search(r"^(evolver:|Usage:|Error:|Traceback)", "\n".join(printed.values()), re.MULTILINE)
    assert "of 16 evaluated" in printed["watch"]
    assert "image/png" in outputs["plot"][-1].data
    assert re.search(r"^operator +genomes +least_error +least_params$", printed["sql"], re.MULTILINE)
    assert re.search(r"^genome +\d+, birth \d+ of 'digits'", printed["show"])
    assert re.search(r"^\d+ +(random|crossover)", printed["lineage"])

    errors = ast.literal_eval(printed["agreement"])
    assert errors.keys() == {"retraining", "onnxruntime", "torch"}
    assert 0 <= min(errors.values()) <= max(errors.values()) < 0.3
    assert max(errors.values()) - min(errors.values()) < 1.5 / TEST_IMAGES

    assert list((tmp_path / "beside").iterdir()) == []
    assert not list((tmp_path / "TMPDIR").glob("evolver-*"))
