"""From the plan of a network to a torch module with initial weights.

The plan (``evolver.genome.plan``) holds all decisions; here is only their translation, so that
parameters and FLOPs of the module equal the plan's arithmetic exactly.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from evolver.genome.plan import NetworkPlan
from workers import blocks


class Network(nn.Module):
    """Stem, residual blocks, hidden dense layers, output: (N, C, *spatial) to logits (N, classes).

    Samples of another size than the stem takes are resized before it.
    """

    def __init__(self, plan: NetworkPlan) -> None:
        super().__init__()
        self.resize = blocks.Resize(plan.sample.spatial, plan.resize) if plan.resize else nn.Identity()
        self.stem = blocks.conv(plan.stem)
        self.blocks = nn.Sequential(*(blocks.Block(block) for block in plan.blocks))
        self.hidden = nn.Sequential(*(blocks.linear(layer) for layer in plan.hidden))
        self.output = blocks.linear(plan.output)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.blocks(self.stem(self.resize(x)))
        logits: Tensor = self.output(self.hidden(blocks.flatten(features)))
        return logits


def decode(plan: NetworkPlan, generator: torch.Generator) -> Network:
    """The network of a plan, on the CPU, in training mode.

    Weights of convolution and linear layers are drawn by Xavier's uniform rule (Glorot and Bengio,
    2010, equation 16) from ``generator``, a CPU generator, in the order of the plan; biases are 0,
    batch norm starts at weight 1 and bias 0. The same generator state gives the same weights.
    """
    # Not drawn first by torch's own rule: that would take from the global generator, and time.
    with torch.device("meta"):
        network = Network(plan)
    network.to_empty(device="cpu")
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.reset_parameters()
    return network
