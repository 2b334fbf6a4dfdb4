"""Random changes to a batch: each against a slow per-sample reference that draws the same numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from workers.data.augment import AUGMENTATIONS, augment, crop, cutout, flip

SHAPES = [(16, 1, 28, 28), (16, 3, 32, 32), (16, 2, 9, 12), (16, 2, 40), (1, 1, 8, 8)]
NAMES = list(AUGMENTATIONS)


def generator(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def pixels(*shape: int) -> Tensor:
    return torch.randint(1, 256, shape, generator=generator(1), dtype=torch.uint8)


def draws(batch: int, *bounds: int) -> list[list[int]]:
    """What a generator of seed 0 draws: a list for each sample, a number below each bound."""
    rng = generator()
    return torch.stack([torch.randint(bound, (batch,), generator=rng) for bound in bounds], 1).tolist()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_keeps_shape_and_type_and_its_input(name: str, shape: tuple[int, ...]) -> None:
    x = pixels(*shape)
    before = x.clone()
    for values in (x, x.float()):
        changed = AUGMENTATIONS[name](values, generator())
        assert (changed.shape, changed.dtype) == (values.shape, values.dtype)
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", NAMES)
def test_same_generator_same_result_other_seed_another(name: str) -> None:
    x = pixels(16, 3, 32, 32)
    first = augment(x, [name], generator())
    assert torch.equal(first, augment(x, [name], generator()))
    assert not torch.equal(first, augment(x, [name], generator(9)))


@pytest.mark.parametrize("name", NAMES)
def test_does_not_depend_on_memory_format(name: str) -> None:
    x = pixels(16, 3, 32, 32)
    channels_last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(augment(x, [name], generator()), augment(channels_last, [name], generator()))


def test_samples_are_changed_each_in_its_own_way() -> None:
    x = pixels(1, 3, 32, 32).expand(32, 3, 32, 32)
    for name, ways in (("crop", 20), ("flip", 2), ("cutout", 20)):
        assert len({sample.numpy().tobytes() for sample in augment(x, [name], generator())}) >= ways


def test_names_apply_in_order() -> None:
    x, rng = pixels(8, 3, 32, 32), generator()
    expected = cutout(flip(crop(x, rng), rng), rng)
    assert torch.equal(augment(x, ["crop", "flip", "cutout"], generator()), expected)


@pytest.mark.parametrize(
    ("shape", "margins"), list(zip(SHAPES, [(4, 4), (4, 4), (1, 2), (5,), (1, 1)], strict=True))
)
def test_crop_is_a_window_of_the_padded_sample(shape: tuple[int, ...], margins: tuple[int, ...]) -> None:
    x = pixels(*shape)
    batch, _, *spatial = shape
    expected = torch.empty_like(x)
    for index, offsets in enumerate(draws(batch, *(2 * margin + 1 for margin in margins))):
        padded = torch.zeros(
            [shape[1], *(s + 2 * m for s, m in zip(spatial, margins, strict=True))], dtype=x.dtype
        )
        padded[:, *(slice(m, m + s) for s, m in zip(spatial, margins, strict=True))] = x[index]
        expected[index] = padded[:, *(slice(o, o + s) for s, o in zip(spatial, offsets, strict=True))]
    assert torch.equal(crop(x, generator()), expected)


def test_crop_keeps_the_interior_of_a_constant_image() -> None:
    cropped = crop(torch.full((64, 1, 28, 28), 200, dtype=torch.uint8), generator())
    assert bool((cropped[:, :, 4:-4, 4:-4] == 200).all())
    assert bool((cropped == 0).any())


def test_flip_mirrors_about_half_of_the_images() -> None:
    x = pixels(400, 1, 8, 8)
    flipped = flip(x, generator())
    mirrored = torch.tensor(draws(400, 2)).bool().flatten()
    assert torch.equal(flipped[mirrored], x[mirrored].flip(-1))
    assert torch.equal(flipped[~mirrored], x[~mirrored])
    assert 150 < int(mirrored.sum()) < 250


def test_flip_leaves_series_alone() -> None:
    x = pixels(16, 2, 40)
    assert torch.equal(flip(x, generator()), x)


@pytest.mark.parametrize("shape", SHAPES)
def test_cutout_zeroes_half_of_each_side_around_a_position(shape: tuple[int, ...]) -> None:
    x = pixels(*shape).float()
    batch, _, *spatial = shape
    expected = x.clone()
    for index, centres in enumerate(draws(batch, *spatial)):
        starts = [centre - size // 2 // 2 for centre, size in zip(centres, spatial, strict=True)]
        hole = [slice(max(0, start), start + size // 2) for start, size in zip(starts, spatial, strict=True)]
        expected[index][:, *hole] = 0
    assert torch.equal(cutout(x, generator()), expected)


def test_cutout_of_a_whole_square_is_sixteen_pixels_wide_at_32() -> None:
    x = torch.ones(500, 3, 32, 32)
    areas = (cutout(x, generator())[:, 0] == 0).sum((1, 2))
    assert int(areas.max()) == 16 * 16
    assert int(areas.min()) >= 8 * 8


def test_unknown_name() -> None:
    with pytest.raises(KeyError):
        augment(pixels(1, 1, 8, 8), ["blur"], generator())
