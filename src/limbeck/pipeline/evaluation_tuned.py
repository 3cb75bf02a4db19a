"""The tasks of an evaluation for which models are fine-tuned: GLUE, paraphrase detection."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.errors import UserError
from limbeck.files import atomic_write
from limbeck.finetune.settings import FinetuneSettings
from limbeck.pipeline.evaluation_parts import EXPORTED, Json, JsonPart, Model, write_json
from limbeck.pipeline.evaluation_settings import EvaluationSettings
from limbeck.tasks import glue, glue_baselines, paraphrase
from limbeck.tasks.exported import is_exported
from limbeck.tasks.glue import MAX_LENGTH, evaluate_glue
from limbeck.tasks.glue_data import data_folder as glue_folder
from limbeck.tasks.glue_data import read_tasks
from limbeck.tasks.paraphrase import MAX_LENGTH as LONGEST_PARAGRAPH
from limbeck.tasks.paraphrase import SIZES, WORDS, evaluate_paraphrase, samples
from limbeck.tasks.paraphrase_sets import read_sets
from limbeck.teachers import loading
from limbeck.teachers.masked_lm import resolve_device
from limbeck.tools.spin_sets import cross_sets

if TYPE_CHECKING:
    from limbeck.tasks.mlm_words import Progress


class _Tuned(JsonPart):
    """A task for which a model is fine-tuned."""

    def lacking(self, model: Model) -> str | None:
        """A family that classifies texts."""
        if is_exported(model.path):
            return EXPORTED
        where = f"model: {model.path!r}"
        try:
            with loading.quiet():
                loading.load_config(loading.find_source(model.path, where), where, classifier=True)
        except UserError as error:
            return str(error)
        return None


class Glue(_Tuned):
    """GLUE; each training is a run of its own in the work folder, and goes on where it was stopped."""

    protocol = glue.PROTOCOL

    def __init__(self, settings: EvaluationSettings, progress: Progress | None) -> None:
        glue_baselines.check_sklearn()
        self.place = str(glue_folder()) if settings.glue is None else settings.glue
        found, self.left_out = read_tasks(self.place, settings.glue_tasks)
        self.tasks = [one.task.name for one in found]
        self.seeds = settings.seeds
        self.settings = tuned_settings(settings, MAX_LENGTH)
        self.data: dict[str, list[str]] = {
            one.task.name: [one.train.fingerprint, *(dev.fingerprint for dev in one.dev.values())]
            for one in found
        }
        self.asked: Json = {
            "data": self.data,
            "seeds": list(self.seeds),
            "settings": json.loads(json.dumps(asdict(self.settings))),
            "device": str(resolve_device(settings.device)),
        }
        self.lasting = {name: self.asked[name] for name in ("settings", "device")}

    def measure(self, model: Model, file: Path, work: Path, progress: Progress | None, hint: str) -> None:
        """See `Part`."""
        forget_changed(work, self.data)
        result = evaluate_glue(
            model.path,
            self.place,
            tasks=self.tasks,
            seeds=self.seeds,
            settings=self.settings,
            output=work,
            resume_hint=hint,
            progress=progress,
        )
        result["notes"] = [*self.left_out, *result["notes"]]
        write_json(file, result)


class Paraphrase(_Tuned):
    """Paraphrase detection; each training is a run of its own in the work folder."""

    protocol = paraphrase.PROTOCOL

    def __init__(self, settings: EvaluationSettings, progress: Progress | None) -> None:
        glue_baselines.check_sklearn()
        place = None if settings.paraphrase is None else Path(settings.paraphrase).expanduser()
        if progress is not None:
            progress("reading the paraphrase sets", 0, 0)
        sets = read_sets(place, test_limit=settings.test_limit)
        cross = [] if settings.cross else ["none"]
        more, self.remarks = cross_sets(Path(sets.place), cross, limit=settings.test_limit, progress=progress)
        self.sets = sets.with_more(more)
        self.sizes = settings.sizes or SIZES
        self.words = WORDS if settings.first is None else settings.first
        self.seeds = settings.seeds
        samples(self.sets, self.sizes, self.words, self.seeds)  # or it would be told after hours of work
        self.settings = tuned_settings(settings, LONGEST_PARAGRAPH)
        self.asked: Json = {
            "train": self.sets.train.examples.fingerprint,
            "valid": self.sets.valid.fingerprint,
            "tests": {one.name: one.examples.fingerprint for one in self.sets.tests},
            "sizes": list(self.sizes),
            "words": list(self.words),
            "seeds": list(self.seeds),
            "settings": json.loads(json.dumps(asdict(self.settings))),
            "device": str(resolve_device(settings.device)),
        }
        lasting = ("train", "valid", "tests", "settings", "device")
        self.lasting = {name: self.asked[name] for name in lasting}

    def measure(self, model: Model, file: Path, work: Path, progress: Progress | None, hint: str) -> None:
        """See `Part`."""
        result = evaluate_paraphrase(
            model.path,
            self.sets,
            sizes=self.sizes,
            words=self.words,
            seeds=self.seeds,
            settings=self.settings,
            output=work,
            remarks=self.remarks,
            resume_hint=hint,
            progress=progress,
        )
        write_json(file, result)


def tuned_settings(settings: EvaluationSettings, max_length: int) -> FinetuneSettings:
    """Of GLUE's and the detector's trainings: their defaults, and the epochs asked for."""
    chosen = FinetuneSettings(max_length=max_length, device=settings.device)
    return chosen if settings.epochs is None else replace(chosen, epochs=settings.epochs)


def forget_changed(work: Path, data: Mapping[str, Any]) -> None:
    """Takes away the trainings on data that has changed since: their run directories would refuse it."""
    record = work / "data.json"
    try:
        before = dict(json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        before = {}
    for name, prints in data.items():
        if name in before and before[name] != prints:
            shutil.rmtree(work / name, ignore_errors=True)
    atomic_write(record, json.dumps(before | dict(data), indent=1) + "\n")
