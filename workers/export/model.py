"""The network of a genome with its weights, and with the normalisation of its data inside.

What is exported is the module of the Python file (``source``); evolver's own network, which was trained,
is what it is compared with.

Model     both of them, with all that was known of the training.
model_of  from the weights that a final training kept, or from initial ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import cast

import torch
from torch import Tensor, nn

from evolver.errors import EvolverError
from evolver.genome.plan import NetworkPlan
from evolver.space import Json
from workers import checkpoints
from workers.batch_norm import BatchNorm2d
from workers.checkpoints import CheckpointUnusable
from workers.decoder import Network, decode
from workers.export.source import layer_names, source
from workers.export.subject import Subject
from workers.seeds import Stream, stream, torch_generator

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Linear, nn.BatchNorm1d, BatchNorm2d)


class WeightsUnusable(EvolverError):
    """Weights are missing, unreadable, or those of another network."""


@dataclass(frozen=True, eq=False)
class Model:
    """A genome's network, twice, both in evaluation mode: raw samples to logits.

    ``module`` is what ``source`` defines; ``reference`` is evolver's network after the normalisation by
    ``mean`` and ``std``, which have an entry for each channel. ``recipe`` trained the weights, if any did.
    """

    subject: Subject
    source: str
    module: nn.Module
    reference: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recipe: Mapping[str, Json] | None

    @property
    def is_trained(self) -> bool:
        return self.recipe is not None

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights under the names of the Python file, with mean and std among them."""
        return dict(self.module.state_dict())


class Normalised(nn.Module):
    """A network that is given raw samples."""

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network, self.mean, self.std = network, mean, std

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network((x - self.mean) / self.std)
        return logits


def model_of(subject: Subject, checkpoint_base: str, about: Sequence[str]) -> Model:
    """The model of a genome; ``about`` are lines for the head of its Python file.

    Raises WeightsUnusable, or EnvironmentFault where no weights can be read from such a URL.
    """
    plan = subject.plan
    network = decode(plan, torch_generator(stream(subject.seed, Stream.WEIGHTS)))
    channels = plan.sample.channels
    mean, std, recipe = (0.0,) * channels, (1.0,) * channels, None
    if subject.weights is not None:
        mean, std, recipe = _load(network, subject, checkpoint_base)
    text = source(plan, about)
    means, stds = (torch.tensor(one).view(-1, *(1,) * len(plan.sample.spatial)) for one in (mean, std))
    module = module_of(text)
    module.load_state_dict(exported_state(plan, network, means, stds))
    return Model(subject, text, module.eval(), Normalised(network, means, stds).eval(), mean, std, recipe)


def module_of(text: str) -> nn.Module:
    """The network that a Python file of ours defines."""
    namespace = namespace_of(text, Path("network.py"))
    return cast("nn.Module", namespace.Network())


def namespace_of(text: str, path: Path) -> ModuleType:
    """The file as a module, as if it had been imported from ``path``.

    Nothing foreign is run: ``source`` writes the text, from the integers of a validated plan.
    """
    namespace = ModuleType(path.stem)
    namespace.__file__ = str(path)
    exec(compile(text, str(path), "exec"), namespace.__dict__)
    return namespace


def exported_state(plan: NetworkPlan, network: Network, mean: Tensor, std: Tensor) -> dict[str, Tensor]:
    """The weights of evolver's network under the names of the Python file."""
    layers = [layer for layer in network.modules() if isinstance(layer, _LAYERS)]
    state = {"mean": mean, "std": std}
    for name, layer in zip(layer_names(plan), layers, strict=True):
        state |= {f"{name}.{key}": tensor for key, tensor in layer.state_dict().items()}
    return state


def _load(
    network: Network, subject: Subject, base: str
) -> tuple[tuple[float, ...], tuple[float, ...], Mapping[str, Json]]:
    """Give a network its trained weights; returns mean, std and recipe, which are kept with them."""
    assert subject.weights is not None
    key = subject.weights.key
    genome_id = subject.detail.genome_id
    try:
        tensors, meta = checkpoints.load(base, key, subject.weights.sha256)
    except CheckpointUnusable as error:
        raise WeightsUnusable(
            f"the weights of genome {genome_id} cannot be read: {error}; they lie under the --checkpoint-url "
            "of the worker that trained them"
        ) from error
    try:
        if meta["phenotype"] != subject.phenotype:
            raise ValueError("they are those of another network")
        network.load_state_dict(tensors)
        channels = subject.plan.sample.channels
        mean, std = _constants(meta["mean"], channels), _constants(meta["std"], channels)
        return mean, std, dict(meta["recipe"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsUnusable(f"the weights of genome {genome_id} ({key}) do not fit: {reason}") from error


def _constants(values: Json, channels: int) -> tuple[float, ...]:
    constants = tuple(float(value) for value in values)
    if len(constants) != channels or not all(map(math.isfinite, constants)):
        raise ValueError(f"their normalisation is not one finite number for each of {channels} channels")
    return constants
