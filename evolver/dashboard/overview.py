"""All experiments, one experiment, and the growth of its front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from evolver.dashboard import figures, progress, settings
from evolver.dashboard.views import Asked, Figure, Page
from evolver.store import browse, facts, fleet
from evolver.store.experiments import Experiment

A_PAGE = 12
"""Experiments that are shown at a time."""
FRONT_SHOWN = 10
WORKERS_WITHIN_S = 3600.0
WORKERS_SHOWN = 100


def overview(connection: Connection, asked: Asked) -> Page:
    """The experiments, those that run first, and the workers."""
    page = asked.number("page", low=1, high=10**6) or 1
    shown, total = browse.listed(connection, first=(page - 1) * A_PAGE, number=A_PAGE)
    pages = max(1, -(-total // A_PAGE))
    return Page(
        "overview.html",
        {
            "experiments": [
                {"found": one, "status": status}
                for one, status in zip(shown, facts.statuses(connection, shown), strict=True)
            ],
            "total": total,
            "page": page,
            "pages": pages,
            **_workers(connection),
        },
    )


def experiment(connection: Connection, asked: Asked) -> Page:
    """One experiment: how it stands, its best genomes, its failures."""
    found = asked.experiment(connection)
    front, in_front = browse.front(connection, found, at=None, limit=FRONT_SHOWN)
    return Page(
        "experiment.html",
        {
            "found": found,
            "status": facts.status(connection, found),
            "front": front,
            "in_front": in_front,
            "columns": columns(found),
            "settings": settings.of([found]),
            **_workers(connection),
        },
    )


def growth(connection: Connection, asked: Asked) -> Figure:
    """The growth of a front, ``over`` evaluations or hours; or of the ``best`` value of one objective."""
    found = asked.experiment(connection)
    return growth_of(connection, asked, {found.settings.name: [found]}, found.settings.objectives)


def growth_of(
    connection: Connection, asked: Asked, sides: Mapping[str, Sequence[Experiment]], objectives: Sequence[str]
) -> Figure:
    """The growth of searches, single ones or groups of them, as ``growth`` is asked for it."""
    over = asked.choice("over", ("evaluations", "hours"), "evaluations")
    best = asked.choice("best", ("", *objectives), "")
    grown = progress.growth(connection, [run for runs in sides.values() for run in runs], objectives)
    drawn = {
        name: [grown[run.settings.name] for run in runs if run.settings.name in grown]
        for name, runs in sides.items()
    }
    drawn = {name: runs for name, runs in drawn.items() if runs}
    return figures.best(drawn, best) if best else figures.growth(drawn, over)


def columns(found: Experiment) -> list[str]:
    """The values of a table of genomes: the objectives, then what networks cost."""
    return [
        *found.settings.objectives,
        *(n for n in ("params", "flops") if n not in found.settings.objectives),
    ]


def _workers(connection: Connection) -> dict[str, Any]:
    """Those that were heard of in the last hour: the live ones first."""
    heard = sorted(fleet.heard_of(connection, WORKERS_WITHIN_S), key=lambda one: not one.is_live)
    return {"workers": heard[:WORKERS_SHOWN], "more_workers": max(0, len(heard) - WORKERS_SHOWN)}
