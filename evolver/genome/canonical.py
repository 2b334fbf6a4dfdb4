"""The phenotype: a hash of the decoded network, by which duplicates are found."""

from __future__ import annotations

import hashlib
import json

from evolver.genome.plan import BlockPlan, ConvPlan, NetworkPlan
from evolver.space import Json


def phenotype(plan: NetworkPlan) -> str:
    """The SHA-256, in 64 hexadecimal digits, of a canonical form of the plan.

    It stands in databases. The form is spelt out here, and names only what the rest of the plan
    follows from, so that a renamed field does not change it.
    """
    form = [
        list(plan.sample.shape),
        [plan.stem.kernel, plan.stem.out_channels],
        [_block(block) for block in plan.blocks],
        [linear.out_features for linear in plan.hidden],
        plan.output.out_features,
    ]
    return hashlib.sha256(json.dumps(form, separators=(",", ":")).encode()).hexdigest()


def _block(block: BlockPlan) -> list[Json]:
    return [
        ["conv", layer.kernel, layer.out_channels]
        if isinstance(layer, ConvPlan)
        else [layer.kind, layer.kernel]
        for layer in block.layers
    ]
