"""A drawing of a decoded network for people, block by block."""

from __future__ import annotations

from evolver.genome.cost import conv_params, cost, linear_params, skip_params
from evolver.genome.plan import BlockPlan, ConvPlan, LinearPlan, NetworkPlan


def describe(plan: NetworkPlan) -> list[str]:
    """Lines of at most 78 columns: part, layer, output shape (channels first), trainable parameters."""
    lines = [
        _line("", "layer", "output", "parameters"),
        _line("input", "", _shape(plan.sample.channels, plan.sample.spatial)),
    ]
    if plan.resize is not None:
        lines.append(_line("", "resize", _shape(plan.sample.channels, plan.resize)))
    lines.append(_conv_line("stem", plan.stem))
    for number, block in enumerate(plan.blocks, start=1):
        lines += _block_lines(f"block {number}", block)
    lines.append(_line("flatten", "", f"{plan.flatten:,}"))
    lines += [_linear_line("dense", linear, " - norm - relu") for linear in plan.hidden]
    lines.append(_linear_line("output", plan.output))
    total = cost(plan)
    lines.append(_line("total", f"{total.flops:,} FLOPs a sample", "", f"{total.params:,}"))
    return lines


def _block_lines(part: str, block: BlockPlan) -> list[str]:
    lines = []
    channels = block.in_channels
    for layer in block.layers:
        if isinstance(layer, ConvPlan):
            channels = layer.out_channels
            lines.append(_conv_line(part, layer))
        else:
            text = f"{layer.kind} pool {_size(layer.kernel, layer.spatial)}"
            lines.append(_line(part, text, _shape(channels, layer.spatial)))
        part = ""
    shape = _shape(block.out_channels, block.out_spatial)
    if block.skip is None:
        return [*lines, _line(part, "+ identity", shape)]
    stride = f", stride {block.skip.stride}" if block.skip.stride > 1 else ""
    skip = f"+ conv {_size(1, block.skip.spatial)}{stride} - norm"
    return [*lines, _line(part, skip, shape, f"{skip_params(block.skip):,}")]


def _conv_line(part: str, conv: ConvPlan) -> str:
    stride = f", stride {conv.stride}" if conv.stride > 1 else ""
    text = f"conv {_size(conv.kernel, conv.spatial)}{stride} - norm - relu"
    return _line(part, text, _shape(conv.out_channels, conv.spatial), f"{conv_params(conv):,}")


def _linear_line(part: str, linear: LinearPlan, after: str = "") -> str:
    return _line(part, f"linear{after}", f"{linear.out_features:,}", f"{linear_params(linear):,}")


def _size(kernel: int, spatial: tuple[int, ...]) -> str:
    return "x".join([str(kernel)] * len(spatial))


def _shape(channels: int, spatial: tuple[int, ...]) -> str:
    return " x ".join(map(str, (channels, *spatial)))


def _line(part: str, layer: str, output: str, params: str = "") -> str:
    return f"{part:<9} {layer:<32} {output:<19} {params:>14}".rstrip()
