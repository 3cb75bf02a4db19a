"""The unified XML and gold-key format (Raganato et al. 2017): SemCor, the five evaluation sets, ALL.

`corpus`, `text`, `sentence`, and in it `wf` and `instance` with a token each; the gold standard is a key file
beside it. One sentence is in memory at a time, and those of the context window.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NamedTuple

from limbeck.errors import UserError
from limbeck.gloss.instance import Instance
from limbeck.gloss.keys import named, opened, read_keys
from limbeck.gloss.running import join

POS_NAMES = {"NOUN": "n", "VERB": "v", "ADJ": "a", "ADV": "r"}
"""The format's parts of speech; those of words that are no instances do not matter."""

DATA, GOLD = ".data.xml", ".gold.key.txt"
"""How the names of a set's two files end, but for the compression."""

PACKED = ("", ".xz", ".gz")
"""Endings of the files that are read, behind their own."""


class _Target(NamedTuple):
    """An instance in its sentence, before its context is known."""

    id: str
    start: int
    end: int
    lemma: str
    pos: str | None


class _Sentence(NamedTuple):
    text: str
    targets: list[_Target]


def gold_beside(xml: Path) -> Path:
    """The gold-key file that belongs to a data file: `x.data.xml.xz` → `x.gold.key.txt` or packed.

    Raises:
        UserError: the name does not end as it should, or there is none.
    """
    name, dot, _ = xml.name.partition(DATA)
    if not dot:
        raise UserError(f"{xml} is not named NAME{DATA}, so its gold keys cannot be found; rename it")
    for ending in PACKED:
        if (gold := xml.with_name(f"{name}{GOLD}{ending}")).is_file():
            return gold
    raise UserError(f"{xml} has no {name}{GOLD} beside it; put the gold keys there")


def read_unified(xml: Path, gold: Path | None, *, window: int = 0) -> Iterator[Instance]:
    """The instances of a data file, in its order, streamed.

    Args:
        xml: may be packed (.xz, .gz), as may `gold`.
        gold: None: the instances have no gold keys. Read along; its order should be that of the data, or
            what lies between is kept in memory.
        window: sentences of the same document before and behind that belong to the context.

    Raises:
        UserError: a file that cannot be read, damaged compression, XML that is cut short, not well formed,
            not of this format or has entities; instances without gold keys, told as soon as the first is
            met; gold keys without instances, told at the end.
    """
    assert window >= 0
    keys = None if gold is None else _Gold(gold)
    met = 0
    for fields in _in_context(_sentences(xml), window):
        met += 1
        found = None if keys is None else keys.take(fields[0])
        if keys is not None and found is None:
            raise UserError(_lacking(xml, keys))
        yield Instance(*fields, found or ())
    if met == 0:
        raise UserError(f"{xml} has no instance in it; check that it is the right file")
    if keys is not None and (left := keys.left()):
        known = {fields[0] for fields in _in_context(_sentences(xml), 0)}
        if twice := [name for name in left if name in known]:
            raise UserError(f"{gold} has more than one line for {named(twice)}; leave one for each")
        raise UserError(f"{gold} has keys for {named(left)} that {xml.name} has not; take its own data file")


def _lacking(xml: Path, keys: _Gold) -> str:
    """What to say of a data file that has instances without gold keys: both files are read once more."""
    known = {row[0] for row in read_keys(keys.path)}
    ids = [fields[0] for fields in _in_context(_sentences(xml), 0)]
    if lacking := [name for name in ids if name not in known]:
        return f"{keys.path} has no line for {named(lacking)} of {xml.name}; take the keys of this file"
    twice = [name for name, count in Counter(ids).items() if count > 1]
    return f"{xml} has several instances of the same id: {named(twice)}; get the file again"


