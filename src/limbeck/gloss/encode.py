"""Instances and their candidate glosses as pieces: each context and each gloss is tokenized once.

The two are joined as ids later (gloss/layout.py), with the special pieces the tokenizer itself puts around a
pair: docs/architecture.md, section 3.2. Every piece knows the words it overlaps, so that whole words of
context and gloss can be masked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from limbeck.errors import UserError
from limbeck.gloss.template import PairTemplate
from limbeck.gloss.texts import Located, Text, word_starts
from limbeck.text.pieces import PieceTokenizer

if TYPE_CHECKING:
    from limbeck.gloss.instance import Instance
    from limbeck.lexicon.lexicon import Sense

__all__ = ["MARKS", "Encoded", "Encoder", "Text"]

MARKS = ("quotes", "none")
"""How the target is marked in its context: in double quotes, as published, or not at all."""

# Glosses kept as pieces, about 600 bytes each: a third of what WordNet's words have, and far more than recur.
CACHED = 65536
# A context that must be cut leaves room for its gloss in steps of so many pieces. The cut of a candidate's
# context depends on its own gloss alone, so that no candidate changes another's score; the steps keep the
# number of different cuts of one context small, as the packed layout needs a row for each.
GLOSS_STEP = 32
# Pieces of a gloss that must stay beside those that name the target.
GLOSS_LEAST = 8

log = logging.getLogger("limbeck")


@dataclass(frozen=True, slots=True)
class Encoded:
    """An instance as pieces, with its K candidates.

    id: of the instance. contexts: as a rule one; more where the context had to be cut, and not the same for
    every gloss. context_of: for each candidate the index of its context. targets: for each context the pieces
    of the target, `[start, end)`, its quotes among them. glosses: one for each candidate. gold: bool [K].
    """

    id: str
    contexts: tuple[Text, ...]
    targets: tuple[tuple[int, int], ...]
    context_of: tuple[int, ...]
    glosses: tuple[Text, ...]
    gold: npt.NDArray[np.bool_]


class Encoder:
    """Turns instances and their candidate senses into pieces.

    Attributes: tokenizer, marks, max_length as given; template: the special pieces around a pair; shortened:
    the glosses that lost their end so far, by hash.

    Args:
        tokenizer: of the model, made with the model's limit.
        marks: `quotes` (the target stands in double quotes, as published) or `none`.
        max_length: the most pieces of a context and one gloss together, special ones included. A longer
            context is cut at words, evenly on both sides of the target. The target is never cut; a gloss
            only where it leaves no room for the target (one of WordNet's has 140 pieces), at its end.

    Raises:
        UserError: unknown marks; more pieces than the model takes; a tokenizer that cannot part two texts.
    """

    def __init__(self, tokenizer: PieceTokenizer, *, marks: str = "quotes", max_length: int = 160) -> None:
        if marks not in MARKS:
            raise UserError(f"gloss.marks is {marks!r}; use {' or '.join(MARKS)}")
        limit = tokenizer.limit + len(tokenizer.prefix) + len(tokenizer.suffix)
        if max_length > limit:
            raise UserError(
                f"gloss.max_length is {max_length}, but the model takes {limit} pieces at most; lower it"
            )
        self.tokenizer, self.marks, self.max_length = tokenizer, marks, max_length
        self.template = PairTemplate.of(tokenizer)
        self.shortened: set[int] = set()
        self._glosses: dict[str, Text] = {}

    def encode(self, items: Sequence[tuple[Instance, Sequence[Sense]]]) -> list[Encoded]:
        """The instances as pieces, each with its candidates; all of them are tokenized in one go.

        An instance without candidates has no glosses, and no row in any batch.

        Raises:
            UserError: a target longer than `max_length` allows; one without a visible character, or whose
                span lies outside its context.
        """
        if not items:
            return []
        targets = [_target(instance) for instance, _ in items]
        wanted = [
            [f"{target} : {sense.gloss}" for sense in senses]
            for target, (_, senses) in zip(targets, items, strict=True)
        ]
        glosses = self._cached(wanted)
        contexts = self._contexts([self._marked(instance) for instance, _ in items])
        return [
            self._encoded(instance, senses, [glosses[text] for text in texts], context)
            for (instance, senses), texts, context in zip(items, wanted, contexts, strict=True)
        ]

    def _marked(self, instance: Instance) -> _Marked:
        """The context with its marks, and the target's characters in it, marks included."""
        context, start, end = instance.context, instance.start, instance.end
        if self.marks == "none":
            return _Marked(context, start, end)
        return _Marked(f'{context[:start]}"{context[start:end]}"{context[end:]}', start, end + 2)

    def _cached(self, wanted: Sequence[Sequence[str]]) -> dict[str, Text]:
        """Each wanted gloss text as pieces; only what no earlier call has met is tokenized."""
        cache = self._glosses
        distinct = dict.fromkeys(text for texts in wanted for text in texts)
        missing = [text for text in distinct if text not in cache]
        found = {text: cache[text] for text in distinct if text in cache}
        if missing:
            located = Located.of(self.tokenizer, missing)
            found |= {text: located.text(i, 0, None) for i, text in enumerate(missing)}
            cache |= {text: found[text] for text in missing}
            for text in list(islice(cache, max(0, len(cache) - CACHED))):  # the oldest
                del cache[text]
        return found

    def _contexts(self, marked: Sequence[_Marked]) -> Iterator[_Context]:
        located = Located.of(self.tokenizer, [m.text for m in marked])
        for i, (_, start, end) in enumerate(marked):
            yield _Context(located, i, *located.overlapping(i, start, end))

    def _encoded(
        self, instance: Instance, senses: Sequence[Sense], glosses: Sequence[Text], context: _Context
    ) -> Encoded:
        room = self.max_length - self.template.special
        glosses = [self._fitted(gloss, room, instance, context.target) for gloss in glosses]
        cuts: dict[tuple[int, int], int] = {}
        context_of = []
        for gloss in glosses:
            cut = context.cut(room, len(gloss))
            context_of.append(cuts.setdefault(cut, len(cuts)))
        gold = set(instance.gold)
        return Encoded(
            id=instance.id,
            contexts=tuple(context.located.text(context.number, *cut) for cut in cuts),
            targets=tuple((context.start - low, context.end - low) for low, _ in cuts),
            context_of=tuple(context_of),
            glosses=tuple(glosses),
            gold=np.fromiter((sense.key in gold for sense in senses), bool, len(senses)),
        )

    def _fitted(self, gloss: Text, room: int, instance: Instance, target: int) -> Text:
        """The gloss, without its end where it would leave no room for the target's pieces."""
        if len(gloss) + target <= room:
            return gloss
        if room - target < min(len(gloss), target + GLOSS_LEAST):
            raise UserError(
                f"instance {instance.id!r}: its target of {target} pieces, which the gloss names again, is "
                f"longer than the length limit of {self.max_length} allows; raise max_length, or leave it out"
            )
        if not self.shortened:
            log.warning(
                "a gloss of %d pieces leaves no room for its target in %d pieces; it loses its end, as does "
                "every one so long (said once): %s…",
                len(gloss),
                self.max_length,
                gloss.text[:40],
            )
        self.shortened.add(gloss.hash)
        return gloss.head(room - target)


class _Marked(NamedTuple):
    """A context as the model reads it, and the characters `[start, end)` of the target."""

    text: str
    start: int
    end: int


class _Context:
    """One context among the located, its target's pieces `[start, end)`, and the ways to cut it."""

    def __init__(self, located: Located, number: int, start: int, end: int) -> None:
        self.located, self.number, self.start, self.end = located, number, start, end
        self.size = int(located.offsets[number + 1] - located.offsets[number])
        self._cuts: dict[int, tuple[int, int]] = {}

    @property
    def target(self) -> int:
        """Pieces of the target."""
        return self.end - self.start

    def cut(self, room: int, gloss: int) -> tuple[int, int]:
        """The pieces `[low, high)` that stay beside a gloss of so many, which leaves the target room."""
        if self.size + gloss <= room:
            return 0, self.size
        stepped = room - -(-gloss // GLOSS_STEP) * GLOSS_STEP
        left = stepped if stepped >= self.target else room - gloss
        if left not in self._cuts:
            self._cuts[left] = self._window(left)
        return self._cuts[left]

    def _window(self, room: int) -> tuple[int, int]:
        """At most `room` pieces around the target, as many on either side, cut between words."""
        before, behind, spare = self.start, self.size - self.end, room - self.target
        taken = min(before, max(spare // 2, spare - behind))
        low, high = self.start - taken, self.end + min(behind, spare - taken)
        begin = int(self.located.offsets[self.number])
        opens = word_starts(self.located.table[:, begin : begin + self.size])
        low = min(int(opens[np.searchsorted(opens, low)]), self.start)
        high = max(int(opens[np.searchsorted(opens, high, side="right") - 1]), self.end)
        return low, high


def _target(instance: Instance) -> str:
    """The target as the gloss side writes it, in one line."""
    inside = 0 <= instance.start < instance.end <= len(instance.context)
    target = " ".join(instance.target.split()) if inside else ""
    if not target:
        raise UserError(
            f"instance {instance.id!r}: characters {instance.start} to {instance.end} of its context are no "
            "word; give the span of the target"
        )
    return target
