"""Operators that learn: which kind of variation has lately bred members of the front.

Dynamic Thompson sampling (Gupta, Granmo and Agrawala 2011, "Thompson Sampling for Dynamic Multi-armed
Bandits"; for operators of evolution Sun and Li 2020, "Adaptive Operator Selection Based on Dynamic Thompson
Sampling for MOEA/D"). An arm is an operator as a birth records it. Its chance of success has a Beta
distribution; a child's operator is the one of which a draw from that is the greatest. Once alpha + beta have
reached the cap, each result also shrinks what is old, so that an operator which succeeded early and no
longer does is found out. Pure.

Credit    what is known of the operators.
arms      the operators that a child's can be drawn from.
draw      the operator of a child.
after     the credit after one more result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from numpy.random import Generator

from evolver.space import MUTATION_OF_KIND

Credit = Mapping[str, Sequence[float]]
"""Alpha and beta by operator, as JSON; an operator without a result is left out."""

CAP = 50.0
"""Of alpha + beta: about so many of an operator's last results count. Not tuned."""

CROSSOVER, MUTATION, BOTH = "crossover", "mutation", "crossover+mutation"
_PRIOR = (1.0, 1.0)


def arms(kinds: Iterable[str], *, crosses: bool) -> tuple[str, ...]:
    """The operators, in a fixed order; ``kinds`` of mutation are the space's own. Without two different
    parents (``crosses``) there are mutations only.
    """
    mutations = (MUTATION, *(f"{MUTATION_OF_KIND}{kind}" for kind in sorted(kinds)))
    return (CROSSOVER, BOTH, *mutations) if crosses else mutations


def is_arm(operator: str) -> bool:
    """Whether a recorded operator is one of those that are learned: neither ``random`` nor ``seed``."""
    return operator in (CROSSOVER, MUTATION, BOTH) or operator.startswith(MUTATION_OF_KIND)


def draw(credit: Credit, among: Sequence[str], rng: Generator) -> str:
    """One of the operators: the one whose drawn chance of success is the greatest."""
    chances = [rng.beta(*_pair(credit, arm)) for arm in among]
    return among[chances.index(max(chances))]


def after(credit: Credit, operator: str, *, success: bool) -> Credit:
    """The credit after one more result of an operator (Gupta et al. 2011, algorithm 1)."""
    alpha, beta = _pair(credit, operator)
    scale = min(1.0, CAP / (alpha + beta + 1.0))
    return {**credit, operator: [(alpha + success) * scale, (beta + (not success)) * scale]}


def _pair(credit: Credit, operator: str) -> tuple[float, float]:
    alpha, beta = credit.get(operator, _PRIOR)
    return alpha, beta