class _Gold:
    """A gold-key file that is read as far as it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._rows = read_keys(path)
        self._ahead: dict[str, tuple[str, ...]] = {}

    def take(self, name: str) -> tuple[str, ...] | None:
        """The keys of an instance, once; None where the file has none (left) for it."""
        while name not in self._ahead:
            if (row := next(self._rows, None)) is None:
                return None
            if row[0] in self._ahead:
                raise UserError(f"{self.path} has more than one line for 1 instance ({row[0]}); leave one")
            self._ahead[row[0]] = row[1]
        return self._ahead.pop(name)

    def left(self) -> list[str]:
        """Instances whose keys nobody took."""
        return [*self._ahead, *(name for name, _ in self._rows)]


def _in_context(
    sentences: Iterator[_Sentence | None], window: int
) -> Iterator[tuple[str, str, int, int, str, str | None]]:
    """The fields of each instance, its context being the sentences around it; None ends a document."""
    around: deque[_Sentence] = deque()  # the `window` before, the one whose turn it is, those behind
    turn = 0  # place of the one whose turn it is
    for sentence in sentences:
        if sentence is not None:
            around.append(sentence)
        while turn < len(around) and (sentence is None or turn + window < len(around)):
            yield from _instances(around, turn)
            turn += 1
            if turn > window:
                around.popleft()
                turn -= 1
        if sentence is None:
            around.clear()
            turn = 0


def _instances(around: deque[_Sentence], turn: int) -> Iterator[tuple[str, str, int, int, str, str | None]]:
    sentence = around[turn]
    if not sentence.targets:
        return
    context = " ".join(one.text for one in around)
    offset = sum(len(around[i].text) + 1 for i in range(turn))
    for target in sentence.targets:
        yield target.id, context, offset + target.start, offset + target.end, target.lemma, target.pos


def _sentences(xml: Path) -> Iterator[_Sentence | None]:
    """The sentences, and None behind the last of each document."""
    with opened(xml) as file:
        for tag, element in _elements(file, xml):
            if tag == "text":
                yield None
            elif tokens := [token for token in element if token.text and token.text.strip()]:
                yield _sentence(tokens, element.get("id"), xml)
    yield None


def _elements(file: BufferedIOBase, xml: Path) -> Iterator[tuple[str, Any]]:
    """Each finished `sentence` and `text`; what was finished is let go."""
    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import ParseError, iterparse

    above: list[Any] = []
    try:
        for event, element in iterparse(file, events=("start", "end")):
            if event == "start":
                if not above and element.tag != "corpus":
                    raise UserError(
                        f"{xml} is not in the unified format: its root is <{element.tag}>, not <corpus>"
                    )
                above.append(element)
                continue
            above.pop()
            if element.tag in ("sentence", "text"):
                yield element.tag, element
                if above:
                    above[-1].remove(element)
    except DefusedXmlException as error:
        raise UserError(
            f"{xml} declares entities or refers to other files ({type(error).__name__}), which is refused as "
            f"it can be an attack; take its DOCTYPE out"
        ) from error
    except ParseError as error:
        raise UserError(f"{xml} is cut short or not well-formed XML ({error}); get it again") from error


def _sentence(tokens: list[Any], name: str | None, xml: Path) -> _Sentence:
    text, spans = join([token.text for token in tokens])
    targets = []
    for token, (start, end) in zip(tokens, spans, strict=True):
        if token.tag != "instance":
            continue
        id_, lemma, pos = token.get("id"), token.get("lemma"), token.get("pos")
        if not id_ or not lemma or id_.split() != [id_]:
            raise UserError(
                f"{xml}, sentence {name}: the instance {token.text!r} lacks an id without white space or a "
                f"lemma; get the file again"
            )
        if pos is not None and pos not in POS_NAMES:
            raise UserError(
                f"{xml}: the instance {id_} is of the part of speech {pos!r}; it must be one of "
                f"{', '.join(POS_NAMES)}"
            )
        targets.append(_Target(id_, start, end, lemma.replace("_", " "), POS_NAMES[pos] if pos else None))
    return _Sentence(text, targets)
