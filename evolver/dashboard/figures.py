"""Charts as data for Plotly. Colours of text and lines are set in the browser, light or dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from math import log10
from typing import Any

from evolver.dashboard.progress import Curve, Growth, median
from evolver.dashboard.views import Figure
from evolver.dashboard.words import axis_title, short_title
from evolver.store.details import EpochFact
from evolver.words import label, shown

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours that the colour-blind can tell apart (Okabe and Ito), legible on white and on black."""
DASHES = ("solid", "dash", "dot", "dashdot")
CAMERA = {"eye": {"x": 1.45, "y": 1.45, "z": 0.8}, "center": {"x": 0, "y": 0, "z": -0.15}}
MANY_DECADES = 3.0
WHOLE_TICKS = 10
"""Epochs of which each has a tick; of fewer Plotly would draw fractions."""
EPOCHS = 300
"""Epochs of a learning curve that are drawn at most."""


def growth(sides: Mapping[str, Sequence[Growth]], over: str) -> Figure:
    """The hypervolume of searches over their results (``evaluations``) or over the time (``hours``).

    A side is one search, or several repetitions: then each has a thin line, and their median a thick one.
    """
    grown = [one for runs in sides.values() for one in runs]
    unit, in_an_hour = _unit(max((one.hours[-1] for one in grown), default=0.0))
    title = "evaluations" if over == "evaluations" else f"{unit} since the start"
    curves = {
        name: [
            (one.results if over == "evaluations" else [h * in_an_hour for h in one.hours], one.hypervolume)
            for one in runs
        ]
        for name, runs in sides.items()
    }
    return Figure(
        _steps(curves, f"%{{y:.4f}} after %{{x:.5~g}} {title}"),
        _layout(title + _since(grown), "hypervolume", showlegend=len(sides) > 1),
    )


def _unit(hours: float) -> tuple[str, float]:
    """The unit that suits a time, and how many of it are an hour."""
    if hours < 0.05:
        return "seconds", 3600.0
    return ("minutes", 60.0) if hours < 3 else ("hours", 1.0)


def best(sides: Mapping[str, Sequence[Growth]], objective: str) -> Figure:
    """The least value so far of one objective."""
    curves = {name: [(one.results, one.best[objective]) for one in runs] for name, runs in sides.items()}
    grown = [one for runs in sides.values() for one in runs]
    layout = _layout("evaluations" + _since(grown), short_title(objective), showlegend=len(sides) > 1)
    return Figure(_steps(curves, "%{y:.4~g} after %{x} evaluations"), layout)


def _steps(sides: Mapping[str, Sequence[Curve]], hover: str) -> list[dict[str, Any]]:
    """A line for each name: its value stays as it is until the next one."""
    lines: list[dict[str, Any]] = []
    for i, (name, curves) in enumerate(sides.items()):
        line = {"color": PALETTE[i % len(PALETTE)], "shape": "hv"}
        common = {"type": "scatter", "mode": "lines", "name": escape(name), "legendgroup": str(i)}
        x, y = median(curves) if len(curves) > 1 else curves[0]
        if len(curves) > 1:
            lines += [
                {**common, "x": own_x, "y": own_y, "line": {**line, "width": 1}, "opacity": 0.7,
                 "showlegend": not x and own_x is curves[0][0], "hoverinfo": "skip"}
                for own_x, own_y in curves
            ]  # fmt: skip
        lines.append({
            **common, "x": x, "y": y, "line": {**line, "dash": DASHES[i % len(DASHES)]},
            "hovertemplate": f"{'median ' if len(curves) > 1 else ''}{hover}<extra></extra>",
        })  # fmt: skip
    return lines


def _since(grown: Sequence[Growth]) -> str:
    """That of a very long history only the end is looked at."""
    since = max((one.since for one in grown), default=0)
    return f" (fronts since result {since})" if since else ""


