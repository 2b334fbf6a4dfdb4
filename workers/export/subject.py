"""What is exported, from the database: a genome with its plan, lineage, and where its weights are."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote

from sqlalchemy import Connection

from evolver import registry
from evolver.errors import EvolverError, InvalidInput
from evolver.genome.plan import NetworkPlan
from evolver.store import details, experiments
from evolver.store import weights as kept
from evolver.store.claims import training_seed
from evolver.store.details import EvaluationFact, GenomeDetail
from evolver.store.experiments import Experiment
from evolver.store.weights import KeptWeights


@dataclass(frozen=True, slots=True)
class Subject:
    """A genome to export. Without ``weights``, its initial ones are exported.

    ``generations`` counts back to the farthest of its ``ancestors``, by the shortest way.
    """

    detail: GenomeDetail
    experiment: Experiment
    plan: NetworkPlan
    ancestors: int
    generations: int
    weights: KeptWeights | None

    @property
    def name(self) -> str:
        return f"genome {self.detail.genome_id} of '{self.experiment.settings.name}'"

    @property
    def seed(self) -> int:
        """What the weights were, or would be, drawn by at the beginning of the training."""
        seed_no = self.weights.seed_no if self.weights else 0
        return training_seed(self.experiment.settings.seed, self.detail.birth, seed_no)

    def evaluation(self, purpose: str) -> EvaluationFact | None:
        """The last search that ended well, or the training of the exported weights."""
        done = [one for one in self.detail.evaluations if one.purpose == purpose and one.state == "done"]
        if purpose == "retrain":
            trained_by = self.weights.evaluation_id if self.weights else None
            done = [one for one in done if one.evaluation_id == trained_by]
        return done[-1] if done else None


def gather(connection: Connection, genome_id: int, *, untrained: bool) -> Subject:
    """All that the database knows for an export; with ``untrained``, weights are left aside.

    Raises NotFound, or InvalidInput for a genome that has no network, has failed, or has no weights.
    """
    detail = details.genome_detail(connection, genome_id)
    found = experiments.get(connection, detail.experiment)
    plan = _plan(detail, found)
    _require_no_failure(detail)
    weights = None if untrained else kept.last_retrained(connection, genome_id)
    if weights is None and not untrained:
        raise InvalidInput(_no_weights(detail, found))
    family = details.lineage(connection, genome_id)
    return Subject(detail, found, plan, len(family) - 1, family[-1].distance, weights)


def _plan(detail: GenomeDetail, found: Experiment) -> NetworkPlan:
    settings = found.settings
    space = registry.load_space(settings.space, settings.space_settings)
    plan = getattr(space, "plan", None)
    if plan is None:
        raise InvalidInput(
            f"genome {detail.genome_id} has no network to export: it is of the space '{settings.space}', "
            "which has no plan()"
        )
    if not _trains_networks(settings.evaluator):
        raise InvalidInput(
            f"genome {detail.genome_id} has no network to export: the evaluator '{settings.evaluator}' of "
            f"'{settings.name}' trains none"
        )
    try:
        genome = space.from_json(detail.code)
        decoded = plan(genome, found.dataset.sample)
    except EvolverError as error:
        raise InvalidInput(f"the code of genome {detail.genome_id} is invalid: {error}") from error
    if not isinstance(decoded, NetworkPlan):
        raise InvalidInput(
            f"genome {detail.genome_id} cannot be exported: the plan() of the space '{settings.space}' "
            "gives no evolver.genome.plan.NetworkPlan"
        )
    return decoded


def _trains_networks(evaluator: str) -> bool:
    """Whether an evaluator is ``train`` or derived from it: others make of a plan what they like."""
    from workers.training import TrainEvaluator

    plugin = registry.load("evaluator", evaluator)
    return isinstance(plugin, type) and issubclass(plugin, TrainEvaluator)


def _require_no_failure(detail: GenomeDetail) -> None:
    searched = [one for one in detail.evaluations if one.purpose == "search"]
    if searched and searched[-1].state == "failed":
        last = searched[-1]
        raise InvalidInput(
            f"genome {detail.genome_id} failed ({last.failure_kind}): {last.failure_message or 'no message'}"
            f"; see why: evolver logs {detail.genome_id}"
        )


def _no_weights(detail: GenomeDetail, found: Experiment) -> str:
    genome_id = detail.genome_id
    retrained = [one for one in detail.evaluations if one.purpose == "retrain"]
    train = f"evolver retrain {quote(found.settings.name)} --genome {genome_id}"
    if retrained and retrained[-1].state == "failed":
        why = f"its final training failed ({retrained[-1].failure_kind}); try again: {train}"
    elif any(one.state in ("pending", "running") for one in retrained):
        why = f"its final training has not ended; see it: evolver show {genome_id}"
    elif not any(one.purpose == "search" and one.state == "done" for one in detail.evaluations):
        why = f"it has no result yet, and is retrained after that; see it: evolver show {genome_id}"
    else:
        why = f"a search keeps none; train it in full: {train}"
    return f"genome {genome_id} has no weights: {why}; or export initial weights with --untrained"
