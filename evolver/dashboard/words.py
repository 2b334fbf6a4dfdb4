"""Words of the pages only: axes, moments, ranks, rates. ``evolver.words`` has those of the terminal too."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from evolver.errors import EvolverError
from evolver.objectives import load
from evolver.store.browse import Rank
from evolver.words import compact, duration, elapsed, label, shown, spread

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


def short_title(name: str) -> str:
    """What stands at the axis of a small chart, which has no room for the unit."""
    return "error (1 − accuracy)" if name == "error" else name.replace("_", " ")


def data_name(dataset: str) -> str:
    """A data set in short: of a path only its end."""
    kind, colon, path = dataset.partition(":")
    return kind + colon + (f"…/{path.rsplit('/', 1)[1]}" if "/" in path else path)


def said(value: object) -> str:
    """The value of a setting."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(said, value)) or "–"
    return "–" if value in (None, "") else str(value)


def sentence(message: str) -> str:
    """A message of the command line as a sentence."""
    return f"{message[:1].upper()}{message[1:]}{'' if message.endswith('.') else '.'}"


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
    "elapsed": elapsed,
    "label": label,
    "number": number,
    "ranked": ranked,
    "rate": rate,
    "sentence": sentence,
    "shown": lambda value, name: shown(name, value),
    "spread": lambda values, name: spread(name, values) if values else "–",
    "time_of": time_of,
}
"""The filters of the templates."""
