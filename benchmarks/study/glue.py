"""Question 4, understanding: the models of `models`, fine-tuned on tasks of GLUE."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import zstandard

from limbeck.files import atomic_write
from limbeck.finetune.settings import FinetuneSettings
from limbeck.tasks.fingerprint import fingerprint
from limbeck.tasks.glue import MAX_LENGTH, RESULT, evaluate_glue
from limbeck.tasks.glue_tasks import SUBSET, TASKS

from .big import NAMES, big_folders
from .glue_page import headline, page
from .intervals import paired
from .jobs import Job, digest, do_all
from .models import MODELS, make_models, model_folders
from .parts import Row, aim, scale, spread
from .setting import DATA, Setting

__all__ = ["answer", "headline", "page"]

LONG, LONG_SEEDS, LONG_EPOCHS = "sst2", 3, 1.0
"""The longest task has so many seeds only, and so many epochs; MiniLM goes without it."""
MARGIN = 0.5
"""Points of the average that LMGC-M may cost."""


@dataclass(frozen=True)
class Tuning:
    """Fine-tunings of one model with one tuning seed."""

    model: str
    place: Path
    seed: int
    tasks: tuple[str, ...]


def answer(setting: Setting) -> dict[str, Any]:
    """Fine-tunes and measures all of them."""
    made = make_models(setting)
    tunings = plan(setting, model_folders(setting), big_folders(setting) if setting.big_model else {})
    place = data(setting)
    jobs = [
        Job(f"{one.model} seed {one.seed} {task}", partial(_tune, setting, place, one, task))
        for one in tunings
        for task in one.tasks
        if not (_kept(setting, one, task) / RESULT).exists()
    ]
    do_all(setting, "glue", jobs)
    scores: dict[str, dict[str, dict[int, float]]] = {}
    undefined: dict[str, int] = {}
    baselines: dict[str, dict[str, float]] = {}
    counts: dict[str, Any] = {}
    for one in tunings:
        for task in one.tasks:
            result = _result(setting, one, task)
            score = result["score"]["mean"]
            if score is None:  # the same answer everywhere: no correlation
                undefined[one.model] = undefined.get(one.model, 0) + 1
            scores.setdefault(one.model, {}).setdefault(task, {})[one.seed] = 100 * (score or 0.0)
            baselines[task] = {name: 100 * (row["score"] or 0.0) for name, row in result["baselines"].items()}
            counts[task] = result["counts"]
    students: dict[str, dict[int, str]] = {}
    for one in tunings:
        students.setdefault(one.model, {})[one.seed] = one.place.parent.name
    found = differences(scores, students)
    shared = [task for task in setting.tasks if all(task in tasks for tasks in scores.values())]
    return {
        "scale": scale(setting),
        "made": made,
        "tasks": list(setting.tasks),
        "subset": setting.rows is not None,
        "counts": counts,
        "models": {
            name: {"tasks": {task: spread(list(by.values())) for task, by in tasks.items()}}
            | {"average": average(tasks), "shared": average({task: tasks[task] for task in shared})}
            | {"seeds": {task: list(by) for task, by in tasks.items()}}
            for name, tasks in scores.items()
        },
        "undefined": undefined,
        "baselines": baselines,
        "differences": found,
        "aims": aims(found),
    }


def plan(setting: Setting, folders: Mapping[str, Sequence[Path]], big: Mapping[str, Path]) -> list[Tuning]:
    """The k-th tuning seed goes with the student of the k-th seed, in turn."""
    found = []
    short = tuple(task for task in setting.tasks if task != LONG)
    for number, seed in enumerate(setting.tuning_seeds):
        tasks = setting.tasks if number < LONG_SEEDS else short
        for name in MODELS:
            found.append(Tuning(name, folders[name][number % len(folders[name])], seed, tasks))
        if number < setting.big_seeds:
            found += [Tuning(name, place, seed, short) for name, place in big.items()]
    return found


def data(setting: Setting) -> Path:
    """GLUE's folder, or one of its tasks' first rows under names of their own."""
    source = DATA / "glue"
    if setting.rows is None:
        return source
    target = setting.scratch / f"glue-{setting.rows}"
    for name in setting.tasks:
        task = TASKS[name]
        for file in ("train", "dev"):
            path = target / f"{task.folder}{SUBSET}" / f"{file}.tsv"
            if path.exists():
                continue
            with (source / task.folder / f"{file}.tsv.zst").open("rb") as raw:
                text = zstandard.ZstdDecompressor().stream_reader(raw).read().decode("utf-8")
            lines = text.split("\n")
            rows = setting.rows + (0 if isinstance(task.text, int) else 1)
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, "\n".join(lines[:rows] if file == "train" else lines))
    return target


def _named(setting: Setting, task: str) -> str:
    return task if setting.rows is None else task + SUBSET


def _kept(setting: Setting, one: Tuning, task: str) -> Path:
    """Its folder goes by what the model is and by how it is fine-tuned."""
    name = f"{_named(setting, task)}-{one.seed}-{digest(_settings(task))}"
    return setting.scratch / "glue" / fingerprint(one.place) / name


def _settings(task: str) -> FinetuneSettings:
    return FinetuneSettings(
        epochs=LONG_EPOCHS if task == LONG else FinetuneSettings().epochs,
        max_length=MAX_LENGTH,
        threads=1,
        device="cpu",
        precision="bf16",
    )


def _tune(setting: Setting, place: Path, one: Tuning, task: str) -> dict[str, Any]:
    evaluate_glue(
        str(one.place),
        str(place),
        tasks=[_named(setting, task)],
        seeds=[one.seed],
        settings=_settings(task),
        output=_kept(setting, one, task),
    )
    return {}


def _result(setting: Setting, one: Tuning, task: str) -> Row:
    found = json.loads((_kept(setting, one, task) / RESULT).read_text(encoding="utf-8"))
    (row,) = found["tasks"]
    return dict(row)


Scores = Mapping[str, Mapping[int, float]]
"""By task and tuning seed, in %."""


def average(tasks: Scores) -> Row:
    """Mean of the tasks' means over seeds; `values` and `sd`: of the seeds that have all tasks."""
    whole = [seed for seed in next(iter(tasks.values())) if all(seed in by for by in tasks.values())]
    found = spread([fmean(by[seed] for by in tasks.values()) for seed in whole])
    return found | {"mean": fmean(fmean(by.values()) for by in tasks.values()), "tasks": list(tasks)}


