"""Charts as data for Plotly. Colours of text and lines are set in the browser, light or dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from evolver.dashboard.progress import Growth
from evolver.dashboard.views import Figure
from evolver.dashboard.words import axis_title, label, shown
from evolver.store.details import EpochFact

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Colours that the colour-blind can tell apart (Okabe and Ito), legible on white and on black."""
DASHES = ("solid", "dash", "dot", "dashdot")
CAMERA = {"eye": {"x": 1.45, "y": 1.45, "z": 0.8}, "center": {"x": 0, "y": 0, "z": -0.15}}
LOGARITHMIC = {"type": "log", "tickformat": "~s", "nticks": 8}
EPOCHS = 300
"""Epochs of a learning curve that are drawn at most."""


def growth(searches: Mapping[str, Growth], over: str) -> Figure:
    """The hypervolume of searches over their results (``evaluations``) or over hours."""
    title = "evaluations" if over == "evaluations" else "hours since the start"
    curves = {
        name: (one.results if over == "evaluations" else one.hours, one.hypervolume)
        for name, one in searches.items()
    }
    hover = f"%{{y:.4f}} after %{{x:.5~g}} {title}"
    return Figure(
        _steps(curves, hover),
        _layout(title + _since(searches), "hypervolume", showlegend=len(searches) > 1),
    )


def best(searches: Mapping[str, Growth], objective: str) -> Figure:
    """The least value so far of one objective."""
    curves = {name: (one.results, one.best[objective]) for name, one in searches.items()}
    layout = _layout("evaluations" + _since(searches), axis_title(objective), showlegend=len(searches) > 1)
    return Figure(_steps(curves, "%{y:.4~g} after %{x} evaluations"), layout)


def _steps(curves: Mapping[str, tuple[Sequence[float], Sequence[float]]], hover: str) -> list[dict[str, Any]]:
    """A line for each name: its value stays as it is until the next one."""
    return [
        {
            "type": "scatter", "mode": "lines", "name": escape(name), "x": x, "y": y,
            "line": {"color": PALETTE[i % len(PALETTE)], "dash": DASHES[i % len(DASHES)], "shape": "hv"},
            "hovertemplate": f"{hover}<extra></extra>",
        }
        for i, (name, (x, y)) in enumerate(curves.items())
    ]  # fmt: skip


def _since(searches: Mapping[str, Growth]) -> str:
    """That of a very long history only the end is looked at."""
    since = max((one.since for one in searches.values()), default=0)
    return f" (fronts since result {since})" if since else ""


def learning(curves: Mapping[str, Sequence[EpochFact]], what: str) -> Figure:
    """The losses (``loss``) or errors (``error``) of trainings over their epochs."""
    lines = []
    for i, (name, curve) in enumerate(curves.items()):
        thinned = curve[:: -(-len(curve) // EPOCHS) or 1]
        if thinned and thinned[-1] is not curve[-1]:
            thinned = [*thinned, curve[-1]]
        for part, dash in (("train", "dot"), ("validation", "solid")):
            lines.append({
                "type": "scatter", "mode": "lines+markers" if len(thinned) < 40 else "lines",
                "name": escape(f"{name}, {part}" if len(curves) > 1 else part),
                "x": [one.epoch for one in thinned],
                "y": [getattr(one, f"{part}_{what}") for one in thinned],
                "line": {"color": PALETTE[i % len(PALETTE)], "dash": dash}, "marker": {"size": 5},
                "hovertemplate": "%{y:.4~g} after epoch %{x}<extra></extra>",
            })  # fmt: skip
    return Figure(lines, _layout("epoch", what, showlegend=True))


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


def plane(axes: Sequence[str], logarithmic: Sequence[str]) -> dict[str, Any]:
    """The layout of a front over two or three axes."""
    parts = {
        f"{key}axis": {
            "title": {"text": escape(axis_title(name))},
            **(LOGARITHMIC if name in logarithmic else {"type": "linear"}),
        }
        for key, name in zip("xyz", axes, strict=False)
    }
    common: dict[str, Any] = {"showlegend": True, "hovermode": "closest", "uirevision": "/".join(axes)}
    return {**common, **parts} if len(axes) == 2 else {**common, "scene": {**parts, "camera": CAMERA}}


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
