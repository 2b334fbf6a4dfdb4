"""Values, times and counts as people read them, in the terminal and in the browser.

label      what people call a value.
shown      a value with its unit.
counted    a number of things.
compact    a count with three digits.
size       bytes.
duration   a time.
elapsed    a time that may be short.
hourly     a rate.
spread     the values of several runs: median and quartiles.
cut        a text that is not too long.
"""

from __future__ import annotations

from collections.abc import Sequence

UNITS = {"s": "s", "ms": "ms", "j": "J", "bytes": "B"}
"""Units that names of values may end in, as people write them."""


def label(name: str) -> str:
    """What people call an objective or another value: errors are shown as accuracies, units beside values."""
    stem, unit, argument = _parts(name)
    words = stem.replace("_", " ") + (" time" if unit == "s" else "") + argument
    return f"{words.removesuffix('error')}accuracy" if words.endswith("error") else words


def shown(name: str, value: float | None) -> str:
    """The value of that name for people, with its unit."""
    if value is None:
        return "–"
    if name.endswith("error"):
        return f"{100 * (1 - value):.2f} %"
    if name in ("params", "flops"):
        return compact(value)
    unit = _parts(name)[1]
    if unit == "bytes":
        return size(value)
    return f"{value:.3g} {UNITS[unit]}" if unit else f"{value:.4g}"


def counted(number: int, noun: str) -> str:
    """A number of things: 1 genome, 2 genomes."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def compact(number: float) -> str:
    """A count with three digits: 950, 12.3 k, 1.23 M."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:#.3g} {unit}".replace(". ", " ")
    return f"{number:.0f}"


def size(number: float) -> str:
    """Bytes for people: 950 B, 12.3 kB, 1.23 MB."""
    return f"{compact(number)}B" if number >= 1000 else f"{number:.0f} B"


def duration(seconds: float | None) -> str:
    """A time for people: 45 s, 12 min, 3 h 05 min, 2 d 3 h."""
    if seconds is None:
        return "–"
    minutes, hours, days = seconds / 60, seconds / 3600, seconds / 86400
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes:.0f} min"
    if hours < 48:
        return f"{int(hours)} h {int(minutes) % 60:02d} min"
    return f"{int(days)} d {int(hours) % 24} h"


def elapsed(seconds: float | None) -> str:
    """The time that a training or an epoch took, which may be short: 0.21 s, 4.2 s, 45 s."""
    return f"{seconds:.2g} s" if seconds is not None and seconds < 9.5 else duration(seconds)


def hourly(rate: float | None) -> str:
    """How many an hour, for people."""
    return "–" if rate is None else f"{rate:.{0 if rate >= 10 else 1}f}"


def spread(name: str, values: Sequence[float]) -> str:
    """The median of several values of that name, with their quartiles; of one value only itself.

    NaN stands for a run without a value, and then there are none of them all.
    """
    import numpy as np  # most of what shows words needs no numbers

    lower, median, upper = np.sort(np.quantile(values, (0.25, 0.5, 0.75)))
    if np.isnan(median):
        return "–"
    if name.endswith("error"):
        lower, upper = upper, lower  # shown as an accuracy, which rises as the error falls
    text = shown(name, float(median))
    return text if len(values) == 1 else f"{text} [{shown(name, float(lower))}, {shown(name, float(upper))}]"


def cut(text: str, length: int) -> str:
    """A text of at most so many characters; where some are left out, the last one says so."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _parts(name: str) -> tuple[str, str, str]:
    """``latency_ms:64`` as ``latency``, its unit (empty when the name has none), and ``:64``."""
    plain, colon, argument = name.partition(":")
    stem, _, unit = plain.rpartition("_")
    return (stem, unit, colon + argument) if stem and unit in UNITS else (plain, "", colon + argument)
