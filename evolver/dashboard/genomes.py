"""One genome in full, and its learning curves."""

from __future__ import annotations

from urllib.parse import urlencode

from sqlalchemy import Connection

from evolver.dashboard import figures, networks
from evolver.dashboard.views import Asked, Elsewhere, Figure, Page, experiment_of
from evolver.errors import InvalidInput
from evolver.store import browse, details, kin
from evolver.store.details import EpochFact, EvaluationFact

CHILDREN_SHOWN = 40
CURVES_SHOWN = 6


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
    return figures.learning(curves_of(detail.evaluations), asked.choice("what", ("loss", "error"), "loss"))


def curves_of(evaluations: tuple[EvaluationFact, ...]) -> dict[str, tuple[EpochFact, ...]]:
    """The curves that there are, by what people call an evaluation."""
    named = {_name(one): one.curve for one in evaluations if one.curve}
    return dict(list(named.items())[:CURVES_SHOWN])


def _name(one: EvaluationFact) -> str:
    return f"{one.purpose}, repetition {one.seed_no}" if one.seed_no else one.purpose


def find(connection: Connection, asked: Asked) -> Elsewhere:
    """To the genome of a number that somebody typed; or of two, to compare them."""
    one, other = asked.number("id", low=1), asked.number("with", low=1)
    if one is None:
        raise InvalidInput("give the number of a genome")
    if other is not None:
        return Elsewhere(f"/compare/genomes?{urlencode({'a': one, 'b': other})}")
    return Elsewhere(f"/genome/{one}")
