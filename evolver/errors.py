"""The errors that evolver raises, one family.

An error's message is the one line that a command line user sees: it says what is wrong and what to
do. ``exit_code`` is the status with which the command line ends on it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EvolverError(Exception):
    """Base class of every error that evolver raises on purpose."""

    exit_code = 1


class InvalidInput(EvolverError):
    """The user asked for something that does not exist or does not fit."""

    exit_code = 2


class UnknownName(InvalidInput):
    """No plug-in, preset or row has this name; the message offers the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(sorted(known))
        nearest = difflib.get_close_matches(name, self.known, n=3, cutoff=0.4)
        hint = (
            f"did you mean {' or '.join(nearest)}?"
            if nearest
            else f"known: {', '.join(self.known) or 'none'}."
        )
        super().__init__(f"unknown {kind} '{name}'; {hint}")


class InvalidGenome(EvolverError):
    """A code violates its space: it was not bred by this space, or it was tampered with."""


class DatabaseError(EvolverError):
    """The database is unreachable, at another revision, or its URL is malformed."""

    exit_code = 3


class NotFound(InvalidInput):
    """The experiment, genome or worker asked for is not in the database."""


class IllegalTransition(InvalidInput):
    """An experiment in this state cannot go to the state asked for."""


class VersionDiffers(EvolverError):
    """The experiment was made with another version of its space than the one that is installed here."""


class LeaseLost(EvolverError):
    """The evaluation is no longer leased under this token: its result must be dropped."""

    def __init__(self, evaluation_id: int) -> None:
        self.evaluation_id = evaluation_id
        super().__init__(f"the lease on evaluation {evaluation_id} is lost; its result is dropped")


class LeadershipLost(EvolverError):
    """Another scheduler leads the experiment now, or a step was written in between."""

    def __init__(self, experiment_id: int) -> None:
        self.experiment_id = experiment_id
        super().__init__(f"another scheduler leads experiment {experiment_id} now")


class SpaceExhausted(EvolverError):
    """No genome within the limits of the experiment could be bred."""


class EvaluationFailed(EvolverError):
    """An evaluation that ends without a result; ``kind`` is one of the genome's failure kinds."""

    kind = "error"


class Diverged(EvaluationFailed):
    """A loss became NaN or infinite, or the training loss did not leave chance."""

    kind = "diverged"


class OutOfMemory(EvaluationFailed):
    """The network does not fit into the memory of the device."""

    kind = "oom"


class InvalidCode(EvaluationFailed):
    """The code in the database does not decode under its experiment's space."""

    kind = "invalid"


class EnvironmentFault(EvolverError):
    """A fault of the host (data, device, disk, import), not of the genome: another worker may do it."""

    exit_code = 4


class HandedBack(EvolverError):
    """The evaluator stopped because it was asked to; the evaluation goes back to the queue."""
