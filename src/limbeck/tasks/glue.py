"""`limbeck eval glue`: a model fine-tuned on the tasks of GLUE and measured on dev (docs/evaluate.md)."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from limbeck.errors import UserError
from limbeck.files import atomic_write, check_writable, folder_name
from limbeck.finetune.classifier import Classifier
from limbeck.finetune.examples import Examples
from limbeck.finetune.labels import Labels
from limbeck.finetune.metrics import Array
from limbeck.finetune.settings import FinetuneSettings, unusual
from limbeck.finetune.train import Finetuned, finetune
from limbeck.tasks import glue_baselines
from limbeck.tasks.glue_data import TaskData, data_folder, read_tasks
from limbeck.tasks.glue_result import average, figures_of, notes, run_row, task_result
from limbeck.tasks.glue_tasks import Task
from limbeck.tasks.mlm_result import versions
from limbeck.teachers import loading
from limbeck.teachers.masked_lm import resolve_device
from limbeck.text.mixing import mix64

if TYPE_CHECKING:
    from limbeck.tasks.mlm_words import Progress

_log = logging.getLogger("limbeck")

PROTOCOL = 1
"""Raised with every change after which the same model, data and settings give other figures: those that
an evaluation kept are not used again then (pipeline/evaluation.py)."""

RESULT = "glue.json"
"""Name of the result file in the output folder; beside it stands a folder for each task, with its runs."""

HELD_OUT = 10
"""Where epochs are chosen among, one of so many training rows is held out for it."""

MAX_LENGTH = 128
"""Pieces of a text or pair, as is usual for GLUE."""


def default_output(model: str) -> Path:
    """The folder of a model's runs and result, where none is named."""
    return Path("runs") / "glue" / folder_name(model)


