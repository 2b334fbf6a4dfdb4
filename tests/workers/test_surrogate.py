"""The synthetic evaluator, with a space that has nothing to do with networks."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

import pytest

from evolver import registry
from evolver.errors import EnvironmentFault, HandedBack, InvalidCode, InvalidGenome, UnknownName
from evolver.evaluation import DatasetRef, Outcome, Task
from evolver.space import Cost, Sample
from tests.workers.recorder import Recorder
from workers.surrogate import SECONDS_VARIABLE, SurrogateEvaluator

DATASET = DatasetRef(1, "none", Sample(1, (8, 8), 10), 80, 20, 0, 0, None)


class NumberSpace:
    """Genomes are positive integers: their own number of parameters."""

    def from_json(self, code: Any) -> int:
        if not isinstance(code, int) or code < 1:
            raise InvalidGenome(f"{code!r} is not a positive integer")
        return code

    def phenotype(self, genome: int, sample: Sample) -> str:
        return hashlib.sha256(str(genome).encode()).hexdigest()

    def cost(self, genome: int, sample: Sample) -> Cost:
        return Cost(params=genome, flops=10 * genome, activations=genome)


@pytest.fixture(autouse=True)
def number_space(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load_space", lambda name, settings: NumberSpace())
    monkeypatch.delenv(SECONDS_VARIABLE, raising=False)


def task(code: Any, purpose: str = "search", seed: int = 3, **recipe: Any) -> Task:
    return Task(
        evaluation_id=5,
        genome_id=4,
        token="t",
        purpose=purpose,
        rung=0,
        evaluator="surrogate",
        space="numbers",
        space_settings={},
        code=code,
        dataset=DATASET,
        limit_train=None,
        recipe=recipe,
        objectives=("error", "params"),
        seed=seed,
        timeout_s=None,
    )


def evaluate(code: Any, **settings: Any) -> tuple[Outcome, Recorder]:
    context = Recorder()
    return SurrogateEvaluator().evaluate(task(code, **settings), context), context


def test_no_data_are_needed() -> None:
    assert SurrogateEvaluator().check(DATASET, Recorder()) is None


def test_a_search_reports_a_curve_that_ends_at_its_result() -> None:
    outcome, context = evaluate(2000, epochs=4)
    assert context.dtype is not None
    assert [epoch.number for epoch in context.epochs] == [1, 2, 3, 4]
    errors = [epoch.validation_error for epoch in context.epochs if epoch.validation_error is not None]
    assert len(errors) == 4
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == pytest.approx(outcome.measured["validation_error"])
    assert context.epochs[-1].validation_loss == pytest.approx(outcome.measured["validation_loss"])
    assert outcome.measured["params"] == 2000
    assert outcome.measured["flops"] == 20000


@pytest.mark.parametrize("purpose", ["retrain", "transfer"])
def test_a_retraining_measures_on_test_data_only(purpose: str) -> None:
    outcome, context = evaluate(2000, purpose=purpose, epochs=2)
    assert set(outcome.measured) == {"test_error", "test_loss", "params", "flops", "train_s"}
    assert all(epoch.validation_error is None for epoch in context.epochs)


def test_values_depend_on_the_phenotype_and_trade_size_for_error() -> None:
    def error(params: int) -> float:
        return evaluate(params)[0].measured["validation_error"]

    assert error(3000) == error(3000)
    assert error(3000) != error(3001)
    assert error(100) > error(10_000) > error(10_000_000)
    assert all(0 < error(10**exponent) < 1 for exponent in range(10))


@pytest.mark.parametrize("code", [0, "x", None])
def test_a_code_out_of_its_space_is_invalid(code: Any) -> None:
    with pytest.raises(InvalidCode, match="genome 4"):
        evaluate(code)


def test_what_is_unknown_here_is_a_fault_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentFault, match="recipe"):
        evaluate(10, tomorrow=1)

    def missing(name: str, settings: Any) -> Any:
        raise UnknownName("space", name, [])

    monkeypatch.setattr(registry, "load_space", missing)
    with pytest.raises(EnvironmentFault, match="space"):
        evaluate(10)


def test_a_request_to_stop_hands_back() -> None:
    context = Recorder(stop_after=2)
    with pytest.raises(HandedBack):
        SurrogateEvaluator().evaluate(task(10, epochs=5), context)
    assert len(context.epochs) == 2
    assert context.checkpoints == []


def test_the_time_is_a_number_or_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, "0.03")
    outcome, context = evaluate(10, epochs=2)
    assert outcome.measured["train_s"] == 0.03
    assert [epoch.seconds for epoch in context.epochs] == [0.015, 0.015]
    monkeypatch.setenv(SECONDS_VARIABLE, "0.001:0.002")
    times = [evaluate(10, seed=seed, epochs=1)[0].measured["train_s"] for seed in (1, 1, 2)]
    assert times[0] == times[1] != times[2]
    assert all(0.001 <= time <= 0.002 for time in times)


@pytest.mark.parametrize("text", ["soon", "1:2:3", "2:1", "-1", "nan", "inf"])
def test_a_malformed_time_is_a_fault_of_the_host(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(SECONDS_VARIABLE, text)
    with pytest.raises(EnvironmentFault, match=SECONDS_VARIABLE):
        evaluate(10)


def test_torch_is_not_loaded() -> None:
    code = "import sys, workers.surrogate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
