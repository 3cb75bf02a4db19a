"""Teachers: parts of a batch, memory that runs out, precision, calibration, and the sums of their report."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.errors import UserError
from limbeck.teachers.calibration import coverage_shares, fit_temperature
from limbeck.teachers.masked_lm import MaskedLM, load_masked_lm
from limbeck.teachers.teacher import Teacher, load_teacher
from limbeck.text.align import BOUNDARIES, GOLD, TRUNCATED
from limbeck.text.batches import TeacherBatch
from tests.models import FAMILIES, TEXTS

Checkpoint = Callable[..., Path]


@dataclass(frozen=True)
class Spec:
    name: str
    model: str
    precision: str = "f32"
    batch: int = 64
    device: str = "cpu"


def teacher(folder: Path, **fields: object) -> Teacher:
    return load_teacher(Spec("lexicographer", str(folder), **fields))  # type: ignore[arg-type]


def batch_of(one: Teacher, *, shuffled: bool = False) -> TeacherBatch:
    """Five passages; the second has no position, the others two each."""
    hf = one.tokenizer.hf
    encoded = hf(list(TEXTS[:5]), padding=True, return_tensors="pt")
    ids, length = encoded.input_ids, encoded.input_ids.shape[1]
    start = [int(row.nonzero()[0]) for row in encoded.attention_mask]
    places = [row * length + start[row] + column for row in (0, 2, 3, 4) for column in (3, 6)]
    position = torch.tensor(places)
    if shuffled:
        position = position[torch.randperm(len(position))]
    ids.view(-1)[position] = hf.mask_token_id
    return TeacherBatch(ids, encoded.attention_mask, position, torch.arange(len(position)))


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_of_a_batch_give_the_same(family: str, checkpoint: Checkpoint) -> None:
    kind = (
        "unigram"
        if family in ("xlnet", "camembert", "albert")
        else "bpe"
        if family == "roberta"
        else "wordpiece"
    )
    one = teacher(checkpoint(family, tokenizer=kind))
    batch = batch_of(one)
    whole = one.logits(batch)
    assert whole.shape == (8, one.module.width)
    assert whole.dtype == torch.float32
    direct = one.module(batch.input_ids, batch.attention_mask, batch.position)
    torch.testing.assert_close(whole, direct, atol=1e-5, rtol=1e-5)
    for size in (1, 2, 4):
        one.batch = size
        torch.testing.assert_close(one.logits(batch), whole, atol=1e-5, rtol=1e-5)


def test_positions_in_any_order(checkpoint: Checkpoint) -> None:
    one = teacher(checkpoint("modernbert"), batch=2)
    batch = batch_of(one, shuffled=True)
    direct = one.module(batch.input_ids, batch.attention_mask, batch.position)
    torch.testing.assert_close(one.logits(batch), direct, atol=1e-5, rtol=1e-5)


def test_no_position(checkpoint: Checkpoint) -> None:
    one = teacher(checkpoint("bert"))
    batch = batch_of(one)
    none = TeacherBatch(batch.input_ids, batch.attention_mask, batch.position[:0], batch.slot[:0])
    assert one.logits(none).shape == (0, one.module.width)


def test_frozen_and_usable_in_a_loss(checkpoint: Checkpoint) -> None:
    one = teacher(checkpoint("bert"))
    logits = one.logits(batch_of(one))
    assert not logits.requires_grad
    assert not any(p.requires_grad for p in one.module.parameters())
    scale = torch.ones(1, requires_grad=True)
    (logits * scale).sum().backward()  # an inference tensor would raise here
    assert scale.grad is not None


def test_the_temperature_is_the_callers_to_apply(checkpoint: Checkpoint) -> None:
    one = teacher(checkpoint("bert"))
    batch = batch_of(one)
    before = one.logits(batch)
    one.temperature = 2.0
    assert torch.equal(one.logits(batch), before)


def test_bf16_is_near_f32(checkpoint: Checkpoint) -> None:
    exact, rough = teacher(checkpoint("bert")), teacher(checkpoint("bert"), precision="bf16")
    batch = batch_of(exact)
    found, expected = rough.logits(batch), exact.logits(batch)
    assert found.dtype == torch.bfloat16  # no copy in float32 is made of them
    assert not torch.equal(found.float(), expected)
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0.05)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"precision": "f16"}, "f16 does not work on the CPU"),
        ({"precision": "int8"}, "precision is 'int8'; it must be one of f32"),
        ({"batch": 0}, "batch is 0"),
        ({"device": "cuda:99"}, "does not exist here"),
    ],
)
def test_settings_that_cannot_be(checkpoint: Checkpoint, fields: dict[str, object], says: str) -> None:
    with pytest.raises(UserError, match=says):
        teacher(checkpoint("bert"), **fields)


def test_the_recipes_path_may_be_resolved_elsewhere(checkpoint: Checkpoint) -> None:
    one = load_teacher(Spec("lexicographer", "beside/the/recipe"), checkpoint("roberta"))
    assert one.tokenizer.limit == 62  # 64 positions, two of them special tokens
    assert one.parameters == sum(p.numel() for p in one.module.parameters())
    with pytest.raises(UserError, match="teacher 'lexicographer': 'no/such/model'"):
        load_teacher(Spec("lexicographer", "no/such/model"))


def test_nan_predictions_name_the_teacher(checkpoint: Checkpoint) -> None:
    one = teacher(checkpoint("bert"))
    with torch.no_grad():
        one.module.model.bert.embeddings.word_embeddings.weight[50] = float("nan")
    with pytest.raises(UserError, match="teacher 'lexicographer' predicts NaN"):
        one.logits(batch_of(one))


class Hungry(MaskedLM):
    """Asks the allocator for more than any machine has, as soon as it is given more than `most` passages."""

    most = 2

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, position: torch.Tensor
    ) -> torch.Tensor:
        if len(input_ids) > self.most:
            torch.empty(1 << 60, dtype=torch.uint8)
        return super().forward(input_ids, attention_mask, position)


def hungry(folder: Path, most: int) -> tuple[Teacher, torch.Tensor, TeacherBatch]:
    one = teacher(folder)
    batch = batch_of(one)
    expected = one.logits(batch)
    module = Hungry(load_masked_lm(folder)[0].model, one.tokenizer.mask_id)
    module.most = most
    return Teacher(one.name, module, one.tokenizer), expected, batch


def test_out_of_memory_halves_the_batch(checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture) -> None:
    one, expected, batch = hungry(checkpoint("bert"), most=1)
    with caplog.at_level(logging.WARNING, logger="limbeck"):
        torch.testing.assert_close(one.logits(batch), expected, atol=1e-5, rtol=1e-5)
    assert one.batch == 1
    assert [record.getMessage() for record in caplog.records] == [
        "teacher lexicographer: out of memory with 5 passages at once; going on with 2",
        "teacher lexicographer: out of memory with 2 passages at once; going on with 1",
    ]
    caplog.clear()
    one.logits(batch)
    assert not caplog.records, "what was learnt is kept"


def test_out_of_memory_with_one_passage(checkpoint: Checkpoint) -> None:
    one, _, batch = hungry(checkpoint("bert"), most=0)
    with pytest.raises(UserError, match="out of memory even with one passage"):
        one.logits(batch)


def test_other_failures_are_not_swallowed(checkpoint: Checkpoint) -> None:
    one = teacher(checkpoint("bert"))
    batch = batch_of(one)
    wrong = TeacherBatch(batch.input_ids.float(), batch.attention_mask, batch.position, batch.slot)
    with pytest.raises(RuntimeError, match="indices"):
        one.logits(wrong)
    outside = TeacherBatch(batch.input_ids, batch.attention_mask, batch.position + 10_000, batch.slot)
    with pytest.raises(AssertionError):
        one.logits(outside)


# ---- calibration


def sample(slots: int, temperature: float, *, spread: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits [slots, 50] of a model whose truth is softmax(logits / temperature), and gold pieces of it."""
    logits = spread * torch.randn(slots, 50)
    gold = torch.multinomial(torch.softmax(logits / temperature, -1), 1)[:, 0]
    return logits, gold


