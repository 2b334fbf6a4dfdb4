"""Pictures: of a front, and of a comparison.

plot_front       a front, with what it dominates behind it.
plot_comparison  hypervolume over evaluations and hours, and attainment, of several searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from evolver import objectives
from evolver.errors import InvalidInput, UnknownName
from evolver.store.facts import GenomeFact

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evolver.comparison import Axis, Comparison

FORMATS = (".png", ".svg", ".pdf")
LOGARITHMIC = ("params", "flops")
FRONT_COLOUR, DOMINATED_COLOUR = "#c2410c", "#94a3b8"


@dataclass(frozen=True, slots=True)
class FrontPicture:
    """What is drawn: ``evaluated`` are all successful genomes, those of the front among them.

    ``x`` and ``y`` name objectives, other values of the evaluations, or ``params`` and ``flops``.
    """

    experiment: str
    dataset: str
    x: str
    y: str
    front: Sequence[GenomeFact]
    evaluated: Sequence[GenomeFact]


def axes_of(names: Sequence[str], x: str | None = None, y: str | None = None) -> tuple[str, str]:
    """The two axes: as asked for, else the first objectives, else the parameters."""
    candidates = [name for name in (*names, *LOGARITHMIC) if name not in (x, y)]
    chosen_x = x or candidates.pop(0)
    return chosen_x, y or candidates.pop(0)


def plot_front(picture: FrontPicture, output: Path) -> None:
    """Draw into a file of one of the FORMATS, which its name ends in; the directory must exist.

    Raises InvalidInput for another format, when nothing has been evaluated, or the file cannot be written,
    and UnknownName for an axis that is no value of the genomes.
    """
    _require_format(output)
    if not picture.evaluated:
        raise InvalidInput(f"experiment '{picture.experiment}' has no evaluated genome yet; nothing to draw")
    members = {one.genome_id for one in picture.front}
    dominated = [one for one in picture.evaluated if one.genome_id not in members]
    behind = [(_value(one, picture.x), _value(one, picture.y)) for one in dominated]
    front = sorted((_value(one, picture.x), _value(one, picture.y)) for one in picture.front)
    _draw(picture, front, behind, output)


def _value(fact: GenomeFact, name: str) -> float:
    costs = {"params": float(fact.params), "flops": float(fact.flops)}
    values = {**costs, **fact.other_values, **fact.objectives}
    if name not in values:
        raise UnknownName("axis", name, values)
    return values[name]


def _draw(
    picture: FrontPicture,
    front: Sequence[tuple[float, float]],
    behind: Sequence[tuple[float, float]],
    output: Path,
) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5.0), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    if behind:
        xs, ys = zip(*behind, strict=True)
        axes.scatter(xs, ys, s=22, color=DOMINATED_COLOUR, alpha=0.6, linewidths=0,
                     label=f"dominated ({len(behind)})")  # fmt: skip
    if front:
        xs, ys = zip(*front, strict=True)
        if _is_staircase(ys):
            axes.step(xs, ys, where="post", color=FRONT_COLOUR, linewidth=1.2, alpha=0.7)
        axes.scatter(xs, ys, s=42, color=FRONT_COLOUR, edgecolors="white", linewidths=0.8, zorder=3,
                     label=f"front ({len(front)})")  # fmt: skip
    for name, axis, set_scale in (
        (picture.x, axes.xaxis, axes.set_xscale),
        (picture.y, axes.yaxis, axes.set_yscale),
    ):
        axis.set_label_text(_axis_label(name))
        if name in LOGARITHMIC:
            set_scale("log")
    axes.set_title(f"{picture.experiment} on {picture.dataset}", loc="left", fontweight="bold")
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    _save(figure, output)


def _require_format(output: Path) -> None:
    if output.suffix.lower() not in FORMATS:
        raise InvalidInput(
            f"cannot draw '{output.name}': its name must end in one of the formats {', '.join(FORMATS)}"
        )


def _save(figure: Figure, output: Path) -> None:
    try:
        figure.savefig(output)
    except OSError as error:
        raise InvalidInput(f"cannot write {output}: {error.strerror or error}") from error


def _is_staircase(ys: Sequence[float]) -> bool:
    """Whether the points, sorted by x, fall: with more than two objectives they need not."""
    return all(later <= earlier for earlier, later in pairwise(ys))


def _axis_label(name: str) -> str:
    if name == "error":  # tables show accuracies
        return "validation error (1 − accuracy)"
    try:
        (objective,) = objectives.load([name])
    except UnknownName:
        return name.replace("_", " ")
    return f"{name} ({objective.unit})"


# --- comparisons -------------------------------------------------------------------------------------

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that the colour-blind can tell apart (Okabe and Ito); line styles change after the last."""
STYLES = ("-", "--", ":", "-.")


def plot_comparison(found: Comparison, output: Path) -> None:
    """Draw the hypervolume against evaluations and against hours of training, medians with quartiles, and
    for two objectives the surfaces that half of the runs attain.

    Raises InvalidInput for another format than FORMATS, or when the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    _require_format(output)
    attained = len(found.objectives) == 2
    figure = Figure(figsize=(5.0 * (2 + attained), 4.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2 + attained, squeeze=False)[0]
    shown: tuple[tuple[Axes, Axis, str], ...] = (
        (panels[0], "evaluations", "evaluations"),
        (panels[1], "hours", "training time of all devices (hours)"),
    )
    for axes, axis, text in shown:
        for number, group in enumerate(found.groups):
            curve = group.curves[axis]["hypervolume"]
            colour, style = PALETTE[number % len(PALETTE)], STYLES[number // len(PALETTE) % len(STYLES)]
            name = f"{group.name} ({len(group.runs)} run{'s' * (len(group.runs) > 1)})"
            axes.plot(curve.at, curve.median, color=colour, linestyle=style, label=name)
            axes.fill_between(curve.at, curve.lower, curve.upper, color=colour, alpha=0.18, linewidth=0)
        axes.set_xlabel(text)
        axes.locator_params(axis="x", nbins=5)
        axes.set_ylabel("hypervolume (share of the box)")
        axes.legend(frameon=False, loc="lower right")
    panels[0].set_title("median and quartiles over runs", loc="left")
    if attained:
        _draw_attainment(panels[2], found)
    for axes in panels:
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    _save(figure, output)


def _draw_attainment(axes: Axes, found: Comparison) -> None:
    x, y = found.objectives
    for number, group in enumerate(found.groups):
        colour = PALETTE[number % len(PALETTE)]
        for share, style in ((25.0, ":"), (50.0, "-"), (75.0, ":")):
            surface = group.attainment.get(share)
            if surface is not None and len(surface):
                points = sorted(map(tuple, surface))
                xs, ys = zip(*points, strict=True)
                axes.step(xs, ys, where="post", color=colour, linestyle=style, marker=".")
    for name, set_scale in ((x, axes.set_xscale), (y, axes.set_yscale)):
        if name in LOGARITHMIC:
            set_scale("log")
    axes.set_xlabel(_axis_label(x))
    axes.set_ylabel(_axis_label(y))
    axes.set_title("attained by half of the runs (dotted: 25 and 75 %)", loc="left", fontsize=10)
