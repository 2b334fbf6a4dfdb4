"""A decoded network as one readable Python file that needs torch alone.

The file is written from the plan, layer by layer, as a person would write it. All that reaches it as code
are the integers of the plan: names and numbers of the database stand in its first comment, as plain text.

source       the file.
layer_names  the names of its layers, in the order in which evolver's own network has them.
plain        text that can end neither a string nor a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from evolver.genome.plan import BlockPlan, ConvPlan, LinearPlan, NetworkPlan, PoolPlan, SkipPlan
from evolver.genome.transfer import windows
from evolver.space import Sample

_IMPORTS = """\
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WEIGHTS = Path(__file__).with_suffix(".safetensors")"""

_LOAD = '''\
def load(path: str | Path = WEIGHTS) -> Network:
    """The network with the weights of a safetensors file, ready to predict."""
    data = bytearray(Path(path).read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:start])
    entries.pop("__metadata__", None)
    weights = {}
    for name, entry in entries.items():
        begin, end = entry["data_offsets"]
        dtype = {"F32": torch.float32, "I64": torch.int64}[entry["dtype"]]
        values = torch.frombuffer(data[start + begin : start + end], dtype=dtype)
        weights[name] = values.reshape(entry["shape"])
    network = Network()
    network.load_state_dict(weights)
    return network.eval()
'''


def source(plan: NetworkPlan, about: Sequence[str]) -> str:
    """The Python file; ``about`` are lines of its docstring, which may be of any origin."""
    first, *others = map(plain, about)
    docstring = "\n".join(['"""' + first, *(["", *others] if others else []), '"""'])
    blocks = [_block(number, block) for number, block in enumerate(plan.blocks, start=1)]
    return "\n\n\n".join([f"{docstring}\n\n{_IMPORTS}", *blocks, _network(plan), _LOAD])


def layer_names(plan: NetworkPlan) -> list[str]:
    """The layers with weights: stem, blocks (their layers, then their skip), dense layers, output."""
    names = ["stem_conv", "stem_norm"]
    for number, block in enumerate(plan.blocks, start=1):
        convs = [layer for layer in block.layers if isinstance(layer, ConvPlan)]
        for position, _ in enumerate(convs, start=1):
            names += [f"block{number}.conv{position}", f"block{number}.norm{position}"]
        if block.skip is not None:
            names += [f"block{number}.skip_conv", f"block{number}.skip_norm"]
    for number, _ in enumerate(plan.hidden, start=1):
        names += [f"dense{number}", f"dense{number}_norm"]
    return [*names, "output"]


def plain(text: str) -> str:
    """Text without quotes, backslashes, or anything that is not printable, in one line."""
    return re.sub(r"""["'`\\<>]""", "", "".join(one if one.isprintable() else " " for one in text)).strip()


# --- blocks ------------------------------------------------------------------------------------------


def _block(number: int, block: BlockPlan) -> str:
    before = _shape(block.in_channels, block.in_spatial)
    after = _shape(block.out_channels, block.out_spatial)
    return "\n".join(
        [
            f"class Block{number}(nn.Module):",
            f'    """Residual block: {before} to {after}."""',
            "",
            "    def __init__(self) -> None:",
            "        super().__init__()",
            *_indented(_block_layers(block)),
            "",
            "    def forward(self, x: Tensor) -> Tensor:",
            *_indented(_block_steps(block)),
        ]
    )


def _block_layers(block: BlockPlan) -> Iterator[str]:
    convs = [layer for layer in block.layers if isinstance(layer, ConvPlan)]
    for position, conv in enumerate(convs, start=1):
        yield f"self.conv{position} = {_conv(conv)}"
        yield f"self.norm{position} = {_norm(conv.spatial, conv.out_channels)}"
    if block.skip is not None:
        yield f"self.skip_conv = {_conv(_as_conv(block.skip))}"
        yield f"self.skip_norm = {_norm(block.skip.spatial, block.skip.out_channels)}"


def _block_steps(block: BlockPlan) -> Iterator[str]:
    value, channels, position = "x", block.in_channels, 0
    for layer in block.layers:
        if isinstance(layer, ConvPlan):
            position, channels = position + 1, layer.out_channels
            yield from _conv_steps(layer, value, "y", f"conv{position}", f"norm{position}")
        else:
            yield f"y = {_pool(layer, value)}  # {_shape(channels, layer.spatial)}"
        value = "y"
    if block.skip is not None:
        if block.skip.stride > 1:
            yield f"x = x[{_window(block.skip)}]  # as many as pooling leaves"
        shape = _shape(block.skip.out_channels, block.skip.spatial)
        yield f"x = self.skip_norm(self.skip_conv(x))  # {shape}"
    yield "return x + y"


# --- the whole ---------------------------------------------------------------------------------------