def nats(logits: torch.Tensor, gold: torch.Tensor, temperature: float) -> float:
    return float(torch.nn.functional.cross_entropy(logits.double() / temperature, gold))


@pytest.mark.parametrize("truth", [0.6, 0.9, 1.3, 2.0, 3.5])
def test_a_known_temperature_is_found(truth: float) -> None:
    logits, gold = sample(8_000, truth)
    found = fit_temperature(zip(logits.split(1500), gold.split(1500), strict=True))
    assert found == pytest.approx(truth, rel=0.06)
    finest = min(nats(logits, gold, c) for c in np.geomspace(truth / 1.1, truth * 1.1, 81))
    assert nats(logits, gold, found) == pytest.approx(finest, abs=1e-4)


def test_calibration_never_raises_the_nats() -> None:
    for seed in range(60):
        torch.manual_seed(seed)
        truth = float(torch.empty(1).uniform_(0.3, 5.0))
        slots = int(torch.randint(1, 60, (1,)))
        logits, gold = sample(slots, truth, spread=float(torch.empty(1).uniform_(0.1, 8.0)))
        found = fit_temperature([(logits, gold)])
        assert 0.5 <= found <= 4.0
        assert nats(logits, gold, found) <= nats(logits, gold, 1.0)


def test_calibrated_logits_stay() -> None:
    logits, gold = sample(50_000, 1.0)
    assert fit_temperature([(logits, gold)]) == pytest.approx(1.0, abs=0.02)
    assert fit_temperature([(torch.zeros(10, 50), torch.arange(10))]) == 1.0
    assert fit_temperature([]) == 1.0
    assert fit_temperature([(torch.zeros(0, 50), torch.zeros(0, dtype=torch.long))]) == 1.0


def test_always_wrong_or_right_goes_to_the_edge() -> None:
    logits = torch.eye(20) * 5
    assert fit_temperature([(logits, torch.arange(20))]) == 0.5
    assert fit_temperature([(logits, torch.arange(20).roll(1))]) == 4.0


# ---- the report


def test_coverage_counts_every_reason() -> None:
    codes = np.array([0, 5, 7, BOUNDARIES, GOLD, GOLD, TRUNCATED, 2], np.int16)
    assert coverage_shares(codes) == {"covered": 0.5, "boundaries": 0.125, "gold": 0.25, "truncated": 0.125}
    assert all(math.isnan(share) for share in coverage_shares(codes[:0]).values())
    with pytest.raises(AssertionError):
        coverage_shares(np.array([-9]))
