"""Predictions made of a teacher's logits when asked for, against the same made at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from limbeck.distill.losses import fused_slot_loss
from limbeck.distill.mixture import MIXTURES, Mixture
from limbeck.distill.predictions import Logits, predict
from limbeck.distill.weighting import DEFAULT_TEMPERATURE, Projected, scores, stats, weights
from limbeck.teachers.projection import Projection

SLOTS, VOCABULARY = 11, 9
ANSWERED = [torch.tensor([7, 0, 3, 10, 4, 2]), torch.arange(SLOTS), torch.tensor([0, 10, 5])]
TEMPERATURES = (1.0, 1.7, 0.6)


def logits_of(seed: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(len(ANSWERED[seed]), VOCABULARY, generator=generator)).to(dtype)


def lazy(t: int, dtype: torch.dtype = torch.float32) -> Logits:
    return Logits(ANSWERED[t], logits_of(t, dtype), TEMPERATURES[t])


def whole(t: int, dtype: torch.dtype = torch.float32) -> Projected:
    mass = torch.softmax(logits_of(t, dtype).double() / TEMPERATURES[t], 1).float()
    none = torch.zeros(len(mass))
    return Projected(ANSWERED[t], mass, none, none)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("which", [slice(1, 4), slice(None), torch.tensor([2, 0, 2])])
def test_rows_are_the_softmax_of_their_logits(which: slice | torch.Tensor, dtype: torch.dtype) -> None:
    for t in range(3):
        found, expected = lazy(t, dtype).rows(which), whole(t, dtype).rows(which)
        assert torch.equal(found.slot, expected.slot)
        assert found.mass.dtype == torch.float32
        torch.testing.assert_close(found.mass, expected.mass)
        torch.testing.assert_close(found.entropy(), expected.entropy())
        torch.testing.assert_close(found.expressible, expected.expressible)


def test_the_entropy_is_that_of_the_masses() -> None:
    mass = whole(0).mass
    mass[0] = torch.nn.functional.one_hot(torch.tensor(3), VOCABULARY)  # 0 · log 0 counts nothing
    said = Projected(ANSWERED[0], mass, torch.zeros(6), torch.zeros(6))
    expected = [-sum(m * np.log(m) for m in row if m > 0) for row in mass.double().tolist()]
    np.testing.assert_allclose(said.entropy(), expected, atol=1e-6)
    # beyond what a softmax in float32 can show: one piece has all the mass
    sure = Logits(ANSWERED[2], torch.tensor([[400.0] + [-400.0] * 8] * 3), 1.0)
    torch.testing.assert_close(sure.rows(slice(None)).entropy(), torch.zeros(3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("mixture", MIXTURES)
@pytest.mark.parametrize("weighting", DEFAULT_TEMPERATURE)
def test_weights_and_targets_are_those_of_whole_predictions(weighting: str, mixture: str) -> None:
    gold, passage = torch.arange(SLOTS) % VOCABULARY, torch.arange(SLOTS) // 4
    made = []
    for said in ([lazy(t) for t in range(3)], [whole(t) for t in range(3)]):
        found = stats(said, gold, SLOTS, VOCABULARY, weighting)
        w = weights(scores(weighting, found, passage), torch.zeros(3), 1.0, found.covered)
        made.append((w, Mixture(said, w, VOCABULARY, mixture).targets(slice(None))))
    torch.testing.assert_close(made[0], made[1])
    assert torch.allclose(made[0][1].sum(1), torch.ones(SLOTS))


def test_the_loss_makes_its_targets_by_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows at a time: every row of the target is asked for, in the loss's own chunks."""
    monkeypatch.setattr("limbeck.distill.weighting._CHUNK_CPU", 2 * VOCABULARY)
    said = [lazy(t) for t in range(3)]
    w = torch.full((3, SLOTS), 1 / 3)
    made = Mixture(said, w, VOCABULARY, "arithmetic")
    asked: list[slice] = []

    def targets(rows: slice) -> torch.Tensor:
        asked.append(rows)
        return made.targets(rows)

    gold, taught = torch.zeros(SLOTS, dtype=torch.int64), torch.ones(SLOTS, dtype=torch.bool)
    student = torch.randn(SLOTS, VOCABULARY, generator=torch.Generator().manual_seed(9))
    results = []
    for target in (targets, made.targets(slice(None))):
        logits = student.clone().requires_grad_()
        loss, kd, ce = fused_slot_loss(logits, gold, target, taught, 0.7, 0.3, 2.0)
        loss.backward()
        results.append((loss.detach(), kd, ce, logits.grad))
    torch.testing.assert_close(results[0], results[1])
    assert [rows.start for rows in asked] == [0, 2, 4, 6, 8, 10]


def test_another_vocabulary_is_projected_once() -> None:
    """Pieces 0..8 are the student's in another order; 9 is none of its."""
    order = np.array([3, 1, 4, 0, 5, 2, 6, 8, 7, -1])
    projection = Projection(np.stack([order] * 3), False, 0.9, 10, VOCABULARY)
    logits = torch.randn(6, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kind = torch.tensor([0, 1, 2, 0, 1, 2])
    probs = torch.softmax(logits / 1.5, 1).float()
    said = predict(logits, 1.5, projection, ANSWERED[0], kind)
    assert isinstance(said, Projected)
    torch.testing.assert_close(said.inexpressible, probs[:, 9])
    torch.testing.assert_close(said.mass[:, torch.from_numpy(order[:9])], probs[:, :9])
    same = Projection(np.stack([np.arange(9)] * 3), True, 1.0, VOCABULARY, VOCABULARY)
    assert isinstance(predict(logits[:, :9], 1.5, same, ANSWERED[0], kind), Logits)
