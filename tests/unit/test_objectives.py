"""Objectives: their names, what they need, and the values that they derive."""

from __future__ import annotations

import pytest

from evolver import objectives, registry
from evolver.errors import EvaluationFailed, InvalidInput, UnknownName
from evolver.objectives import Objective


def test_every_built_in_objective_loads_under_its_own_name() -> None:
    names = registry.names("objective")
    assert {"error", "loss", "latency_ms", "peak_memory_bytes", "energy_j", "train_s"} <= set(names)
    assert [one.name for one in objectives.load(names)] == names


def test_a_latency_is_of_the_batch_after_the_colon() -> None:
    one, many = objectives.load(["latency_ms", "latency_ms:64"])
    assert (one.unit, many.unit) == ("ms for one sample", "ms for a batch of 64")
    assert objectives.measures([one, many]) == {"latency_ms", "latency_ms:64"}
    assert objectives.derive([one, many], {"latency_ms": 1.0, "latency_ms:64": 2.0}) == {
        "latency_ms": 1.0,
        "latency_ms:64": 2.0,
    }
    batches = [objectives.latency_batch(measure) for measure in ("latency_ms", "latency_ms:64", "energy_j")]
    assert batches == [1, 64, None]


@pytest.mark.parametrize("argument", ["", "0", "1", "-2", "064", "2.5", "x", "64:2", "65537", "٣"])
def test_a_batch_that_is_none_is_refused(argument: str) -> None:
    with pytest.raises(InvalidInput, match="for instance latency_ms:64"):
        objectives.load([f"latency_ms:{argument}"])


def test_other_objectives_take_no_argument() -> None:
    with pytest.raises(InvalidInput, match="'error' takes no argument"):
        objectives.load(["error:64"])
    with pytest.raises(UnknownName, match="latency_ms"):
        objectives.load(["latency:64"])


def test_some_values_belong_to_a_type_of_device() -> None:
    names = ["error", "params", "latency_ms:8", "energy_j", "train_s", "of_a_plugin_that_is_not_here"]
    assert objectives.bound_to_device(names) == ("latency_ms:8", "energy_j", "train_s")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_fails_the_evaluation(value: float) -> None:
    broken = Objective("broken", "none", ("x",), lambda measured: value)
    with pytest.raises(EvaluationFailed, match="'broken' is"):
        objectives.derive([broken], {"x": 1.0})
    with pytest.raises(EvaluationFailed, match="'broken' needs x"):
        objectives.derive([broken], {})
