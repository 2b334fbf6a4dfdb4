"""The states of experiments and evaluations, and the transitions between them.

Experiment::

    created ─► running ◄─► paused
                 │ ▲ ▲        │
                 │ │ └────────┼───────────┐ extend
                 ▼ │ resume   ▼           │
               stopped ◄──────┘        finished   (running ─► finished: budget, hours or patience)

    any state ─► deleting   (``evolver delete``; nothing leads back, and repeating it ends it)

Evaluation::

    pending ─► running ─► done
         │        │   └──► failed
         │        └─► pending   (handed back, lease expired, crash, fault of the host)
         └─► done, failed       (a duplicate takes the result of its twin, a seed that of another search)

What has ended stays as it is: ``evolver retry`` enqueues another evaluation of the genome.

The CHECK constraints of ``schema.py`` list the same states.
"""

from __future__ import annotations

from typing import Final, Literal

ExperimentState = Literal["created", "running", "paused", "stopped", "finished", "deleting"]
EvaluationState = Literal["pending", "running", "done", "failed"]
Purpose = Literal["search", "retrain", "transfer", "repeat"]

EXPERIMENT_STATES: Final = ("created", "running", "paused", "stopped", "finished", "deleting")
EXPERIMENT_TRANSITIONS: Final[dict[ExperimentState, frozenset[ExperimentState]]] = {
    "created": frozenset({"running", "paused", "stopped", "deleting"}),
    "running": frozenset({"paused", "stopped", "finished", "deleting"}),
    "paused": frozenset({"running", "stopped", "deleting"}),
    "stopped": frozenset({"running", "deleting"}),
    "finished": frozenset({"running", "deleting"}),
    "deleting": frozenset({"deleting"}),
}

EVALUATION_STATES: Final = ("pending", "running", "done", "failed")
EVALUATION_TRANSITIONS: Final[dict[EvaluationState, frozenset[EvaluationState]]] = {
    "pending": frozenset({"running", "done", "failed"}),
    "running": frozenset({"done", "failed", "pending"}),
    "done": frozenset(),
    "failed": frozenset(),
}

PURPOSES: Final = ("search", "retrain", "transfer", "repeat")
OPERATORS: Final = ("random", "seed", "crossover", "mutation", "crossover+mutation")
"""And ``mutation:KIND``, where KIND is the space's to name."""
WORKER_STATES: Final = ("active", "draining", "stopped", "faulted")

ATTEMPT_OUTCOMES: Final = ("running", "done", "failed", "lost", "released", "environment")
FAILURE_KINDS: Final = ("invalid", "diverged", "oom", "timeout", "crash", "lost", "error")
RETRIED_KINDS: Final = frozenset({"crash", "lost"})
"""Kinds that need not happen again: retried until ``max_attempts`` of them. The others end the evaluation."""
INFRASTRUCTURE_KINDS: Final = RETRIED_KINDS
"""Kinds that say nothing about the genome: a duplicate never inherits them."""
