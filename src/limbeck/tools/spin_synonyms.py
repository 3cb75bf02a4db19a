"""What a word may be replaced by: its likeliest reading, and synonyms of its likeliest senses, inflected.

No tagger is used. A reading (a lemma, a part of speech and a form) is chosen by how often the lexicon's
tagged text has it and by the words to the left and to the right; a word whose readings stay close is left
alone. A synonym's score is the share of the word's uses that their synset makes up, times the share of its
own uses, less where it is rare or several words for one. What cannot be told from the lexicon is left alone
rather than guessed.
"""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache
from typing import NamedTuple

from limbeck.lexicon.lexicon import Lexicon, Sense, fold
from limbeck.tools.find_words import expression
from limbeck.tools.inflect import BASE, ING, PAST, PLURAL, THIRD, Inflector
from limbeck.tools.spin_apt import LOOSE, is_apt, looks_plural
from limbeck.tools.spin_words import (
    AND,
    ARTICLE,
    AUXILIARY,
    CONJUNCTION,
    CONTENT,
    DEGREE,
    DETERMINER,
    ENDS,
    HAVE,
    IS,
    KEPT,
    KEPT_EXPRESSIONS,
    LINK,
    MODAL,
    NONE,
    OF,
    PREPOSITION,
    PRONOUN,
    TO,
)

LEAST_SURE = 0.6
"""Share of a word's readings that the chosen one must make up."""

LEAST_SCORE = 0.002
"""A synonym's score must be at least this."""

LEAST_SHARE = 0.05
"""A sense must make up this share of a word's uses for its synonyms to compete."""

MOST = 4
"""Synonyms of a word that compete without a model."""

MOST_RANKED = 10
"""Synonyms that a model is asked about."""

# How often words of each form are met, of all forms of their part of speech.
_PRIOR = {"singular": 0.7, PLURAL: 0.3, BASE: 0.35, THIRD: 0.12, ING: 0.15, PAST: 0.4, "participle": 0.4}
# How the neighbours speak for nouns, adjectives, adverbs, and for verbs in the base form, the third person,
# the -ing form, past or participle; 1 where they say nothing.
_KINDS = {BASE: 3, THIRD: 4, ING: 5, PAST: 6, "participle": 6}
_BY_LEFT = {
    NONE: (1, 1, 1, 0.3, 0.7, 1, 1),
    CONJUNCTION: (1, 1, 1, 0.5, 0.2, 1, 1),
    DETERMINER: (1, 1, 0.2, 0.01, 0.01, 0.2, 0.3),
    MODAL: (0.02, 0.05, 1, 1, 0.01, 0.02, 0.02),
    TO: (0.15, 0.15, 0.5, 1, 0.01, 0.1, 0.05),
    HAVE: (0.3, 0.3, 1, 0.02, 0.02, 0.05, 1),
    IS: (0.2, 1, 1, 0.01, 0.01, 1, 1),
    PRONOUN: (0.02, 0.05, 1, 1, 1, 0.1, 1),
    PREPOSITION: (1, 1, 0.2, 0.01, 0.01, 1, 0.2),
    DEGREE: (0.1, 1, 1, 0.2, 0.1, 0.2, 0.5),
}
_BY_RIGHT = {
    CONTENT: (1, 1.5, 1, 1, 1, 1, 1),
    ENDS: (1, 0.6, 1, 0.7, 0.2, 0.7, 0.7),
    OF: (2, 0.2, 0.3, 0.2, 0.2, 0.5, 0.3),
    ARTICLE: (0.2, 0.02, 0.7, 2, 2, 2, 2),
    AUXILIARY: (2, 0.2, 0.6, 0.1, 0.1, 0.4, 0.3),
    LINK: (1, 0.5, 0.8, 1, 1, 1, 1),
    AND: (1, 1, 1, 0.6, 0.2, 0.8, 0.8),
}
# Said of somebody, never before a noun: "the afraid man".
_PREDICATIVE = frozenset(
    """
    ablaze afloat afraid aghast ajar akin alert alike alive alone ashamed asleep awake aware glad ill sorry
    """.split()  # noqa: SIM905
)


class Synonym(NamedTuple):
    """A replacement. text: in the word's own form. synset, key: of the word's sense. score: above 0."""

    text: str
    synset: str
    key: str
    score: float


class Choice(NamedTuple):
    """A word that could be changed. lemma, pos: of its reading. synonyms: at least one, best first."""

    lemma: str
    pos: str
    synonyms: tuple[Synonym, ...]


