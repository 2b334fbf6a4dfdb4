"""The objective ``column:NAME``: a column of the table, as it is."""

from __future__ import annotations

from operator import itemgetter

from evolver.errors import InvalidInput
from evolver.objectives import Objective


def column(argument: str | None) -> Objective:
    """The objective of this column. Raises InvalidInput when none is named."""
    if not argument:
        raise InvalidInput("name a column of the table after the colon, for instance column:latency")
    return Objective(f"column:{argument}", "as in the table", (argument,), itemgetter(argument))
