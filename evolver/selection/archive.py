"""The front: the elite population (EP) that keeps the non-dominated genomes of a whole search.

Zhang and Li 2007 ("MOEA/D", section III.B) keep every non-dominated solution. Here the front is bounded
as well: beyond the limit the genome with the least hypervolume contribution leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evolver.selection import pareto
from evolver.selection.base import Objectives
from evolver.selection.scale import LINEAR, Scale

DOMINATED = "dominated"
LEAST_CONTRIBUTION = "least hypervolume contribution"

_MARGIN = 0.1
"""How far the reference point lies behind the worst values, as a share of the front's range. At a tenth the
extremes outlast the others in an even front of two objectives and more than about a dozen members."""


@dataclass(frozen=True, slots=True, eq=False)
class Front:
    """Mutually non-dominated genomes, in order of entry.

    ``objectives`` has shape (genomes, objectives) and is never written in place.
    """

    genome_ids: tuple[int, ...]
    objectives: Objectives

    @classmethod
    def empty(cls, objectives: int) -> Front:
        return cls((), np.empty((0, objectives)))


@dataclass(frozen=True, slots=True)
class FrontUpdate:
    """What one result did to the front: ``left`` has (genome id, reason) of each former member."""

    front: Front
    entered: bool
    left: tuple[tuple[int, str], ...]


def update(
    front: Front, genome_id: int, objectives: Objectives, limit: int, scale: Scale = LINEAR
) -> FrontUpdate:
    """Take in one result. ``objectives`` has shape (objectives,); ``front`` has at most ``limit`` members.

    The newcomer enters unless a member dominates or equals it; members that it dominates leave. If
    the front is beyond ``limit`` (at least 1) then, the member with the least hypervolume
    contribution on the scale leaves, of equals the latest; if that is the newcomer, the front stays
    as it was.
    """
    if (front.objectives <= objectives).all(axis=1).any():
        return FrontUpdate(front, False, ())
    beaten: NDArray[np.bool_] = np.all(objectives <= front.objectives, axis=1)
    left = tuple((front.genome_ids[i], DOMINATED) for i in np.flatnonzero(beaten))
    joined = Front(
        (*_without(front.genome_ids, beaten), genome_id), np.vstack([front.objectives[~beaten], objectives])
    )
    if len(joined.genome_ids) <= limit:
        return FrontUpdate(joined, True, left)
    least = pareto.least_contributor(scale.seen(joined.objectives), _MARGIN)
    leaver = joined.genome_ids[least]
    if leaver == genome_id:
        return FrontUpdate(front, False, ())
    is_leaver = np.arange(len(joined.genome_ids)) == least
    kept = Front(_without(joined.genome_ids, is_leaver), joined.objectives[~is_leaver])
    return FrontUpdate(kept, True, (*left, (leaver, LEAST_CONTRIBUTION)))


def _without(genome_ids: tuple[int, ...], leaving: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(genome_id for genome_id, leaves in zip(genome_ids, leaving, strict=True) if not leaves)
