"""What a lexicon is to the rest of Limbeck, and how one is opened (docs/architecture.md, section 2).

    lexicon = open_lexicon()                     # WordNet 3.0, wherever it is found
    lexicon.senses("bank", "n")[0].gloss         # "sloping land (especially …)"
    lexicon.base_forms("ran into")               # (("run into", "v"),)

Parts of speech are `n`, `v`, `a`, `r`; a satellite adjective (`s`) is an `a`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from limbeck.errors import UserError

POS = "nvar"
"""The parts of speech, in the order in which they are listed everywhere."""

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is in all."""

_NAMED = 5  # so many unknown keys are named
_PRINCETON_KEY = re.compile(r"[^%\s]+%[1-5]:\d\d:\d\d:[^:\s]*:\d*")
_WORDNET_3 = "point LIMBECK_WORDNET to the folder of WordNet 3.0, or install Debian's wordnet-base"


class Sense(NamedTuple):
    """One meaning of one lemma.

    key: names it: a sense key such as `art%1:06:00::`, or the sense's id in a WN-LMF lexicon.
    synset: of its synset: part of speech and offset (`n00001740`), or the id in a WN-LMF lexicon.
    lemma: as the lexicon writes it, with spaces and its case ("New York").
    pos: `n`, `v`, `a` or `r`.
    number: its place among the senses of this lemma and part of speech, from 1, in the lexicon's order.
    gloss: the definition alone; empty where a WN-LMF lexicon has none for this synset.
    examples: usage examples of the synset.
    lemmas: all lemmas of the synset.
    frequency: how often it was met in tagged text; 0 where that is not known.
    """

    key: str
    synset: str
    lemma: str
    pos: str
    number: int
    gloss: str
    examples: tuple[str, ...]
    lemmas: tuple[str, ...]
    frequency: int


class Lexicon(Protocol):
    """A lexical database. `fingerprint` is of its contents, wherever they lie; the rest names it."""

    @property
    def name(self) -> str:
        """What it is called, such as `wordnet` or `oewn`."""

    @property
    def version(self) -> str:
        """Its version, such as `3.0`; empty where it does not say."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all it says, in hexadecimal digits."""

    @property
    def longest_lemma(self) -> int:
        """Words, between spaces, of the longest lemma."""

    @property
    def exceptions(self) -> Mapping[str, Mapping[str, Sequence[str]]]:
        """Part of speech → irregular form → its base forms, all folded; some may be missing."""

    def senses(self, lemma: str, pos: str | None = None) -> tuple[Sense, ...]:
        """Senses of a lemma in the lexicon's order; for None of all parts of speech, in the order of `POS`.

        Case does not matter, nor whether spaces or underscores stand between words. An unknown lemma has
        none.

        Raises:
            UserError: an unknown part of speech.
        """

    def sense(self, key: str) -> Sense | None:
        """The sense of a key; None if it is unknown."""

    def base_forms(self, form: str, pos: str | None = None) -> tuple[tuple[str, str], ...]:
        """Pairs (lemma, part of speech) of the lexicon that a form of the text may be a form of, best first.

        Lemmas are as `fold` gives them. See `Morphy` for how they are found.

        Raises:
            UserError: an unknown part of speech.
        """

    def keys(self) -> Iterator[str]:
        """Keys of all senses: by lemma, part of speech and sense number."""


def fold(form: str) -> str:
    """A form as lemmas are looked up: lower case, single spaces for white space and underscores.

    Outside ASCII it is composed (NFC), and a typographic apostrophe is the plain one.
    """
    if not form.isascii():
        form = unicodedata.normalize("NFC", form).replace("\u2019", "'")
    return " ".join(form.replace("_", " ").lower().split())


def pos_letters(pos: str | None) -> str:
    """The parts of speech meant: all of `POS` for None, `a` for `s`.

    Raises:
        UserError: an unknown one.
    """
    if pos is None:
        return POS
    letter = "a" if pos == "s" else pos
    if len(letter) != 1 or letter not in POS:
        raise UserError(f"unknown part of speech {pos!r}; a lexicon has n, v, a (or s) and r")
    return letter


