"""A claimed evaluation's code and recipe, validated: what every evaluator starts with. Without torch.

Nothing that stands in the database is trusted: a code that was tampered with fails as ``invalid``; a
space or a recipe that is unknown here is a fault of this host, which may run an older version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evolver import recipe, registry
from evolver.errors import EnvironmentFault, EvaluationFailed, InvalidCode, InvalidGenome, InvalidInput
from evolver.evaluation import Task
from evolver.genome import transfer
from evolver.genome.cost import cost
from evolver.genome.plan import NetworkPlan
from evolver.recipe import Recipe
from evolver.space import Cost, Space


@dataclass(frozen=True, slots=True)
class Individual:
    """A genome with its space, and what it decodes to for the data set of its evaluation.

    The phenotype of one that is brought to other data is that of the search that found it.
    """

    space: Space[Any]
    genome: Any
    phenotype: str
    cost: Cost


def individual_of(task: Task) -> Individual:
    """The genome that a task holds. Raises InvalidCode, or EnvironmentFault for the space."""
    try:
        space = registry.load_space(task.space, task.space_settings)
    except InvalidInput as error:
        raise EnvironmentFault(f"the space '{task.space}' is not usable here: {error}") from error
    try:
        genome = space.from_json(task.code)
    except InvalidGenome as error:
        raise InvalidCode(f"the code of genome {task.genome_id} is invalid: {error}") from error
    if task.origin is None:
        sample = task.dataset.sample
        return Individual(space, genome, space.phenotype(genome, sample), space.cost(genome, sample))
    adapted = plan_of(task, space, genome)
    return Individual(space, genome, space.phenotype(genome, task.origin.sample), cost(adapted))


def plan_of(task: Task, space: Space[Any], genome: Any) -> NetworkPlan:
    """The network of a genome for the data of its evaluation, adapted where it comes from other ones.

    Raises EvaluationFailed when the space has no networks.
    """
    if task.origin is None:
        return found_plan(task, space, genome)
    return transfer.adapt(found_plan(task, space, genome), task.dataset.sample)


def found_plan(task: Task, space: Space[Any], genome: Any) -> NetworkPlan:
    """The network of a genome for the data that it was found on. Raises EvaluationFailed as well."""
    plan = getattr(space, "plan", None)
    if plan is None:
        raise EvaluationFailed(
            f"the space '{task.space}' has no plan(): its genomes do not decode to networks"
        )
    found: NetworkPlan = plan(genome, task.origin.sample if task.origin else task.dataset.sample)
    return found


def recipe_of(task: Task) -> Recipe:
    """The recipe that a task holds. Raises EnvironmentFault when this version cannot read it."""
    try:
        return recipe.parse(task.recipe)
    except InvalidInput as error:
        raise EnvironmentFault(f"the experiment's recipe is not usable here: {error}") from error
