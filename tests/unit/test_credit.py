"""Operators that learn: their credit, and what is drawn by it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from evolver import credit
from evolver.credit import CAP, after, arms, draw, is_arm


def test_arms_are_those_of_the_space_in_a_fixed_order() -> None:
    assert arms((), crosses=True) == ("crossover", "crossover+mutation", "mutation")
    assert arms({"remove": 1, "add": 2}, crosses=False) == ("mutation", "mutation:add", "mutation:remove")
    assert arms(["b", "a"], crosses=True) == arms(["a", "b"], crosses=True)


def test_what_is_learned_of() -> None:
    assert all(is_arm(arm) for arm in arms(["add"], crosses=True))
    assert not is_arm("random")
    assert not is_arm("seed")


def test_results_are_counted_until_the_cap() -> None:
    known: credit.Credit = {}
    for success in (True, False, False):
        before = known
        known = after(known, "mutation", success=success)
        assert before != known
    assert known == {"mutation": [2.0, 3.0]}
    assert after(known, "crossover", success=True) == {"mutation": [2.0, 3.0], "crossover": [2.0, 1.0]}


def test_at_the_cap_what_is_old_fades() -> None:
    known: credit.Credit = {}
    for _ in range(1_000):
        known = after(known, "mutation", success=True)
        assert sum(known["mutation"]) <= CAP + 1e-9
    assert known["mutation"][0] > 0.95 * CAP
    for _ in range(2 * int(CAP)):
        known = after(known, "mutation", success=False)
    assert known["mutation"][0] < 0.2 * CAP


def test_draws_are_a_function_of_credit_and_generator() -> None:
    among = arms(["add"], crosses=True)
    known = {"mutation": [3.0, 2.0], "mutation:add": [2.0, 9.0]}
    drawn = [draw(known, among, np.random.default_rng(seed)) for seed in range(50)]
    assert drawn == [
        draw(dict(reversed(known.items())), among, np.random.default_rng(seed)) for seed in range(50)
    ]
    assert len(set(drawn)) > 2


@pytest.mark.parametrize("best", arms(["add", "remove"], crosses=True))
def test_an_operator_that_always_succeeds_is_preferred(best: str) -> None:
    among = arms(["add", "remove"], crosses=True)
    rng = np.random.default_rng(3)
    known: credit.Credit = {}
    drawn: Counter[str] = Counter()
    for _ in range(300):
        arm = draw(known, among, rng)
        drawn[arm] += 1
        known = after(known, arm, success=arm == best)
    assert drawn[best] > 240


def test_a_change_of_fortune_is_noticed() -> None:
    """The best operator fails from the 300th result on, and another one succeeds."""
    among = arms((), crosses=True)
    rng = np.random.default_rng(4)
    known: credit.Credit = {}
    late: Counter[str] = Counter()
    for number in range(900):
        arm = draw(known, among, rng)
        known = after(known, arm, success=arm == ("crossover" if number < 300 else "mutation"))
        if number >= 600:
            late[arm] += 1
    assert late["mutation"] > 200
