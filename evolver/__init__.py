"""evolver: multi-objective evolution of convolutional networks, with a database as the only shared part.

``evolver.open(url)`` opens a database for reading from notebooks and scripts (see ``evolver.api``).
``evolver.to_optuna(name)`` makes a study of Optuna of one of its experiments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna

    from evolver.api import Evolver

__version__ = "0.1.0"

__all__ = ["__version__", "open", "to_optuna"]


def open(url: str | None = None) -> Evolver:
    """Open a database for reading; ``url`` defaults to EVOLVER_DATABASE_URL, then ``sqlite:///evolver.db``.

    Raises DatabaseError when it cannot be reached or is at another revision.
    """
    from evolver.api import Evolver

    return Evolver.open(url)


def to_optuna(
    name: str,
    url: str | None = None,
    *,
    storage: str | optuna.storages.BaseStorage | None = None,
    force: bool = False,
) -> optuna.Study:
    """A study of an experiment, with a trial for each genome, in memory or in a ``storage`` of Optuna.

    ``url`` is as for ``open``. ``storage`` may be a URL, or the path of a journal file; ``force`` replaces a
    study of that name in it. Raises UnknownName for the experiment, InvalidInput when the storage has such a
    study or cannot be used, EnvironmentFault without Optuna.
    """
    from evolver import optuna_study
    from evolver.store.db import Database

    database = Database.open(url)
    try:
        return optuna_study.write(database, name, storage, force=force)
    finally:
        database.dispose()
