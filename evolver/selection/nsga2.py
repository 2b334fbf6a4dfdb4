"""Steady-state NSGA-II (Deb et al. 2002; one child at a time as in Durillo et al. 2009).

The newcomer joins the population, and the worst of all leaves: the highest non-dominated rank first,
and within that rank the least crowding distance.
"""

from __future__ import annotations

import numpy as np

from evolver.selection import pareto
from evolver.selection.base import Objectives
from evolver.selection.ranked import RankSelector

WORST = "worst rank, then least crowding distance"


class Nsga2(RankSelector):
    """NSGA-II."""

    name = "nsga2"
    reason = WORST

    def least(self, points: Objectives) -> int:
        """The point with the least crowding distance, the last of equals."""
        crowding = pareto.crowding_distance(points)
        return int(np.flatnonzero(crowding == crowding.min())[-1])
