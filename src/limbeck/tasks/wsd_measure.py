"""A system's F1 on labelled sets, beside the baselines that it must beat.

A set is read twice: once to find everything that can be wrong with it and to let the baselines answer, once
for the system. The text is streamed; what is kept of an instance is its id, its keys and the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from limbeck.errors import UserError
from limbeck.gloss.instances import Candidates, Instance, candidates, write_keys
from limbeck.lexicon.lexicon import Lexicon, check_keys
from limbeck.tasks.wsd_baselines import (
    FIRST,
    FREQUENT,
    RANDOM,
    first_sense,
    most_frequent_sense,
    random_sense,
)
from limbeck.tasks.wsd_score import REPLICATES, Gold, Marks, compare, measure, measure_parts
from limbeck.tasks.wsd_sets import ALL, FIVE, Digest, LabelledSet

if TYPE_CHECKING:
    from limbeck.tasks.mlm_words import Progress

Answers = Callable[[Iterable[Instance]], Iterator[tuple[str, str | None]]]
"""A system: instances in, the id of each and the key of its sense out, in any order; None: no answer."""


@dataclass(frozen=True)
class WsdSettings:
    """How a system is measured.

    candidates: whose senses compete. window: sentences of the document before and behind the target's;
    None: as the model was trained (0 without a model).
    replicates: resampled sets of sentences for the intervals; 0: none. seed: of the draws.

    Raises:
        UserError: a value out of range.
    """

    candidates: Candidates = "gold"
    window: int | None = None
    replicates: int = REPLICATES
    seed: int = 0

    def __post_init__(self) -> None:
        if self.candidates not in ("gold", "all"):
            raise UserError(f"candidates is {self.candidates!r}; it must be gold or all")
        if (self.window or 0) < 0 or self.replicates < 0 or self.seed < 0:
            raise UserError("window, replicates and seed must be 0 or more")


@dataclass(frozen=True)
class Prepared:
    """A set as far as it can be known without a model.

    baselines: the marks of each, and of chance (always answered). candidates: [W], senses that compete.
    reachable: bool [W], whether a right sense is among them.
    """

    name: str
    gold: Gold
    fingerprint: str
    baselines: dict[str, Marks]
    candidates: npt.NDArray[np.int64]
    reachable: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Row:
    """What is kept of an instance."""

    id: str
    pos: str | None
    gold: tuple[str, ...]
    first: tuple[str, ...]
    frequent: tuple[str, ...]
    random: float
    candidates: int
    reachable: bool


def prepare(
    labelled: LabelledSet, lexicon: Lexicon, counts: dict[str, int] | None, of: Candidates
) -> Prepared:
    """Reads a set once, checks it, and lets the baselines answer.

    Args:
        counts: how often the training text has each sense; None: not known, no most frequent sense.
        of: whose senses compete; the baselines always choose among those of the gold part of speech.

    Raises:
        UserError: as `LabelledSet.instances`; gold keys that the lexicon has not.
    """
    digest, rows = Digest(), []
    for instance in labelled.instances(0):
        digest.add(instance)
        gold = candidates(lexicon, instance, "gold")
        chosen = gold if of == "gold" else candidates(lexicon, instance, of)
        right = random_sense(chosen, instance.gold)
        frequent = () if counts is None else most_frequent_sense(gold, counts)
        rows.append(
            _Row(
                instance.id,
                instance.pos,
                instance.gold,
                first_sense(gold),
                frequent,
                right,
                len(chosen),
                right > 0,
            )
        )
    check_keys(lexicon, chain.from_iterable(row.gold for row in rows), str(labelled.keys_in))
    gold_keys = Gold.of(((row.id, row.pos, row.gold) for row in rows), counts)
    baselines = {FIRST: Marks.of(gold_keys, {row.id: row.first for row in rows})}
    if counts is not None:
        baselines[FREQUENT] = Marks.of(gold_keys, {row.id: row.frequent for row in rows})
    sizes = np.array([row.candidates for row in rows], dtype=np.int64)
    baselines[RANDOM] = Marks(np.array([row.random for row in rows], dtype=np.float64), sizes > 0)
    reachable = np.array([row.reachable for row in rows], dtype=np.bool_)
    return Prepared(labelled.name, gold_keys, digest.hex(), baselines, sizes, reachable)


def evaluate_sets(
    answers: Answers | None,
    sets: Sequence[LabelledSet],
    prepared: Sequence[Prepared],
    settings: WsdSettings,
    *,
    output: Path | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """Measures a system on sets that were prepared, and on ALL where the five are among them.

    Args:
        answers: the system; None: the baselines alone.
        output: folder for a key file of each set.

    Returns:
        One JSON-ready dict for each set: name, counts, fingerprint, model, baselines, comparisons.

    Raises:
        UserError: a key file cannot be written; what the system raises.
    """
    total, done, measured = sum(len(p.gold.ids) for p in prepared), 0, []
    given: dict[str, Marks] = {}
    for labelled, ready in zip(sets, prepared, strict=True):
        if answers is not None:
            rows: dict[str, tuple[str, ...]] = {}
            for name, key in answers(labelled.instances(settings.window or 0)):
                rows[name] = () if key is None else (key,)
                if progress is not None:
                    progress("disambiguating", done + len(rows), total)
            done += len(rows)
            assert rows.keys() == set(ready.gold.ids)
            given[ready.name] = Marks.of(ready.gold, rows)
            if output is not None:
                write_keys(output / f"{ready.name}.key", ((name, rows[name]) for name in ready.gold.ids))
        measured.append(_measured(ready, given.get(ready.name), settings))
    by_name = {ready.name: ready for ready in prepared}
    if by_name.keys() >= set(FIVE):
        five = [by_name[name] for name in FIVE]
        marks = _joined([given[name] for name in FIVE]) if given else None
        measured.append(_measured(_together(five), marks, settings))
    return measured


def _together(five: Sequence[Prepared]) -> Prepared:
    """The sets as one, named ALL; ids as in the framework's own ALL, the set's name before them."""
    rows = [
        (f"{one.name}.{name}", pos, keys)
        for one in five
        for name, pos, keys in zip(one.gold.ids, one.gold.pos, one.gold.keys, strict=True)
    ]
    seen = [one.gold.seen for one in five if one.gold.seen is not None]
    gold = replace(Gold.of(rows, None), seen=np.concatenate(seen) if seen else None)
    baselines = {name: _joined([one.baselines[name] for one in five]) for name in five[0].baselines}
    sizes = np.concatenate([one.candidates for one in five])
    reachable = np.concatenate([one.reachable for one in five])
    return Prepared(ALL, gold, gold.fingerprint, baselines, sizes, reachable)


def _joined(marks: Sequence[Marks]) -> Marks:
    return Marks(np.concatenate([m.credit for m in marks]), np.concatenate([m.answered for m in marks]))


def _measured(ready: Prepared, model: Marks | None, settings: WsdSettings) -> dict[str, Any]:
    draws: dict[str, Any] = {"replicates": settings.replicates, "seed": settings.seed}
    result: dict[str, Any] = {
        "name": ready.name,
        "fingerprint": ready.fingerprint,
        "instances": len(ready.gold.ids),
        "candidates_per_instance": float(ready.candidates.mean()),
        "without_candidates": int((ready.candidates == 0).sum()),
        "gold_among_candidates": int(ready.reachable.sum()),
        "baselines": {
            name: measure_parts(ready.gold, marks, **draws)
            for name, marks in ready.baselines.items()
            if name != RANDOM
        },
    }
    result["baselines"][RANDOM] = measure(ready.gold, ready.baselines[RANDOM], **draws | {"replicates": 0})
    if model is not None:
        result["model"] = measure_parts(ready.gold, model, **draws)
        result["against"] = {
            name: compare(ready.gold, marks, model, **draws)
            for name, marks in ready.baselines.items()
            if name != RANDOM
        }
    return result
