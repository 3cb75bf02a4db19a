"""`limbeck eval paraphrase`: a model fine-tuned to tell originals from machine paraphrase (docs/evaluate.md).

    sets = read_sets(Path("plagiarism"))
    result = evaluate_paraphrase("runs/small-student/model", sets, sizes=[200], words=[16])

The published protocol (arXiv 2103.11909): one paragraph in, its class out; no source is given.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.errors import UserError
from limbeck.files import atomic_write, check_writable, folder_name
from limbeck.finetune.examples import Examples
from limbeck.finetune.settings import FinetuneSettings, unusual
from limbeck.finetune.train import Finetuned, finetune
from limbeck.tasks import paraphrase_baselines
from limbeck.tasks.glue_baselines import check_sklearn
from limbeck.tasks.mlm_result import versions
from limbeck.tasks.paraphrase_data import LABELS, cut
from limbeck.tasks.paraphrase_result import Figures, cell, described, figures, notes, run_row
from limbeck.tasks.paraphrase_sets import Sets, training_texts
from limbeck.teachers import loading
from limbeck.teachers.masked_lm import resolve_device
from limbeck.teachers.precision import autocast

if TYPE_CHECKING:
    from limbeck.tasks.mlm_words import Progress

_log = logging.getLogger("limbeck")

PROTOCOL = 1
"""Raised with every change after which the same model, data and settings give other figures: those that
an evaluation kept are not used again then (pipeline/evaluation.py)."""

RESULT = "paraphrase.json"
"""Name of the result file in the output folder; beside it stand the runs, `words-16/texts-200/seed-0`."""

SIZES = (200, 1_000, 5_000)
WORDS = (0, 32, 16)
"""Training texts, and the words of each text that are seen (0: all of them)."""

MAX_LENGTH = 512
"""Pieces of a paragraph; few have more."""

LEAST_STEPS = 150
"""A training on few texts goes on for so many steps, however often it meets them then."""


def check_models(models: Sequence[str]) -> None:
    """Raises UserError where one of them cannot be read, or two would share a folder; before any training."""
    folders: dict[str, str] = {}
    for model in models:
        where = f"model: {model!r}"
        with loading.quiet():
            loading.load_config(loading.find_source(model, where), where, classifier=True)
        other = folders.setdefault(folder_name(model), model)
        if other is not model:
            raise UserError(f"{other} and {model} would have the same folder; measure them one by one")


def evaluate_paraphrase(
    model: str | None,
    sets: Sets,
    *,
    sizes: Sequence[int] = SIZES,
    words: Sequence[int] = WORDS,
    seeds: Sequence[int] = (0,),
    settings: FinetuneSettings | None = None,
    output: Path | None = None,
    keep_models: bool = False,
    remarks: Sequence[str] = (),
    resume_hint: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Fine-tunes a model for each length, number of training texts and seed, and measures each on all sets.

    The epoch measured is the best one on the validation texts; what is measured on decides nothing. Each
    training is a run of its own, and the same call goes on where one was stopped.

    Args:
        model: folder or hub id; None: the baselines alone, and no file is written. sets: from `read_sets`.
        sizes: training texts, see `training_texts`. words: so many first words of every text, 0 for all.
        settings: of the training; the seed is each of `seeds` in turn, and `epochs` are more where they are
            fewer than `LEAST_STEPS` steps.
        output: folder for the runs and the result; by default `runs/paraphrase` and the model's name.
            keep_models: leave the weights there. remarks: what else the result's notes say.

    Returns:
        A JSON-ready dict: model, data, cells (one for each length and size), settings, seeds, cost, notes,
        versions.

    Raises:
        UserError: data or a model that cannot be used. TrainingDiverged, Interrupted: see training/loop.py.
    """
    settings = settings or FinetuneSettings(max_length=MAX_LENGTH)
    check_sklearn()
    chosen = samples(sets, sizes, words, seeds)
    if model is not None:
        output = Path("runs") / "paraphrase" / folder_name(model) if output is None else output
        check_writable(output / RESULT)
        check_models([model])
    began, cells, tuned = time.perf_counter(), [], None
    for count in words:
        tests = {one.name: cut(one.examples, count) for one in sets.tests}
        valid = cut(sets.valid, count)
        for size in sizes:
            baselines, runs = [], []
            for seed in seeds:
                what = f"{size:,} texts of {count} words" if count else f"{size:,} whole texts"
                train = cut(chosen[size, seed], count)
                if progress is not None:
                    progress(f"baselines of {what}, seed {seed}", 0, 0)
                baselines.append(paraphrase_baselines.measured(train, tests))
                if model is None:
                    continue
                assert output is not None
                _log.info("%s, seed %d", what, seed)
                tuned, found = _one(
                    model,
                    train,
                    valid,
                    tests,
                    _long_enough(replace(settings, seed=seed), size),
                    output / f"words-{count}" / f"texts-{size}" / f"seed-{seed}",
                    keep=keep_models,
                    resume_hint=resume_hint,
                    progress=progress,
                )
                runs.append(run_row(seed, tuned, found))
            cells.append(cell(count, size, runs, baselines))
    result: dict[str, Any] = {
        "task": "paraphrase",
        **({} if tuned is None else _of_model(str(model), tuned, settings)),
        "data": described(sets, words),
        "cells": cells,
        "baseline_settings": paraphrase_baselines.TFIDF,
        "seeds": list(seeds),
        "cost": {
            "seconds": time.perf_counter() - began,
            "training_seconds": sum(run["seconds"] for one in cells for run in one.get("runs", ())),
        },
        "versions": versions() | {"scikit-learn": version("scikit-learn")},
    }
    result["notes"] = [*remarks, *notes(result)]
    content = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    if output is not None and model is not None:
        atomic_write(output / RESULT, content)
    return dict(json.loads(content))


