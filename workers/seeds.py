"""The random numbers of a training: one generator for each purpose and position.

Everything random is seeded by the evaluation's seed, the purpose of the draw and its position (epoch,
step), so that an interrupted epoch can be taken up in its middle.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What random numbers are drawn for; each purpose has its own generators."""

    WEIGHTS = 0
    ORDER = 1
    AUGMENTATION = 2


def stream(seed: int, purpose: Stream, *position: int) -> np.random.SeedSequence:
    """The seed of a purpose at a position (epoch, step) of an evaluation's training."""
    return np.random.SeedSequence((seed, purpose, *position))


def torch_seed(seed: np.random.SeedSequence) -> int:
    """A seed for a torch generator, of 63 bits."""
    return int(seed.generate_state(1, np.uint64)[0] >> 1)


def torch_generator(seed: np.random.SeedSequence, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator on a device, from a seed sequence."""
    return torch.Generator(device).manual_seed(torch_seed(seed))
