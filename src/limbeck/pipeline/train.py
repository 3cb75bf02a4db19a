"""`limbeck run`: trains the student of a recipe, measures it, and leaves a run directory."""

from __future__ import annotations

import copy
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.distill.step import DistillStep, weighting_temperature
from limbeck.distill.student import build_student, check_family, init_from_layers
from limbeck.errors import UserError
from limbeck.files import atomic_write
from limbeck.pipeline.assemble import EVALUATION_SEED, Assembled, Progress, assemble
from limbeck.pipeline.teachers import calibrate, describe, shown_model, teachers_table
from limbeck.recipe import Recipe, affecting, to_toml
from limbeck.run import Run, check_folder
from limbeck.tasks.mlm import Compared, MlmSettings, evaluate_models
from limbeck.teachers.loading import find_source, quiet
from limbeck.teachers.masked_lm import MaskedLM, load_masked_lm, weights_digest
from limbeck.text.batches import Batch, Collator, TextBatches, fixed_batches
from limbeck.training.engine import choose_device, choose_precision
from limbeck.training.loop import TrainResult, train

log = logging.getLogger("limbeck")

RESULTS_VERSION = 1


def run(
    recipe: Recipe,
    folder: Path | None = None,
    *,
    extend: bool = False,
    resume_hint: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Runs a recipe, or goes on with it; a finished run only returns its results.

    Args:
        folder: the run directory; None: `recipe.output`.
        extend: the recipe's `train.steps` may be more than the run had.
        resume_hint: what the user types to go on, said when interrupted.
        progress: called with (what, done, total) while text is prepared and models are measured.

    Returns:
        What stands in the run's `results.json`.

    Raises:
        UserError: see the parts. TrainingDiverged, Interrupted: see training/loop.py.
    """
    folder = Path(recipe.output) if folder is None else folder
    check_place(recipe, folder, extend=extend)
    made = assemble(recipe, progress)
    fields = affecting(recipe) | _contents(made)
    saved = to_toml(recipe.model_copy(update={"output": str(folder.absolute())}))
    with Run.open(folder, saved, fields, extend=extend, resume_hint=resume_hint) as opened:
        done = _finished(opened, recipe)
        if done is not None:
            log.info("%s is finished; nothing to do", folder)
            return done
        return _run(made, opened, progress)


def check_place(recipe: Recipe, folder: Path, *, extend: bool = False) -> None:
    """Refuses at once what would otherwise be refused only when text and teachers are ready.

    Raises:
        UserError: device or precision that this machine lacks, a student's family or a model's path that does
            not exist, a run directory that cannot be written, several processes.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("a recipe runs in one process for now; start limbeck without torchrun")
    choose_precision(recipe.train.precision, choose_device(recipe.train.device))
    student = recipe.student
    if student.family is not None:
        check_family(student.family)
    for spec in recipe.teachers:
        find_source(spec.model, f"teacher {spec.name!r}: {spec.model!r}")
    if student.init is not None and not student.init.startswith("teacher:"):
        find_source(student.init, f"student.init: {student.init!r}")
    try:
        tempfile.TemporaryFile(dir=existing(folder)).close()
    except OSError as error:
        raise UserError(
            f"cannot write {folder}: {error.strerror}; choose another run directory with `output`"
        ) from error
    check_folder(folder, affecting(recipe), extend=extend)


def existing(path: Path) -> Path:
    """What is there of a path: itself, or the nearest folder above it."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def _contents(made: Assembled) -> dict[str, Any]:
    """Fingerprints of what the recipe only names: a resume on other text or other teachers is refused."""
    found: dict[str, Any] = {
        "text.train (contents)": made.train_corpus.fingerprint,
        "text.valid (contents)": made.valid_corpus.fingerprint,
        "student.tokenizer (contents)": made.student_tokenizer.fingerprint,
    }
    if made.source is not None:
        found["student.init (contents)"] = weights_digest(made.source.model)
    if made.placed:  # its default may change with a version
        found["distill.weighting_temperature (used)"] = weighting_temperature(made.recipe.distill)
    for placed in made.placed:
        name, teacher = f"teachers.{placed.teacher.name}", placed.teacher
        found[f"{name}.model (contents)"] = weights_digest(teacher.module.model)
        found[f"{name}.tokenizer (contents)"] = teacher.tokenizer.fingerprint
    return found


def _finished(opened: Run, recipe: Recipe) -> dict[str, Any] | None:
    """The results, if they are those of all the recipe's steps (not of a run before `--extend`)."""
    path = opened.folder / "results.json"
    if opened.status().get("state") != "finished" or not path.is_file():
        return None
    results = dict(json.loads(path.read_text(encoding="utf-8")))
    return results if results["cost"]["steps"] == recipe.train.steps else None


def _run(made: Assembled, opened: Run, progress: Progress | None) -> dict[str, Any]:
    recipe = made.recipe
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    try:
        teachers = prepared_teachers(made, opened.folder, progress)
        module, evaluate = build(made), evaluator(made)
    except BaseException:  # Ctrl-C as well: nothing is trained yet
        _give_back(opened.folder)
        raise
    source = training_batches(made)
    step = DistillStep(made.placed, recipe.distill, module.width)
    tokenizer = made.student_tokenizer.hf

    def save_model(path: Path) -> None:
        with quiet():
            module.model.save_pretrained(path)
            tokenizer.save_pretrained(path)

    result = train(
        module,
        step,
        source,
        recipe.train,
        opened,
        seed=recipe.seed,
        save_model=save_model,
        evaluate=evaluate,
    )
    results = _results(made, opened, teachers, result, progress)
    atomic_write(opened.folder / "results.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    return results


def _give_back(folder: Path) -> None:
    """Frees a run directory in which nothing was trained, so that the mended recipe may have it."""
    if any(folder.glob("checkpoints/step-*")) or (folder / "best").exists() or (folder / "model").exists():
        return
    for name in ("recipe.toml", "environment.json", "teachers.json", "metrics.jsonl", "affecting.json"):
        (folder / name).unlink(missing_ok=True)


def build(made: Assembled) -> MaskedLM:
    """The student at its first step; the recipe's `seed` decides its random weights.

    One that starts from a model is a copy: of its chosen layers, or of all of it, whatever its family.
    """
    student = made.recipe.student
    torch.manual_seed(made.recipe.seed)
    if made.source is None:
        model = build_student(student.size, made.student_tokenizer.hf)
    elif student.taken_layers is not None:
        model = init_from_layers(made.source.model, student.taken_layers)
    else:
        model = copy.deepcopy(made.source.model).requires_grad_(True)  # a teacher's own weights are frozen
    return MaskedLM(model, made.student_tokenizer.mask_id)


def prepared_teachers(
    made: Assembled, folder: Path | None, progress: Progress | None
) -> list[dict[str, Any]]:
    """Calibrates the teachers and measures them on a sample of valid; kept in the run directory for a resume.

    A teacher's temperature affects the result, so a resumed run takes it from the file rather than fitting it
    again.
    """
    path = None if folder is None else folder / "teachers.json"
    if path is not None and path.is_file():
        table = list(json.loads(path.read_text(encoding="utf-8")))
        for placed, row in zip(made.placed, table, strict=True):
            placed.teacher.temperature = row["temperature"]
        return table
    if made.placed and made.recipe.distill.calibrate:
        calibrate(made, progress)
    table = teachers_table(made, progress)
    if path is not None:
        for row in table:
            log.info(describe(row))
        atomic_write(path, json.dumps(table, indent=1) + "\n")
    return table


def student_sees(made: Assembled) -> str:
    """What the student is shown at selected words, `mask` or `bert`."""
    chosen = made.recipe.distill.student_sees
    if chosen == "auto":
        return "mask" if made.placed else "bert"
    return chosen


def training_batches(made: Assembled) -> TextBatches:
    """The training text, as the recipe's batches."""
    recipe = made.recipe
    if recipe.train.batch > len(made.train_rows):
        log.warning(
            "text.train has only %d passages to train on: every step takes all of them, not %d",
            len(made.train_rows),
            recipe.train.batch,
        )
    collator = Collator(
        made.student_tokenizer,
        [placed.teacher.tokenizer for placed in made.placed],
        seed=recipe.seed,
        rate=recipe.distill.mask,
        student_sees=student_sees(made),
    )
    return TextBatches(
        made.train, collator, made.train_rows, batch=recipe.train.batch, micro_batch=recipe.train.micro_batch
    )


def evaluator(made: Assembled) -> Callable[[nn.Module], dict[str, float]]:
    """Nats and accuracy per slot on the sample of valid; the student always sees the mask there.

    Raises:
        UserError: the student's tokenizer has no piece for any masked word of the sample.
    """
    collator = Collator(
        made.student_tokenizer, [], seed=EVALUATION_SEED, rate=made.recipe.distill.mask, student_sees="mask"
    )

    def batches() -> Iterator[Batch]:  # made anew each time, so that a large sample is never all in memory
        return fixed_batches(made.valid, collator, made.valid_rows, 32)

    if not any(batch.count for batch in batches()):
        raise UserError("text.valid: the student has no piece for any of its masked words; give more text")

    def evaluate(module: nn.Module) -> dict[str, float]:
        device = next(module.parameters()).device
        nats = hits = slots = 0.0
        for batch in (b.to(device) for b in batches()):
            logits = module(batch.input_ids, batch.attention_mask, batch.position).float()
            nats += float(nn.functional.cross_entropy(logits, batch.gold, reduction="sum"))
            hits += float((logits.argmax(-1) == batch.gold).sum())
            slots += batch.count
        return {"valid_nats": nats / slots, "valid_accuracy": hits / slots}

    return evaluate


def _results(
    made: Assembled,
    opened: Run,
    teachers: list[dict[str, Any]],
    result: TrainResult,
    progress: Progress | None,
) -> dict[str, Any]:
    recipe = made.recipe
    student, _, report = load_masked_lm(
        opened.folder / "model", device=recipe.train.device, what="the student"
    )
    compared = [Compared("student", student, made.student_tokenizer, "model")]
    compared += [
        Compared(
            p.teacher.name, p.teacher.module, p.teacher.tokenizer, shown_model(spec.model), p.teacher.device
        )
        for p, spec in zip(made.placed, recipe.teachers, strict=True)
    ]
    words = evaluate_models(
        compared,
        made.valid_corpus,
        MlmSettings(
            mask=recipe.distill.mask,
            passages=recipe.eval.passages,
            seed=EVALUATION_SEED,
            device=recipe.train.device,
        ),
        progress,
    )
    return {
        "version": RESULTS_VERSION,
        "name": recipe.name,
        "seed": recipe.seed,
        "text": {
            "train": vars(made.train_corpus.stats) | {"fingerprint": made.train_corpus.fingerprint},
            "valid": vars(made.valid_corpus.stats) | {"fingerprint": made.valid_corpus.fingerprint},
            "set_aside": len(made.calibration_rows),
            "overlap": made.overlap,
            "cut_passages": made.train.cut_passages,
            "cut_words": made.train.cut_words,
        },
        "teachers": teachers,
        "student": {
            "parameters": report.parameters,
            "family": report.family,
            "vocabulary": made.student_tokenizer.vocab_size,
            "student_sees": student_sees(made),
        },
        "weighting": recipe.distill.weighting if made.placed else None,
        "valid": {
            "nats": result.metrics.get("valid_nats"),
            "accuracy": result.metrics.get("valid_accuracy"),
            "best_nats": result.best,
            "best_step": result.best_step,
        },
        "words": words,
        "cost": {
            "steps": result.steps,
            "seconds": result.seconds,
            "tokens": result.tokens,
            "tokens_per_second": result.tokens / result.seconds,
            "peak_memory_bytes": result.peak_memory,
            "peak_device_memory_bytes": result.peak_device_memory,
        },
    }
