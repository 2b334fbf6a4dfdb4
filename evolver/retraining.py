"""Final trainings: evaluations of purpose ``retrain``, which train in full and look at test data once.

Asked            trainings in full that somebody asked for; ``evolver.transfer`` asks for others.
full_recipe      the recipe of such trainings.
enqueue          asks for final trainings of genomes.
require_a_batch  refuses a recipe whose batch is larger than the data.
add              enqueues one evaluation, unless another process has just done so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from evolver import recipe
from evolver.errors import InvalidInput
from evolver.recipe import Recipe
from evolver.store import details, experiments, facts, queue, trainings
from evolver.store.experiments import Experiment
from evolver.store.queue import NewEvaluation

PAPER_EPOCHS = 90
"""MO-ResNet (arXiv 2505.01313, section 4) retrains its front for so many epochs."""
PRIORITY = 1
"""Before the search's own evaluations, when it is still running: somebody waits for these."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The trainings in full that were asked for, genome by genome: ``enqueued`` of them are new."""

    evaluation_ids: tuple[int, ...]
    recipe: Recipe
    enqueued: int


def full_recipe(searched: Mapping[str, Any], name: str | None, epochs: int | None) -> Recipe:
    """The recipe of a final training: a preset or the search's own, with these epochs.

    Without ``epochs``, the recipe ``paper`` takes 90, any other its own. Raises UnknownName or InvalidInput.
    """
    base = recipe.load(name) if name else recipe.parse(searched)
    wanted = epochs if epochs is not None else PAPER_EPOCHS if base.name == "paper" else base.epochs
    return recipe.parse({**base.to_json(), "epochs": wanted})


def enqueue(connection: Connection, found: Experiment, genome_ids: Sequence[int], full: Recipe) -> Asked:
    """Ask for the final training of these genomes: once, unless the last one failed.

    Without ``genome_ids``, of the front. Raises InvalidInput for a genome of another experiment, one
    that has no result, an empty front, a recipe whose batch is larger than the data, or an experiment
    that is being deleted.
    """
    experiments.require_whole(found)
    total = found.dataset.train + found.dataset.validation
    require_a_batch(found.settings.name, min(found.settings.limit_train or total, total), full)
    chosen = tuple(dict.fromkeys(genome_ids)) or tuple(
        one.genome_id for one in facts.front_members(connection, found)
    )
    if not chosen:
        raise InvalidInput(f"the front of '{found.settings.name}' is empty: there is nothing to retrain yet")
    for genome_id in genome_ids:
        _require_result(connection, found, genome_id)
    recipe_id = experiments.recipe_id(connection, full.to_json())
    where = found.dataset.id, recipe_id
    known = {one.genome_id: one for one in trainings.of_genomes(connection, "retrain", chosen, *where)}
    added = 0
    for genome_id in chosen:
        last = known.get(genome_id)
        if last is None or last.state == "failed":
            seed_no = last.seed_no + 1 if last else 0
            new = NewEvaluation(found.id, genome_id, "retrain", *where, seed_no=seed_no, priority=PRIORITY)
            added += add(connection, new)
    known = {one.genome_id: one for one in trainings.of_genomes(connection, "retrain", chosen, *where)}
    return Asked(tuple(known[genome_id].evaluation_id for genome_id in chosen), full, added)


def require_a_batch(name: str, samples: int, full: Recipe) -> None:
    """Raises InvalidInput where there are fewer samples than a batch has; ``name`` says of what."""
    if 0 < samples < full.batch_size:
        raise InvalidInput(
            f"'{name}' has {samples} samples to train on, fewer than a batch of "
            f"{full.batch_size}: name another recipe"
        )


def _require_result(connection: Connection, found: Experiment, genome_id: int) -> None:
    detail = details.genome_detail(connection, genome_id)
    if detail.experiment_id != found.id:
        raise InvalidInput(
            f"genome {genome_id} belongs to experiment '{detail.experiment}', not to '{found.settings.name}'"
        )
    if not any(one.purpose == "search" and one.state == "done" for one in detail.evaluations):
        raise InvalidInput(f"genome {genome_id} has no result yet: 'evolver show {genome_id}' tells more")


def add(connection: Connection, new: NewEvaluation) -> bool:
    """Enqueue one; False when another process has just taken its place."""
    try:
        with connection.begin_nested():
            queue.enqueue(connection, [new])
    except IntegrityError:
        return False
    return True
