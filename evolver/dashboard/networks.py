"""A genome for people: in short, as lines that can be compared, and drawn block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evolver.errors import EvolverError
from evolver.genome.cost import (
    conv_flops,
    conv_params,
    linear_flops,
    linear_params,
    skip_flops,
    skip_params,
)
from evolver.genome.plan import BlockPlan, ConvPlan, LinearPlan, NetworkPlan, PoolPlan
from evolver.space import Json
from evolver.store.experiments import Experiment
from evolver.terms import load_space
from evolver.words import cut

PARTS_IN_SHORT = 5
LONGEST_LINE = 60


def in_short(code: Json) -> list[str]:
    """A code in a few short lines; those of other spaces than ``conv`` as their JSON."""
    try:
        blocks = [", ".join(_gene(gene) for gene in block) for block in code["blocks"]]
        dense = [f"dense {gene['units']}" for gene in code["dense"]]
    except (KeyError, TypeError):
        return [cut(json.dumps(code), LONGEST_LINE)]
    more = len(blocks) - PARTS_IN_SHORT
    hidden = [f"… and {more} more blocks"] if more > 0 else []
    return [*(cut(block, LONGEST_LINE) for block in blocks[:PARTS_IN_SHORT]), *hidden, *dense]


def _gene(gene: Mapping[str, Any]) -> str:
    if gene["kind"] == "conv":
        return f"conv {gene['kernel']} → {gene['channels']}"
    return f"{'max' if gene['type'] < 0.5 else 'avg'} pool {gene['kernel']}"


def lines(code: Json) -> list[str]:
    """All of a code, a line for each gene."""
    try:
        made: list[str] = []
        for number, block in enumerate(code["blocks"], start=1):
            made.append(f"block {number}")
            made += [f"  {_gene(gene)}{_initial(gene)}" for gene in block]
        return [*made, *(f"dense {gene['units']}" for gene in code["dense"])]
    except (KeyError, TypeError):
        return json.dumps(code, indent=1, sort_keys=True).splitlines()


def _initial(gene: Mapping[str, Any]) -> str:
    return f", init {gene['init_mean']:g} ± {gene['init_std']:g}" if gene["kind"] == "conv" else ""


# --- the drawing -------------------------------------------------------------------------------------


WIDTH = 360
MARGIN, GAP, ROW, SMALL_ROW, HEAD = 10, 6, 40, 26, 20
BLOCK_INSET = 10


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, with the shape of its output; FLOPs of one sample."""

    kind: str
    name: str
    shape: str
    params: int = 0
    flops: int = 0


@dataclass(frozen=True, slots=True)
class Box:
    """A layer where it is drawn; ``share`` is its part of all FLOPs."""

    layer: Layer
    x: float
    y: float
    width: float
    height: float
    share: float


@dataclass(frozen=True, slots=True)
class Frame:
    """The frame of a block; its skip connection goes round it from ``y`` to ``skip_y``."""

    title: str
    y: float
    height: float
    skip_y: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """A network, drawn from top to bottom."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Network:
    """What a code decodes to: a drawing where its space has plans of layers, else lines; or why not."""

    drawing: Drawing | None = None
    lines: tuple[str, ...] = ()
    error: str | None = None


def decoded(code: Json, found: Experiment) -> Network:
    """The network of a code, for the samples of its experiment."""
    try:
        space = load_space(found)
        genome = space.from_json(code)
        if hasattr(space, "plan") and isinstance(
            plan := space.plan(genome, found.dataset.sample), NetworkPlan
        ):
            return Network(drawing=draw(plan))
        return Network(lines=tuple(space.describe(genome, found.dataset.sample)))
    except EvolverError as error:
        return Network(error=f"its code cannot be decoded here: {error}")


def draw(plan: NetworkPlan) -> Drawing:
    """Where every layer of a plan is drawn."""
    parts: list[tuple[str | None, list[Layer]]] = [
        (None, [_input(plan), _conv(plan.stem)]),
        *((f"block {i}", list(_block(block))) for i, block in enumerate(plan.blocks, start=1)),
        (
            None,
            [Layer("flatten", "flatten", f"{plan.flatten:,}"), *map(_linear, (*plan.hidden, plan.output))],
        ),
    ]
    total = sum(layer.flops for _, part in parts for layer in part) or 1
    boxes: list[Box] = []
    frames: list[Frame] = []
    y = float(MARGIN)
    for title, part in parts:
        top, inset = y, BLOCK_INSET if title else 0
        y += HEAD if title else 0
        for layer in part:
            height = ROW if layer.params else SMALL_ROW
            width = WIDTH - 2 * MARGIN - 4 * inset
            boxes.append(Box(layer, MARGIN + inset, y, width, height, layer.flops / total))
            y += height + GAP
        if title:
            y += GAP
            frames.append(Frame(title, top, y - top - GAP, boxes[-1].y + boxes[-1].height / 2))
            y += GAP
    return Drawing(WIDTH, y - GAP + MARGIN, tuple(boxes), tuple(frames))


def _block(block: BlockPlan) -> Iterator[Layer]:
    channels = block.in_channels
    for layer in block.layers:
        if isinstance(layer, ConvPlan):
            channels = layer.out_channels
            yield _conv(layer)
        else:
            yield _pool(layer, channels)
    yield _skip(block)


def _input(plan: NetworkPlan) -> Layer:
    return Layer("input", "input", _shape(plan.sample.channels, plan.sample.spatial))


def _conv(conv: ConvPlan) -> Layer:
    name = f"conv {_size(conv.kernel, conv.spatial)} – norm – relu"
    shape = _shape(conv.out_channels, conv.spatial)
    return Layer("conv", name, shape, conv_params(conv), conv_flops(conv))


def _pool(pool: PoolPlan, channels: int) -> Layer:
    return Layer(
        "pool", f"{pool.kind} pool {_size(pool.kernel, pool.spatial)}", _shape(channels, pool.spatial)
    )


def _skip(block: BlockPlan) -> Layer:
    skip = block.skip
    shape = _shape(block.out_channels, block.out_spatial)
    if skip is None:
        return Layer("skip", "+ identity", shape)
    stride = f", stride {skip.stride}" if skip.stride > 1 else ""
    name = f"+ conv {_size(1, skip.spatial)}{stride} – norm"
    return Layer("skip", name, shape, skip_params(skip), skip_flops(skip))


def _linear(linear: LinearPlan) -> Layer:
    name = "linear – norm – relu" if linear.batch_norm else "linear (output)"
    return Layer("dense", name, f"{linear.out_features:,}", linear_params(linear), linear_flops(linear))


def _size(kernel: int, spatial: Sequence[int]) -> str:
    return " × ".join([str(kernel)] * len(spatial))


def _shape(channels: int, spatial: Sequence[int]) -> str:
    return " × ".join(map(str, (channels, *spatial)))
