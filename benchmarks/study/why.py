"""What keeps question 1's aims from being met, and what follows: length, kd, mask, seeds, coverage.

The aims are of the student that has N/2 steps with teachers against N without, and of the best weighting
against equal weights. One thing at a time is changed; both sides of a comparison have what is changed, except
kd, which untaught students do not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from limbeck.errors import UserError
from limbeck.tasks.mlm_model import OK

from . import nats
from .chosen import parts
from .convergence import HALF, scale
from .setting import TEACHERS, Setting, Size
from .students import Arm, Student, folder
from .teachers import teacher_model, train_teachers
from .trainings import Trainings
from .why_page import headline, page

__all__ = ["answer", "comparisons", "headline", "page"]


@dataclass(frozen=True)
class Side:
    """Of a comparison: students of one arm and length."""

    arm: Arm
    steps: int


@dataclass(frozen=True)
class Comparison:
    """kind: what is changed, `longer`, `kd`, `mask` or `seeds`. known: question 1 has it already."""

    kind: str
    size: Size
    better: Side
    worse: Side
    seeds: tuple[int, ...]
    known: bool = False

    def students(self, side: Side) -> list[Student]:
        """One of each seed."""
        return [Student(side.arm, self.size, side.steps, seed) for seed in self.seeds]


def comparisons(setting: Setting, arms: dict[str, Arm]) -> Iterator[Comparison]:
    """All that is compared; arms: of question 1, by the parts they play."""
    small, large = setting.sizes
    n, long, half = setting.steps, setting.longer * setting.steps, setting.steps // HALF
    none, best, seeds = arms["none"], arms["best"], setting.seeds
    rivals = list(dict.fromkeys(arm for arm in arms.values() if arm != best))
    for steps, of in ((n, seeds + setting.more_seeds), (long, seeds)):
        for rival in rivals:
            yield Comparison("longer", small, Side(best, steps), Side(rival, steps), of, steps == n)
        yield Comparison("longer", small, Side(best, steps // HALF), Side(none, steps), of, steps == n)
    for kd in sorted({best.kd, *setting.kd_shares}):
        arm = best if kd == best.kd else replace(best, name=f"{best.name}-kd-{kd:g}", kd=kd)
        yield Comparison("kd", large, Side(arm, half), Side(none, n), seeds, arm == best)
    for mask in (best.mask, setting.mask):
        taught, untaught = (masked(arm, mask) for arm in (best, none))
        yield Comparison("mask", large, Side(taught, half), Side(untaught, n), seeds, taught == best)
    for arm, steps in ((best, half), (none, n)):
        yield Comparison("mask", large, Side(masked(arm, setting.mask), steps), Side(arm, steps), seeds)
    if arms["uniform"] != best:
        sides = Side(best, n), Side(arms["uniform"], n)
        yield Comparison("seeds", large, *sides, seeds, known=True)
        yield Comparison("seeds", large, *sides, seeds + setting.more_seeds)


def masked(arm: Arm, mask: float) -> Arm:
    """The arm, learning this share of the words."""
    return arm if mask == arm.mask else replace(arm, name=f"{arm.name}-mask-{mask:g}", mask=mask)


def answer(setting: Setting) -> dict[str, Any]:
    """Everything the page says."""
    arms = parts(setting)
    if arms is None:
        raise UserError("question `why` builds on `convergence`, which is not answered yet: ask it first")
    train_teachers(setting)
    compared = list(comparisons(setting, arms))
    students = [s for one in compared for side in (one.better, one.worse) for s in one.students(side)]
    trainings = Trainings(setting)
    trainings.train("other ways", students)
    places = {student: folder(setting, student) / "model" for student in trainings.done}
    nats.measure(setting, list(places.values()), setting.test_texts())
    return {
        "scale": scale(setting) | {"trainings": len(trainings.done)},
        "comparisons": [_row(setting, one, places) for one in compared],
        "coverage": coverage(setting, *_half(setting, arms, places)),
    }


def _row(setting: Setting, one: Comparison, places: dict[Student, Path]) -> dict[str, Any]:
    better, worse = ([places[s] for s in one.students(side)] for side in (one.better, one.worse))
    return {
        "kind": one.kind,
        "size": one.size.name,
        "better": asdict(one.better.arm),
        "worse": asdict(one.worse.arm),
        "steps": [one.better.steps, one.worse.steps],
        "seeds": len(one.seeds),
        "known": one.known,
    } | nats.gains(setting, better, worse)


def _half(
    setting: Setting, arms: dict[str, Arm], places: dict[Student, Path]
) -> tuple[list[Path], list[Path]]:
    """The larger student: N/2 steps with the best weighting, and N without teachers."""
    large, half = setting.sizes[1], setting.steps // HALF
    taught = [places[Student(arms["best"], large, half, seed)] for seed in setting.seeds]
    return taught, [places[Student(arms["none"], large, setting.steps, seed)] for seed in setting.seeds]


def coverage(setting: Setting, better: list[Path], worse: list[Path]) -> list[dict[str, Any]]:
    """The gain by how many teachers know a word as one piece.

    Of each class, `teachers` (None: words that are several pieces for the student), its `share` of the words,
    as a mean over the texts, and its `gain`, as `nats.paired_gain` gives it. What no word of some text is, is
    left out.
    """
    texts = list(setting.texts())
    teachers = [teacher_model(setting, name) for name in TEACHERS]
    nats.measure(setting, teachers)
    known, single = {}, {}
    for text in texts:
        scores = [nats.words(setting, place, text).scores for place in teachers]
        known[text] = np.sum([one.single & (one.state == OK) for one in scores], axis=0)
        single[text] = nats.words(setting, better[0], text).scores.single
    rows: list[dict[str, Any]] = []
    for count in (*range(len(TEACHERS) + 1), None):
        within = {text: ~single[text] if count is None else single[text] & (known[text] == count)
                  for text in texts}  # fmt: skip
        if all(mask.any() for mask in within.values()):
            share = float(np.mean([mask.mean() for mask in within.values()]))
            gain = nats.paired_gain(setting, better, worse, texts, within)
            rows.append({"teachers": count, "share": share, "gain": gain})
    return rows