def paired_average(better: Scores, worse: Scores, students: Mapping[int, str]) -> Row:
    """Difference of averages over the tasks that both have, with a 95% t-interval over the students.

    Fine-tunings of one student are no independent witnesses of how students are made: their differences,
    paired by tuning seed, are averaged, task by task. students: by tuning seed.
    """
    tasks = [task for task in better if task in worse]
    values = []
    for student in dict.fromkeys(students.values()):
        by_task = [
            [better[task][seed] - worse[task][seed] for seed in better[task] if students[seed] == student]
            for task in tasks
        ]
        if all(by_task):
            values.append(fmean(fmean(found) for found in by_task))
    return {"tasks": tasks} | paired(values, [0.0] * len(values))


PAIRS = (
    ("distilled", "scratch"),
    ("distilled+LMGC", "distilled"),
    ("distilled+LMGC-M", "distilled"),
    ("distilled+cohesive", "distilled"),
    ("scratch+LMGC-M", "scratch"),
    ("distilled+LMGC-M", "scratch+LMGC-M"),
    (NAMES[1], NAMES[0]),
)


def differences(scores: Mapping[str, Scores], students: Mapping[str, Mapping[int, str]]) -> dict[str, Row]:
    """Of the pairs whose models are both there. students: of each model by tuning seed."""
    return {
        f"{better} - {worse}": paired_average(scores[better], scores[worse], students[worse])
        for better, worse in PAIRS
        if better in scores and worse in scores
    }


def aims(found: Mapping[str, Row]) -> list[Row]:
    """The issue's. found: `differences`."""
    taught, masked = found["distilled - scratch"], found["distilled+LMGC-M - distilled"]
    unit = "points of the average"
    return [
        aim(
            "distilled is better than from scratch",
            "the interval above 0",
            taught,
            decides="low",
            above=True,
            unit=unit,
        ),
        aim(
            "LMGC-M is not worse than distilled",
            f"the lower 95% bound above −{MARGIN}",
            masked,
            decides="low",
            least=-MARGIN,
            above=True,
            unit=unit,
        ),
        aim(
            "LMGC-M is better than distilled",
            "the interval above 0",
            masked,
            decides="low",
            above=True,
            unit=unit,
        ),
    ]
