"""Write the synthetic table ``cells.json``, and ``cells.toml``, a search in it.

    python make_table.py

The table stands for no real data: the numbers are formulas. A genome is a cell of five operations. Larger
operations err less, repeated ones help less and less, and a hash adds some luck, so that the search has a
trade-off to find and a ruggedness to cope with. The same files come out every time.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections import Counter
from pathlib import Path

PLACES = 5
PARAMS = {"skip": 0, "pool3": 0, "conv1": 1_100, "conv3": 9_300}
POWER = {"skip": 0.0, "pool3": 0.35, "conv1": 0.5, "conv3": 1.0}
"""What the first operation of a kind adds; each further one of its kind adds 0.6 of the one before."""
MEASURES = ["validation_error", "params", "latency"]


def result(cell: tuple[str, ...]) -> list[float]:
    """Validation error, parameters, and a latency in units of a convolution's."""
    power = sum(POWER[name] * (1 - 0.6**number) / 0.4 for name, number in Counter(cell).items())
    luck = int.from_bytes(hashlib.sha256("|".join(cell).encode()).digest()[:4]) / 2**32
    error = 0.05 + 0.6 * math.exp(-0.9 * power) + 0.03 * luck
    latency = sum(0.1 + 0.9 * (PARAMS[name] / 9_300) ** 0.5 for name in cell)
    return [round(error, 5), 1_000 + sum(PARAMS[name] for name in cell), round(latency, 4)]


def main(directory: Path) -> None:
    """Write both files."""
    cells = itertools.product(PARAMS, repeat=PLACES)
    lines = [f"    {json.dumps('|'.join(cell))}: {json.dumps(result(cell))}" for cell in cells]
    about = "Synthetic: made by make_table.py from formulas, not from trainings"
    head = f'  "about": {json.dumps(about)},\n  "measures": {json.dumps(MEASURES)},'
    table = f'{{\n{head}\n  "results": {{\n' + ",\n".join(lines) + "\n  }\n}\n"
    (directory / "cells.json").write_text(table, encoding="utf-8")
    places = "".join(f"    {json.dumps(list(PARAMS))},\n" for _ in range(PLACES))
    (directory / "cells.toml").write_text(SEARCH.format(places=places), encoding="utf-8")
    print(f"cells.json: {len(lines)} results; cells.toml: a search among them")


SEARCH = """\
# A search in cells.json: evolver run cells --config cells.toml --data-dir .
dataset = "table:cells.json"
space = "choices"
evaluator = "table"
objectives = ["error", "column:latency"]
population = 12
budget = 150

[space_settings]
choices = [
{places}]
"""


if __name__ == "__main__":
    main(Path(__file__).parent)
