"""Tokenizers as the rest of Limbeck sees them: ids with character offsets, and how each id looks on paper.

Every Hugging Face fast tokenizer is brought to one form here, so that alignment and projection never ask
which model a vocabulary belongs to. Offsets are those of the characters a reader sees: white space is trimmed
from both ends of a piece, and combining marks belong to the piece before them (architecture section 3.1:
boundaries are compared without white space).
"""

from __future__ import annotations

import hashlib
import json
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from limbeck.errors import UserError
from limbeck.text.characters import Characters, trim
from limbeck.text.surfaces import METASPACE, Surface, SurfaceReader
from limbeck.text.vocabulary import train_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

__all__ = ["Characters", "PieceTokenizer", "Pieces", "Surface", "train_tokenizer"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# The prepared text keeps positions in 16 signed bits; longer passages are cut there.
MAX_PIECES = 32767
# transformers writes 1e30 for "no limit".
_ABSURD_LIMIT = 10_000_000
# Passages encoded at once: an Encoding keeps about 200 bytes a piece, so this stays near 10 MB.
_ENCODE_BATCH = 512
_UNUSED = re.compile(r"\[unused\d+\]|<unused\d+>")


@dataclass(frozen=True)
class Pieces:
    """The pieces of N passages on one axis.

    ids: uint32 [P]; start, end: int64 [P], characters within the passage, white space trimmed, trailing
    combining marks included, start == end for a piece of white space alone; offsets: int64 [N+1], passage i
    is offsets[i]:offsets[i+1].
    """

    ids: npt.NDArray[np.uint32]
    start: Ints
    end: Ints
    offsets: Ints


class PieceTokenizer:
    """A Hugging Face fast tokenizer, brought to the form alignment and projection work with.

    Attributes: backend (`tokenizers.Tokenizer`, no truncation, no padding; special tokens written out in the
    text are plain text); hf; name; vocab_size (largest id + 1); mask_id (-1 if there is none and none was
    needed); pad_id; unk_id; prefix, suffix (ids the model expects around a text); special_ids; padding_side;
    limit (most pieces of a passage, special tokens taken off); fingerprint (of what decides a passage's
    pieces). Picklable.
    """

    def __init__(self, hf: Any, backend: Tokenizer, *, name: str, limit: int | None, need_mask: bool) -> None:
        self._hf: Any = hf
        self._hf_bytes: bytes | None = None
        self.name = name
        self.backend = backend
        self._configuration = backend.to_str()
        vocabulary = backend.get_vocab(with_added_tokens=True)
        if not vocabulary:
            raise UserError(f"{name}: the tokenizer has no vocabulary; train or load one first")
        self.vocab_size = max(vocabulary.values()) + 1
        if hf.mask_token_id is None and need_mask:
            raise UserError(
                f"{name}: the tokenizer has no mask token, so it cannot predict masked words; take another"
            )
        self.mask_id: int = -1 if hf.mask_token_id is None else int(hf.mask_token_id)
        # Padding is hidden by the attention mask, so any id will do for a tokenizer that names none.
        self.pad_id: int = int(hf.pad_token_id if hf.pad_token_id is not None else max(self.mask_id, 0))
        self.unk_id: int | None = hf.unk_token_id
        added = backend.get_added_tokens_decoder()
        special = {i for i, token in added.items() if token.special} | set(hf.all_special_ids)
        self.special_ids: frozenset[int] = frozenset(i for i in special if i is not None)
        self._added: dict[int, str] = {i: token.content for i, token in added.items()}
        self.padding_side: str = hf.padding_side
        self.prefix, self.suffix = _template(hf, backend, name)
        self.limit = _limit(hf, limit, len(self.prefix) + len(self.suffix), name)
        self.fingerprint = self._fingerprint()

    @classmethod
    def from_hf(
        cls,
        tokenizer: PreTrainedTokenizerFast | Any,
        *,
        limit: int | None = None,
        name: str,
        need_mask: bool = True,
    ) -> PieceTokenizer:
        """Wrap a transformers tokenizer.

        Args:
            limit: positions of the model, special tokens included (this or `model_max_length`, the smaller).
            name: how messages call it.
        Raises: UserError for a slow tokenizer, one without mask token if `need_mask`, one in Python.
        """
        if not getattr(tokenizer, "is_fast", False):
            raise UserError(
                f"{name}: a slow tokenizer has no character offsets; save it as a fast one (tokenizer.json)"
            )
        try:
            configuration = tokenizer.backend_tokenizer.to_str()
        except Exception as error:  # tokenizers raises nothing narrower
            raise UserError(
                f"{name}: the tokenizer cannot be written as tokenizer.json ({error}); take another"
            ) from error
        return cls(tokenizer, _plain_backend(configuration), name=name, limit=limit, need_mask=need_mask)

    @property
    def hf(self) -> Any:
        """The transformers tokenizer this one was made from."""
        if self._hf is None:
            assert self._hf_bytes is not None
            self._hf = pickle.loads(self._hf_bytes)
        return self._hf

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes need no transformers: its tokenizer travels as bytes and wakes only when asked for.
        remade = ("backend", "_hf", "_surfaces", "_reader")
        keep = {k: v for k, v in self.__dict__.items() if k not in remade}
        return {**keep, "_hf_bytes": self._hf_bytes or pickle.dumps(self._hf)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _hf=None, backend=_plain_backend(state["_configuration"]))

    def __repr__(self) -> str:
        return f"PieceTokenizer({self.name!r}, {self.vocab_size} pieces, limit {self.limit})"

    def encode(self, texts: Sequence[str], characters: Characters | None = None) -> Pieces:
        """The pieces of `texts`, without special tokens and without any limit.

        characters: those of the same texts, where several tokenizers share them.
        """
        characters = characters or Characters(texts)
        counts, ids, spans = [], [], []
        for low in range(0, len(texts), _ENCODE_BATCH):
            encodings = self.backend.encode_batch(
                list(texts[low : low + _ENCODE_BATCH]), add_special_tokens=False
            )
            counts.append(np.fromiter(map(len, encodings), np.int64, len(encodings)))
            total = int(counts[-1].sum())
            ids.append(np.fromiter(chain.from_iterable(e.ids for e in encodings), np.uint32, total))
            flat = chain.from_iterable(chain.from_iterable(e.offsets for e in encodings))
            spans.append(np.fromiter(flat, np.int64, 2 * total).reshape(-1, 2))
        offsets = np.concatenate([[0], np.cumsum(np.concatenate([*counts, np.zeros(0, np.int64)]))])
        id_array = np.concatenate([*ids, np.zeros(0, np.uint32)])
        span = np.concatenate([*spans, np.zeros((0, 2), np.int64)])
        row = np.repeat(np.arange(len(texts)), np.diff(offsets))
        base = characters.base[row]
        start, end = span[:, 0] + base, span[:, 1] + base
        # A mark that stands alone ("▁" before an ideograph) borrows the span of the character behind it.
        end = np.where(self.blank[id_array], start, end)
        start, end = trim(start, end, characters, characters.base[row + 1])
        return Pieces(id_array, start - base, end - base, offsets)

    def surfaces(self) -> list[Surface]:
        """What each id looks like: [vocab_size]."""
        return self._surfaces

    @cached_property
    def _reader(self) -> SurfaceReader:
        return SurfaceReader(json.loads(self._configuration))

    @cached_property
    def _surfaces(self) -> list[Surface]:
        surfaces = [Surface(None, None)] * self.vocab_size
        for token, i in self.backend.get_vocab(with_added_tokens=True).items():
            if i in self.special_ids or _UNUSED.fullmatch(token):
                continue
            # Added tokens are matched in the raw text, so they are written as they are.
            surfaces[i] = Surface(self._added[i], None) if i in self._added else self._reader.read(token)
        return surfaces

    @cached_property
    def blank(self) -> Bools:
        """Which pieces are nothing but white space or a start-of-word mark: bool [vocab_size]."""
        texts = (s.text for s in self.surfaces())
        return np.fromiter((isinstance(t, str) and not t.strip() for t in texts), bool, self.vocab_size)

    @cached_property
    def starts_word(self) -> npt.NDArray[np.int8]:
        """int8 [vocab_size]: `Surface.starts_word` as 1 (True), 0 (False), -1 (None)."""
        return np.array(
            [-1 if s.starts_word is None else int(s.starts_word) for s in self.surfaces()], np.int8
        )

    @property
    def marks_spaces(self) -> bool:
        """Does the vocabulary write words after a space differently (byte-level BPE, SentencePiece)?"""
        return bool((self.starts_word == 1).any() and not self.marks_continuations)

    @property
    def marks_continuations(self) -> bool:
        """Does the vocabulary mark the pieces that continue a word (WordPiece's `##`)?"""
        return self._reader.continuation is not None

    def normalise(self, text: str) -> str:
        """`text` as the normaliser leaves it (case, accents, NFKC), without a mark it puts in front."""
        if self.backend.normalizer is None:
            return text
        normalised: str = self.backend.normalizer.normalize_str(text)
        for mark in (METASPACE, " "):
            if normalised.startswith(mark) and not text.startswith(mark):
                return normalised[1:]
        return normalised

    def same_vocabulary(self, other: PieceTokenizer) -> bool:
        """Same ids for the same pieces, by the same kind of model after the same normaliser?"""
        ours, theirs = json.loads(self._configuration), json.loads(other._configuration)
        return (
            ours["model"]["type"] == theirs["model"]["type"]
            and ours.get("normalizer") == theirs.get("normalizer")
            and self.backend.get_vocab(with_added_tokens=True)
            == other.backend.get_vocab(with_added_tokens=True)
        )

    def _fingerprint(self) -> str:
        numbers = [self.prefix, self.suffix, self.mask_id, self.pad_id, self.unk_id, sorted(self.special_ids)]
        decides = json.dumps([self._configuration, numbers, self.padding_side, self.limit])
        return hashlib.sha256(decides.encode()).hexdigest()


def _plain_backend(configuration: str) -> Tokenizer:
    """A tokenizer that neither cuts nor pads, and reads "[MASK]" in the text as six characters."""
    backend = Tokenizer.from_str(configuration)
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = True
    return backend


def _template(hf: Any, backend: Tokenizer, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The special ids before and after a passage, found by encoding a short text with and without them."""
    for probe in ("a", "the", "0", "."):
        plain = backend.encode(probe, add_special_tokens=False).ids
        full = list(hf(probe, add_special_tokens=True, padding=False, truncation=False)["input_ids"])
        for at in range(len(full) - len(plain) + 1):
            if plain and full[at : at + len(plain)] == plain:
                return tuple(full[:at]), tuple(full[at + len(plain) :])
    raise UserError(
        f"{name}: cannot tell which special tokens the tokenizer puts around a text; take another model"
    )


def _limit(hf: Any, limit: int | None, special: int, name: str) -> int:
    """Most pieces of a passage: the model's or the tokenizer's limit, special tokens taken off."""
    known = [int(n) for n in (limit, hf.model_max_length) if n is not None and n < _ABSURD_LIMIT]
    pieces = min(known, default=MAX_PIECES + special) - special
    if pieces < 1:
        raise UserError(
            f"{name}: a limit of {min(known)} positions leaves no room beside {special} special tokens"
        )
    return min(pieces, MAX_PIECES)
