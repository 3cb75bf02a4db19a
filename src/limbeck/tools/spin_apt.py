"""Which lemmas of a lexicon may stand in a text in place of another, by their letters alone."""

from __future__ import annotations

from functools import lru_cache

from limbeck.lexicon.morphy import PREPOSITIONS
from limbeck.tools.function_words import FUNCTION_WORDS
from limbeck.tools.spin_words import KEPT

LOOSE = frozenset("at by for from in of on over through to under with".split())  # noqa: SIM905
"""Behind these the verb is a lexicon's entry for one use of "live in" and the like, and hardly ever meant."""

_COARSE = frozenset(
    """
    arse ass bang bastard bitch bollocks bugger coon crap cunt darky dick dike dyke fag faggot fairy fart frig
    fuck gook homo hump jap jew kike knocker nigger nigra nooky paki pansy piss poof prick pussy queer screw
    shag shit slut snatch spade spic tit titty twat wank wench whore wog yid
    """.split()  # noqa: SIM905
)


def is_apt(other: str, lemma: str) -> bool:
    """Whether a synonym is a word that may stand in a text, and another than the lemma."""
    if other == lemma or not _is_word(other):
        return False
    if len(other) <= 4 and lemma.startswith(other):  # "minute" and "min"
        return False
    own, words = _words(lemma), _words(other)
    if not own.isdisjoint(words) and own & words - PREPOSITIONS:  # "dog" and "domestic dog"
        return False
    return _bare(other) != _bare(lemma)


@lru_cache(maxsize=1 << 16)
def _is_word(lemma: str) -> bool:
    """Whether a lemma is no name, sign, abbreviation, insult or phrase."""
    if len(lemma) < 3 or lemma in KEPT or not lemma.islower() or not lemma.isascii():
        return False
    words = lemma.replace("-", " ").split()
    if not all(map(str.isalpha, words)) or len(words) > 3 or not _COARSE.isdisjoint(words):
        return False
    if len(words) > 1 and (words[0] in FUNCTION_WORDS or (len(words[-1]) < 3 and words[-1] != "up")):
        return False  # "have got", "stat mi"
    return words[-1] not in LOOSE  # the word's own preposition would follow it


@lru_cache(maxsize=1 << 16)
def _words(lemma: str) -> frozenset[str]:
    return frozenset(lemma.replace("-", " ").split())


@lru_cache(maxsize=1 << 16)
def _bare(lemma: str) -> str:
    """A lemma without what spellings of one word differ in."""
    bare = (
        lemma.replace(" ", "").replace("-", "").replace("is", "iz").replace("our", "or").replace("re", "er")
    )
    return bare.replace("ae", "e").replace("ll", "l").replace("ph", "f").replace("ys", "yz")


def looks_plural(lemma: str) -> bool:
    """Whether a noun may be one or many as it stands."""
    return lemma.endswith("s") and not lemma.endswith(("ss", "us", "is"))
