"""Small training jobs: a few bright and dark images, and a network of a thousand weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from evolver import recipe as recipes
from evolver.recipe import Recipe
from workers.data.device import DeviceDataset
from workers.trainer import Job


def part(samples: int, seed: int, augmentation: tuple[str, ...] = ()) -> DeviceDataset:
    """Random 6x6 images of two classes that differ in brightness."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (samples,), generator=generator)
    x = torch.randint(156, (samples, 6, 6, 1), generator=generator) + 100 * y[:, None, None, None]
    return DeviceDataset(
        x.to(torch.uint8),
        y,
        torch.full((6, 6, 1), 128.0),
        torch.full((6, 6, 1), 70.0),
        augmentation=augmentation,
    )


def small_network(seed: int = 0) -> nn.Module:
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(144, 2),
    )
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        nn.init.uniform_(parameter, -0.2, 0.2, generator=generator)
    return network


def job(**changes: Any) -> Job:
    """A job with the recipe settings and job fields given."""
    settings = {name: changes.pop(name) for name in list(changes) if name in Recipe.model_fields}
    recipe = recipes.parse(
        {"epochs": 2, "batch_size": 16, "precision": "fp32", "deterministic": True, **settings}
    )
    fields: dict[str, Any] = {
        "network": small_network(),
        "train": part(50, 1, ("crop", "flip", "cutout")),
        "validation": part(20, 2),
        "seed": 7,
        "evaluation_id": 3,
        "token": "a",
        "phenotype": "p",
        **changes,
    }
    return Job(recipe=recipe, **fields)
