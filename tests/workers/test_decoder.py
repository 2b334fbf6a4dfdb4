"""Decoded networks against the arithmetic of their plans, on random genomes of every preset."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from evolver.genome.code import ConvGene, DenseGene, Genome, PoolGene
from evolver.genome.cost import cost
from evolver.genome.plan import NetworkPlan
from evolver.genome.space import ConvSpace
from evolver.space import Sample
from workers.blocks import Block, Skip
from workers.decoder import Network, decode

SAMPLES = [
    Sample(1, (1, 1), 2),
    Sample(2, (7, 9), 3),
    Sample(1, (8, 8), 10),
    Sample(1, (28, 28), 10),
    Sample(3, (32, 32), 10),
    Sample(2, (1,), 2),
    Sample(3, (37,), 4),
]
GENOMES = {"paper": 2, "small": 5, "tiny": 8}
"""How many random genomes of each preset are decoded for each sample shape."""

torch.set_num_threads(1)


def network_of(plan: NetworkPlan, seed: int = 0) -> Network:
    return decode(plan, torch.Generator().manual_seed(seed))


def random_plan(preset: str, sample: Sample, seed: int) -> NetworkPlan:
    space = ConvSpace.from_settings(ConvSpace.presets()[preset])
    return space.plan(space.random(np.random.default_rng(seed)), sample)


def conv_genome(*blocks: tuple[ConvGene | PoolGene, ...], units: int | None = None) -> Genome:
    return Genome(blocks, () if units is None else (DenseGene(units),))


def conv_gene(kernel: int, channels: int = 4) -> ConvGene:
    return ConvGene(kernel, channels, 0.0, 0.5)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: "x".join(map(str, sample.shape)))
@pytest.mark.parametrize("preset", GENOMES)
def test_parameters_flops_and_shapes_are_the_plans(preset: str, sample: Sample) -> None:
    for seed in range(GENOMES[preset]):
        plan = random_plan(preset, sample, seed)
        network = network_of(plan).eval()
        shapes = _record_shapes(network)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            logits = network(torch.zeros(1, *sample.shape))
        expected = cost(plan)
        assert sum(p.numel() for p in network.parameters()) == expected.params
        assert counter.get_total_flops() == expected.flops
        assert logits.shape == (1, sample.classes)
        assert shapes == _planned_shapes(plan)


def _record_shapes(network: Network) -> list[tuple[int, ...]]:
    """Shapes (without the batch) that the parts give when the network runs, in order: stem, then for
    each block its layers, its skip and itself, then the linear layers.
    """
    shapes: list[tuple[int, ...]] = []

    def record(module: nn.Module, arguments: tuple[torch.Tensor], result: torch.Tensor) -> None:
        shapes.append(tuple(result.shape[1:]))

    parts: list[nn.Module] = [network.stem, *network.hidden, network.output]
    for block in network.blocks:
        assert isinstance(block, Block)
        parts += [*block.layers, block]
        if isinstance(block.skip, Skip):
            parts.append(block.skip)
    for part in parts:
        part.register_forward_hook(record)
    return shapes


def _planned_shapes(plan: NetworkPlan) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = [(plan.stem.out_channels, *plan.stem.spatial)]
    for block in plan.blocks:
        channels = block.in_channels
        for layer in block.layers:
            channels = getattr(layer, "out_channels", channels)
            shapes.append((channels, *layer.spatial))
        if block.skip is not None:
            shapes.append((block.skip.out_channels, *block.skip.spatial))
        shapes.append((block.out_channels, *block.out_spatial))
    return shapes + [(layer.out_features,) for layer in (*plan.hidden, plan.output)]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("sample", [Sample(1, (3, 5), 2), Sample(1, (4,), 2)], ids=["image", "series"])
def test_convolution_keeps_the_size_as_torchs_same_padding_does(kernel: int, sample: Sample) -> None:
    space = ConvSpace.from_settings({})
    plan = space.plan(conv_genome((conv_gene(kernel),)), sample)
    block = network_of(plan).blocks[0]
    assert isinstance(block, Block)
    layer = block.layers[0]
    assert isinstance(layer, nn.Sequential)
    x = torch.randn(2, plan.stem.out_channels, *sample.spatial)
    convolution = next(m for m in layer if isinstance(m, nn.Conv1d | nn.Conv2d))
    same = torch.nn.functional.conv1d if len(sample.spatial) == 1 else torch.nn.functional.conv2d
    until = list(layer).index(convolution) + 1
    torch.testing.assert_close(layer[:until](x), same(x, convolution.weight, padding="same"))


def test_skip_takes_every_second_value_of_an_odd_size() -> None:
    space = ConvSpace.from_settings({})
    plan = space.plan(conv_genome((conv_gene(3), PoolGene(2, 0.1))), Sample(1, (7, 9), 2))
    block = network_of(plan).eval().blocks[0]
    assert isinstance(block, Block)
    assert isinstance(block.skip, Skip)
    x = torch.randn(1, plan.stem.out_channels, 7, 9)
    taken = x[:, :, [0, 2, 4]][:, :, :, [0, 2, 4, 6]]
    torch.testing.assert_close(block.skip(x), block.skip.batch_norm(block.skip.conv(taken)))


def test_gradients_of_a_skip_are_those_of_a_slice() -> None:
    space = ConvSpace.from_settings({})
    plan = space.plan(conv_genome((conv_gene(3), PoolGene(2, 0.1))), Sample(1, (7, 9), 2))
    block = network_of(plan).blocks[0]
    assert isinstance(block, Block)
    skip = block.skip
    assert isinstance(skip, Skip)
    x = torch.randn(3, plan.stem.out_channels, 7, 9).contiguous(memory_format=torch.channels_last)
    taken, sliced = x.clone().requires_grad_(), x.clone().requires_grad_()
    weights = torch.randn(3, skip.conv.out_channels, 3, 4)
    (skip(taken) * weights).sum().backward()
    (skip.batch_norm(skip.conv(sliced[skip.window])) * weights).sum().backward()
    assert taken.grad is not None
    torch.testing.assert_close(taken.grad, sliced.grad)


@pytest.mark.parametrize("space", ["paper", "small", "tiny"])
@pytest.mark.parametrize("seed", range(3))
def test_all_gradients_between_layers_are_channels_last(space: str, seed: int) -> None:
    """One that is not is carried through all layers before, with slower kernels."""
    network = network_of(random_plan(space, Sample(3, (15, 14), 2), seed)).to(
        memory_format=torch.channels_last
    )
    layouts = []

    def look(_: nn.Module, gradients: tuple[torch.Tensor, ...]) -> None:
        if gradients[0].dim() == 4:
            layouts.append(gradients[0].is_contiguous(memory_format=torch.channels_last))

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.ReLU | nn.MaxPool2d | nn.AvgPool2d):
            module.register_full_backward_pre_hook(look)
        if isinstance(module, nn.ReLU):
            module.inplace = False
    x = torch.randn(4, 3, 15, 14).contiguous(memory_format=torch.channels_last)
    network(x).sum().backward()
    assert layouts
    assert all(layouts)


def test_block_adds_its_input_where_nothing_changes() -> None:
    space = ConvSpace.from_settings({})
    plan = space.plan(conv_genome((conv_gene(3, channels=64),)), Sample(1, (6, 6), 2))
    if plan.stem.out_channels != plan.blocks[0].out_channels:
        pytest.fail("the block was meant to keep the stem's channels")
    block = network_of(plan).eval().blocks[0]
    assert isinstance(block, Block)
    x = torch.randn(1, 64, 6, 6)
    torch.testing.assert_close(block(x), block.layers(x) + x)


def test_weights_are_xaviers_and_only_the_generators() -> None:
    plan = random_plan("tiny", SAMPLES[2], 3)
    before = torch.get_rng_state()
    first, again, other = network_of(plan, 1), network_of(plan, 1), network_of(plan, 2)
    assert torch.equal(torch.get_rng_state(), before)
    weights = dict(first.named_parameters())
    for name, weight in again.named_parameters():
        assert torch.equal(weight, weights[name])
    assert not torch.equal(other.stem[0].weight, first.stem[0].weight)  # type: ignore[arg-type]
    for module in first.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            receptive = module.weight[0, 0].numel() if isinstance(module, nn.Conv2d) else 1
            bound = (6 / (receptive * (module.weight.shape[0] + module.weight.shape[1]))) ** 0.5
            assert 0.5 * bound < module.weight.abs().max().item() <= bound
            assert module.bias is None or not module.bias.any()
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert module.running_var is not None
            assert (module.running_var == 1).all()
            assert not module.bias.any()


def test_gradients_reach_every_parameter() -> None:
    plan = random_plan("tiny", SAMPLES[2], 5)
    network = network_of(plan)
    network(torch.randn(4, *plan.sample.shape)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
