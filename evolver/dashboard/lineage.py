"""Who descends from whom: the ancestors of a genome, or of the whole front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from evolver.dashboard import tree
from evolver.dashboard.overview import columns
from evolver.dashboard.views import Asked, Page, experiment_of
from evolver.store import browse, details, kin
from evolver.store.browse import Point
from evolver.store.experiments import Experiment

DEPTHS = ("1", "2", "3", "4", "6", "10", "20", "50")
DEFAULT_DEPTH = "4"
GENOMES_SHOWN = 250
FRONT_SHOWN = 40
SHADES = ("#fde725", "#a0da39", "#4ac16d", "#1fa187", "#277f8e", "#365c8d", "#46327e")
"""From the best to the worst value (viridis): they differ in lightness, whatever colours one sees."""
DARK_TEXT_UP_TO = 3


def of_genome(connection: Connection, asked: Asked) -> Page:
    """The ancestors of one genome."""
    detail = details.genome_detail(connection, asked.id())
    found = experiment_of(connection, detail.experiment_id)
    return _page(connection, asked, found, [detail.genome_id], {"genome_id": detail.genome_id})


def of_front(connection: Connection, asked: Asked) -> Page:
    """The ancestors of the front."""
    found = asked.experiment(connection)
    members, total = browse.front(connection, found, at=None, limit=FRONT_SHOWN)
    about = {"genome_id": None, "members": len(members), "in_front": total}
    return _page(connection, asked, found, [one.genome_id for one in members], about)


def _page(
    connection: Connection, asked: Asked, found: Experiment, roots: Sequence[int], about: Mapping[str, Any]
) -> Page:
    depth = asked.choice("depth", DEPTHS, DEFAULT_DEPTH)
    by = asked.choice("by", columns(found), found.settings.objectives[0])
    relatives, is_whole = kin.ancestors(connection, roots, depth=int(depth), limit=GENOMES_SHOWN)
    points = browse.named_points(connection, [one.genome_id for one in relatives])
    placed = tree.layout(relatives)
    return Page(
        "lineage.html",
        {
            **about,
            "found": found,
            "tree": placed,
            "roots": set(roots),
            "shades": _shades(points, by),
            "legend": SHADES,
            "dark_text": set(SHADES[: DARK_TEXT_UP_TO + 1]),
            "points": points,
            "depth": depth,
            "depths": DEPTHS,
            "by": by,
            "columns": columns(found),
            "range": _range(points, by),
            "is_whole": is_whole,
            "is_cut": not is_whole and len(relatives) >= GENOMES_SHOWN,
            "limit": GENOMES_SHOWN,
            "operators": sorted({edge.operator for edge in placed.edges}),
        },
    )


def _range(points: Mapping[int, Point], by: str) -> tuple[float, float] | None:
    values = [one.values[by] for one in points.values() if by in one.values]
    return (min(values), max(values)) if values else None


def _shades(points: Mapping[int, Point], by: str) -> dict[int, str]:
    """The colour of each genome with a value: by its rank, so that one bad value does not hide the others."""
    ordered = sorted({one.values[by] for one in points.values() if by in one.values})
    place = {value: i for i, value in enumerate(ordered)}
    scale = max(1, len(ordered) - 1)
    return {
        key: SHADES[round(place[one.values[by]] / scale * (len(SHADES) - 1))]
        for key, one in points.items()
        if by in one.values
    }