def open_lexicon(spec: str = "wordnet", progress: Progress | None = None) -> Lexicon:
    """Opens a lexicon; the first time its index is built, which takes a while, and kept in the cache folder.

    Args:
        spec: `wordnet` (found as `find_wordnet` tells), a folder with WordNet's files, or `wn:` and a
            lexicon of the `wn` package, such as `wn:oewn:2024`.
        progress: told how far building is; not called where the index is there already.

    Raises:
        UserError: there is no such lexicon, or its files are missing, damaged or of different versions.
    """
    if spec.startswith("wn:"):
        from limbeck.lexicon.wnlmf import open_wnlmf

        return open_wnlmf(spec.removeprefix("wn:"), progress)
    from limbeck.lexicon.wordnet_index import open_wordnet

    return open_wordnet(_wordnet_folder(spec), progress)


def check_lexicon(spec: str) -> None:
    """Makes sure that a lexicon is there, and reads nothing of it: its files may still be damaged.

    Args:
        spec: see `open_lexicon`.

    Raises:
        UserError: there is no such lexicon, or a file of it is missing.
    """
    if spec.startswith("wn:"):
        from limbeck.lexicon.wnlmf import check_wnlmf

        check_wnlmf(spec.removeprefix("wn:"))
    else:
        from limbeck.lexicon.wordnet_index import check_files

        check_files(_wordnet_folder(spec))


def _wordnet_folder(spec: str) -> Path:
    """The folder with WordNet's files that a spec names."""
    from limbeck.lexicon.wordnet import find_wordnet

    if spec == "wordnet":
        return find_wordnet()
    folder = Path(spec).expanduser()
    if not spec or not folder.is_dir():
        raise UserError(
            f"{spec!r} is no lexicon; write wordnet, or a folder with WordNet's files, or wn:NAME:VERSION, "
            f"such as wn:oewn:2024"
        )
    inside = folder / "dict"
    return inside if (inside / "data.noun").is_file() else folder


def check_keys(lexicon: Lexicon, keys: Iterable[str], where: str = "") -> None:
    """Makes sure that a lexicon has all these keys.

    Args:
        where: where the keys are from, for the message.

    Raises:
        UserError: some are unknown: how many of how many different ones, which, and what to do; that the
            lexicon is of another version than its keys is said.
    """
    distinct = dict.fromkeys(keys)
    unknown = [key for key in distinct if lexicon.sense(key) is None]
    if not unknown:
        return
    named = ", ".join(unknown[:_NAMED]) + (", …" if len(unknown) > _NAMED else "")
    place = f" of {where}" if where else ""
    title = f"{lexicon.name} {lexicon.version}".strip()
    raise UserError(
        f"{len(unknown):,} of {len(distinct):,} sense keys{place} are not in the lexicon {title}: {named}; "
        f"{_key_advice(lexicon, unknown)}"
    )


def _key_advice(lexicon: Lexicon, unknown: list[str]) -> str:
    """What to do about unknown keys, by what they look like and what the lexicon is."""
    princeton = all(_PRINCETON_KEY.fullmatch(key) for key in unknown)
    if lexicon.name != "wordnet":
        return (
            "these are Princeton's keys: use the lexicon wordnet"
            if princeton
            else "use the lexicon they come from"
        )
    if not princeton:
        return "they are no sense keys of Princeton's: correct them, or use the lexicon they come from"
    if lexicon.version == "3.0":
        return "correct them, or use the version of WordNet they come from"
    is_other = f"WordNet {lexicon.version}" if lexicon.version else "a WordNet that does not tell its version"
    return (
        f"the keys of SemCor and the evaluation sets are WordNet 3.0's, and this is {is_other}: {_WORDNET_3}"
    )
