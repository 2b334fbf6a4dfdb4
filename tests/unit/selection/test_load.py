"""Selectors by name."""

from __future__ import annotations

import json

import pytest

from evolver import selection
from evolver.errors import InvalidInput, UnknownName


@pytest.mark.parametrize("name", selection.SELECTORS)
def test_loads_by_name(name: str) -> None:
    selector = selection.load(name, slots=8, objectives=2)
    assert (selector.name, selector.slots) == (name, 8)
    assert json.loads(json.dumps(selector.initial_state())) == selector.initial_state()


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(UnknownName, match=r"unknown selector 'moea'; did you mean moead"):
        selection.load("moea", 8, 2)


@pytest.mark.parametrize("slots", [0, 3])
def test_refuses_fewer_than_four_slots(slots: int) -> None:
    with pytest.raises(InvalidInput, match=rf"at least 4 slots, got {slots}"):
        selection.load("moead", slots, 2)


def test_refuses_no_objectives() -> None:
    with pytest.raises(InvalidInput, match="at least 1 objective, got 0"):
        selection.load("nsga2", 8, 0)
