"""evolver: multi-objective evolution of convolutional networks, with a database as the only shared part.

``evolver.open(url)`` opens a database for reading from notebooks and scripts (see ``evolver.api``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evolver.api import Evolver

__version__ = "0.1.0"

__all__ = ["__version__", "open"]


def open(url: str | None = None) -> Evolver:
    """Open a database for reading; ``url`` defaults to EVOLVER_DATABASE_URL, then ``sqlite:///evolver.db``.

    Raises DatabaseError when it cannot be reached or is at another revision.
    """
    from evolver.api import Evolver

    return Evolver.open(url)
