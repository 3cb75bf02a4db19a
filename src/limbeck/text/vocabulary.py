"""Train a tokenizer on the user's own text: WordPiece, byte-level BPE, SentencePiece-style BPE and Unigram.

Training is deterministic, so that a tokenizer is the same on every machine and a run resumes with it. The
`tokenizers` trainers are not, where they walk hash maps: WordPiece numbers its one-letter `##` pieces in hash
order, so the alphabet is counted here and handed over; Unigram adds floating-point numbers in hash order, so
it is trained here, by counting.
"""

from __future__ import annotations

import json
import logging
import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Any

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from limbeck.errors import UserError
from limbeck.text.surfaces import METASPACE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

log = logging.getLogger(__name__)

# Counts changes of what is trained; part of the name under which a trained tokenizer is kept.
TRAINING_VERSION = 1

# BERT's own names for the WordPiece family, RoBERTa's for the others: what other tools expect to find.
_BERT = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
_ROBERTA = {"pad": "<pad>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
_KINDS = ("wordpiece", "bpe", "unigram", "sentencepiece-bpe")
_MIN_SIZE, _MAX_SIZE = 300, 1_000_000
# Rarer characters become unknown pieces instead of filling a small vocabulary.
_MOST_CHARACTERS = 1000
_LONGEST_PIECE = 16
# Unigram: pieces to start from, as a multiple of the size; share kept per round; rounds of counting at the
# final size.
_SEEDS, _KEPT_SHARE, _ROUNDS_AT_SIZE = 4, 0.75, 2


def parse_spec(spec: str) -> tuple[str, int, bool]:
    """`kind:size[:cased|:uncased]` as (kind, size, lower-case the text?). Raises UserError."""
    kind, _, rest = spec.partition(":")
    size, _, case = rest.partition(":")
    wrong = (
        kind not in _KINDS or not size.isascii() or not size.isdigit() or case not in ("", "cased", "uncased")
    )
    if wrong or not _MIN_SIZE <= int(size) <= _MAX_SIZE:
        raise UserError(
            f"tokenizer to train: {spec!r} is not one of {', '.join(f'{k}:SIZE' for k in _KINDS)} with a "
            f"SIZE of {_MIN_SIZE} to {_MAX_SIZE}, optionally :cased or :uncased; say wordpiece:8000"
        )
    return kind, int(size), case == "uncased" or (kind == "wordpiece" and case == "")


def train_tokenizer(spec: str, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a tokenizer with mask, padding and sentence tokens; the same on the same texts every time.

    Args:
        spec: `wordpiece:8000` (uncased), `wordpiece:8000:cased`, `bpe:8000` (byte-level, cased),
            `bpe:8000:uncased`, `unigram:8000`, `sentencepiece-bpe:8000`.
        texts: read once; kept in a temporary file, not in memory.
    Raises: UserError for a wrong spec, or text too small to train on.
    """
    kind, size, lower = parse_spec(spec)
    names = _BERT if kind == "wordpiece" else _ROBERTA
    tokenizer = _untrained(kind, lower, names)
    with tempfile.TemporaryFile("w+", encoding="utf-8", newline="\n") as spool:
        alphabet = _alphabet(tokenizer, texts, spool, min(_MOST_CHARACTERS, size // 4))
        if not alphabet:
            raise UserError("the text to train a tokenizer on has no visible character; give it more text")
        train = _train_unigram if kind == "unigram" else _train_by_merges
        tokenizer = train(tokenizer, kind, size, names, alphabet, spool)
    if tokenizer.get_vocab_size() < 0.9 * size:
        log.warning("%s: the text yields only %d pieces", spec, tokenizer.get_vocab_size())
    return _wrapped(tokenizer, names)


def _untrained(kind: str, lower: bool, names: dict[str, str]) -> Tokenizer:
    """A tokenizer of this kind without a vocabulary."""
    if kind == "wordpiece":
        tokenizer = Tokenizer(models.WordPiece(unk_token=names["unk"]))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        return tokenizer
    if kind == "bpe":
        tokenizer = Tokenizer(models.BPE())
        steps: list[Any] = [normalizers.NFC()]
        bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([_by_words(" "), bytes_only])
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer = Tokenizer(models.Unigram() if kind == "unigram" else models.BPE(unk_token=names["unk"]))
        steps = [normalizers.Nmt(), normalizers.NFKC()]
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), _by_words(METASPACE)])
        tokenizer.decoder = decoders.Metaspace()
    tokenizer.normalizer = normalizers.Sequence([*steps, *([normalizers.Lowercase()] if lower else [])])
    return tokenizer


def _by_words(space: str) -> Any:
    """Cuts the text as the word rule does, a space going with the word behind it.

    So no piece reaches over two words ("'s", '."'), where none of another tokenizer's could answer for it.
    """
    letters = r"[\p{L}\p{M}\p{N}]"
    others = rf"[^\s{space}\p{{L}}\p{{M}}\p{{N}}]"
    pattern = rf"{space}?(?:\p{{Han}}\p{{M}}*|(?:(?!\p{{Han}}){letters})+|{others}\p{{M}}*)"
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def _alphabet(tokenizer: Tokenizer, texts: Iterable[str], spool: IO[str], most: int) -> list[str]:
    """Copy `texts` to `spool`, one a line; return the most frequent characters once normalised, sorted."""
    counts: Counter[str] = Counter()
    for text in texts:
        line = " ".join(text.splitlines())
        spool.write(line + "\n")
        counts.update(tokenizer.normalizer.normalize_str(line))
    visible = [(-n, c) for c, n in counts.items() if not c.isspace()]
    return sorted(c for _, c in sorted(visible)[:most])


def _lines(spool: IO[str]) -> Iterator[str]:
    spool.seek(0)
    return (line.rstrip("\n") for line in spool)


def _trainer(kind: str, tokenizer: Tokenizer, size: int, names: dict[str, str], alphabet: list[str]) -> Any:
    """The trainer of this kind. Every choice that would follow a hash map's order is made here instead."""
    special = list(names.values())
    common: dict[str, Any] = {"vocab_size": size, "show_progress": False}
    if kind == "wordpiece":
        # Pieces named as special tokens are numbered first, in this order; `_settled` makes them ordinary
        # again.
        inside = [f"##{c}" for c in alphabet if _continues(tokenizer, c)]
        return trainers.WordPieceTrainer(
            special_tokens=special + inside, initial_alphabet=alphabet, limit_alphabet=len(alphabet), **common
        )
    if kind == "bpe":
        letters = sorted(pre_tokenizers.ByteLevel.alphabet())
        return trainers.BpeTrainer(special_tokens=special, initial_alphabet=letters, **common)
    letters = sorted({*alphabet, METASPACE})
    common |= {
        "initial_alphabet": letters,
        "limit_alphabet": len(letters),
        "max_token_length": _LONGEST_PIECE,
    }
    return trainers.BpeTrainer(special_tokens=special, **common)


def _continues(tokenizer: Tokenizer, character: str) -> bool:
    """Can the character stand inside a word? Not if the pre-tokenizer cuts around it (punctuation)."""
    return len(tokenizer.pre_tokenizer.pre_tokenize_str(f"a{character}a")) == 1


def _train_by_merges(
    tokenizer: Tokenizer, kind: str, size: int, names: dict[str, str], alphabet: list[str], spool: IO[str]
) -> Tokenizer:
    """Train a vocabulary that grows by merges (WordPiece and both kinds of BPE)."""
    tokenizer.train_from_iterator(_lines(spool), _trainer(kind, tokenizer, size, names, alphabet))
    tree = json.loads(tokenizer.to_str())
    tree["added_tokens"] = [t for t in tree["added_tokens"] if t["content"] in names.values()]
    return Tokenizer.from_str(json.dumps(tree))


def _train_unigram(
    tokenizer: Tokenizer, kind: str, size: int, names: dict[str, str], alphabet: list[str], spool: IO[str]
) -> Tokenizer:
    """Train a Unigram vocabulary: start from BPE's pieces and drop the least used until `size` are left.

    Each round cuts every word by its best (Viterbi) segmentation and counts the pieces, all in whole numbers.
    Single characters stay, or a rare word would be unknown.
    """
    special = list(names.values())
    words: Counter[str] = Counter()
    for line in _lines(spool):
        normalised = tokenizer.normalizer.normalize_str(line)
        words.update(word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normalised))
    merges = _untrained("sentencepiece-bpe", False, names)
    merges.normalizer = tokenizer.normalizer
    merges.train_from_iterator(
        _lines(spool), _trainer("sentencepiece-bpe", merges, _SEEDS * size, names, alphabet)
    )
    seeds = [piece for piece in merges.get_vocab() if piece not in special]
    counts = _usage(merges.model, words, seeds)
    target, settled = size - len(special), 0
    while settled < _ROUNDS_AT_SIZE:
        room = max(target, int(_KEPT_SHARE * len(counts)))
        settled += len(counts) <= target
        ranked = sorted(counts, key=lambda piece: (len(piece) > 1, -counts[piece], piece))[:room]
        total = math.log(sum(counts[piece] for piece in ranked))
        learnt = sorted((round(total - math.log(counts[piece]), 6), piece) for piece in ranked)
        # The other special tokens are added later: in here they would match a text that spells them.
        tokenizer.model = models.Unigram([(names["unk"], 0.0), *((p, -cost) for cost, p in learnt)], 0, False)
        counts = _usage(tokenizer.model, words, ranked)
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in special])
    return tokenizer


def _usage(model: Any, words: Counter[str], pieces: list[str]) -> Counter[str]:
    """How often each of `pieces` is used to write `words`, plus one."""
    used = Counter(dict.fromkeys(pieces, 1))
    for word, count in words.items():
        for token in model.tokenize(word):
            if token.value in used:  # not so for unknown characters
                used[token.value] += count
    return used


def _wrapped(tokenizer: Tokenizer, names: dict[str, str]) -> PreTrainedTokenizerFast:
    """The transformers tokenizer around it: sentence tokens at both ends, and a mask token."""
    from transformers import PreTrainedTokenizerFast

    ids = [(name, tokenizer.token_to_id(name)) for name in (names["cls"], names["sep"])]
    cls, sep = names["cls"], names["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}", pair=f"{cls} $A {sep} $B:1 {sep}:1", special_tokens=ids
    )
    mask = AddedToken(names["mask"], lstrip=names is _ROBERTA, special=True)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=names["pad"],
        unk_token=names["unk"],
        cls_token=cls,
        sep_token=sep,
        mask_token=mask,
    )
