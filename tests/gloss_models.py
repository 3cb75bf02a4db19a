"""What tests of the gloss model share: tokenizers of each family's own class, senses, instances."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import transformers

from limbeck.gloss.instance import Instance
from limbeck.lexicon.lexicon import Sense
from limbeck.text.pieces import PieceTokenizer
from tests.models import POSITIONS, TEXTS, make_tokenizer

GLOSS_FAMILIES = (
    "bert", "roberta", "albert", "distilbert", "electra", "deberta-v3", "modernbert", "bart", "xlnet",
)  # fmt: skip
PACKED = ("bert", "roberta", "albert", "distilbert", "electra", "modernbert")
_WORDPIECE = {"bert": "BertTokenizer", "distilbert": "DistilBertTokenizer", "electra": "ElectraTokenizer"}
_BYTES = {"roberta": "RobertaTokenizer", "bart": "BartTokenizer"}
_UNIGRAM = {
    "albert": ("AlbertTokenizer", "<pad> <unk> [CLS] [SEP] [MASK]"),
    "deberta-v3": ("DebertaV2Tokenizer", "[PAD] [CLS] [SEP] [UNK] [MASK]"),
    "xlnet": ("XLNetTokenizer", "<unk> <s> </s> <cls> <sep> <pad> <mask> <eod> <eop>"),
}
_QUOTED = 'He said "limbeck" : an old word, and "dog" : an animal that barks.'


@cache
def family_tokenizer(family: str) -> transformers.PreTrainedTokenizerFast:
    """A tokenizer of the class that the family's checkpoints have, with its own template for pairs."""
    texts = (*TEXTS, _QUOTED)
    if family == "modernbert":  # a plain fast tokenizer with a template in tokenizer.json
        tokenizer = make_tokenizer("wordpiece", texts)
        made = transformers.BertTokenizer(vocab=tokenizer.get_vocab())
        tokenizer.backend_tokenizer.post_processor = made.backend_tokenizer.post_processor
        return tokenizer
    if family in _WORDPIECE:
        vocabulary = make_tokenizer("wordpiece", texts).get_vocab()
        return getattr(transformers, _WORDPIECE[family])(vocab=vocabulary)
    if family in _BYTES:
        model = _model("bpe", texts)
        merges = [tuple(pair) for pair in model["merges"]]
        return getattr(transformers, _BYTES[family])(vocab=model["vocab"], merges=merges)
    name, named = _UNIGRAM[family]
    special = named.split()
    ordinary = [(p, s) for p, s in _model("unigram", texts)["vocab"] if not p.startswith(("<", "["))]
    vocabulary = [(piece, 0.0) for piece in special] + ordinary
    unknown = (
        {} if family == "albert" else {"unk_id": [p.strip("[]<>").lower() for p in special].index("unk")}
    )
    return getattr(transformers, name)(vocab=vocabulary, **unknown)


def _model(kind: str, texts: tuple[str, ...]) -> dict[str, Any]:
    tokenizer = make_tokenizer(kind, texts, family="roberta")
    model: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    return model


def pieces(family: str, limit: int = POSITIONS) -> PieceTokenizer:
    return PieceTokenizer.from_hf(family_tokenizer(family), name=family, limit=limit)


def sense(gloss: str, key: str = "") -> Sense:
    return Sense(
        key=key or gloss, synset="n00000001", lemma="word", pos="n", number=1, gloss=gloss, examples=(),
        lemmas=("word",), frequency=0,
    )  # fmt: skip


GLOSSES = (
    "a vessel that distils",
    "an old word, the word for the old sea",
    "one large teacher",
    "the train",
    "jokes that nobody knows; gold between two iron books",
)
SENSES = tuple(sense(gloss) for gloss in GLOSSES)


def instance(context: str, target: str, *, id: str = "i", gold: tuple[str, ...] = ()) -> Instance:
    start = context.index(target)
    return Instance(id, context, start, start + len(target), target, "n", gold)


ITEMS = (
    (instance("The quick brown fox jumps over the dog.", "fox", id="a", gold=GLOSSES[:1]), SENSES[:3]),
    (instance("Words are short", "short", id="b", gold=GLOSSES[1:3]), SENSES),
    (instance("In 1492 the old town knows gold and iron, said the man.", "old town", id="c"), SENSES[1:3]),
)