def learning(curves: Mapping[str, Sequence[Sequence[EpochFact]]], what: str) -> Figure:
    """The losses (``loss``) or errors (``error``) of trainings over their epochs.

    Trainings under one name have one colour, and one entry in the legend.
    """
    lines: list[dict[str, Any]] = []
    for i, (name, trainings) in enumerate(curves.items()):
        told: set[str] = set()
        for curve in trainings:
            thinned = _thinned(curve)
            for part, dash in (("train", "dot"), ("validation", "solid")):
                values = [getattr(one, f"{part}_{what}") for one in thinned]
                if all(value is None for value in values):  # a final training has no validation data
                    continue
                entry = name if len(curves) > 1 else part
                lines.append({
                    "type": "scatter", "mode": "lines+markers" if len(thinned) < 40 else "lines",
                    "name": escape(entry), "showlegend": entry not in told, "legendgroup": escape(entry),
                    "x": [one.epoch for one in thinned], "y": values,
                    "line": {"color": PALETTE[i % len(PALETTE)], "dash": dash}, "marker": {"size": 5},
                    "hovertemplate": f"%{{y:.4~g}} ({part}) after epoch %{{x}}<extra></extra>",
                })  # fmt: skip
                told.add(entry)
    layout = _layout("epoch", what, showlegend=True)
    last = max((x for line in lines for x in line["x"]), default=0)
    if last <= WHOLE_TICKS:
        layout["xaxis"]["dtick"] = 1
    return Figure(lines, layout)


def _thinned(curve: Sequence[EpochFact]) -> Sequence[EpochFact]:
    thinned = curve[:: -(-len(curve) // EPOCHS) or 1]
    return [*thinned, curve[-1]] if thinned and thinned[-1] is not curve[-1] else thinned


def trace(
    name: str, axes: Sequence[str], points: Sequence[Mapping[str, Any]], marker: Mapping[str, Any]
) -> dict[str, Any]:
    """Genomes as points; each has ``id``, ``values`` and ``text``, the lines of its tooltip."""
    shown_points = [one for one in points if all(axis in one["values"] for axis in axes)]
    made: dict[str, Any] = {
        "type": "scatter" if len(axes) == 2 else "scatter3d",
        "mode": "markers",
        "name": name,
        "marker": marker,
        "customdata": [one["id"] for one in shown_points],
        "text": [one["text"] for one in shown_points],
        "hovertemplate": "%{text}<extra></extra>",
    }
    for key, axis in zip("xyz", axes, strict=False):
        made[key] = [one["values"][axis] for one in shown_points]
    return made


def plane(
    axes: Sequence[str], logarithmic: Sequence[str], points: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The layout of a front over two or three axes, in which these points are drawn."""
    parts = {
        f"{key}axis": {
            "title": {"text": escape(axis_title(name))},
            **(_logarithmic(name, points) if name in logarithmic else {"type": "linear"}),
        }
        for key, name in zip("xyz", axes, strict=False)
    }
    common: dict[str, Any] = {"showlegend": True, "hovermode": "closest", "uirevision": "/".join(axes)}
    return {**common, **parts} if len(axes) == 2 else {**common, "scene": {**parts, "camera": CAMERA}}


def _logarithmic(name: str, points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """An axis with ticks at 1, 2 and 5; where they would be too many, at powers of ten only."""
    values = [one["values"][name] for one in points if one["values"].get(name, 0.0) > 0.0]
    decades = log10(max(values) / min(values)) if values else 0.0
    return {"type": "log", "tickformat": "~s", "dtick": "D2" if decades < MANY_DECADES else 1}


def tooltip(genome_id: int, values: Mapping[str, float], lines: Sequence[str]) -> str:
    """What is shown beside a point: its values, then its network.

    No tags but line breaks: Plotly makes inline styles of them, which the security policy forbids.
    """
    told = [f"{label(name)} {shown(name, value)}" for name, value in values.items()]
    return "<br>".join([f"genome {genome_id}", *map(escape, told), *map(escape, lines)])


def _layout(x: str, y: str, **more: Any) -> dict[str, Any]:
    return {
        "xaxis": {"title": {"text": escape(x)}},
        "yaxis": {"title": {"text": escape(y)}},
        "hovermode": "closest",
        **more,
    }
