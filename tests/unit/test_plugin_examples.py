"""The parts of the plug-ins in ``examples/``: spaces, operators, problems and tables."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from math import pi, sin, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evolver import objectives
from evolver.errors import EnvironmentFault, EvaluationFailed, InvalidGenome, InvalidInput
from evolver.evaluation import DatasetRef, Task
from evolver.genome import operators as scalar
from evolver.genome.space import ConvSpace
from evolver.space import Sample
from evolver_table import table
from evolver_table.space import ChoiceSpace
from evolver_vectors import evaluator, operators
from evolver_vectors.problems import PROBLEMS
from evolver_vectors.space import VectorSpace
from tests.workers.recorder import Recorder

SAMPLE = Sample(1, (8, 8), 10)
SPACES = {
    "conv": ConvSpace.from_settings(ConvSpace.presets()["tiny"]),
    "zdt1": VectorSpace.from_settings(VectorSpace.presets()["zdt1"]),
    "zdt4": VectorSpace.from_settings(VectorSpace.presets()["zdt4"]),
    "choices": ChoiceSpace.from_settings(
        {"choices": [["a", "b", "c"], ["d", "e"], ["f", "g", "h", "i"]] * 3}
    ),
}


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


# --- spaces ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES)
def test_a_space_keeps_its_contract(name: str) -> None:
    space: Any = SPACES[name]
    assert type(space).from_settings(json.loads(json.dumps(space.settings()))) == space
    children = set()
    for seed in range(20):
        first, second = space.random(rng(seed)), space.random(rng(seed + 100))
        before = space.to_json(first), space.to_json(second)
        made = {
            "random": [space.random(rng(seed)), space.random(rng(seed))],
            "crossover": [space.crossover(first, second, rng(seed)) for _ in range(2)],
            "mutate": [space.mutate(first, rng(seed)) for _ in range(2)],
        }
        for one, again in made.values():
            assert one == again
            space.validate(one)
            assert space.from_json(json.loads(json.dumps(space.to_json(one)))) == one
            assert len(space.phenotype(one, SAMPLE)) == 64
        assert (space.to_json(first), space.to_json(second)) == before
        children |= {space.phenotype(made[operator][0], SAMPLE) for operator in ("crossover", "mutate")}
    assert len(children) > 30
    assert space.describe(first, SAMPLE)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("code", [None, {}, [], ["z"] * 9, [0.5] * 3, [float("nan")] * 30, "abc"])
def test_a_code_of_another_space_is_invalid(name: str, code: Any) -> None:
    with pytest.raises(InvalidGenome):
        SPACES[name].from_json(code)


@pytest.mark.parametrize(
    ("space", "settings", "words"),
    [
        (VectorSpace, {"n": 3, "lower": [0, 0]}, "lower has 2 numbers for 3 variables"),
        (VectorSpace, {"lower": 1.0}, "lower must be less than upper"),
        (VectorSpace, {"m": 3}, "setting 'm' of the space 'vectors'"),
        (ChoiceSpace, {}, "setting 'choices' of the space 'choices': Field required"),
        (ChoiceSpace, {"choices": [["a", "b"], ["a", "a"]]}, "place 2 needs at least two labels"),
    ],
)
def test_wrong_settings_are_refused(space: Any, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        space.from_settings(settings)


# --- operators ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("eta", [0.05, 2.0, 15.0])
def test_operators_on_arrays_are_those_on_numbers(eta: float) -> None:
    low, high = np.array([-5.0, 0.0, 0.0, -1.0] * 100), np.array([5.0, 1.0, 3.0, 1.0] * 100)
    near, far = rng(1).uniform(low, high), rng(2).uniform(low, high)
    near[:4], far[4:8], near[8:12] = low[:4], high[4:8], far[8:12]
    u = rng(3).random(400)
    expected = [
        scalar.sbx(*values, eta, share) for *values, share in zip(near, far, low, high, u, strict=True)
    ]
    assert operators.sbx(near, far, low, high, eta, u) == pytest.approx(np.array(expected), abs=1e-12)
    expected = [
        scalar.polynomial_mutation(*values, eta, share)
        for *values, share in zip(near, low, high, u, strict=True)
    ]
    mutants = operators.polynomial_mutation(near, low, high, eta, u)
    assert mutants == pytest.approx(np.array(expected), abs=1e-12)


def test_operators_that_are_switched_off_return_the_parent() -> None:
    off = {"crossover_probability": 0.0, "variable_mutation_probability": 0.0}
    space = VectorSpace.from_settings({"n": 4, **off})
    first, second = space.random(rng(1)), space.random(rng(2))
    assert {space.crossover(first, second, rng(seed)) for seed in range(20)} == {first, second}
    assert space.mutate(first, rng(1)) == first


# --- problems ----------------------------------------------------------------------------------------


def values(name: str, x: list[float], m: int = 2) -> list[float]:
    found: list[float] = PROBLEMS[name].functions(np.array(x), m).tolist()
    return found


@pytest.mark.parametrize("f1", [0.05, 0.25, 0.64])
def test_values_on_the_known_fronts(f1: float) -> None:
    assert values("zdt1", [f1, *[0.0] * 29]) == pytest.approx([f1, 1 - sqrt(f1)])
    assert values("zdt2", [f1, *[0.0] * 29]) == pytest.approx([f1, 1 - f1**2])
    assert values("zdt3", [f1, *[0.0] * 29]) == pytest.approx([f1, 1 - sqrt(f1) - f1 * sin(10 * pi * f1)])
    assert values("zdt4", [f1, *[0.0] * 9]) == pytest.approx([f1, 1 - sqrt(f1)])
    first, second = values("zdt6", [f1, *[0.0] * 9])
    assert second == pytest.approx(1 - first**2)
    assert sum(value**2 for value in values("dtlz2", [f1, 0.3, *[0.5] * 10], 3)) == pytest.approx(1)
    last = 2 * (3 - sum(f / 2 * (1 + sin(3 * pi * f)) for f in (f1, 0.3)))
    assert values("dtlz7", [f1, 0.3, *[0.0] * 20], 3) == pytest.approx([f1, 0.3, last])


def test_values_off_the_fronts() -> None:
    assert values("zdt1", [0.4, *[1.0] * 29]) == pytest.approx([0.4, 10 * (1 - sqrt(0.04))])
    assert values("zdt4", [0.0, *[0.5] * 9]) == pytest.approx([0.0, 1 + 90 + 9 * (0.25 - 10)])
    assert values("zdt6", [0.0, *[1.0] * 9]) == pytest.approx([1.0, 10 * (1 - 0.01)])
    assert values("dtlz2", [0.0, 0.0, *[1.0] * 10], 3) == pytest.approx([3.5, 0.0, 0.0])
    assert values("dtlz7", [0.0, *[1.0] * 21]) == pytest.approx([0.0, 22.0])


# --- evaluators --------------------------------------------------------------------------------------


def task(space: VectorSpace, x: list[float], *names: str) -> Task:
    return Task(
        evaluation_id=1,
        genome_id=1,
        token="t",
        purpose="search",
        rung=0,
        evaluator="any",
        space="vectors",
        space_settings=space.settings(),
        code=x,
        dataset=DatasetRef(1, "digits", SAMPLE, 80, 20, 0, 0, None),
        limit_train=None,
        recipe={},
        objectives=names,
        seed=0,
        timeout_s=None,
    )


@pytest.fixture(autouse=True)
def _objectives_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is on the path here but not installed, so its objectives have no entry points."""

    def load(names: Any) -> Any:
        return [objectives.Objective(name, "", (name,), lambda measured: 0.0) for name in names]

    monkeypatch.setattr(objectives, "load", load)


