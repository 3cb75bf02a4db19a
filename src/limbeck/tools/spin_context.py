"""Synonyms ranked by a masked language model at their place, of the sense that a gloss model gives.

A synonym's score is its log-probability in the place of the word: of one piece after the other, with the
pieces behind it in the word masked as well (PLL-word-l2r of Kauf and Ivanova, "A Better Way to Do Masked
Language Model Scoring", 2023), so that words of several pieces compare with words of one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from limbeck.errors import UserError
from limbeck.gloss.checkpoint import has_head
from limbeck.gloss.model import GlossModel
from limbeck.lexicon.lexicon import Lexicon
from limbeck.tasks.mlm_model import Compared, Ints, Shown, logits_of
from limbeck.teachers import loading
from limbeck.teachers.masked_lm import load_masked_lm, resolve_device
from limbeck.text.pieces import PieceTokenizer
from limbeck.tools.disambiguate import Disambiguator, check_lexicon
from limbeck.tools.inflect import starts_with_vowel_sound
from limbeck.tools.spin_places import Place
from limbeck.tools.spin_synonyms import Synonym, Synonyms
from limbeck.tools.spin_words import Shape

AROUND = 48
"""Pieces on either side that a word is judged by."""

_CHARACTERS = 400  # on either side that are cut into pieces: more than AROUND of them
_ARTICLE = re.compile(r"(?<!\w)([Aa])n?(\s+)$")
_NOWHERE = np.zeros(0, np.int64)


class Ranker:
    """Chooses among synonyms.

    Args:
        compared: the masked language model. senses: says in which sense words are used; None: the likeliest
            by the lexicon compete.
        batch: rows of one forward.
    """

    def __init__(self, compared: Compared, senses: Disambiguator | None = None, *, batch: int = 64) -> None:
        self._compared, self._senses, self._batch = compared, senses, batch
        self._device = next(compared.module.parameters()).device

    @classmethod
    def from_pretrained(
        cls, path_or_id: str | Path, lexicon: Lexicon, *, other_lexicon: bool = False, device: str = "auto"
    ) -> Ranker:
        """A masked language model of a folder or a hub id; its gloss head gives the senses, if it has one.

        Args:
            other_lexicon: `lexicon` need not be the one that the gloss head was trained on.

        Raises:
            UserError: no model there, or one without a masked-LM head; not the gloss head's lexicon.
        """
        where, target, name = f"model: {str(path_or_id)!r}", resolve_device(device), str(path_or_id)
        if not has_head(loading.find_source(path_or_id, where)):
            module, hf, report = load_masked_lm(path_or_id, device=target)
            return cls(
                Compared(name, module, PieceTokenizer.from_hf(hf, limit=report.limit, name=name), name)
            )
        model = GlossModel.load(path_or_id, device=target)
        if model.masked is None:
            raise UserError(f"{where} has no masked-LM head, so it cannot rank words; give one that has")
        if not other_lexicon:
            check_lexicon(model, lexicon)
        compared = Compared(name, model.masked, model.encoder.tokenizer, name)
        return cls(compared, Disambiguator(model, lexicon))

    def of_sense(
        self,
        text: str,
        offsets: Sequence[int],
        shapes: Sequence[Shape],
        places: Sequence[Place],
        synonyms: Synonyms,
    ) -> list[Place]:
        """The places with synonyms of the sense each word has here; without a gloss head as they are."""
        if self._senses is None or not places:
            return list(places)
        senses = {(word.start, word.end): word.sense for word in self._senses(text)}
        found = []
        for place in places:
            sense = senses.get(_span(place, offsets, shapes))
            if sense is not None:
                choice = synonyms.choose(place.form, place.left, place.right, sense)
                if choice is not None:
                    found.append(place._replace(choice=choice))
        return found

    def best(
        self, text: str, offsets: Sequence[int], shapes: Sequence[Shape], places: Sequence[Place]
    ) -> list[Synonym]:
        """For each place the synonym that fits best, in the paragraph as it was."""
        texts: list[str] = []
        spans: list[tuple[int, int]] = []
        for place in places:
            start, end = _span(place, offsets, shapes)
            before, behind = text[max(0, start - _CHARACTERS) : start], text[end : end + _CHARACTERS]
            for one in place.choice.synonyms:
                word = one.text[:1].upper() + one.text[1:] if shapes[place.first].capital else one.text
                article = r"\1n\2" if starts_with_vowel_sound(word) else r"\1\2"
                left = _ARTICLE.sub(article, before)
                texts.append(left + word + behind)
                spans.append((len(left), len(left) + len(word)))
        scores = iter(self._scores(texts, spans))
        chosen = []
        for place in places:
            ranked = [(next(scores), -rank) for rank in range(len(place.choice.synonyms))]
            chosen.append(place.choice.synonyms[-max(ranked)[1]])
        return chosen

    @torch.inference_mode()
    def _scores(self, texts: Sequence[str], spans: Sequence[tuple[int, int]]) -> list[float]:
        """Log-probability of the word at each span of its text; −inf where the model does not have it."""
        if not texts:
            return []
        tokenizer = self._compared.tokenizer
        pieces = tokenizer.encode(texts)
        rows: dict[tuple[bytes, int], int] = {}
        shown: list[Shown] = []
        asked: list[tuple[int, int, int]] = []  # text, row, gold piece
        scores = np.zeros(len(texts))
        for number, (start, end) in enumerate(spans):
            part = slice(int(pieces.offsets[number]), int(pieces.offsets[number + 1]))
            ids = pieces.ids[part].astype(np.int64)
            over = np.flatnonzero((pieces.end[part] > start) & (pieces.start[part] < end))
            window = None if not len(over) else _window(len(ids), over[0], over[-1] + 1, tokenizer.limit)
            if window is None or (tokenizer.unk_id is not None and tokenizer.unk_id in ids[over]):
                scores[number] = -np.inf
                continue
            first, last = over[0] - window.start, over[-1] + 1 - window.start
            for slot in range(first, last):
                seen = ids[window].copy()
                seen[slot:last] = tokenizer.mask_id
                key = (seen.tobytes(), slot)
                if key not in rows:
                    rows[key] = len(shown)
                    shown.append(_one_slot(seen, slot))
                asked.append((number, rows[key], int(ids[window.start + slot])))
        gold: dict[int, list[tuple[int, int]]] = {row: [] for row in range(len(shown))}
        for number, row, piece in asked:
            gold[row].append((number, piece))
        order = sorted(gold, key=lambda row: len(shown[row].ids))
        for low in range(0, len(order), self._batch):
            batch = order[low : low + self._batch]
            logits, _ = logits_of(
                self._compared, self._compared.module, [shown[row] for row in batch], self._device
            )
            logs = torch.log_softmax(logits, -1)
            for place, row in enumerate(batch):
                for number, piece in gold[row]:
                    scores[number] += float(logs[place, piece])
        if np.isnan(scores).any():
            raise UserError(f"model {self._compared.model} gives NaN predictions; its weights are damaged")
        return [float(score) for score in scores]


def _span(place: Place, offsets: Sequence[int], shapes: Sequence[Shape]) -> tuple[int, int]:
    return offsets[place.first] + shapes[place.first].start, offsets[place.last] + shapes[place.last].end


def _window(count: int, first: int, last: int, limit: int | None) -> slice | None:
    """The pieces that a word's pieces `[first, last)` are judged by; None where these are too many."""
    around = AROUND if limit is None else min(AROUND, (limit - (last - first)) // 2)
    return None if around < 0 else slice(max(0, first - around), min(count, last + around))


def _one_slot(ids: Ints, slot: int) -> Shown:
    return Shown(ids, np.array([slot]), np.array([0]), _NOWHERE, _NOWHERE, _NOWHERE)