class Synonyms:
    """Finds what words and expressions may be replaced by.

    Args:
        ranked: a model will choose: senses and synonyms that are less likely compete as well.
    """

    def __init__(self, lexicon: Lexicon, *, ranked: bool = False) -> None:
        self._lexicon, self._ranked = lexicon, ranked
        self._inflector = Inflector(lexicon.exceptions)
        self._lemmas = lru_cache(maxsize=1 << 17)(lexicon.base_forms)
        self._senses = lru_cache(maxsize=1 << 16)(self._weighed)
        self._readings = lru_cache(maxsize=1 << 17)(self._all_readings)
        self._replaced = lru_cache(maxsize=1 << 17)(self._all_synonyms)

    def has(self, form: str) -> bool:
        """Whether the lexicon has a form, in lower case."""
        return bool(self._lemmas(form))

    def base_words(self, form: str) -> frozenset[str]:
        """A word and what it may be a form of."""
        return frozenset([form, *(lemma for lemma, _ in self._lemmas(form))])

    def is_expression(self, form: str) -> bool:
        """Whether several words are one in the lexicon."""
        words = form.split()
        if words[-1] in ("in", "by"):
            return False  # of "written in" the verb may be changed by itself, unlike that of "looked at"
        lemmas = expression(self._lemmas(form), form)
        return any(pos == "v" or not KEPT.issuperset(words) for _, pos in lemmas)

    def choose(self, form: str, left: int, right: int, sense: Sense | None = None) -> Choice | None:
        """What a form, of one word or several, may be replaced by between two neighbours; None: by nothing.

        Args:
            form: in lower case. left, right: as `spin_words` has them. sense: the form's, where it is known.
        """
        if form in KEPT or form in KEPT_EXPRESSIONS or len(form) < 3:
            return None
        if sense is None:
            reading = self._likeliest(form, left, right)
            if reading is None:
                return None
            pos, lemma = reading
        else:
            pos, lemma = sense.pos, fold(sense.lemma)
        forms = self._inflector.forms_of(form, lemma, pos)
        if pos == "v" and len(forms) > 1:
            forms = _in_context(forms, left)
        found = self._replaced(lemma, pos, forms, None if sense is None else sense.synset)
        if pos == "a" and right == CONTENT:
            found = tuple(one for one in found if one.text not in _PREDICATIVE)
        elif pos == "v" and " " not in form and (left == IS or (right == CONTENT and forms[0] != BASE)):
            found = tuple(one for one in found if " " not in one.text)  # "a winding up spring"
        return Choice(lemma, pos, found) if found else None

    def _likeliest(self, form: str, left: int, right: int) -> tuple[str, str] | None:
        """Part of speech and lemma; None where no reading is much likelier than the others."""
        lefts, rights = _BY_LEFT[left], _BY_RIGHT[right]
        best, total, found = 0.0, 0.0, None
        for pos, lemma, kinds, weight in self._readings(form):
            own = weight * max(lefts[kind] * rights[kind] for kind in kinds)
            total += own
            if own > best:
                best, found = own, (pos, lemma)
        return found if best >= LEAST_SURE * total else None

    def _all_readings(self, form: str) -> tuple[tuple[str, str, tuple[int, ...], float], ...]:
        """Part of speech, lemma, kinds and weight of every reading of a form."""
        lemmas = self._lemmas(form)
        if " " in form:
            if form.split()[-1] in LOOSE:
                return ()
            lemmas = tuple(expression(lemmas, form))
        found = []
        for lemma, pos in lemmas:
            _, total, _ = self._senses(lemma, pos)
            forms = self._inflector.forms_of(form, lemma, pos)
            kinds = tuple(_KINDS.get(name, "nar".find(pos)) for name in forms)
            share = sum(_PRIOR.get(name, 1.0) for name in forms)
            found.append((pos, lemma, kinds, total * share))
        return tuple(found)

    def _weighed(self, lemma: str, pos: str) -> tuple[dict[str, float], float, int]:
        """Share of a lemma's uses by synset, how often the lemma is met, and how often it was tagged.

        Shares are smoothed, the first sense's most: where nothing was tagged it is the likeliest.
        """
        senses = self._lexicon.senses(lemma, pos)
        total = sum(sense.frequency + 0.5 / sense.number for sense in senses)
        shares = {sense.synset: (sense.frequency + 0.5 / sense.number) / total for sense in senses}
        return shares, total, sum(sense.frequency for sense in senses)

    def _all_synonyms(
        self, lemma: str, pos: str, forms: tuple[str, ...], synset: str | None
    ) -> tuple[Synonym, ...]:
        """The synonyms of a lemma, or of it in one synset, in these forms; best first."""
        if pos == "n" and looks_plural(lemma):  # "goods", "physics": is it one or many?
            return ()
        scores: dict[str, float] = defaultdict(float)
        sense_of: dict[str, Sense] = {}
        shares, _, _ = self._senses(lemma, pos)
        least_share = LEAST_SHARE / 2 if self._ranked else LEAST_SHARE
        for sense in self._lexicon.senses(lemma, pos):
            share = shares[sense.synset]
            if sense.synset != synset if synset is not None else share < least_share:
                continue
            for other in sense.lemmas:
                if not is_apt(other, lemma):
                    continue
                back, _, tagged = self._senses(other, pos)
                common = min(1.0, (tagged + 0.2) / 4)
                several = 1 + 2 * (other.count(" ") > lemma.count(" "))
                scores[other] += share * back.get(sense.synset, 0.0) * common / several
                sense_of.setdefault(other, sense)
        least, most = (LEAST_SCORE / 10, MOST_RANKED) if self._ranked else (LEAST_SCORE, MOST)
        ranked = sorted(((score, other) for other, score in scores.items()), key=lambda p: (-p[0], p[1]))
        found = []
        for score, other in ranked[:most]:
            if (synset is None and score < least) or (not self._ranked and score < ranked[0][0] / 4):
                break
            text = self._in_all_forms(other, pos, forms)
            if text is not None:
                found.append(Synonym(text, sense_of[other].synset, sense_of[other].key, score))
        return tuple(found)

    def _in_all_forms(self, lemma: str, pos: str, forms: tuple[str, ...]) -> str | None:
        """The lemma in a form; None where the word may be several, and these differ."""
        if pos == "n" and looks_plural(lemma):
            return None
        texts = {self._inflector.inflect(lemma, pos, name) for name in forms}
        return texts.pop() if len(texts) == 1 else None


def _in_context(forms: tuple[str, ...], left: int) -> tuple[str, ...]:
    """What is left of the forms that a verb may be, by its left neighbour."""
    if left in (MODAL, TO):
        kept = [name for name in forms if name == BASE]
    elif left in (HAVE, IS, DETERMINER, PREPOSITION, DEGREE):
        kept = [name for name in forms if name == "participle"]
    elif left == PRONOUN:
        kept = [name for name in forms if name != "participle"]
    else:
        kept = []
    return tuple(kept) or forms
