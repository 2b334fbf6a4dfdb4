"""What is exported, from the database: a genome with its plan, lineage, and where its weights are.

Wanted   which weights of a genome.
Subject  a genome to export.
gather   all that the database knows for an export.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from shlex import quote

from sqlalchemy import Connection

from evolver import registry
from evolver.errors import EvolverError, InvalidInput
from evolver.evaluation import DatasetRef
from evolver.genome import canonical, transfer
from evolver.genome.plan import NetworkPlan
from evolver.store import details, experiments
from evolver.store import weights as kept
from evolver.store.claims import training_seed
from evolver.store.details import EvaluationFact, GenomeDetail
from evolver.store.experiments import Experiment
from evolver.store.weights import KeptWeights


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which weights: those of a final training, of the last one on a data set, or initial ones.

    Without any of these, those of the last final training on the data of the search.
    """

    evaluation_id: int | None = None
    dataset: str | None = None
    untrained: bool = False


@dataclass(frozen=True, slots=True)
class Subject:
    """A genome to export. Without ``weights``, its initial ones are exported.

    ``plan`` is the network for the data of the weights, ``phenotype`` that of the network as the search found
    it. ``generations`` counts back to the farthest of its ``ancestors``, by the shortest way.
    """

    detail: GenomeDetail
    experiment: Experiment
    plan: NetworkPlan
    phenotype: str
    ancestors: int
    generations: int
    weights: KeptWeights | None

    @property
    def title(self) -> str:
        brought = f", trained on {self.dataset.name}" if self.is_transferred else ""
        return f"genome {self.detail.genome_id} of '{self.experiment.settings.name}'{brought}"

    @property
    def dataset(self) -> DatasetRef:
        """The data of the weights; of initial ones, those of the search."""
        return self.weights.dataset if self.weights else self.experiment.dataset

    @property
    def is_transferred(self) -> bool:
        return self.weights is not None and self.weights.purpose == "transfer"

    @property
    def seed(self) -> int:
        """What the weights were, or would be, drawn by at the beginning of the training."""
        seed_no = self.weights.seed_no if self.weights else 0
        return training_seed(self.experiment.settings.seed, self.detail.birth, seed_no)

    @property
    def searched(self) -> EvaluationFact | None:
        """The last evaluation by the search that ended well."""
        done = [one for one in self.detail.evaluations if one.purpose == "search" and one.state == "done"]
        return done[-1] if done else None

    @property
    def trained(self) -> EvaluationFact | None:
        """The training of the weights."""
        trained_by = self.weights.evaluation_id if self.weights else None
        return next((one for one in self.detail.evaluations if one.evaluation_id == trained_by), None)


def gather(connection: Connection, genome_id: int, wanted: Wanted) -> Subject:
    """All that the database knows for an export.

    Raises NotFound, or InvalidInput for a genome that has no network, has failed, or has no such weights.
    """
    detail = details.genome_detail(connection, genome_id)
    found = experiments.get(connection, detail.experiment)
    plan = _plan(detail, found)
    _require_no_failure(detail)
    weights = None if wanted.untrained else _weights(connection, detail, found, wanted)
    family = details.lineage(connection, genome_id)
    return Subject(
        detail,
        found,
        transfer.adapt(plan, weights.dataset.sample) if weights else plan,
        canonical.phenotype(plan),
        ancestors=len(family) - 1,
        generations=family[-1].distance,
        weights=weights,
    )


# --- the network -------------------------------------------------------------------------------------


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


# --- its weights -------------------------------------------------------------------------------------


def _weights(connection: Connection, detail: GenomeDetail, found: Experiment, wanted: Wanted) -> KeptWeights:
    known = kept.of_genome(connection, detail.genome_id)
    if wanted.evaluation_id is not None:
        chosen = [one for one in known if one.evaluation_id == wanted.evaluation_id]
        if not chosen:
            raise InvalidInput(_no_such_training(detail, known, wanted.evaluation_id))
        return chosen[-1]
    name = wanted.dataset or found.dataset.name
    chosen = [one for one in known if one.dataset.name == name]
    if not chosen:
        of_search = name == found.dataset.name
        raise InvalidInput(_no_weights(detail, found) if of_search else _not_brought_to(detail, known, name))
    return chosen[-1]


def _no_such_training(detail: GenomeDetail, known: Sequence[KeptWeights], evaluation_id: int) -> str:
    trained = ", ".join(f"{one.evaluation_id} ({one.dataset.name})" for one in known) or "none"
    return (
        f"evaluation {evaluation_id} is no final training of genome {detail.genome_id} that kept weights; "
        f"there are: {trained}"
    )


def _not_brought_to(detail: GenomeDetail, known: Sequence[KeptWeights], name: str) -> str:
    """Why there are no weights for other data than those of the search."""
    genome_id = detail.genome_id
    names = ", ".join(sorted({one.dataset.name for one in known})) or "none"
    make = f"evolver transfer {quote(detail.experiment)} --dataset {quote(name)}"
    return (
        f"genome {genome_id} has no weights trained on '{name}' (it has for: {names}); see its trainings: "
        f"evolver show {genome_id}; make weights, if it is in the front: {make}"
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
