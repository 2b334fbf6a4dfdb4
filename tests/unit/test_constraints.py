"""Constraints: what is understood, what is refused, and by how much values break them."""

from __future__ import annotations

import math
import sys

import pytest

from evolver import constraints
from evolver.constraints import Constraint, parse, violation
from evolver.errors import InvalidInput, UnknownName

OBJECTIVES = ("error", "loss", "latency_ms:64")
MEASURES = ("error", "loss", "params", "flops", "latency_ms", "train_s")


def parsed(*texts: str) -> constraints.Constraints:
    return parse(texts, OBJECTIVES, MEASURES)


@pytest.mark.parametrize(
    ("text", "constraint", "shown"),
    [
        ("params<=1e6", Constraint("params", "<=", 1_000_000.0), "params<=1000000"),
        (" error <= 0.20 ", Constraint("error", "<=", 0.2), "error<=0.2"),
        ("activations>=1", Constraint("activations", ">=", 1.0), "activations>=1"),
        ("latency_ms:64<=1.5", Constraint("latency_ms:64", "<=", 1.5), "latency_ms:64<=1.5"),
        ("flops<=1e22", Constraint("flops", "<=", 1e22), "flops<=1e+22"),
    ],
)
def test_what_is_understood(text: str, constraint: Constraint, shown: str) -> None:
    assert parsed(text) == (constraint,)
    assert str(constraint) == shown
    assert parsed(str(constraint)) == (constraint,)


def test_constraints_come_in_the_order_of_their_names() -> None:
    texts = ["params>=10", "error<=0.5", "params<=1000"]
    assert [str(one) for one in parsed(*texts)] == ["error<=0.5", "params<=1000", "params>=10"]
    assert parsed(*texts) == parsed(*reversed(texts))


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["params"], "'params' is no constraint; write NAME<=NUMBER"),
        (["params<1e6"], "is no constraint"),
        (["params==1e6"], "is no constraint"),
        (["params<=1e6<=2e6"], "is no constraint"),
        (["<=5"], "is no constraint"),
        (["params<=many"], "is no number"),
        (["params<=nan"], "must be a finite number"),
        (["params>=-inf"], "must be a finite number"),
        (["params<=10", "params>=20"], "params<=10 and params>=20 contradict each other"),
        (["params>=20", "params<=10"], "contradict each other"),
        (["params<=10", "params<=20"], "two constraints bound params alike"),
        (
            ["train_s<=10"],
            r"needs train_s among the objectives: --objectives error,loss,latency_ms:64,train_s",
        ),
        (["latency_ms<=10"], "needs latency_ms among the objectives"),
        (["error<=-0.1"], "nothing satisfies the constraint error<=-0.1: error is never less than 0"),
        (["error>=1.5"], "nothing satisfies the constraint error>=1.5: error is at most 1"),
        (["latency_ms:64<=-1"], "nothing satisfies"),
    ],
)
def test_what_is_refused(texts: list[str], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parsed(*texts)


def test_an_unknown_measure_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownName, match="unknown measure of a constraint 'parms'; did you mean params"):
        parsed("parms<=1e6")


def test_equal_bounds_on_both_sides_are_allowed() -> None:
    assert len(parsed("params<=10", "params>=10")) == 2


@pytest.mark.parametrize(
    ("text", "value", "excess"),
    [
        ("params<=100", 100.0, 0.0),
        ("params<=100", 99.0, 0.0),
        ("params<=100", 150.0, 0.5),
        ("params>=100", 100.0, 0.0),
        ("params>=100", 25.0, 0.75),
        ("error<=0", 0.25, 0.25),
    ],
)
def test_the_excess_is_a_share_of_the_bound(text: str, value: float, excess: float) -> None:
    (one,) = parsed(text)
    assert one.excess(value) == excess


def test_the_least_step_beyond_a_bound_is_an_excess() -> None:
    for bound in (5e-324, 0.2, 1e6, 1e308):
        assert Constraint("x", "<=", bound).excess(math.nextafter(bound, math.inf)) > 0.0
        assert Constraint("x", ">=", bound).excess(math.nextafter(bound, -math.inf)) > 0.0


def test_a_violation_is_the_sum_of_excesses_and_finite() -> None:
    both = parsed("error<=0.5", "loss<=2")
    assert violation(both, {"error": 0.5, "loss": 2.0, "params": 1.0}) == 0.0
    assert violation(both, {"error": 0.75, "loss": 3.0}) == 1.0
    huge = {"error": 1e308, "loss": 1e308}
    assert violation(parsed("error<=1e-300", "loss<=1e-300"), huge) == sys.float_info.max


def test_costs_are_told_apart_from_results() -> None:
    mixed = parsed("error<=0.5", "params<=100", "activations<=10")
    assert [one.name for one in constraints.of_costs(mixed)] == ["activations", "params"]
    assert [one.name for one in constraints.of_results(mixed)] == ["error"]


def test_constraints_survive_a_database() -> None:
    data = [{"name": "params", "sense": "<=", "bound": 10**22}]
    assert constraints.from_json(data) == (Constraint("params", "<=", 1e22),)
