"""Students: the ways in which one is taught, its recipe, the stores that teach it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from limbeck.files import atomic_write
from limbeck.pipeline.store import build
from limbeck.pipeline.train import run
from limbeck.recipe import Recipe, recipe_from
from limbeck.recipe_read import apply_overrides, read_toml

from .jobs import Job, do_all
from .setting import HOUSE, TEACHERS, Setting, Size
from .teachers import teacher_model, train_teachers
from .text import write_texts

RECIPE = HOUSE / "student.toml"
MASKS = 1
"""Seed of the masks of every student, so that one store serves all of them."""
MASK = 0.15


@dataclass(frozen=True)
class Arm:
    """How a student is taught; no teachers: not at all.

    stage: per cent of the teachers' training. online: the teachers are asked in every step, not a store.
    mask: share of the words that are learnt.
    """

    name: str
    teachers: tuple[str, ...] = TEACHERS
    weighting: str = "uniform"
    temperature: float | None = None
    mixture: str = "arithmetic"
    calibrate: bool = True
    sees: str = "bert"
    kd: float = 0.7
    kd_final: float | None = None
    stage: int = 100
    online: bool = False
    mask: float = MASK


@dataclass(frozen=True)
class Student:
    """One training."""

    arm: Arm
    size: Size
    steps: int
    seed: int

    @property
    def name(self) -> str:
        """Of its run directory."""
        return f"{self.arm.name}-{self.size.name}-{self.steps}-{self.seed}"


def folder(setting: Setting, student: Student) -> Path:
    """Its run directory; the model is in `model` there."""
    return setting.scratch / "students" / student.name


def student_recipe(setting: Setting, student: Student) -> Recipe:
    """The house's student recipe in this arm and size."""
    arm, size = student.arm, student.size
    text = write_texts(setting)
    overrides = [
        f"name={student.name}",
        f"seed={student.seed}",
        f"output={folder(setting, student)}",
        f"text.train={json.dumps([*map(str, text.values())])}",
        f"text.valid={json.dumps(list(setting.texts().values()))}",
        f"student.layers={size.layers}",
        f"student.hidden={size.hidden}",
        f"student.tokenizer={setting.tokenizer}",
        f"distill.student_sees={arm.sees}",
        f"distill.mask={arm.mask}",
        f"distill.masking_seed={MASKS}",
        f"train.steps={student.steps}",
        f"train.batch={setting.batch}",
        f"train.learning_rate={size.learning_rate}",
        f"train.eval_every={max(1, student.steps // setting.evaluations)}",
        f"train.save_every={max(1, student.steps // 4)}",
        "train.keep=1",
        "train.threads=1",
    ]
    if arm.teachers:
        overrides += [
            f"distill.weighting={arm.weighting}",
            f"distill.mixture={arm.mixture}",
            f"distill.calibrate={str(arm.calibrate).lower()}",
            f"distill.kd={arm.kd}",
            f"distill.kept={setting.kept}",
        ]
        if arm.online:
            overrides.append("distill.predictions=online")
        else:
            overrides.append(f"distill.store={store_folder(setting, arm)}")
        if arm.temperature is not None:
            overrides.append(f"distill.weighting_temperature={arm.temperature}")
        if arm.kd_final is not None:
            overrides.append(f"distill.kd_final={arm.kd_final}")
    overrides += [f"teachers.{t}.model={teacher_model(setting, t, arm.stage)}" for t in arm.teachers]
    data = read_toml(RECIPE)
    data["teachers"] = [row for row in data["teachers"] if row["name"] in arm.teachers]
    if not arm.teachers:
        del data["teachers"]
        data["distill"] = {}
    return recipe_from(data, RECIPE.parent, apply_overrides(data, overrides))


def store_folder(setting: Setting, arm: Arm) -> Path:
    """Of the teachers' stores, which arms of one stage, calibration and mask share."""
    raw = "" if arm.calibrate else "-raw"
    mask = "" if arm.mask == MASK else f"-mask-{arm.mask:g}"
    return setting.scratch / f"store-{arm.stage}{raw}{mask}"


def build_stores(setting: Setting, arm: Arm) -> dict[str, Any]:
    """The teachers' predictions of the students' text: `stores` as in `store info`, `seconds` by teacher."""
    folder = store_folder(setting, arm)
    file = folder / "built.json"
    if file.exists():
        return dict(json.loads(file.read_text()))
    train_teachers(setting)
    arm = replace(arm, name="store", teachers=TEACHERS)
    recipe = student_recipe(setting, Student(arm, setting.sizes[0], setting.steps, setting.seeds[0]))
    jobs = [Job(f"{folder.name} of {name}", partial(_build, recipe, name)) for name in TEACHERS]
    built = do_all(setting, "stores", jobs)
    found = {
        "stores": [store for one in built for store in one["stores"]],
        "seconds": {name: one["seconds"] for name, one in zip(TEACHERS, built, strict=True)},
    }
    atomic_write(file, json.dumps(found))
    return found


def _build(recipe: Recipe, teacher: str) -> dict[str, Any]:
    """`seconds`: of all goes at it together."""
    clock = Path(recipe.distill.store) / f"{teacher}.seconds.json"
    spent = json.loads(clock.read_text()) if clock.exists() else 0.0
    began = time.perf_counter()
    try:
        found = build(recipe, teacher=teacher)
    finally:
        spent += time.perf_counter() - began
        clock.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(clock, json.dumps(spent))
    return found | {"seconds": spent}


def train_students(setting: Setting, what: str, students: list[Student]) -> dict[Student, dict[str, Any]]:
    """Trains what is not trained yet; each student's results.json."""
    stored = [student.arm for student in students if student.arm.teachers and not student.arm.online]
    for arm in {store_folder(setting, arm): arm for arm in stored}.values():
        build_stores(setting, arm)
    write_texts(setting)
    jobs = [Job(s.name, partial(run, student_recipe(setting, s))) for s in students]
    return dict(zip(students, do_all(setting, what, jobs), strict=True))


def curve(setting: Setting, student: Student) -> list[tuple[int, float]]:
    """(step, nats per masked piece of all held-out texts together) of a training."""
    with (folder(setting, student) / "metrics.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [(row["step"], row["valid_nats"]) for row in rows if row["kind"] == "valid"]
