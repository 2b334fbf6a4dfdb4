"""Random changes to a batch, each sample its own, without a loop over samples or a host sync.

All take x of shape (B, C, H, W) or (B, C, L), of any type, on any device, and a generator of that
device; all return a tensor of the same shape and type, and leave x as it is. They are the changes of
MO-ResNet's training (arXiv 2505.01313, section 4), whose sizes at 32×32 are scaled to the size of the
sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Generator, Tensor
from torch.nn import functional


def augment(x: Tensor, names: Iterable[str], generator: Generator) -> Tensor:
    """Apply the named changes in order: of ``crop``, ``flip``, ``cutout``. KeyError for another name."""
    for name in names:
        x = AUGMENTATIONS[name](x, generator)
    return x


def crop(x: Tensor, generator: Generator) -> Tensor:
    """Pad each side with an eighth of the size (4 at 28 to 32) of zeros, then cut out a window at random."""
    batch, channels, *spatial = x.shape
    margins = [round(size / 8) for size in spatial]
    padding = [0, 0] + [margin for margin in reversed(margins) for _ in range(2)]
    padded = functional.pad(x.movedim(1, -1), padding)
    # With channels last, a row of a window is one run of memory: all rows of the batch are looked up by
    # where they start, many times faster than pixel by pixel.
    rows = padded.flatten().unfold(0, spatial[-1] * channels, channels)
    starts = torch.arange(batch, device=x.device)
    for axis, (size, margin) in enumerate(zip(spatial, margins, strict=True)):
        offsets = _random_integers(2 * margin + 1, x, generator)
        starts = starts * (size + 2 * margin) + offsets.view(-1, *[1] * axis)
        if axis < len(spatial) - 1:
            starts = starts.unsqueeze(-1) + torch.arange(size, device=x.device)
    return rows.index_select(0, starts.flatten()).view(batch, *spatial, channels).movedim(-1, 1)


def flip(x: Tensor, generator: Generator) -> Tensor:
    """Mirror each image from left to right with probability 0.5. Series stay as they are."""
    if x.dim() != 4:
        return x
    mirrored = _random_integers(2, x, generator).bool()
    return torch.where(mirrored[:, None, None, None], x.flip(-1), x)


def cutout(x: Tensor, generator: Generator) -> Tensor:
    """Zero a square (a span of a series) of half the size (16 at 32) around a random position.

    At the borders it is clipped. Meant for normalised x, where zero is the mean (DeVries and Taylor,
    arXiv 1708.04552).
    """
    spatial = x.shape[2:]
    hidden = torch.ones((), dtype=torch.bool, device=x.device)
    for axis, size in enumerate(spatial):
        side = size // 2
        starts = _random_integers(size, x, generator)[:, None] - side // 2
        positions = torch.arange(size, device=x.device)
        inside = (positions >= starts) & (positions < starts + side)
        hidden = hidden & _along(inside, axis, len(spatial))
    # Not masked_fill(), which would return another memory format than that of x.
    return x.clone().masked_fill_(hidden.unsqueeze(1), 0)


AUGMENTATIONS: Mapping[str, Callable[[Tensor, Generator], Tensor]] = {
    "crop": crop,
    "flip": flip,
    "cutout": cutout,
}


def _random_integers(bound: int, x: Tensor, generator: Generator) -> Tensor:
    """One integer of 0 … bound - 1 for each sample of x, shape (B,)."""
    return torch.randint(bound, (len(x),), generator=generator, device=x.device)


def _along(values: Tensor, axis: int, axes: int) -> Tensor:
    """Values of shape (B, n) as (B, 1, …, n, …, 1), with n at the given one of the spatial axes."""
    shape = [len(values)] + [1] * axes
    shape[1 + axis] = -1
    return values.reshape(shape)