def evaluate_glue(
    model: str,
    place: str | None = None,
    *,
    tasks: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
    settings: FinetuneSettings | None = None,
    choose: bool = False,
    output: Path | None = None,
    keep_models: bool = False,
    resume_hint: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fine-tunes a model on tasks of GLUE, once for each seed, and measures it on dev.

    All data is checked before anything is trained. Each training is a run of its own, and the same call goes
    on where one was stopped.

    Args:
        model: folder or hub id. place: a folder in GLUE's layout, `hub`, `hf:DATASET`; None: `glue` in
            `LIMBECK_DATA`. tasks: None named: all that are there whole.
        settings: of the training; the seed is each of `seeds` in turn, and labels are those of the task.
        choose: measure the best epoch by a part of train that is held out for it, not the last one.
        output: folder for the runs and the result. keep_models: leave the weights there.

    Returns:
        A JSON-ready dict: model, data, tasks, average, settings, seeds, cost, notes, versions.

    Raises:
        UserError: data or a model that cannot be used. TrainingDiverged, Interrupted: see training/loop.py.
    """
    settings = settings or FinetuneSettings(max_length=MAX_LENGTH)
    output = default_output(model) if output is None else output
    glue_baselines.check_sklearn()
    if not seeds or len(set(seeds)) < len(seeds):
        raise UserError("seeds must be one or more different numbers, such as 0,1,2")
    check_writable(output / RESULT)
    place = str(data_folder()) if place is None else place
    found, left_out = read_tasks(place, tasks)
    where = f"model: {model!r}"
    with loading.quiet():
        loading.load_config(loading.find_source(model, where), where, classifier=True)
    began, measured, tuned = time.perf_counter(), [], None
    for data in found:
        name, runs = data.task.name, []
        _progress(progress, f"baselines of {name}")
        baselines = glue_baselines.answers(data.labels, data.train, data.dev)
        for number, seed in enumerate(seeds, 1):
            _log.info("%s, seed %d (%d of %d)", name, seed, number, len(seeds))
            tuned, figures = _one(
                model,
                data,
                replace(settings, seed=seed),
                output / name / f"seed-{seed}",
                choose=choose,
                keep=keep_models,
                resume_hint=resume_hint,
                progress=progress,
            )
            runs.append(run_row(seed, tuned, figures))
        assert tuned is not None
        measured.append(task_result(data, runs, baselines, tuned))
    assert tuned is not None
    result = {
        "task": "glue",
        "model": {"name": model}
        | {key: tuned.results["model"][key] for key in ("family", "weights", "tokenizer", "parameters")},
        "data": {"place": place, "tasks": [one["name"] for one in measured]},
        "tasks": measured,
        "average": average(measured),
        "settings": {k: v for k, v in asdict(settings).items() if k not in ("seed", "kind")}
        | {
            "learning_rate": tuned.results["settings"]["learning_rate"],
            "device": str(resolve_device(settings.device)),
            "epoch": "best on a held-out part of train" if choose else "last",
            "unusual": ", ".join(
                filter(None, [unusual(settings, MAX_LENGTH), "best epoch" if choose else ""])
            ),
        },
        "baseline_settings": glue_baselines.SETTINGS,
        "seeds": list(seeds),
        "cost": {
            "seconds": time.perf_counter() - began,
            "training_seconds": sum(run["seconds"] for one in measured for run in one["runs"]),
        },
        "notes": notes(measured, left_out),
        "versions": versions(),
    }
    content = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    atomic_write(output / RESULT, content)
    return dict(json.loads(content))


def hold_out(train: Examples) -> tuple[Examples, Examples]:
    """Training rows and those held out: chosen by their texts, so that equal texts are on one side."""
    draw = mix64(train.hashes)
    edge = np.sort(draw)[max(1, len(train) // HELD_OUT) - 1]
    held = draw <= edge
    return train.take(np.flatnonzero(~held)), train.take(np.flatnonzero(held))


def _progress(progress: Progress | None, what: str) -> None:
    if progress is not None:
        progress(what, 0, 0)


def _one(
    model: str,
    data: TaskData,
    settings: FinetuneSettings,
    folder: Path,
    *,
    choose: bool,
    keep: bool,
    resume_hint: str,
    progress: Progress | None,
) -> tuple[Finetuned, dict[str, float | None]]:
    """One training, and its figures on dev, which lie in its folder from then on."""
    train, held = hold_out(data.train) if choose else (data.train, None)
    tuned = finetune(
        model,
        train,
        held,
        folder,
        settings,
        labels=data.labels,
        judge=_judge(data.task),
        fields={
            "glue.task": data.task.name,
            "glue.choose": choose,
            "glue.dev (contents)": {name: one.fingerprint for name, one in data.dev.items()},
        },
        resume_hint=resume_hint,
        progress=progress,
    )
    path = folder / "dev.json"
    if not path.is_file():
        classifier = tuned.classifier(best=choose).to(resolve_device(settings.device))
        outputs = {
            name: _outputs(classifier, data.labels, one, settings, progress) for name, one in data.dev.items()
        }
        atomic_write(path, json.dumps(figures_of(data, outputs), indent=1) + "\n")
    if not keep:
        for name in ("checkpoints", "best", "model"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return tuned, dict(json.loads(path.read_text(encoding="utf-8")))


def _judge(task: Task) -> str:
    """By what epochs are chosen among: the task's first metric, of scores the squared error."""
    return "mse" if task.classes is None else task.metrics[0]


def _outputs(
    classifier: Classifier,
    labels: Labels,
    examples: Examples,
    settings: FinetuneSettings,
    progress: Progress | None,
) -> Array:
    """Outputs [N, outputs] in the order of the task's classes, which a checkpoint may have in its own."""
    told = None if progress is None else partial(progress, f"measuring {examples.name}")
    encoded = classifier.encode(examples.texts, examples.seconds)
    outputs = classifier.outputs(encoded, tokens=settings.tokens, progress=told)
    if labels.classes is None:
        return outputs
    own = classifier.labels.classes
    assert own is not None
    return outputs[:, [own.index(name) for name in labels.classes]]