def samples(
    sets: Sets, sizes: Sequence[int], words: Sequence[int], seeds: Sequence[int]
) -> dict[tuple[int, int], Examples]:
    """The training texts of each size and seed.

    Raises:
        UserError: numbers that make no sense, or more texts than there are.
    """
    for name, numbers, least in (("sizes", sizes, 2), ("words", words, 0), ("seeds", seeds, 0)):
        if not numbers or len(set(numbers)) < len(numbers) or min(numbers) < least:
            raise UserError(f"{name} must be one or more different numbers of at least {least}, with commas")
    return {(size, seed): training_texts(sets.train.examples, size, seed) for size in sizes for seed in seeds}


def _long_enough(settings: FinetuneSettings, size: int) -> FinetuneSettings:
    """With as many epochs as `LEAST_STEPS` take, where those asked for are fewer."""
    per_epoch = size // min(settings.batch, size)
    return replace(settings, epochs=max(settings.epochs, LEAST_STEPS / per_epoch))


def _of_model(model: str, tuned: Finetuned, settings: FinetuneSettings) -> dict[str, Any]:
    used = {name: value for name, value in asdict(settings).items() if name not in ("seed", "kind")}
    return {
        "model": {"name": model}
        | {key: tuned.results["model"][key] for key in ("family", "weights", "tokenizer", "parameters")},
        "settings": used
        | {
            "learning_rate": tuned.results["settings"]["learning_rate"],
            "device": str(resolve_device(settings.device)),
            "least_steps": LEAST_STEPS,
            "epoch": "best on the validation texts",
            "unusual": unusual(settings, MAX_LENGTH),
        },
    }


def _one(
    model: str,
    train: Examples,
    valid: Examples,
    tests: Mapping[str, Examples],
    settings: FinetuneSettings,
    folder: Path,
    *,
    keep: bool,
    resume_hint: str,
    progress: Progress | None,
) -> tuple[Finetuned, dict[str, Figures]]:
    """One training, and its figures on each set, which lie in its folder from then on.

    It is measured in the precision it was trained and chosen in.
    """
    tuned = finetune(
        model,
        train,
        valid,
        folder,
        settings,
        labels=LABELS,
        fields={"paraphrase.tests (contents)": {name: one.fingerprint for name, one in tests.items()}},
        resume_hint=resume_hint,
        progress=progress,
    )
    path = folder / "measured.json"
    if not path.is_file():
        device = resolve_device(settings.device)
        classifier = tuned.classifier(best=True).to(device)
        own, wanted = classifier.labels.classes, LABELS.classes
        assert own is not None
        assert wanted is not None
        order = [own.index(name) for name in wanted]
        found = {}
        for name, one in tests.items():
            told = None if progress is None else partial(progress, f"measuring {name}")
            encoded = classifier.encode(one.texts)
            with autocast(device, settings.precision):
                outputs = classifier.outputs(encoded, tokens=settings.tokens, progress=told)
            found[name] = figures(LABELS.encode(one), outputs[:, order].argmax(1))
        atomic_write(path, json.dumps(found, indent=1) + "\n")
    if not keep:
        for name in ("checkpoints", "best", "model"):
            shutil.rmtree(folder / name, ignore_errors=True)
    return tuned, dict(json.loads(path.read_text(encoding="utf-8")))
