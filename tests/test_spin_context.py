"""Synonyms ranked by a masked language model, and of the sense that a gloss model gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from limbeck.errors import UserError
from limbeck.lexicon.lexicon import Lexicon, open_lexicon
from limbeck.tools.spin import Spinner
from limbeck.tools.spin_context import Ranker
from tests.list_lexicon import ListLexicon
from tests.mini_wordnet import write_wordnet
from tests.test_disambiguate import make_model

TEXT = "The quick brown fox sails over the lazy dog, and the dog does not mind its owner."
LISTED = ListLexicon(
    [
        ("n", "dog, hound, mongrel creature", "an animal", ()),
        ("n", "dog, dull fellow, bore", "a person", ()),
        ("n", "owner, possessor", "who owns", ()),
        ("a", "lazy, idle, slothful", "not quick", ()),
    ]
)


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Lexicon:
    return open_lexicon(str(write_wordnet(tmp_path_factory.mktemp("mini") / "wordnet", polysemous=True)))


@pytest.mark.parametrize("family", ["bert", "roberta", "xlnet"])
def test_a_score_is_the_sum_over_the_pieces_of_the_word(checkpoint: Callable[..., Path], family: str) -> None:
    """Against the definition: piece by piece, what is behind it in the word masked, one row at a time."""
    kind = "unigram" if family == "xlnet" else "bpe" if family == "roberta" else "wordpiece"
    ranker = Ranker.from_pretrained(checkpoint(family, tokenizer=kind), LISTED, device="cpu")
    tokenizer, module = ranker._compared.tokenizer, ranker._compared.module
    texts = [f"the lazy {word} sails" for word in ("dog", "alembic", "slothful owner")]
    spans = [(9, len(text) - 6) for text in texts]
    expected = []
    for text, (start, end) in zip(texts, spans, strict=True):
        pieces = tokenizer.encode([text])
        over = np.flatnonzero((pieces.end > start) & (pieces.start < end))
        total = 0.0
        for slot in over:
            ids = pieces.ids.astype(np.int64)
            gold = int(ids[slot])
            ids[slot : over[-1] + 1] = tokenizer.mask_id
            full = torch.tensor([[*tokenizer.prefix, *ids, *tokenizer.suffix]])
            position = torch.tensor([len(tokenizer.prefix) + int(slot)])
            with torch.inference_mode():
                logits = module(full, torch.ones_like(full), position)
            total += float(torch.log_softmax(logits, -1)[0, gold])
        expected.append(total)
    assert any(len(tokenizer.encode([text]).ids) > 5 for text in texts), "some word has several pieces"
    assert ranker._scores(texts, spans) == pytest.approx(expected, abs=1e-4)


def test_the_model_chooses(checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    ranker = Ranker.from_pretrained(checkpoint("bert"), LISTED, device="cpu")
    spinner = Spinner(LISTED, rate=1.0, ranker=ranker)
    spun = spinner(TEXT)
    assert spun.changed == 4
    assert Spinner(LISTED, rate=1.0, ranker=ranker)(TEXT) == spun
    monkeypatch.setattr(
        ranker,
        "_scores",
        lambda texts, spans: [float("bore" in t[s:e]) for t, (s, e) in zip(texts, spans, strict=True)],
    )
    assert "lazy bore" in spinner(TEXT).text.replace("idle", "lazy").replace("slothful", "lazy")


def test_batches_do_not_matter(checkpoint: Callable[..., Path]) -> None:
    one, many = (
        Ranker(Ranker.from_pretrained(checkpoint("bert"), LISTED)._compared, batch=n) for n in (1, 64)
    )
    texts = ["a dog", "the owner of the dog", "a slothful alembic of the quick brown fox"] * 3
    spans = [(len(text) - 3, len(text)) for text in texts]
    assert one._scores(texts, spans) == pytest.approx(many._scores(texts, spans), abs=1e-4)


def test_a_long_paragraph_and_a_word_longer_than_the_model(checkpoint: Callable[..., Path]) -> None:
    ranker = Ranker.from_pretrained(checkpoint("bert"), LISTED, device="cpu")
    long = "The dog does not mind. " * 60
    assert Spinner(LISTED, rate=0.1, ranker=ranker)(long).changed == 30
    assert ranker._scores(["x" * 300], [(0, 300)]) == [-np.inf]


def test_the_gloss_head_chooses_the_sense(
    checkpoint: Callable[..., Path], mini: Lexicon, tmp_path: Path
) -> None:
    model = make_model(checkpoint, mini)
    model.save(tmp_path / "model")
    ranker = Ranker.from_pretrained(tmp_path / "model", mini, device="cpu")
    assert ranker._senses is not None
    text = "The lawyers ran into the bank. The dogs ran."
    senses = {word.text: word.sense for word in ranker._senses(text)}
    spun = Spinner(mini, rate=1.0, ranker=ranker)(text)
    assert spun.changes
    for change in spun.changes:
        assert change.synset == senses[change.text].synset
        assert change.pos == senses[change.text].pos


def test_a_gloss_model_wants_its_lexicon_and_a_head(
    checkpoint: Callable[..., Path], mini: Lexicon, tmp_path: Path
) -> None:
    make_model(checkpoint, mini).save(tmp_path / "model")
    with pytest.raises(UserError, match="was trained on the lexicon wordnet 3"):
        Ranker.from_pretrained(tmp_path / "model", LISTED, device="cpu")
    Ranker.from_pretrained(tmp_path / "model", LISTED, other_lexicon=True, device="cpu")
    with pytest.raises(UserError, match="'nowhere'"):
        Ranker.from_pretrained("nowhere", LISTED, device="cpu")
