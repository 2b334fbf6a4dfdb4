"""What pydantic finds wrong, as people read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from evolver import config, recipe
from evolver.errors import InvalidInput
from evolver.genome import bounds


@pytest.mark.parametrize(
    ("parse", "values", "line"),
    [
        (config.parse, {"population": 3}, "population must be at least 4, not 3"),
        (config.parse, {"population": 20_000}, "population must be at most 10000, not 20000"),
        (config.parse, {"population": 4.5}, "population must be a whole number, not 4.5"),
        (config.parse, {"max_hours": 0}, "max-hours must be greater than 0, not 0"),
        (config.parse, {"max_hours": float("nan")}, "max-hours must be a finite number, not nan"),
        (config.parse, {"max_hours": "long"}, "max-hours must be a number, not 'long'"),
        (config.parse, {"seed": 2**63}, "seed must be less than 9223372036854775808, not "),
        (config.parse, {"objectives": 3}, "objectives must be a list, not 3"),
        (config.parse, {"objectives": ["error", 3]}, "objectives, value 2 must be a text, not 3"),
        (config.parse, {"recipe_settings": 1}, "recipe-settings must be a table of settings, not 1"),
        (recipe.parse, {"lr": 0}, "recipe setting 'lr' must be greater than 0, not 0"),
        (
            recipe.parse,
            {"optimizer": "adam"},
            "recipe setting 'optimizer' must be 'sgd' or 'adamw', not 'adam'",
        ),
        (recipe.parse, {"nesterov": "?"}, "recipe setting 'nesterov' must be true or false, not '?'"),
        (bounds.parse, {"blocks": [1]}, "space setting 'blocks' must be a pair of values, not [1]"),
        (
            bounds.parse,
            {"blocks": [1, 2, 3]},
            "space setting 'blocks' must be a pair of values, not [1, 2, 3]",
        ),
        (bounds.parse, {"blocks": [0, 1]}, "space setting 'blocks', value 1 must be at least 1, not 0"),
        (
            bounds.parse,
            {"blocks": [1, "x"]},
            "space setting 'blocks', value 2 must be a whole number, not 'x'",
        ),
        (bounds.parse, {"blocks": [2, 1]}, "space setting 'blocks': the values must be in ascending order"),
        (bounds.parse, {"add_share": 0.9}, "space settings: add_share 0.9 and remove_share 0.33 exceed 1"),
    ],
)
def test_a_line_says_which_setting_what_is_wrong_and_what_is_allowed(
    parse: Callable[[Mapping[str, Any]], object], values: dict[str, Any], line: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(values)
    assert str(caught.value).startswith(line)
