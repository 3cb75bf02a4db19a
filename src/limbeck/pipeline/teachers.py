"""What is known of the teachers before training: calibration, and the table the user sees.

See docs/architecture.md §3.1.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from limbeck.distill.step import DistillStep, Placed
from limbeck.pipeline.assemble import EVALUATION_SEED, Assembled, Progress
from limbeck.pipeline.stored import stored_quality
from limbeck.tasks.mlm import Compared, MlmSettings, evaluate_models
from limbeck.tasks.mlm_words import Sample, sample_logits
from limbeck.teachers.calibration import coverage_shares, fit_temperature
from limbeck.teachers.teacher import Teacher
from limbeck.text.batches import Collator, fixed_batches
from limbeck.text.corpus import Corpus
from limbeck.text.words import mask_plan

log = logging.getLogger("limbeck")

# Passages of valid for the teachers' table: a few thousand masked words, in seconds.
TABLE_PASSAGES = 256


def calibrate(made: Assembled, progress: Progress | None = None) -> None:
    """Sets every teacher's temperature c_t, fitted on the passages set aside, on full logits of its own."""
    if not len(made.calibration_rows):
        log.warning("too little training text to set any aside: teachers stay uncalibrated")
        return
    sample = Sample(made.train_corpus, made.calibration_rows, made.recipe.distill.mask, EVALUATION_SEED)
    calibrate_on(sample, made.placed, progress)


def calibrate_on(sample: Sample, placed: Sequence[Placed], progress: Progress | None = None) -> None:
    """Sets every teacher's temperature c_t, fitted on this sample."""
    for number, teacher in enumerate(p.teacher for p in placed):
        if progress is not None:
            progress(f"calibrating {teacher.name}", number, len(placed))
        assert isinstance(teacher, Teacher), "a stored teacher was calibrated when its store was built"
        teacher.temperature = fitted_temperature(teacher, sample)


def fitted_temperature(teacher: Teacher, sample: Sample) -> float:
    """A teacher's temperature c_t, fitted on this sample."""
    compared = Compared(teacher.name, teacher.module, teacher.tokenizer, teacher.name)
    pairs = sample_logits(
        compared, sample, device=teacher.device, precision=teacher.precision, batch=teacher.batch
    )
    return fit_temperature(pairs)


def measure_teacher(
    teacher: Teacher, shown: str, valid: Corpus, mask: float, progress: Progress | None = None
) -> dict[str, Any]:
    """A teacher's size, and its quality on a sample of valid."""
    settings = MlmSettings(
        mask=mask,
        passages=TABLE_PASSAGES,
        seed=EVALUATION_SEED,
        bootstrap=0,
        device=str(teacher.device),
        precision=teacher.precision,
    )
    compared = Compared(teacher.name, teacher.module, teacher.tokenizer, shown)
    words = evaluate_models([compared], valid, settings, progress)["models"][0]["all_words"]
    return {
        "parameters": sum(p.numel() for p in teacher.module.parameters()),
        "masked_accuracy": words["accuracy"],
        "nats": words["nats"],
    }


def teachers_table(made: Assembled, progress: Progress | None = None) -> list[dict[str, Any]]:
    """One row per teacher, JSON-ready: quality on a sample of valid, coverage, reasons for the rest, size.

    Of a stored teacher size and quality are those measured when its store was built; the quality is None
    where that was on other text than this valid, or with other masks.
    """
    rows: list[dict[str, Any]] = []
    mask = made.recipe.distill.mask
    for t, (placed, spec) in enumerate(zip(made.placed, made.recipe.teachers, strict=True)):
        teacher, shown = placed.teacher, shown_model(spec.model)
        if isinstance(teacher, Teacher):
            measured = measure_teacher(teacher, shown, made.valid_corpus, mask, progress)
        else:
            measured = stored_quality(teacher.store, made.valid_corpus, mask)
        covered, uncovered = coverage(made, t)
        rows.append(
            {
                "name": teacher.name,
                "model": shown,
                "prior": spec.prior,
                **measured,
                "coverage": covered,
                "uncovered": uncovered,
                "vocabulary_projected": placed.projection.share_of_vocabulary,
                "temperature": teacher.temperature,
            }
        )
    return rows


def describe(row: dict[str, Any]) -> str:
    """A row of `teachers_table` as one line for the log."""
    uncovered = ", ".join(f"{reason} {share:.1%}" for reason, share in row["uncovered"].items())
    quality = "not measured on this text"
    if row["nats"] is not None:
        quality = f"{row['nats']:.3f} nats per masked word, {row['masked_accuracy']:.1%} right"
    return (
        f"teacher {row['name']}: {row['parameters']:,} parameters, {quality}; "
        f"covers {row['coverage']:.1%} of the slots (not: {uncovered}); "
        f"{row['vocabulary_projected']:.1%} of its vocabulary projected; temperature {row['temperature']:.2f}"
    )


def coverage(made: Assembled, teacher: int) -> tuple[float, dict[str, float]]:
    """Share of the slots of the sample of valid that a teacher covers, and of the others by reason."""
    codes = []
    for row in made.valid_rows:
        passage = made.valid.passage(int(row))
        plan = mask_plan(
            passage.n_words, passage.hash, seed=EVALUATION_SEED, variant=0, rate=made.recipe.distill.mask
        )
        before = np.zeros(passage.n_words + 1, np.int64)
        before[plan.selected + 1] = 1
        before = np.cumsum(before)  # selected words before each word
        first, last = passage.student.first.astype(np.int64), passage.student.last.astype(np.int64)
        slots = (last >= first) & (before[np.minimum(last + 1, passage.n_words)] > before[first])
        codes.append(passage.teachers[teacher].map[slots])
    shares = coverage_shares(np.concatenate(codes))
    return shares.pop("covered"), shares


def mean_weights(made: Assembled, weightings: Sequence[str]) -> dict[str, dict[str, float]]:
    """Mean weight of each teacher under each weighting, over the slots of the sample of valid that all cover.

    NaN where there is no such slot. The teachers run once for all the weightings.
    """
    collator = Collator(
        made.student_tokenizer,
        [placed.teacher.tokenizer for placed in made.placed],
        seed=EVALUATION_SEED,
        rate=made.recipe.distill.mask,
        student_sees="mask",
    )
    steps = {}
    for weighting in weightings:
        settings = made.recipe.distill.model_copy(
            update={"weighting": weighting, "weighting_temperature": None}
        )
        steps[weighting] = DistillStep(made.placed, settings, made.placed[0].projection.student_width)
    totals = {weighting: torch.zeros(len(made.placed)) for weighting in weightings}
    slots = 0
    for batch in fixed_batches(made.valid, collator, made.valid_rows, 64):
        said = steps[weightings[0]].predict(batch)
        for weighting, step in steps.items():
            targets = step.targets(batch, said)
            together = targets.covered.all(0)
            totals[weighting] += targets.weights[:, together].sum(1).cpu()
        slots += int(together.sum())
    names = [placed.teacher.name for placed in made.placed]
    return {
        weighting: dict(
            zip(names, (total / slots).tolist() if slots else [math.nan] * len(names), strict=True)
        )
        for weighting, total in totals.items()
    }


def shown_model(model: str) -> str:
    """A model's name for tables: a hub id as it is, of a path the last two folders."""
    path = Path(model)
    return "/".join(path.parts[-2:]) if path.is_absolute() else model