def test_a_problem_has_as_many_functions_as_are_asked_for() -> None:
    space = VectorSpace.from_settings({"n": 12})
    two = evaluator.dtlz2().evaluate(task(space, [0.5] * 12, "f1", "f2"), Recorder()).measured
    three = evaluator.dtlz2().evaluate(task(space, [0.5] * 12, "f3"), Recorder()).measured
    assert (list(two), list(three)) == (["f1", "f2"], ["f1", "f2", "f3"])
    with pytest.raises(EnvironmentFault, match="'zdt1' measures f1, f2, not f3"):
        evaluator.zdt1().check_measures({"f1", "f3"}, Recorder())


def test_a_genome_that_is_no_point_of_the_problem_fails() -> None:
    wide, single = VectorSpace.from_settings({"n": 2, "lower": -1}), VectorSpace.from_settings({"n": 1})
    point = task(wide, [0.5, -0.5], "f1", "f2")
    assert evaluator.zdt4().evaluate(point, Recorder()).measured["f1"] == 0.5
    with pytest.raises(EvaluationFailed, match="leaves the box of 'zdt1'; give --space zdt1"):
        evaluator.zdt1().evaluate(point, Recorder())
    with pytest.raises(EvaluationFailed, match="not genomes of the space 'conv'"):
        evaluator.zdt1().evaluate(replace(point, space="conv"), Recorder())
    with pytest.raises(EvaluationFailed, match="2 objectives need as many variables"):
        evaluator.zdt1().evaluate(task(single, [0.5], "f1", "f2"), Recorder())


# --- tables ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no table: it needs 'measures' and 'results'"),
        ("[]", "is no table: it needs 'measures' and 'results'"),
        ('{"measures": ["a"], "results": {"x": [1, 2]}}', "some results have not 1 values"),
        (None, "cannot read the table .*: No such file"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "cells.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidInput, match=words):
        table.DATASET.peek(path)


def test_a_table_is_known_by_its_hash(tmp_path: Path) -> None:
    path = tmp_path / "cells.json"
    path.write_text('{"measures": ["a", "b"], "results": {"x|y": [1, 2.5]}}')
    info = table.DATASET.peek(path)
    assert (info.name, info.sha256) == ("table:cells.json", hashlib.sha256(path.read_bytes()).hexdigest())
    assert table.read(path).result(["x", "y"]) == {"a": 1.0, "b": 2.5}
    assert table.read(path).result(["y", "x"]) is None


def test_the_examples_are_unknown_to_evolver() -> None:
    root = Path(__file__).parents[2]
    sources = [*root.glob("evolver/**/*.py"), *root.glob("workers/**/*.py"), root / "pyproject.toml"]
    words = ("evolver_vectors", "evolver_table", "zdt", "dtlz")
    known = [path.name for path in sources if any(word in path.read_text().lower() for word in words)]
    assert known == []
