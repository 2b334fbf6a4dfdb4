"""The peer of ``training.py``: training the way the paper's own code does.

A torchvision data set with PIL transforms for each sample, a ``DataLoader``, fp32, ``loss.item()`` in
every step.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from evolver.recipe import Recipe


class PilDataset(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's MNIST and CIFAR classes serve them: a PIL image, then the transforms.

    ``x``: uint8 of shape (N, C, H, W).
    """

    def __init__(self, x: NDArray[np.uint8], y: NDArray[np.int64], augmentation: tuple[str, ...]) -> None:
        self.x = x[:, 0] if x.shape[1] == 1 else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        self.y = y
        size = x.shape[-1]
        changes: list[nn.Module | object] = []
        if "crop" in augmentation:
            changes.append(transforms.RandomCrop(size, padding=round(size / 8)))
        if "flip" in augmentation:
            changes.append(transforms.RandomHorizontalFlip())
        changes.append(transforms.ToTensor())
        axes = (0, 2, 3)
        changes.append(transforms.Normalize((x / 255).mean(axes).tolist(), (x / 255).std(axes).tolist()))
        if "cutout" in augmentation:
            # torchvision's own; the paper's code has one of its own, in numpy.
            changes.append(transforms.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0)))
        self.transform = transforms.Compose(changes)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.x[index])), int(self.y[index])


@dataclass
class Peer:
    """One network in training. ``workers`` and pinned memory are the loader's, for GPUs."""

    network: nn.Module
    dataset: PilDataset
    recipe: Recipe
    device: torch.device
    workers: int = 0

    def train(self, epochs: int, images: int | None = None) -> float:
        """Train so many epochs, or so many images of one; returns images a second of the last epoch."""
        recipe, device = self.recipe, self.device
        loader = DataLoader(
            self.dataset,
            batch_size=recipe.batch_size,
            shuffle=True,
            drop_last=images is not None,
            num_workers=self.workers,
            pin_memory=device.type == "cuda",
            persistent_workers=self.workers > 0,
        )
        optimizer = torch.optim.SGD(
            self.network.parameters(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * len(loader))
        criterion = nn.CrossEntropyLoss()
        network = self.network.to(device).train()
        rate = 0.0
        for _ in range(epochs):
            began, count, total = time.perf_counter(), 0, 0.0
            for x, y in loader:
                x, y = x.to(device, non_blocking=True), y.to(device, non_blocking=True)
                optimizer.zero_grad()
                loss = criterion(network(x), y)
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item()
                count += len(y)
                if images is not None and count >= images:
                    break
            rate = count / (time.perf_counter() - began)
        return rate
