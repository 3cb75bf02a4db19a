"""WN-LMF lexicons (Open English WordNet, other languages) through the `wn` package, an extra of Limbeck's.

`wn` keeps lexicons in a database; each one that is opened here is read from there once, into the same index
as WordNet's, so that lookups cost the same. Sense keys and synsets are the lexicon's own ids. Senses stand in
the lexicon's order: entries of one lemma (case aside) and part of speech as in its file, adjectives and
their satellites together. Parts of speech other than nouns, verbs, adjectives and adverbs are left out, and
so are senses that an extension adds to synsets of another lexicon.
"""

from __future__ import annotations

import sqlite3
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from limbeck.errors import UserError
from limbeck.lexicon.index import IndexBuilder, IndexedLexicon, open_index
from limbeck.lexicon.lexicon import POS, Progress, fold

if TYPE_CHECKING:
    import wn

_LETTERS = {"n": "n", "v": "v", "a": "a", "s": "a", "r": "r"}
_TOLD = 1024  # words or synsets between two reports of progress


def open_wnlmf(spec: str, progress: Progress | None = None) -> IndexedLexicon:
    """Opens a lexicon that `wn` has in its database; its index is built again when that database changes.

    Args:
        spec: `NAME:VERSION`, or `NAME` where one version of it is installed.
        progress: told the words and synsets done and in all while the index is built.

    Raises:
        UserError: `wn` or the lexicon is not installed (with the command that does it), `spec` names several
            lexicons, the database cannot be read, or the lexicon has no definitions.
    """
    package = _package(spec)
    lexicon = _one(package, spec)
    database = package.config.database_path.resolve()
    status = database.stat()
    key = f"wn\0{database}\0{status.st_mtime_ns}\0{status.st_size}\0{lexicon.specifier()}"
    return open_index(key, partial(_build, package, lexicon, progress))


def check_wnlmf(spec: str) -> None:
    """Makes sure that `wn` has a lexicon.

    Raises:
        UserError: `wn` or the lexicon is not installed, `spec` names several, the database cannot be read.
    """
    _one(_package(spec), spec)


def _one(package: ModuleType, spec: str) -> wn.Lexicon:
    """The one lexicon that a spec names."""
    lexicons = _installed(package, spec if ":" in spec else f"{spec.strip()}:*") if spec.strip() else []
    if len(lexicons) != 1:
        raise _not_one(package, spec, lexicons)
    return lexicons[0]


def _package(spec: str) -> ModuleType:
    try:
        import wn
    except ModuleNotFoundError as error:
        if error.name != "wn":
            raise
        raise UserError(f"the lexicon wn:{spec} needs the wn package; pip install 'limbeck[wn]'") from error
    return wn


def _installed(package: ModuleType, pattern: str) -> list[wn.Lexicon]:
    """The lexicons of `wn`'s database that a pattern names.

    Raises:
        UserError: the database is damaged, or of another version of `wn`.
    """
    database = package.config.database_path
    if not database.is_file():
        return []  # asking `wn` would make one
    try:
        found: list[wn.Lexicon] = package.lexicons(lexicon=pattern)
        if not found and not package.lexicons():
            package.Wordnet()  # says why, if it cannot read the database at all
    except (package.DatabaseError, sqlite3.Error) as error:
        said = " ".join(str(error).split())
        raise UserError(
            f"wn's database {database} cannot be read ({said}); move it away and install its lexicons again"
        ) from error
    return found


def _not_one(package: ModuleType, spec: str, found: list[wn.Lexicon]) -> UserError:
    if found:
        several = ", ".join(lexicon.specifier() for lexicon in found)
        return UserError(f"wn:{spec} names several lexicons, {several}; name one of them")
    others = ", ".join(lexicon.specifier() for lexicon in _installed(package, "*")) or "none"
    wanted = spec.strip() or "oewn:2024"
    return UserError(
        f"the lexicon wn:{spec} is not installed (installed: {others}); run `python -m wn download {wanted}`"
    )


class _Entry(NamedTuple):
    """A sense as `wn` has it."""

    lemma: str
    pos: str
    frequency: int
    examples: tuple[str, ...]


def _build(package: ModuleType, lexicon: wn.Lexicon, progress: Progress | None) -> IndexBuilder:
    wordnet: wn.Wordnet = package.Wordnet(lexicon.specifier(), expand="")
    words, synsets = wordnet.words(), wordnet.synsets()

    def told(done: int) -> None:
        if progress is not None and (done % _TOLD == 0 or done == len(words) + len(synsets)):
            progress(done, len(words) + len(synsets))

    exceptions: dict[str, dict[str, list[str]]] = {pos: {} for pos in POS}
    senses: dict[str, _Entry] = {}
    for done, word in enumerate(words):
        told(done)
        if word.pos in _LETTERS:
            senses |= _entries(word, exceptions[_LETTERS[word.pos]])
    english = lexicon.language.partition("-")[0].lower() == "en"
    builder = IndexBuilder(lexicon.id, lexicon.version, exceptions, rules=english)
    places: dict[str, tuple[int, int]] = {}
    defined = False
    for done, synset in enumerate(synsets, len(words)):
        told(done)
        members = {sense.id: senses[sense.id] for sense in synset.senses() if sense.id in senses}
        if not members:
            continue
        gloss = synset.definition() or ""
        defined = defined or bool(gloss)
        own = (example for member in members.values() for example in member.examples)
        examples = dict.fromkeys((*synset.examples(), *own))
        number = builder.add_synset(synset.id, gloss, [*examples], [m.lemma for m in members.values()])
        places |= {key: (number, place) for place, key in enumerate(members)}
    if not defined:
        raise UserError(
            f"the lexicon wn:{lexicon.specifier()} has no definitions, which are its glosses; use another, "
            f"such as wn:oewn:2024"
        )
    for key, entry in senses.items():
        if key in places:  # else its synset is another lexicon's
            builder.add_sense(entry.lemma, entry.pos, key, *places[key], entry.frequency)
    told(len(words) + len(synsets))
    return builder


def _entries(word: wn.Word, exceptions: dict[str, list[str]]) -> dict[str, _Entry]:
    """The senses of a word, by id; its other forms go to the exceptions."""
    lemma, *others = word.forms()
    for other in others:
        listed = exceptions.setdefault(fold(other), [])
        if fold(lemma) not in listed:
            listed.append(fold(lemma))
    pos = _LETTERS[word.pos]
    return {
        sense.id: _Entry(lemma, pos, sum(sense.counts()), tuple(sense.examples())) for sense in word.senses()
    }
