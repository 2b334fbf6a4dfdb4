"""Parents of the selectors that go by ranks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evolver.selection.nsga2 import Nsga2
from evolver.selection.ranked import RankSelector
from evolver.selection.slots import TOURNAMENT
from evolver.selection.smsemoa import SmsEmoa
from tests.unit.selection.oracles import population_of, tuples

NO_STATE: dict[str, Any] = {}

pytestmark = pytest.mark.parametrize("kind", [Nsga2, SmsEmoa])


def test_parents_are_one_slot_where_one_genome_holds_all(kind: type[RankSelector]) -> None:
    population = population_of([3, 3, 3, 3], [(1, 1)] * 4)
    first, second = kind(4, 2).parents(population, NO_STATE, 0, np.random.default_rng(0))
    assert first == second


def test_parents_are_determined_by_the_generator(kind: type[RankSelector]) -> None:
    selector = kind(30, 2)
    population = population_of(list(range(30)), tuples(np.random.default_rng(5).random((30, 2))))

    def draws(seed: int) -> list[tuple[int, int]]:
        rng = np.random.default_rng(seed)
        return [selector.parents(population, NO_STATE, 0, rng) for _ in range(30)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)


def test_tournaments_prefer_the_feasible_then_the_lesser_violation(kind: type[RankSelector]) -> None:
    population = population_of(range(4), [(9, 9), (1, 1), (1, 1), (0, 0)], [0.0, 0.2, 0.5, 0.9])
    selector, rng = kind(4, 2), np.random.default_rng(0)
    drawn = [selector.parents(population, NO_STATE, 0, rng)[0] for _ in range(2_000)]
    # Of k slots drawn none is among the n − 1 best with probability ((4 − n + 1) / 4)^k.
    none_better = (np.arange(4, -1, -1) / 4) ** TOURNAMENT
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, none_better[:-1] - none_better[1:], atol=0.04)
