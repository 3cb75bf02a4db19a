"""The words of a paragraph as the spinner sees them: runs without white space, and what neighbours tell.

A word is a run of characters without white space that has a letter or digit in it, the marks around it taken
off. That is how the published sets are counted, and nothing in a text is lost by it: an address, "and/or" or
"1990s" is one word, and not one that could be changed.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from limbeck.tools.function_words import BE, FUNCTION_WORDS
from limbeck.tools.sentences import ABBREVIATIONS

# Beside the function words: words that say how much, which, where, when or how sure, numbers, and verbs that
# mean little by themselves. WordNet's synonyms for them are of senses that running text hardly ever means.
KEPT = FUNCTION_WORDS | frozenset(
    """
    again ago ahead already also alone apart as away back backward bit down early else enough
    especially etc even ever far few fewer first former forth forward further here hereby
    indeed instead just last late later latter least less likely little long lot lots many mere
    more most much must namely near never next nor not
    now once only other others otherwise own per please pretty quite rather same several
    since so some somewhat soon still such then thereof today together
    tomorrow tonight too twice very well whole yes yesterday yet

    according born compared concerning considering depending due excluding following given including owing
    pending regarding respectively spite

    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred hundreds
    thousand thousands million millions billion billions trillion dozen dozens half quarter third fourth fifth
    sixth seventh eighth ninth tenth eleventh twelfth twentieth second seconds double triple single percent
    percentage hundredth thousandth

    january february march april may june july august september october november december
    jan feb mar apr jun jul aug sept oct nov dec
    monday tuesday wednesday thursday friday saturday sunday
    north south east west northern southern eastern western northeast northwest southeast southwest
    northward southward eastward westward

    get gets got getting gotten go goes going went gone come comes came coming make makes made making
    take takes took taken taking give gives gave given giving put puts putting let lets letting set sets
    setting keep keeps kept keeping become becomes became becoming seem seems seemed seeming used
    need needs needed want wants wanted like likes liked know knows knew known knowing
    see sees saw seen seeing say says said saying tell tells told

    thing things way ways man men woman women people person time times day days year years century centuries
    month months week weeks hour hours minute minutes bc ad am pm
    mr mrs ms dr st sir lord lady god king queen

    true full free able al de del den der di du el la le van von
    """.split()  # noqa: SIM905 - it reads as the list it is
)
"""Single words that are never changed."""

KEPT_EXPRESSIONS = frozenset(
    "a few,a lot,a little,as well,as much,at least,at most,more than,less than,used to".split(",")  # noqa: SIM905
)

# How a word's left neighbour speaks for its part of speech, and its right neighbour.
NONE, DETERMINER, MODAL, TO, HAVE, IS, PRONOUN, PREPOSITION, DEGREE, CONJUNCTION = range(10)
ENDS, CONTENT, OF, ARTICLE, AUXILIARY, LINK, AND = range(7)

_LEFT = {
    DETERMINER: "a an the this these those his its their our my your her each every any no another some",
    MODAL: "can cannot could may might must shall should will would do does did didn't don't doesn't won't "
    "couldn't wouldn't shouldn't can't",
    TO: "to",
    HAVE: "have has had having haven't hasn't hadn't",
    IS: "be am is are was were been being isn't aren't wasn't weren't",
    PRONOUN: "i he she it we they you who that which there",
    PREPOSITION: "of in on at by from with into for about between as against during without through over "
    "under within among after before like towards upon across",
    CONJUNCTION: "and or but nor",
    DEGREE: "very more most so too quite rather less least as extremely highly",
}
LEFT = {word: kind for kind, words in _LEFT.items() for word in words.split()}
_RIGHT = {
    OF: "of",
    AND: "and or but nor",
    ARTICLE: "a an the this these those his its their our my your her him them me us it himself itself "
    "themselves",
    AUXILIARY: "be is are was were has have had can could will would may might must should did does do who",
}
RIGHT = {word: kind for kind, words in _RIGHT.items() for word in words.split()}

TRANSPARENT = frozenset("not never also always often only just still ever already".split())  # noqa: SIM905
"""Words through which the left neighbour speaks: "did not object"."""

_CORE = re.compile(r"[^\W\d_]+(?:['’‑‐-][^\W\d_]+)*")
_ALNUM = re.compile(r"[^\W_]")
_OPENING = "([{\"'“‘«¿¡—–…*_"
_CLOSING = ".,;:!?)]}\"'”’»—–…*_"
_SENTENCE_END = re.compile(r"[.!?…][\"'”’»)\]]*$")


class Shape(NamedTuple):
    """A run without white space.

    word: it has a letter or digit. start, end: of its core within it, without a genitive's *'s*; start == end
    where there is none that could be changed. closed: something stands behind the core. lower: the core in
    lower case. capital: the core opens with a capital, the rest is in lower case. plain: it is all in lower
    case. ends: a sentence ends behind it. left, right: what it tells as a left and as a right neighbour.
    """

    word: bool
    start: int
    end: int
    closed: bool
    lower: str
    capital: bool
    plain: bool
    ends: bool
    left: int
    right: int


def shape(run: str) -> Shape:
    """What a run of characters without white space is, whatever stands around it."""
    size = len(run)
    start = size - len(run.lstrip(_OPENING))
    end = len(run.rstrip(_CLOSING))
    core = run[start:end]
    word = bool(_ALNUM.search(run))
    if start >= end or not _CORE.fullmatch(core):
        return Shape(word, 0, 0, True, "", False, False, _ends(run, core), NONE, CONTENT if word else ENDS)
    lower = core.lower()
    if lower.endswith(("'s", "’s")):
        core, lower, end = core[:-2], lower[:-2], end - 2
    capital = core[0].isupper() and (core[1:].islower() or len(core) == 1)
    right = RIGHT.get(lower, LINK if lower in FUNCTION_WORDS or lower in BE else CONTENT)
    left = LEFT.get(lower, NONE)
    if end < size:
        left = NONE
    if start:
        right = ENDS
    return Shape(word, start, end, end < size, lower, capital, core.islower(), _ends(run, core), left, right)


def _ends(run: str, core: str) -> bool:
    """Whether a sentence ends behind a run; not after an initial ("J.") or an abbreviation ("Dr.")."""
    if not _SENTENCE_END.search(run):
        return False
    name = (len(core) == 1 and core.isupper() and core != "I") or core.lower() in ABBREVIATIONS
    return not ((name or "." in core) and run.endswith(core + "."))  # "U.S."
