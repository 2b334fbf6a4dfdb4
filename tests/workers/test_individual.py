"""What an evaluator starts with, from a task that nothing vouches for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from evolver import recipe
from evolver.errors import EnvironmentFault
from tests.workers.test_child import TASK
from workers.individual import recipe_of


def test_a_recipe_is_the_tasks() -> None:
    wanted = recipe.load("fast", {"lr": 0.3})
    assert recipe_of(replace(TASK, recipe=wanted.to_json())) == wanted


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"momentun": 0.5}, "unknown recipe setting 'momentun'; did you mean momentum"),
        ({"lr": 0}, "recipe setting 'lr' must be greater than 0"),
        ({"batch_size": 0}, "recipe setting 'batch_size' must be at least 2"),
    ],
)
def test_a_recipe_that_cannot_be_read_here_is_a_fault_of_the_host(
    setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(EnvironmentFault, match=f"the experiment's recipe is not usable here: {message}"):
        recipe_of(replace(TASK, recipe=setting))
