"""Dropout by four decisions a draw is dropout: its share, its scale, its gradient, its generator."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from limbeck.teachers.dropout import dropout, use_fast_dropout


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_a_share_is_dropped_and_the_rest_scaled_up(share: float, dtype: torch.dtype) -> None:
    found = dropout(torch.ones(301, 997, dtype=dtype), share).double()
    dropped = found == 0
    spread = (share * (1 - share) / found.numel()) ** 0.5
    assert abs(float(dropped.double().mean()) - share) < 5 * spread + 1 / 65536
    assert torch.allclose(found[~dropped], torch.tensor(1 / (1 - share)).double(), rtol=0.005)
    # in rows, in columns, and between the four elements of a draw there is no order
    for axis in (0, 1):
        assert (
            float(dropped.double().mean(axis).std()) < 1.3 * (share * (1 - share) / found.shape[axis]) ** 0.5
        )
    four = dropped.flatten()[: found.numel() // 4 * 4].view(-1, 4).double()
    apart = torch.corrcoef(four.T) - torch.eye(4)
    assert float(apart.abs().max()) < 0.02


@pytest.mark.parametrize("share", [0.0, 1.0, 1e-9])
def test_nothing_and_everything(share: float) -> None:
    values = torch.randn(7, 5)
    assert torch.equal(dropout(values, share), torch.zeros(7, 5) if share == 1 else values)
    assert dropout(torch.zeros(0, 3), 0.5).shape == (0, 3)


def test_the_gradient_is_that_of_what_was_left() -> None:
    values = torch.randn(40, 9, requires_grad=True)
    found = dropout(values, 0.3)
    found.sum().backward()
    assert values.grad is not None
    assert torch.equal(found, values * values.grad)
    assert values.grad.unique().tolist() == pytest.approx([0, 1 / 0.7], rel=1e-4)


def test_the_seed_decides() -> None:
    values = torch.ones(50)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    one, other = dropout(values, 0.5), dropout(values, 0.5)
    torch.set_rng_state(state)
    assert torch.equal(dropout(values, 0.5), one)
    assert not torch.equal(one, other)


def test_models_take_it_in_training_alone() -> None:
    class Own(nn.Dropout):
        pass

    model = nn.ModuleDict({"plain": nn.Dropout(0.5), "own": Own(0.5), "no": nn.Identity()})
    use_fast_dropout(model)
    assert type(model["own"]) is Own
    values = torch.ones(1000)
    torch.manual_seed(1)
    found = model["plain"](values)
    torch.manual_seed(1)
    assert torch.equal(found, dropout(values, 0.5))
    assert torch.equal(model.eval()["plain"](values), values)
    assert list(model.state_dict()) == []
