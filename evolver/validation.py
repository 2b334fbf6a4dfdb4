"""What pydantic finds wrong with settings, in words for people: which one, what is wrong, what is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

_ALLOWED: Mapping[str, str] = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "greater than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "literal_error": "{expected}",
    "too_long": "a pair of values",  # no other list has a length of its own
    "missing": "a pair of values",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "tuple_type": "a list",
    "dict_type": "a table of settings",
}
"""By pydantic's types of errors, filled in with their context."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The first thing that is wrong: ``key`` is the setting, empty when it concerns several together.

    ``text`` goes on where a sentence begins with the name of the setting.
    """

    key: str
    is_unknown: bool
    text: str


def first_fault(error: ValidationError) -> Fault:
    """What to tell of an error: people mend one thing at a time."""
    first = error.errors(include_url=False)[0]
    key = str(first["loc"][0]) if first["loc"] else ""
    return Fault(key, first["type"] == "extra_forbidden", _text(first))


def _text(first: Any) -> str:
    if first["type"] == "value_error":  # our own validators speak for themselves
        return f": {first['ctx']['error']}"
    items = [part + 1 for part in first["loc"][1:] if isinstance(part, int)]
    where = f", value {items[0]}" if items and first["type"] != "missing" else ""
    allowed = _ALLOWED.get(first["type"])
    if allowed is None:
        return f"{where}: {first['msg']}, not {first['input']!r}"
    filled = allowed.format(**{name: _plain(value) for name, value in first.get("ctx", {}).items()})
    return f"{where} must be {filled}, not {first['input']!r}"


def _plain(value: Any) -> Any:
    """A limit as people write it: 1 for 1.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