def _network(plan: NetworkPlan) -> str:
    sample = plan.sample
    return "\n".join(
        [
            "class Network(nn.Module):",
            f'    """{_shape(sample.channels, sample.spatial)} to the logits of {sample.classes} classes."""',
            "",
            "    mean: Tensor",
            "    std: Tensor",
            "",
            "    def __init__(self) -> None:",
            "        super().__init__()",
            *_indented(_network_layers(plan)),
            "",
            "    def forward(self, x: Tensor) -> Tensor:",
            *_indented(_network_steps(plan)),
        ]
    )


def _network_layers(plan: NetworkPlan) -> Iterator[str]:
    ones = ", ".join("1" for _ in plan.sample.spatial)
    yield "# Of each channel of raw samples; the values come with the weights."
    yield f'self.register_buffer("mean", torch.zeros({plan.sample.channels}, {ones}))'
    yield f'self.register_buffer("std", torch.ones({plan.sample.channels}, {ones}))'
    yield f"self.stem_conv = {_conv(plan.stem)}"
    yield f"self.stem_norm = {_norm(plan.stem.spatial, plan.stem.out_channels)}"
    for number, _ in enumerate(plan.blocks, start=1):
        yield f"self.block{number} = Block{number}()"
    for number, linear in enumerate(plan.hidden, start=1):
        yield f"self.dense{number} = {_linear(linear)}"
        yield f"self.dense{number}_norm = nn.BatchNorm1d({linear.out_features})"
    yield f"self.output = {_linear(plan.output)}"


def _network_steps(plan: NetworkPlan) -> Iterator[str]:
    yield "x = (x.to(self.mean.dtype) - self.mean) / self.std"
    if plan.resize is not None:
        yield from _resize_steps(plan.sample, plan.resize)
    yield from _conv_steps(plan.stem, "x", "x", "stem_conv", "stem_norm")
    for number, block in enumerate(plan.blocks, start=1):
        yield f"x = self.block{number}(x)  # {_shape(block.out_channels, block.out_spatial)}"
    yield f"x = x.flatten(1)  # {plan.flatten}"
    for number, linear in enumerate(plan.hidden, start=1):
        yield f"x = F.relu(self.dense{number}_norm(self.dense{number}(x)))  # {linear.out_features}"
    yield "return self.output(x)"


# --- single layers -----------------------------------------------------------------------------------


def _conv(conv: ConvPlan) -> str:
    padding = f", padding={conv.kernel // 2}" if conv.kernel % 2 and conv.kernel > 1 else ""
    # With all three named, the line would be too long for many a formatter.
    kernel = f"{conv.kernel}, stride={conv.stride}" if conv.stride > 1 else f"kernel_size={conv.kernel}"
    sizes = f"{conv.in_channels}, {conv.out_channels}, {kernel}"
    return f"nn.Conv{len(conv.spatial)}d({sizes}{padding}, bias=False)"


def _as_conv(skip: SkipPlan) -> ConvPlan:
    return ConvPlan(skip.in_channels, skip.out_channels, 1, skip.spatial)


def _norm(spatial: tuple[int, ...], channels: int) -> str:
    return f"nn.BatchNorm{len(spatial)}d({channels})"


def _linear(linear: LinearPlan) -> str:
    return f"nn.Linear({linear.in_features}, {linear.out_features})"


def _conv_steps(conv: ConvPlan, before: str, after: str, layer: str, norm: str) -> Iterator[str]:
    if conv.kernel % 2 == 0:
        sides = ", ".join([f"{conv.kernel // 2 - 1}, {conv.kernel // 2}"] * len(conv.spatial))
        yield f"{after} = F.pad({before}, ({sides}))  # keeps the size under an even kernel"
        before = after
    shape = _shape(conv.out_channels, conv.spatial)
    yield f"{after} = F.relu(self.{norm}(self.{layer}({before})))  # {shape}"


def _resize_steps(sample: Sample, to: tuple[int, ...]) -> Iterator[str]:
    dims = len(to)
    window = windows(sample.spatial, to)
    if max(window) > 1:
        means = tuple(size // one for size, one in zip(sample.spatial, window, strict=True))
        yield f"x = F.avg_pool{dims}d(x, {window})  # {_shape(sample.channels, means)}"
    mode = "linear" if dims == 1 else "bilinear"
    yield f'x = F.interpolate(x, {to}, mode="{mode}")  # {_shape(sample.channels, to)}'


def _pool(pool: PoolPlan, value: str) -> str:
    return f"F.{pool.kind}_pool{len(pool.spatial)}d({value}, {pool.kernel})"


def _window(skip: SkipPlan) -> str:
    return ", ".join([":", ":", *(f":{skip.stride * size}:{skip.stride}" for size in skip.spatial)])


def _shape(channels: int, spatial: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, (channels, *spatial)))})"


def _indented(lines: Iterator[str]) -> Iterator[str]:
    return (f"        {line}" for line in lines)
