"""What a view is asked, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from evolver.comparison import to_json
from evolver.errors import InvalidInput, NotFound
from evolver.store import experiments
from evolver.store.experiments import Experiment

LARGEST_ID = 2**63 - 1
"""No larger number fits into the columns of the database."""


@dataclass(frozen=True)
class Asked:
    """What the address says: the numbers of its path, and its query, anything that a user typed."""

    path: Mapping[str, Any]
    query: Mapping[str, str]

    def id(self) -> int:
        """The id in the path. Raises NotFound where it cannot be one."""
        key = int(self.path["id"])
        if not 0 < key <= LARGEST_ID:
            raise NotFound("there is nothing under that number")
        return key

    def experiment(self, connection: Connection) -> Experiment:
        """The experiment of the path. Raises NotFound."""
        return experiment_of(connection, self.id())

    def number(self, name: str, *, low: int = 0, high: int = LARGEST_ID) -> int | None:
        """A whole number of the query, brought into its bounds; None where there is none.

        Raises InvalidInput for something else.
        """
        text = self.text(name)
        if not text:
            return None
        if not (text.isascii() and text.isdecimal()):
            raise InvalidInput(f"{name} must be a whole number")
        return max(low, min(int(text[:20]), high))

    def text(self, name: str) -> str:
        """What the query has under a name; empty where there is nothing."""
        return self.query.get(name, "").strip()

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of these. Raises InvalidInput for another one."""
        chosen = self.query.get(name) or default
        if chosen not in choices:
            raise InvalidInput(f"{name} must be one of {', '.join(choices)}")
        return chosen

    def has(self, name: str) -> bool:
        """Whether a box of a form is ticked."""
        return self.query.get(name, "") not in ("", "0")


def experiment_of(connection: Connection, key: int) -> Experiment:
    """The experiment of an id. Raises NotFound."""
    found = experiments.by_id(connection, key)
    if found is None:
        raise NotFound(f"there is no experiment {key}; it may have been deleted")
    return found


@dataclass(frozen=True)
class Page:
    """A page: a template and its values."""

    template: str
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Figure:
    """A chart: data and layout as Plotly takes them."""

    data: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As plain values; what is not a number is left out."""
        return {"data": to_json(self.data), "layout": to_json(self.layout)}


@dataclass(frozen=True)
class Elsewhere:
    """What was asked for is under another address."""

    address: str


Answer = Page | Figure | Elsewhere
View = Callable[[Connection, Asked], Answer]
