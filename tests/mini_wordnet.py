"""A small WordNet in Princeton's format, written for the tests."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

_LICENCE = (
    "This small lexicon was written for the tests of Limbeck.",
    "It may be used for anything | without limits.",
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

MORE = {
    "noun": [
        ("bank", 'a long ridge or pile; "a huge bank of earth"', 2),
        ("bank", 'sloping land beside water; "they pulled the canoe up on the bank"; "river banks"', 25),
        ("bank depository", 'a firm that accepts deposits; "he cashed a check at the bank"', 20),
        ("run", 'a score in baseball; "our side scored three runs"', 5),
        ("Earth earth", "the planet that we live on", 4),
        ("dog", 'a dull person; "she is a real dog"', 0),
        ("man adult_male", 'a grown male person; "there were six men on the bus"', 9),
        ("man_of_letters", "a man devoted to literature", 0),
        ("attorney lawyer", "a professional person who gives legal advice", 2),
        ("attorney_general", "the chief law officer of a country", 1),
        ("line_of_products line", "a kind of goods", 0),
        ("boxful box", 'the quantity held by a box; "they ate two boxesful of dates"', 0),
        ("ax axe", "an edge tool with a heavy head", 1),
        ("axis", "a straight line through a body", 1),
        ("Jan. January", "the first month of the year", 0),
    ],
    "verb": [
        ("run", 'direct or control; "she runs a small firm"', 3),
        ("run operate", 'be in working order; "the old car still runs well"', 9),
        ("run_into encounter", 'come together with; "they ran into an old friend"', 2),
        ("ask_for_it", "do what will bring trouble", 0),
        ("take_care", 'be careful; "she took care to lock the door"', 1),
        ("dog tail", 'go after; "the policeman dogged the thief"', 0),
        ("bank", 'tip to the side; "the pilot banked the aircraft"', 0),
    ],
    "adj": [
        ("good", 'having desirable qualities; "a good report card"', 12),
        ("well(p)", 'in good health; "he is not well today"', 3),
        ("well-known", 'widely known; "a well-known politician"', 1),
        ("calm(a)", 'of weather; free from storm or wind; "a calm sea"', 6),
    ],
    "adv": [("well good", 'in a proper manner; "the children behaved well"', 8)],
}
"""Polysemous and inflected words: lemmas, gloss, tag count of the first lemma; adjectives are satellites."""

EXCEPTIONS = {
    "noun": "axes ax axis|men man|men_of_letters man_of_letters|scarves scarf",
    "verb": "ran run|running run|taken take|took take|went go",
    "adj": "after after|best good|better good well",
    "adv": "best well|better well",
}

_KINDS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}
_NUMBERS = {"n": 1, "v": 2, "a": 3, "r": 4, "s": 5}


def line(
    offset: int,
    kind: str,
    lemmas: str,
    gloss: str,
    *,
    file: int = 3,
    ids: tuple[int, ...] = (),
    head: int = 0,
) -> str:
    """One line of a data file, with one pointer (a satellite's is to its head), and for a verb one frame."""
    names = lemmas.split()
    words = " ".join(f"{name} {own:x}" for name, own in zip(names, ids or [0] * len(names), strict=True))
    frames = " 01 + 02 00" if kind == "v" else ""
    pointer = f"& {head:08d} a 0000" if kind == "s" else "@ 00001740 n 0000"
    return f"{offset:08d} {file:02d} {kind} {len(names):02x} {words} 001 {pointer}{frames} | {gloss}  \n"


def licence(version: str) -> str:
    """What every data and index file opens with."""
    told = f"WordNet {version} Copyright nobody, in layout only."
    return "".join(f"  {number} {text}  \n" for number, text in enumerate((*_LICENCE, told), 1))


def write_wordnet(
    folder: Path,
    copies: int = 1,
    *,
    polysemous: bool = False,
    version: str = "3.0",
    counts: bool = True,
    sense_index: bool = False,
) -> Path:
    """Writes data and index files, exception lists and, if asked, what tells how often senses are tagged.

    Args:
        copies: repeats the synsets, each time with other words in the gloss.
        polysemous: adds `MORE`; without it there are 10 synsets in a copy, and no lemma has two senses in it.
        version: what the licence names.
        counts: writes `cntlist.rev`.
        sense_index: writes `index.sense`, which Debian has in a package of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    every: list[tuple[str, int, int, int]] = []  # key, offset, sense number, tag count
    for name, entries in {"noun": NOUNS, "verb": VERBS, "adj": ADJECTIVES, "adv": ADVERBS}.items():
        whole = [(*entry, 0) for entry in entries] + (MORE[name] if polysemous else [])
        content, senses = _data(name, whole, copies, licence(version))
        (folder / f"data.{name}").write_text(content, encoding="utf-8")
        (folder / f"index.{name}").write_text(
            licence(version) + _index(_KINDS[name], senses), encoding="utf-8"
        )
        (folder / f"{name}.exc").write_text(EXCEPTIONS[name].replace("|", "\n") + "\n", encoding="utf-8")
        for found in senses.values():
            every += [(key, offset, n, count) for n, (count, key, offset) in enumerate(found, 1)]
    every.sort()
    if counts:
        tagged = "".join(f"{key} {number} {count}\n" for key, _, number, count in every if count)
        (folder / "cntlist.rev").write_text(tagged, encoding="utf-8")
    if sense_index:
        lines = "".join(f"{key} {offset:08d} {number} {count}\n" for key, offset, number, count in every)
        (folder / "index.sense").write_text(lines, encoding="utf-8")
    return folder


def _data(
    name: str, entries: list[tuple[str, str, int]], copies: int, opening: str
) -> tuple[str, dict[str, list[tuple[int, str, int]]]]:
    """A data file, and for each lemma its senses in sense order: tag count, key, offset."""
    content, senses, head = opening, {}, (0, "")
    for copy in range(copies):
        met: Counter[str] = Counter()
        for place, (lemmas, gloss, count) in enumerate(entries):
            words = [lemma.split("(")[0].lower() for lemma in lemmas.split()]
            ids = tuple(met[word] for word in words)
            met.update(set(words))
            kind = "s" if name == "adj" and place else _KINDS[name]
            offset = len(content)
            if not place:
                head = (offset, f"{words[0]}:{ids[0]:02d}")
            extra = f"; sense number {copy}" if copy else ""
            content += line(offset, kind, lemmas, gloss + extra, file=3 + copy, ids=ids, head=head[0])
            for rank, (word, own) in enumerate(zip(words, ids, strict=True)):
                key = f"{word}%{_NUMBERS[kind]}:{3 + copy:02d}:{own:02d}:{head[1] if kind == 's' else ':'}"
                found = senses.setdefault(word, [])
                if not any(offset == other for _, _, other in found):  # the first spelling has the key
                    found.append((0 if rank else count, key, offset))
    for found in senses.values():
        found.sort(key=lambda sense: -sense[0])
    return content, senses


def _index(kind: str, senses: dict[str, list[tuple[int, str, int]]]) -> str:
    lines = []
    for lemma, found in sorted(senses.items()):
        tagged = sum(count > 0 for count, _, _ in found)
        offsets = " ".join(f"{offset:08d}" for _, _, offset in found)
        lines.append(f"{lemma} {kind} {len(found)} 1 @ {len(found)} {tagged} {offsets}  \n")
    return "".join(lines)
