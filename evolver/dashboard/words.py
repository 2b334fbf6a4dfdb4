"""Numbers and times as people read them: those of the command line, and a few more."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from evolver.cli.output import compact, counted, cut, duration, label, shown
from evolver.errors import EvolverError
from evolver.objectives import load
from evolver.store.browse import Rank

__all__ = [
    "FILTERS", "axis_title", "compact", "counted", "cut", "duration", "label", "ranked", "shown", "time_of",
]  # fmt: skip

LOGARITHMIC = ("params", "flops")
"""Values that span orders of magnitude."""


def axis_title(name: str) -> str:
    """What stands at an axis: the name of a value with its unit."""
    if name == "error":  # elsewhere shown as an accuracy
        return "validation error (1 − accuracy)"
    try:
        return f"{name} ({load([name])[0].unit})"
    except EvolverError:  # a value without an objective, or one whose plug-in is not installed here
        return name.replace("_", " ")


def time_of(moment: datetime | None) -> str:
    """A moment, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else "–"


def number(value: int) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}".replace(",", "\u202f")


def ranked(rank: Rank) -> str:
    """A rank: exact among all results, a share among a sample."""
    if rank.is_sample:
        share = 100 * rank.better / max(1, rank.among)
        return (
            f"{'less than 0.1' if share < 0.1 else f'{share:.1f}'} % are better (of a sample of {rank.among})"
        )
    return f"{rank.better + 1} of {rank.among}"


def rate(per_hour: float) -> str:
    """So many an hour."""
    return f"{per_hour:,.{0 if per_hour >= 10 else 1}f} an hour"


FILTERS: dict[str, Any] = {
    "axis_title": axis_title,
    "compact": compact,
    "duration": duration,
    "label": label,
    "number": number,
    "ranked": ranked,
    "rate": rate,
    "shown": lambda value, name: shown(name, value),
    "time_of": time_of,
}
"""The filters of the templates."""
