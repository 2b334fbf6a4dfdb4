"""Steady-state SMS-EMOA (Beume, Naujoks and Emmerich 2007, "SMS-EMOA: Multiobjective selection based on
dominated hypervolume", algorithms 1 and 2).

The newcomer joins the population, and one genome leaves: of the worst non-dominated rank the one that adds
least to the hypervolume. The paper draws parents uniformly; here they win tournaments, as in NSGA-II.
"""

from __future__ import annotations

from evolver.selection import pareto
from evolver.selection.base import Objectives
from evolver.selection.ranked import RankSelector

LEAST = "worst rank, then least hypervolume contribution"

_OFFSET = 1.0
"""How far the reference point lies behind the worst values, in units of the range: the paper's 1, on scaled
objectives. That far away the extremes of a front outlast all others but the closest ones."""


class SmsEmoa(RankSelector):
    """SMS-EMOA."""

    name = "smsemoa"
    reason = LEAST

    def least(self, points: Objectives) -> int:
        """The point with the least hypervolume contribution, the last of equals."""
        return pareto.least_contributor(points, _OFFSET)
