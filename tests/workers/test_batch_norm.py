"""Batch normalisation by folded rows, against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from workers.batch_norm import BatchNorm2d, pixels_in_row
from workers.memory import recomputed

Pair = tuple[nn.BatchNorm2d, nn.BatchNorm2d]


def pair(channels: int) -> Pair:
    """Ours and torch's, with the same weights, unlike each other by channel."""
    both = BatchNorm2d(channels), nn.BatchNorm2d(channels)
    for module in both:
        torch.manual_seed(1)
        nn.init.normal_(module.weight)
        nn.init.normal_(module.bias)
    return both


def images(channels: int, count: int = 64, size: int = 14, dtype: torch.dtype = torch.float32) -> Tensor:
    torch.manual_seed(0)
    offsets = torch.linspace(-20, 20, channels).view(1, -1, 1, 1)
    x = torch.randn(count, channels, size, size) * 3 + offsets
    return x.to(dtype).contiguous(memory_format=torch.channels_last)


def results(module: nn.BatchNorm2d, x: Tensor) -> list[Tensor]:
    """Output, gradients of input, weight and bias, and running statistics after one step."""
    x = x.clone().requires_grad_()
    y = module(x)
    y.backward(torch.randn(x.shape, generator=torch.Generator().manual_seed(2)).to(x.dtype))
    gradients = [x.grad, module.weight.grad, module.bias.grad]
    assert module.running_mean is not None
    assert module.running_var is not None
    return [
        y.detach(),
        *(one for one in gradients if one is not None),
        module.running_mean,
        module.running_var,
    ]


@pytest.mark.parametrize("channels", [1, 3, 13, 24, 50])
@pytest.mark.parametrize("count", [64, 62, 47])
def test_results_gradients_and_statistics_are_torchs(channels: int, count: int) -> None:
    x = images(channels, count)
    assert pixels_in_row(x) > 1
    for ours, torchs in zip(*(results(module, x) for module in pair(channels)), strict=True):
        scale = torchs.abs().max().item()
        torch.testing.assert_close(ours, torchs, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("channels", [5, 37])
def test_in_bf16_it_is_as_near_to_the_exact_result_as_torchs(channels: int) -> None:
    x = images(channels, dtype=torch.bfloat16)
    assert pixels_in_row(x) > 1
    exact = results(pair(channels)[1], x.float())
    ours, torchs = (results(module, x) for module in pair(channels))
    for one, other, truth in zip(ours, torchs, exact, strict=True):
        assert one.dtype == other.dtype
        of_torch = (other.float() - truth).abs().mean()
        assert (one.float() - truth).abs().mean() <= 2 * of_torch + 1e-5


def test_gradients_are_those_of_finite_differences() -> None:
    # In float32, so of few values and with wide steps: the function is smooth.
    module = BatchNorm2d(3)
    x = images(3, 48)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(4))
    variable = x.clone().requires_grad_()
    (module(variable) * weights).sum().backward()
    assert variable.grad is not None
    with torch.no_grad():
        ahead, behind = ((module(x + step * direction) * weights).double().sum() for step in (0.05, -0.05))
    slope = (variable.grad * direction).double().sum()
    assert slope.item() == pytest.approx((ahead - behind).item() / 0.1, rel=0.02)


@pytest.mark.parametrize(
    "x",
    [
        images(16),
        images(96),
        images(13, count=2),
        images(13, count=47, size=15),
        images(13).contiguous(),
    ],
    ids=["whole vectors", "long rows", "few pixels", "odd count", "channels first"],
)
def test_rows_stay_as_they_are_where_folding_gains_nothing(x: Tensor) -> None:
    assert pixels_in_row(x) == 1
    ours, torchs = (results(module, x) for module in pair(x.shape[1]))
    assert all(torch.equal(*both) for both in zip(ours, torchs, strict=True))


def test_evaluation_uses_the_running_statistics() -> None:
    ours, torchs = pair(13)
    x = images(13)
    results(ours, x)
    torchs.load_state_dict(ours.state_dict())
    assert torch.equal(ours.eval()(x), torchs.eval()(x))
    assert ours.num_batches_tracked is not None
    assert ours.num_batches_tracked.item() == 1


def test_recomputation_moves_the_statistics_once_and_changes_no_bit() -> None:
    x = images(13)
    assert pixels_in_row(x) > 1
    plain, recomputing = BatchNorm2d(13), BatchNorm2d(13)
    once, again = x.clone().requires_grad_(), x.clone().requires_grad_()
    plain(once).square().sum().backward()
    recomputed(recomputing, recomputing, again).square().sum().backward()
    assert once.grad is not None
    assert again.grad is not None
    assert torch.equal(once.grad, again.grad)
    for name, tensor in plain.state_dict().items():
        assert torch.equal(recomputing.state_dict()[name], tensor), name
