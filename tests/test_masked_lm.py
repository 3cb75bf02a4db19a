"""Predictions at chosen positions equal those of the full model, for every family."""

from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from limbeck.errors import UserError
from limbeck.teachers.masked_lm import (
    SLOT_MULTIPLE,
    LoadReport,
    MaskedLM,
    load_masked_lm,
    resolve_device,
)
from tests.models import FAMILIES, POSITIONS, TEXTS, make_config, make_model, make_tokenizer

Checkpoint = Callable[..., Path]


def inputs(
    tokenizer: transformers.PreTrainedTokenizerFast,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three passages, padded; masked pieces at positions in no order, and one that is no target."""
    encoded = tokenizer([TEXTS[0], TEXTS[3][:20], TEXTS[4]], padding=True, return_tensors="pt")
    ids, attention = encoded.input_ids, encoded.attention_mask
    length = ids.shape[1]
    starts = [int(row.nonzero()[0]) for row in attention]
    assert attention.min() == 0, "no padding, nothing shown"
    position = torch.tensor(
        [2 * length + starts[2] + 5, starts[0] + 2, starts[0] + 6, length + starts[1] + 1]
    )
    ids.view(-1)[position] = tokenizer.mask_token_id
    ids[0, starts[0] + 4] = tokenizer.mask_token_id
    return ids, attention, position


def xlnet_reference(module: MaskedLM, ids: torch.Tensor, attention: torch.Tensor, place: int) -> torch.Tensor:
    """XLNet's logits at one flat place, from its row alone and without padding."""
    row, column = divmod(place, ids.shape[1])
    real = attention[row].bool()
    alone, column = ids[row][real][None], column - int((~real)[:column].sum())
    length = alone.shape[1]
    hidden = (alone[0] == module.mask_id).float()
    mapping = torch.zeros(1, 1, length)
    mapping[0, 0, column] = 1.0
    perm = hidden[None, None, :].expand(1, length, length)
    return module.model(input_ids=alone, perm_mask=perm, target_mapping=mapping).logits[0, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_full_logits(family: str, checkpoint: Checkpoint) -> None:
    module, tokenizer, report = load_masked_lm(checkpoint(family))
    ids, attention, position = inputs(tokenizer)
    with torch.no_grad():
        found = module(ids, attention, position)
        if family == "xlnet":
            full = torch.stack([xlnet_reference(module, ids, attention, int(p)) for p in position])
        else:
            logits = module.model(input_ids=ids, attention_mask=attention).logits
            assert logits.shape == (*ids.shape, report.width), "the wrapped model alone gives all its logits"
            full = logits.flatten(0, 1)[position]
        padded = module(ids, attention, position, padded=True)
    assert found.shape == (len(position), report.width)
    assert torch.equal(padded[: len(position)], found)
    assert len(padded) == (len(position) if family == "xlnet" else SLOT_MULTIPLE)
    torch.testing.assert_close(found, full, atol=1e-5, rtol=1e-5)
    assert (found[0] - found[1]).abs().max() > 0.01, "the places do not differ, so nothing was shown"
    assert report == LoadReport(
        parameters=sum(p.numel() for p in module.parameters()),
        family=module.model.config.model_type,
        width=module.width,
        limit=None if family == "xlnet" else POSITIONS,
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_equal_those_of_the_full_logits(family: str, checkpoint: Checkpoint) -> None:
    module, tokenizer, _ = load_masked_lm(checkpoint(family))
    ids, attention, position = inputs(tokenizer)
    gold = torch.arange(len(position)) + 7
    nn.functional.cross_entropy(module(ids, attention, position), gold).backward()
    found = {name: p.grad for name, p in module.named_parameters() if p.requires_grad}
    assert all(grad is not None for grad in found.values()), "an unused parameter is not frozen"
    module.zero_grad()
    if family == "xlnet":
        full = torch.stack([xlnet_reference(module, ids, attention, int(p)) for p in position])
    else:
        full = module.model(input_ids=ids, attention_mask=attention).logits.flatten(0, 1)[position]
    nn.functional.cross_entropy(full, gold).backward()
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(found[name], parameter.grad, atol=1e-5, rtol=1e-4, msg=name)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_position_gives_no_logits_and_zero_gradients(family: str, checkpoint: Checkpoint) -> None:
    module, tokenizer, report = load_masked_lm(checkpoint(family))
    ids, attention, position = inputs(tokenizer)
    logits = module(ids, attention, position[:0])
    assert logits.shape == (0, report.width)
    logits.sum().backward()
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert not parameter.grad.any(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_as_long_as_the_limit(family: str, checkpoint: Checkpoint) -> None:
    module, _, report = load_masked_lm(checkpoint(family))
    ids = torch.full((1, report.limit or 2 * POSITIONS), 9)
    with torch.no_grad():
        assert module(ids, torch.ones_like(ids), torch.tensor([3])).isfinite().all()


@pytest.mark.parametrize("family", ["roberta", "mpnet", "bert"])
def test_longer_than_the_limit_fails(family: str, checkpoint: Checkpoint) -> None:
    module, _, report = load_masked_lm(checkpoint(family))
    assert report.limit is not None
    ids = torch.full((1, report.limit + 1), 9)
    with pytest.raises((IndexError, RuntimeError)):
        module(ids, torch.ones_like(ids), torch.tensor([3]))


@pytest.mark.parametrize("family", ["bert", "modernbert", "bart", "xlnet"])
def test_no_tensor_of_batch_length_vocabulary(family: str, checkpoint: Checkpoint) -> None:
    module, tokenizer, report = load_masked_lm(checkpoint(family))
    ids, attention, position = inputs(tokenizer)
    full = ids.numel() * report.width
    largest = 0

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            for tensor in tree_leaves(result):
                if isinstance(tensor, torch.Tensor) and report.width in tensor.shape:
                    largest = max(largest, tensor.numel())
            return result

    with Sizes():
        module.model(input_ids=ids)
    assert largest >= full, "the measurement does not see what it is to see"
    largest = 0
    with Sizes():
        module(ids, attention, position).logsumexp(-1).sum().backward()
    assert len(position) * report.width <= largest < full


def test_xlnet_does_not_see_what_it_predicts(checkpoint: Checkpoint) -> None:
    module, tokenizer, _ = load_masked_lm(checkpoint("xlnet"))
    ids, attention, position = inputs(tokenizer)
    other = ids.clone()
    other.view(-1)[position] = 11  # the content of the targets
    other[0, int(attention[0].argmax()) + 4] = tokenizer.mask_token_id
    with torch.no_grad():
        torch.testing.assert_close(module(ids, attention, position), module(other, attention, position))


def test_a_position_may_be_asked_twice(checkpoint: Checkpoint) -> None:
    for family in ("bert", "xlnet"):
        module, tokenizer, _ = load_masked_lm(checkpoint(family))
        ids, attention, position = inputs(tokenizer)
        twice = module(ids, attention, position[[1, 1, 0]])
        torch.testing.assert_close(twice, module(ids, attention, position)[[1, 1, 0]], atol=1e-5, rtol=1e-5)


def test_copies_do_not_share_their_hook(checkpoint: Checkpoint) -> None:
    module, tokenizer, _ = load_masked_lm(checkpoint("bert"))
    ids, attention, position = inputs(tokenizer)
    expected = module(ids, attention, position)
    twins = [copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    for twin in twins:
        torch.testing.assert_close(twin(ids, attention, position), expected)
        torch.testing.assert_close(twin(ids, attention, position[:2]), expected[:2])


def test_a_failed_forward_leaves_the_model_whole(checkpoint: Checkpoint) -> None:
    module, tokenizer, report = load_masked_lm(checkpoint("bert"))
    ids, attention, _ = inputs(tokenizer)
    with pytest.raises((IndexError, RuntimeError)):
        module(ids, attention, torch.tensor([ids.numel()]))
    assert module.model(input_ids=ids).logits.shape == (*ids.shape, report.width)


def test_saved_again_it_is_the_same_plain_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    module, tokenizer, _ = load_masked_lm(checkpoint("modernbert"))
    module.model.save_pretrained(tmp_path)
    plain = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path)
    ids, attention, position = inputs(tokenizer)
    full = plain(input_ids=ids, attention_mask=attention).logits.flatten(0, 1)[position]
    torch.testing.assert_close(module(ids, attention, position), full, atol=1e-5, rtol=1e-5)


def test_dtype_and_eval_mode(checkpoint: Checkpoint) -> None:
    module, _, _ = load_masked_lm(checkpoint("bert"), dtype=torch.bfloat16)
    assert {p.dtype for p in module.parameters()} == {torch.bfloat16}
    assert not any(child.training for child in module.modules())


def test_loading_says_nothing_and_leaves_the_log_level(
    checkpoint: Checkpoint, capfd: pytest.CaptureFixture[str]
) -> None:
    level = transformers.utils.logging.get_verbosity()
    load_masked_lm(checkpoint("bert"))
    assert capfd.readouterr() == ("", "")
    assert transformers.utils.logging.get_verbosity() == level != logging.CRITICAL


def test_weights_without_a_tied_decoder_are_complete(checkpoint: Checkpoint) -> None:
    assert not [key for key in load_file(checkpoint("bert") / "model.safetensors") if "decoder.weight" in key]
    load_masked_lm(checkpoint("bert"))


def test_auto_device() -> None:
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_refuses_a_model_without_backbone_and_head() -> None:
    config = make_config("bert", make_tokenizer())
    backbone = make_model(config).bert
    with pytest.raises(UserError, match="cannot predict at chosen positions"):
        MaskedLM(backbone)
