"""Plug-ins: found by name, and refused in one line where they are wrong."""

from __future__ import annotations

from importlib.metadata import EntryPoint

import pytest

from evolver import datasets, objectives, registry
from evolver.errors import EnvironmentFault, EvaluationFailed, EvolverError, InvalidInput, UnknownName
from evolver.evaluation import Evaluator
from evolver.genome.space import ConvSpace
from evolver.space import Space
from tests.acceptance import wrong_plugins
from tests.acceptance.helpers import refused
from workers.surrogate import SurrogateEvaluator

WRONG = "tests.acceptance.wrong_plugins"
NAMES = ("Unfinished", "Unversioned", "Reseeded", "Hasty", "NO_OBJECTIVE", "NO_DATASET", "Absent")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make wrong plug-ins known beside those that are installed, named by what they are called in Python."""
    found = registry._group

    def group(kind: str) -> dict[str, EntryPoint]:
        wrong = {name: EntryPoint(name, f"{WRONG}:{name}", f"evolver.{kind}s") for name in NAMES}
        return {**wrong, **found(kind), "nowhere": EntryPoint("nowhere", "no.such.module:It", "")}

    monkeypatch.setattr(registry, "_group", group)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        (
            "Unfinished",
            InvalidInput,
            "Space: it lacks crossover, mutate, validate, phenotype, cost, to_json, from",
        ),
        ("Unversioned", InvalidInput, "Space: it lacks version"),
        ("Reseeded", InvalidInput, "Space: it cannot be called as mutate(genome, rng)"),
        ("Hasty", InvalidInput, "the space plug-in 'Hasty' fails at its settings: KeyError: 'bounds'"),
        ("NO_OBJECTIVE", InvalidInput, "it is no class but {'name': 'no-objective'}"),
        ("Absent", EnvironmentFault, "cannot be imported here: AttributeError"),
        ("nowhere", EnvironmentFault, "the space 'nowhere' cannot be imported here: No module named 'no'"),
    ],
)
@pytest.mark.usefixtures("install")
def test_a_wrong_space_is_refused(name: str, error: type[EvolverError], words: str, sqlite_url: str) -> None:
    with pytest.raises(error) as caught:
        registry.load_space(name, {})
    assert words in str(caught.value)
    code = error.exit_code
    assert words in refused("new", "demo", "--space", name, "--population", 4, url=sqlite_url, code=code)


@pytest.mark.usefixtures("install")
def test_wrong_spaces_are_in_nobodys_way() -> None:
    assert registry.space_settings("tiny")[0] == "conv"
    with pytest.raises(UnknownName, match="did you mean tiny"):
        registry.space_settings("tinny")


def test_what_implements_an_interface_is_taken() -> None:
    registry.require_methods("space", "conv", ConvSpace, Space)
    registry.require_methods("evaluator", "surrogate", SurrogateEvaluator, Evaluator)
    with pytest.raises(InvalidInput, match=r"'it' does not implement .*Evaluator: it lacks check_measures"):
        registry.require_methods("evaluator", "it", wrong_plugins.Unmeasuring, Evaluator)


@pytest.mark.usefixtures("install")
def test_a_wrong_objective_is_refused(sqlite_url: str) -> None:
    line = refused("new", "demo", "--objectives", "error,NO_OBJECTIVE", url=sqlite_url)
    assert "the objective plug-in 'NO_OBJECTIVE' gives no evolver.objectives.Objective: {'name'" in line


@pytest.mark.parametrize(
    ("objective", "words"),
    [
        (wrong_plugins.PAIR, "objective 'pair' has no value: TypeError"),
        (wrong_plugins.UNDECLARED, "objective 'undeclared' has no value: KeyError: 'secret'"),
    ],
)
def test_an_objective_that_gives_no_number_fails_the_evaluation(
    objective: objectives.Objective, words: str
) -> None:
    with pytest.raises(EvaluationFailed, match=words):
        objectives.derive([objective], {"validation_error": 0.5})


@pytest.mark.usefixtures("install")
def test_a_wrong_data_set_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"'NO_DATASET' is no .*DatasetSpec but 'digits'"):
        datasets.parse_argument("NO_DATASET")
