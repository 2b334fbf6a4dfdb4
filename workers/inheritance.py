"""Weights that a network takes over from another evaluation of its genome, on other data."""

from __future__ import annotations

from evolver.errors import EnvironmentFault, EvaluationFailed
from evolver.evaluation import Task
from evolver.genome.plan import NetworkPlan
from evolver.genome.transfer import kept_parts
from workers import checkpoints
from workers.checkpoints import CheckpointUnusable
from workers.decoder import Network
from workers.individual import Individual, found_plan


def inherit(
    network: Network, plan: NetworkPlan, task: Task, individual: Individual, checkpoint_url: str
) -> None:
    """Take over the weights of the task's origin, but for the output and for a stem that was adapted.

    Raises EnvironmentFault when they cannot be read here, EvaluationFailed when they are of another network.
    """
    assert task.origin is not None
    assert task.origin.weights is not None
    weights = task.origin.weights
    try:
        tensors, _ = checkpoints.load(checkpoint_url, weights.key, weights.sha256)
    except CheckpointUnusable as error:
        raise EnvironmentFault(
            f"the weights with which genome {task.genome_id} is to begin cannot be read here ({error}): give "
            "the --checkpoint-url under which they were written, or make others with 'evolver retrain'"
        ) from error
    parts = kept_parts(found_plan(task, individual.space, individual.genome), plan)
    state = network.state_dict()
    taken = [name for name in state if name.partition(".")[0] in parts]
    if any(name not in tensors or tensors[name].shape != state[name].shape for name in taken):
        raise EvaluationFailed(
            f"the weights of evaluation {weights.evaluation_id} are of another network than that of genome "
            f"{task.genome_id}"
        )
    network.load_state_dict({**state, **{name: tensors[name] for name in taken}})
