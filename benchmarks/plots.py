"""Pictures of benchmark results for the documentation: ``docs/images/``.

It reads what the benchmarks have written with ``--json`` to ``benchmarks/results/`` and measures nothing.

    python benchmarks/plots.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "results"
IMAGES = Path(__file__).parent.parent / "docs" / "images"
OURS, THEIRS = "#0072b2", "#999999"
"""Of evolver and of its peers, everywhere."""


def main() -> None:
    for name, draw in (("selection_quality", selection), ("asynchrony", asynchrony)):
        source = RESULTS / f"{name}.json"
        if source.exists():
            draw(json.loads(source.read_text()), IMAGES / f"{name}.png")
            print(IMAGES / f"{name}.png")


def selection(found: Mapping[str, Any], output: Path) -> None:
    """A panel for each problem: the hypervolumes of all seeds, by algorithm."""
    rows = found["quality"]
    problems = list(dict.fromkeys(row["problem"] for row in rows))
    figure, axes = plt.subplots(3, 3, figsize=(9.5, 7.5), layout="constrained")
    for axis, problem in zip(axes.flat, problems, strict=True):
        shown = [row for row in rows if row["problem"] == problem and row["algorithm"] != "random"]
        boxes = axis.boxplot(
            [row["runs"] for row in shown], patch_artist=True, widths=0.6, medianprops={"color": "black"}
        )
        for box, row in zip(boxes["boxes"], shown, strict=True):
            box.set_facecolor(OURS if row["side"] == "evolver" else THEIRS)
        axis.set_xticklabels([row["algorithm"] for row in shown], fontsize=6)
        axis.tick_params(axis="y", labelsize=8)
        axis.set_title(problem, fontsize=9)
    figure.suptitle(
        "Hypervolume over that of the true front, 15 seeds (blue: evolver, grey: pymoo)", fontsize=10
    )
    figure.savefig(output, dpi=110)


def asynchrony(found: Mapping[str, Any], output: Path) -> None:
    """How many times sooner than with generations, by workers, kind of evaluation time and selector."""
    cells = found["cells"]
    times = list(dict.fromkeys(cell["times"] for cell in cells))
    figure, axes = plt.subplots(1, len(times), figsize=(9.5, 3.2), sharey=True, layout="constrained")
    for axis, kind in zip(axes, times, strict=True):
        for selector in dict.fromkeys(cell["selector"] for cell in cells):
            _line(axis, [c for c in cells if (c["times"], c["selector"]) == (kind, selector)], selector)
        axis.axhline(1.0, color=THEIRS, linewidth=1)
        axis.set_xscale("log", base=2)
        axis.set_title(kind, fontsize=9)
        axis.set_xlabel("workers", fontsize=9)
    axes[0].set_ylabel("generational time / ours", fontsize=9)
    axes[0].legend(fontsize=8)
    figure.savefig(output, dpi=110)


def _line(axis: Any, cells: Sequence[Mapping[str, Any]], label: str) -> None:
    """Medians, with the least and the greatest of all seeds."""
    workers = [cell["workers"] for cell in cells]
    speedups = [cell["speedup_1.00"] for cell in cells]
    medians = [one["median"] for one in speedups]
    reach = [
        [one["median"] - one["least"] for one in speedups],
        [one["greatest"] - one["median"] for one in speedups],
    ]
    axis.errorbar(workers, medians, yerr=reach, marker="o", capsize=3, linewidth=1.2, label=label)


if __name__ == "__main__":
    main()
