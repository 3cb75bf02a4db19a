"""When does it pay? The gain from teachers against how far they are ahead of the student.

Teachers part of the way through their training, students of two sizes, short and long trainings, a constant
share of the teachers in the loss and one that falls to nothing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from . import nats
from .chosen import chosen
from .convergence import choose, scale
from .jobs import say
from .pays_page import headline, page
from .setting import TEACHERS, Setting, Size
from .students import Arm
from .teachers import teacher_model, train_teachers
from .trainings import Trainings

__all__ = ["answer", "headline", "page"]

SHARES = {"constant": None, "falling": 0.0}
"""The teachers' share of the loss in the last step (None: as in the first)."""


def arms(setting: Setting) -> tuple[Arm, Arm]:
    """The untaught students' and the recommended taught ones', as question 1 has chosen them."""
    known = chosen(setting)
    if known is not None:
        return known
    choice = choose(setting, Trainings(setting))
    return choice.main["none"], choice.recommended


def staged(arm: Arm, stage: int, falling: str) -> Arm:
    """The recommended arm with teachers of this stage and this course of their share."""
    name = arm.name + (f"-at-{stage}" if stage != 100 else "") + ("-falling" if falling == "falling" else "")
    return replace(arm, name=name, stage=stage, kd_final=SHARES[falling])


def seeds_of(setting: Setting, size: Size) -> tuple[int, ...]:
    """All of them for the small size, the first one for the large."""
    return setting.seeds if size == setting.sizes[0] else setting.seeds[:1]


def lengths(setting: Setting) -> tuple[int, int]:
    """The divisors of N: the shortest trainings and the longest."""
    return max(setting.shares), 1


def answer(setting: Setting) -> dict[str, Any]:
    """Everything the page says."""
    counts = [len(seeds_of(setting, size)) * len(lengths(setting)) for size in setting.sizes]
    kinds = len(setting.stages) * len(SHARES) + 1
    names = " and of ".join(
        f"{size.name}, {c * kinds}" for size, c in zip(setting.sizes, counts, strict=True)
    )
    say(f"pays: at most of {names} trainings, some of which are those of convergence")
    trainings = Trainings(setting)
    train_teachers(setting)
    none, best = arms(setting)
    for stage in sorted(setting.stages, reverse=True):
        runs = [
            student
            for size in setting.sizes
            for share in lengths(setting)
            for arm in (none, *(staged(best, stage, falling) for falling in SHARES))
            for student in trainings.students(arm, size, share, seeds_of(setting, size))
        ]
        trainings.train(f"teachers at {stage}%", runs)
    teachers = {
        f"{name}@{stage}": [teacher_model(setting, name, stage)]
        for stage in setting.stages
        for name in TEACHERS
    }
    nats.measure(setting, [place for places in teachers.values() for place in places])
    models = teachers | {
        f"none {size.name} {setting.steps // share}": trainings.models(
            none, size, share, seeds_of(setting, size)
        )
        for size in setting.sizes
        for share in lengths(setting)
    }
    single = nats.table(setting, models, list(setting.texts()), single=True)
    points = [
        _point(setting, trainings, none, best, single, size, share, stage, falling)
        for size in setting.sizes
        for share in lengths(setting)
        for stage in setting.stages
        for falling in SHARES
    ]
    return {
        "scale": scale(setting) | {"stages": list(setting.stages), "trainings": len(trainings.done)},
        "none": none.name,
        "weighting": best.weighting,
        "mixture": best.mixture,
        "temperature": best.temperature,
        "calibrate": best.calibrate,
        "kd": best.kd,
        "single_piece": single,
        "points": points,
    }


def ahead(single: dict[str, Any], stage: int, student: str, texts: list[str]) -> dict[str, Any]:
    """How many nats the teachers are ahead of the untaught student, on words of one piece.

    On every text that teacher counts which is the best there; `mixed` is the mean over the texts.
    """
    found: dict[str, Any] = {"teacher": {}}
    for text in texts:
        values = {name: single[f"{name}@{stage}"][text]["mean"] for name in TEACHERS}
        found["teacher"][text] = min(values, key=values.__getitem__)
        found[text] = single[student][text]["mean"] - min(values.values())
    return found | {"mixed": sum(found[text] for text in texts) / len(texts)}


def _point(
    setting: Setting, trainings: Trainings, none: Arm, best: Arm, single: dict[str, Any], size: Size,
    share: int, stage: int, falling: str,
) -> dict[str, Any]:  # fmt: skip
    steps, texts = setting.steps // share, list(setting.texts())
    models = partial(trainings.models, size=size, share=share, seeds=seeds_of(setting, size))
    return {
        "size": size.name,
        "steps": steps,
        "stage": stage,
        "kd": falling,
        "ahead": ahead(single, stage, f"none {size.name} {steps}", texts),
        "gain": nats.paired_gain(setting, models(staged(best, stage, falling)), models(none), texts),
    }
