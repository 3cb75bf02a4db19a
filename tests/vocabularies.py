"""Tokenizers of every kind, trained on the spot, and text that is hard to cut."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import transformers
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from limbeck.text.pieces import PieceTokenizer, train_tokenizer
from limbeck.text.words import passage_hash, word_spans
from tests.models import TEXTS, make_tokenizer

HARD = (
    '(hello) well-known, "quoted" it\'s 5°C, $3.50 (100%) and so on…',
    "  leading and  doubled   spaces\tand a tab ",
    "Café, cafe\u0301, naïve, Zürich, ﬁne, e\u0301toile, Straße, ÉCOLE, İstanbul.",
    "日本語と中文 mixed 世界 words.",
    "Emoji 👍🏽 and ❤\ufe0f and 👩\u200d💻 in the text.",
    "In 1492, 3rd of 12,345.67 COVID-19 H2O x2.",
    "[MASK] <mask> </s> [UNK] are only text here.",
    "soft\u00adhyphen zero\u200bwidth \u0301lone mark",
)
KINDS = (
    "wordpiece",
    "wordpiece:cased",
    "bpe",
    "bpe:uncased",
    "unigram",
    "sentencepiece-bpe",
    "gpt2",
    "llama",
)


@cache
def hf(kind: str, size: int = 600) -> transformers.PreTrainedTokenizerFast:
    """`gpt2` and `llama` are trained with those models' own ways of cutting, the others by Limbeck."""
    texts = [*TEXTS, *HARD[:6], "The (the) The dog (dog) dog-the-dog (English) A (a)"] * 3
    if kind == "gpt2":
        return make_tokenizer("bpe", texts, vocabulary=size, family="roberta")
    if kind == "llama":
        return _llama(texts, size)
    name, _, case = kind.partition(":")
    return train_tokenizer(f"{name}:{size}" + (f":{case}" if case else ""), texts)


@cache
def vocabulary(kind: str, size: int = 600, limit: int | None = None) -> PieceTokenizer:
    return PieceTokenizer.from_hf(hf(kind, size), name=f"{kind} {size}", limit=limit)


def _llama(texts: list[str], size: int) -> transformers.PreTrainedTokenizerFast:
    """SentencePiece BPE as the old Llama wrote it: the normaliser puts the marks in, bytes as fallback."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    pieces = ["<unk>", "<mask>", "<s>", "</s>", "<pad>", *(f"<0x{b:02X}>" for b in range(256))]
    backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    latin = [text for text in texts if text.isascii()]
    backend.train_from_iterator(
        latin, trainers.BpeTrainer(vocab_size=size, special_tokens=pieces, show_progress=False)
    )
    backend.pre_tokenizer = None
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=_ordinary_bytes(backend),
        unk_token="<unk>", mask_token="<mask>", pad_token="<pad>", bos_token="<s>", eos_token="</s>",
    )  # fmt: skip


def _ordinary_bytes(backend: Tokenizer) -> Tokenizer:
    """The byte pieces were named as special only to get their ids; in Llama they are ordinary."""
    tree = json.loads(backend.to_str())
    tree["added_tokens"] = [t for t in tree["added_tokens"] if not t["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(tree))


_FRAGMENTS = (
    *"aeinorst ,.-'\"()5°€世界ßİﬁé☃", "the", "The", "hello", "(hello", "well-known", "e\u0301",
    "\u0301", "\u0323", "❤\ufe0f", "👍🏽", "👩\u200d💻", "  ", "\u00a0", "\t", "\u200b", "1492",
    "<mask>", "[MASK]", "▁", "Ġ", " limbeck", " tea", "cher", "ing", "一", "カ\u3099", "\u0e01\u0e33",
)  # fmt: skip
hard_text = st.one_of(
    st.lists(st.sampled_from(_FRAGMENTS), max_size=24).map("".join),
    st.lists(st.sampled_from([*TEXTS, *HARD]), min_size=1, max_size=2).map("  ".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
)


class Memory:
    """A corpus in memory."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts
        self.hashes = np.array([passage_hash(text) for text in texts], np.uint64)
        self.n_words = np.array([len(word_spans(text)) for text in texts], np.int64)
        self.fingerprint = f"memory-{passage_hash(chr(0).join(texts))}"

    def __len__(self) -> int:
        return len(self._texts)

    def texts(self, indices: Any) -> list[str]:
        return [self._texts[i] for i in indices]
