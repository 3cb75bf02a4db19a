"""English inflection: which form of a lemma a word is, and that form of another lemma.

Regular forms are made by rule. Irregular ones come from the lexicon's exception lists read in reverse ("took"
is listed under *take*); the lists do not say which form is which, so that is told from how they look.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from limbeck.lexicon.morphy import PREPOSITIONS

SINGULAR, PLURAL = "singular", "plural"
BASE, THIRD, ING, PAST, PARTICIPLE = "base", "third person", "-ing", "past", "participle"
POSITIVE, COMPARATIVE, SUPERLATIVE = "positive", "comparative", "superlative"

FORMS = {
    "n": (SINGULAR, PLURAL),
    "v": (BASE, THIRD, ING, PAST, PARTICIPLE),
    "a": (POSITIVE, COMPARATIVE, SUPERLATIVE),
    "r": (POSITIVE,),
}
"""Part of speech → the grammatical forms of its words."""

# What the exception lists cannot tell: verbs whose past is their base form, and a few that look misleading.
_UNCHANGED = frozenset(
    """
    bet bid broadcast burst cast cost cut fit forecast hit hurt input let miscast offset put quit read recast
    reset rid set shed shut split spread sublet thrust undercut upset wed
    """.split()  # noqa: SIM905 - it reads as the list it is
)
_PASTS = {"beat": ("beat", "beaten"), "bear": ("bore", "borne"), "dive": ("dived", "dived")}
_PASTS |= {"get": ("got", "got"), "hang": ("hung", "hung"), "spit": ("spat", "spat"), "feed": ("fed", "fed")}
_SAME_PLURAL = frozenset(
    """
    aircraft bison cod cattle clergy craft deer elk headquarters means moose offspring people police salmon
    series sheep shrimp spacecraft species swine trout youth
    """.split()  # noqa: SIM905
)
_NO_PLURAL = frozenset(
    """
    accommodation advice aid applause assistance baggage clothing correspondence damage equipment evidence
    feedback fun furniture guidance hardware harm health help homework information intelligence jewelry
    knowledge legislation leisure luck luggage machinery mail merchandise music news personnel poetry
    population progress proof publicity rain research rubbish safety scenery shipping software staff traffic
    transportation trash violence warfare wealth weather wildlife
    """.split()  # noqa: SIM905
)
_VOWELS = "aeiou"
_SYLLABLE = re.compile(r"[aeiouy]+(?<!^y)")
_PARTS = re.compile(r"([ -])")
# Stress on the last syllable doubles its consonant; one syllable that ends so is always stressed.
_CLOSED = re.compile(r"(?:[^aeiou]|^)(?:qu)?[aeiouy][bcdfgklmnprtvz]")
_YOU_OR_WON = re.compile(
    r"one\b|once\b|eu|ewe|ubiq|unan|uni(?!n|m[pa])|us[aeiu](?!nd)|ur[aeio](?!l)|ut[aei]|ukr"
)


class Inflector:
    """Forms of English lemmas.

    Args:
        exceptions: of a lexicon: part of speech → irregular form → its base forms.
    """

    def __init__(self, exceptions: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
        self._irregular: dict[str, dict[str, list[str]]] = {}
        for pos, listed in exceptions.items():
            own = self._irregular.setdefault(pos, {})
            for form, bases in listed.items():
                for base in bases:
                    if form != base:
                        own.setdefault(base, []).append(form)
        self.inflect = lru_cache(maxsize=1 << 16)(self._inflect)
        self.forms_of = lru_cache(maxsize=1 << 16)(self._forms_of)

    def _forms_of(self, form: str, lemma: str, pos: str) -> tuple[str, ...]:
        """Which grammatical forms of a lemma a form may be; both in lower case.

        Where it is none that `inflect` makes ("traveled", where "travelled" is listed), its ending tells.
        """
        found = tuple(name for name in FORMS[pos] if self.inflect(lemma, pos, name) == form)
        if found == (PAST,) and form.endswith("ed"):  # "proved" beside "proven"
            return PAST, PARTICIPLE
        if found:
            return found
        if pos == "n":
            listed = form in self._irregular.get("n", {}).get(lemma, ())
            return (PLURAL,) if form != lemma and (listed or form.endswith("s")) else (SINGULAR,)
        if pos == "v":
            first = form.split(" ")[0]
            if form == lemma:
                return (BASE,)
            if first.endswith("ing"):
                return (ING,)
            return (THIRD,) if first.endswith("s") else (PAST, PARTICIPLE)
        if pos == "a" and form != lemma:
            return (SUPERLATIVE,) if form.endswith("st") else (COMPARATIVE,)
        return (POSITIVE,)

    def _inflect(self, lemma: str, pos: str, name: str) -> str | None:
        """A form of a lemma; None where there is none, or it cannot be told.

        Of a verb of several words the first is changed, of a noun the last, or the one before a preposition.

        Args:
            lemma: in lower case. pos: n, v, a or r. name: of `FORMS`.
        """
        if name in (SINGULAR, BASE, POSITIVE):
            return lemma
        if pos == "n":
            return self._plural(lemma)
        if pos == "a":
            return self._compared(lemma, name)
        if " " in lemma:
            first, _, rest = lemma.partition(" ")
            changed = self.inflect(first, pos, name)
            return None if changed is None else f"{changed} {rest}"
        return self._verb(lemma, name)

    def _plural(self, lemma: str) -> str | None:
        listed = self._irregular.get("n", {}).get(lemma)
        if listed:
            return listed[0]
        parts = _PARTS.split(lemma)
        words = parts[::2]
        head = next((i for i, word in enumerate(words) if i and word in PREPOSITIONS), len(words)) - 1
        word = words[head]
        if word in _NO_PLURAL:
            return None
        if len(words) > 1 and (own := self._irregular.get("n", {}).get(word)):
            parts[2 * head] = own[0]
        else:
            parts[2 * head] = word if word in _SAME_PLURAL else _regular_plural(word)
        return "".join(parts)

    def _verb(self, lemma: str, name: str) -> str | None:
        listed = self._irregular.get("v", {}).get(lemma, [])
        if name == ING:
            return next((form for form in listed if form.endswith("ing")), None) or _ing(lemma)
        if name == THIRD:
            return "has" if lemma == "have" else _regular_plural(lemma)
        if lemma in _UNCHANGED:
            return lemma
        if lemma in _PASTS:
            return _PASTS[lemma][name == PARTICIPLE]
        past, participle = _pasts(lemma, [form for form in listed if not form.endswith(("ing", "s"))])
        return past if name == PAST else participle

    def _compared(self, lemma: str, name: str) -> str:
        ending, word = ("er", "more") if name == COMPARATIVE else ("est", "most")
        endings = ("r", "worse") if name == COMPARATIVE else ("st", "t")
        for form in self._irregular.get("a", {}).get(lemma, []):
            if form.endswith(endings):
                return form
        syllables = len(_SYLLABLE.findall(lemma)) - (lemma.endswith("e") and not lemma.endswith("le"))
        if (
            " " in lemma
            or "-" in lemma
            or syllables > 2
            or (syllables == 2 and not lemma.endswith(("y", "le")))
        ):
            return f"{word} {lemma}"
        if len(lemma) > 4 and lemma.endswith(("ed", "ing")):  # participles: "more used"
            return f"{word} {lemma}"
        return _with_vowel(lemma, ending)


def _regular_plural(word: str) -> str:
    """With -s, as nouns in the plural and verbs in the third person have it."""
    if word.endswith("y") and word[-2:-1] not in _VOWELS:
        return word[:-1] + "ies"
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    if word in ("go", "do", "undergo", "forgo", "veto", "echo", "hero", "potato", "tomato"):
        return word + "es"
    return (
        word[:-3] + "men" if word.endswith("man") and not word.endswith(("human", "german")) else word + "s"
    )


def _ing(verb: str) -> str:
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")) and len(verb) > 2:
        return verb[:-1] + "ing"
    return _doubled(verb) + "ing"


def _with_vowel(word: str, ending: str) -> str:
    """A word with an ending that begins with *e*."""
    if word.endswith("e"):
        return word + ending[1:]
    if word.endswith("y") and word[-2:-1] not in _VOWELS:
        return word[:-1] + "i" + ending
    return _doubled(word) + ending


def _doubled(word: str) -> str:
    last = word[-1]
    return word + last if _CLOSED.fullmatch(word[-3:]) and len(_SYLLABLE.findall(word)) == 1 else word


def _pasts(lemma: str, listed: list[str]) -> tuple[str | None, str | None]:
    """Past and participle of a verb whose irregular ones are `listed`; None where they cannot be told."""
    regular = _with_vowel(lemma, "ed")
    if not listed:
        return regular, regular
    if len(listed) == 1:
        (form,) = listed
        if form in (lemma + "n", lemma + "en", lemma[:-1] + "en", "swollen"):  # shown, proven
            return regular, form
        return form, lemma if lemma.endswith(("come", "run")) else form
    participles = [form for form in listed if form.endswith(("n", "ne"))]
    pasts = [form for form in listed if form not in participles]
    if not participles and len(listed) == 2:  # sang, sung
        a, u = sorted(listed)
        return (a, u) if "a" in a and a.replace("a", "u") == u else (None, None)
    if len(participles) == 2 and "began" in participles:
        return "began", "begun"
    if len(pasts) == 2 and sorted(pasts)[0].replace("a", "u") == sorted(pasts)[1]:  # sank, sunk, sunken
        return sorted(pasts)[0], sorted(pasts)[1]
    return (pasts[-1], participles[0]) if pasts and participles else (None, None)


def starts_with_vowel_sound(word: str) -> bool:
    """Whether *an* stands before a word, as it is mostly spoken."""
    word = word.lower()
    if word.startswith(("hour", "honest", "honor", "honour", "heir")):
        return True
    if _YOU_OR_WON.match(word):
        return False
    return word[:1] in _VOWELS
