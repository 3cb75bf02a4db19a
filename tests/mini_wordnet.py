"""A small WordNet in Princeton's format, written for the tests."""

from __future__ import annotations

from pathlib import Path

_LICENCE = "".join(
    f"  {number} {line}  \n"
    for number, line in enumerate(
        (
            "This small lexicon was written for the tests of Limbeck.",
            "It may be used for anything | without limits.",
        ),
        start=1,
    )
)

NOUNS = [
    ("entity", 'that which is perceived to exist; "every entity has a name"'),
    ("dog domestic_dog", 'a tame animal that barks; "the dog barked all night"; "walk the dog; it is late"'),
    ("limbeck alembic", "a vessel once used to distil liquids"),
    ("river", 'a large natural stream of water; "the river was navigable for 50 miles"- a guide'),
    ("New_York", "a city on the Hudson River"),
]
VERBS = [
    ("distil distill", 'undergo the process of distillation; "the spirit distils slowly"'),
    ("run", 'move fast by using the feet; "Don\'t run--you will be out of breath"'),
]
ADJECTIVES = [
    ("galore(ip)", 'existing in abundance; "whisky galore"'),
    ("calm", "not agitated; without losing self-possession"),
]
ADVERBS = [("quickly speedily", 'with rapid movements; "he works quickly"')]


def line(offset: int, kind: str, lemmas: str, gloss: str) -> str:
    """One line of a data file, with one pointer, and for a verb with one frame."""
    names = lemmas.split()
    words = " ".join(f"{name} 0" for name in names)
    frames = " 01 + 02 00" if kind == "v" else ""
    return f"{offset:08d} 03 {kind} {len(names):02x} {words} 001 @ 00001740 n 0000{frames} | {gloss}  \n"


def write_wordnet(folder: Path, copies: int = 1) -> Path:
    """Writes the four data files into `folder`; `copies` repeats the synsets, each time with other words."""
    folder.mkdir(parents=True, exist_ok=True)
    sets = {"noun": ("n", NOUNS), "verb": ("v", VERBS), "adj": ("a", ADJECTIVES), "adv": ("r", ADVERBS)}
    for name, (kind, entries) in sets.items():
        content = _LICENCE
        for copy in range(copies):
            for index, (lemmas, gloss) in enumerate(entries):
                shown = "s" if kind == "a" and index else kind
                extra = f"; sense number {copy}" if copy else ""
                content += line(len(content), shown, lemmas, gloss + extra)
        (folder / f"data.{name}").write_text(content, encoding="utf-8")
    return folder
