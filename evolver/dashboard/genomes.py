"""One genome in full, and its learning curves."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from sqlalchemy import Connection

from evolver.dashboard import figures, networks
from evolver.dashboard.views import Asked, Elsewhere, Figure, Page, experiment_of
from evolver.dashboard.words import data_name
from evolver.errors import InvalidInput
from evolver.store import browse, details, kin
from evolver.store.details import EpochFact, EvaluationFact, GenomeDetail

CHILDREN_SHOWN = 40
CURVES_SHOWN = 12
COSTS = ("params", "flops")


def genome(connection: Connection, asked: Asked) -> Page:
    """Everything about one genome."""
    detail = details.genome_detail(connection, asked.id())
    found = experiment_of(connection, detail.experiment_id)
    children, born = kin.children(connection, detail.genome_id, limit=CHILDREN_SHOWN)
    values = next(
        (one.objectives for one in detail.evaluations if one.purpose == "search" and one.objectives), {}
    )
    return Page(
        "genome.html",
        {
            "detail": detail,
            "trainings": trainings(detail),
            "curves": sum(bool(one.curve) for one in detail.evaluations),
            "curves_shown": CURVES_SHOWN,
            "found": found,
            "network": networks.decoded(detail.code, found),
            "code": networks.lines(detail.code),
            "ranks": browse.rank(connection, found, values) if values else {},
            "stays": browse.stays(connection, detail.genome_id),
            "children": children,
            "born": born,
            "is_open": any(one.state in ("pending", "running") for one in detail.evaluations),
        },
    )


def curves(connection: Connection, asked: Asked) -> Figure:
    """The learning curves of a genome's evaluations, their ``loss`` or ``error``."""
    detail = details.genome_detail(connection, asked.id())
    named: dict[str, list[tuple[EpochFact, ...]]] = {}
    left = CURVES_SHOWN
    for one in trainings(detail):
        curves = [evaluation.curve for evaluation in one.evaluations if evaluation.curve][:left]
        if curves:
            named[one.short_title] = curves
            left -= len(curves)
    return figures.learning(named, asked.choice("what", ("loss", "error"), "loss"))


# --- trainings of a genome ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Trainings:
    """Evaluations of a genome that differ by chance only: of a purpose, on a data set, begun alike."""

    purpose: str
    dataset: str
    init_from: int | None
    evaluations: tuple[EvaluationFact, ...]

    @property
    def title(self) -> str:
        """What they are."""
        if self.purpose == "transfer":
            return f"Transfer to {self.dataset}, {self._start}"
        return "Final training (retrain)" if self.purpose == "retrain" else self.purpose.capitalize()

    @property
    def short_title(self) -> str:
        """The same for a legend."""
        if self.purpose != "transfer":
            return self.purpose
        start = "scratch" if self.init_from is None else f"weights of {self.init_from}"
        return f"{data_name(self.dataset)}, {start}"

    @property
    def _start(self) -> str:
        return (
            "from scratch" if self.init_from is None else f"from the weights of evaluation {self.init_from}"
        )

    @property
    def costs(self) -> dict[str, float]:
        """Parameters and FLOPs of the network that was trained: of another data set an adapted one."""
        values = next((v for v in map(self.values, self.evaluations) if v), {})
        return {name: values[name] for name in COSTS if name in values}

    @property
    def measured(self) -> list[str]:
        """The names of the values that they have, but for their costs."""
        return list(dict.fromkeys(n for one in self.evaluations for n in self.values(one) if n not in COSTS))

    @staticmethod
    def values(one: EvaluationFact) -> dict[str, float]:
        """All values of an evaluation."""
        return {**one.objectives, **one.other_values}


def trainings(detail: GenomeDetail) -> list[Trainings]:
    """The evaluations of a genome, those that are alike together; in the order in which each kind began.

    A retried search is an evaluation for itself, after the one that failed.
    """
    found: dict[tuple[str, str, int | None], list[EvaluationFact]] = {}
    for one in detail.evaluations:
        found.setdefault((one.purpose, one.dataset, one.init_from), []).append(one)
    return [Trainings(*kind, tuple(evaluations)) for kind, evaluations in found.items()]


def find(connection: Connection, asked: Asked) -> Elsewhere:
    """To the genome of a number that somebody typed; or of two, to compare them."""
    one, other = asked.number("id", low=1), asked.number("with", low=1)
    if one is None:
        raise InvalidInput("give the number of a genome")
    if other is not None:
        return Elsewhere(f"/compare/genomes?{urlencode({'a': one, 'b': other})}")
    return Elsewhere(f"/genome/{one}")
