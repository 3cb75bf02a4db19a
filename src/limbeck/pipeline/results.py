"""What a finished run reports: its `results.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limbeck.pipeline.assemble import EVALUATION_SEED, Assembled, Progress
from limbeck.pipeline.stored import stored_words
from limbeck.pipeline.teachers import shown_model
from limbeck.tasks.mlm import Compared, Measured, MlmSettings, evaluate_models
from limbeck.teachers.masked_lm import load_masked_lm
from limbeck.teachers.teacher import Teacher
from limbeck.training.loop import TrainResult

RESULTS_VERSION = 1


def described(made: Assembled, teachers: list[dict[str, Any]]) -> dict[str, Any]:
    """The text of a run, its teachers (the table of `pipeline.teachers`) and where their predictions are."""
    return {
        "text": {
            "train": vars(made.train_corpus.stats) | {"fingerprint": made.train_corpus.fingerprint},
            "valid": vars(made.valid_corpus.stats) | {"fingerprint": made.valid_corpus.fingerprint},
            "set_aside": len(made.calibration_rows),
            "overlap": made.overlap,
            "cut_passages": made.train.cut_passages,
            "cut_words": made.train.cut_words,
        },
        "teachers": teachers,
        "predictions": "store" if made.from_store else "online" if made.placed else None,
    }


def results_of(
    made: Assembled,
    folder: Path,
    teachers: list[dict[str, Any]],
    result: TrainResult,
    progress: Progress | None,
) -> dict[str, Any]:
    """What stands in `results.json` of the finished run in `folder`.

    A stored teacher is compared by what its store kept of it; where that was measured on other text than this
    valid, the teacher is left out of `words`, with a note.

    Args:
        teachers: the table of `pipeline.teachers`.
    """
    recipe = made.recipe
    student, _, report = load_masked_lm(folder / "model", device=recipe.train.device, what="the student")
    settings = MlmSettings(
        mask=recipe.distill.mask,
        passages=recipe.eval.passages,
        seed=EVALUATION_SEED,
        device=recipe.train.device,
    )
    compared: list[Compared | Measured] = [Compared("student", student, made.student_tokenizer, "model")]
    left_out = []
    for placed, spec in zip(made.placed, recipe.teachers, strict=True):
        teacher = placed.teacher
        if isinstance(teacher, Teacher):
            shown = shown_model(spec.model)
            compared.append(Compared(teacher.name, teacher.module, teacher.tokenizer, shown, teacher.device))
        elif (measured := stored_words(teacher.store, made.valid_corpus, settings)) is not None:
            compared.append(measured)
        else:
            left_out.append(
                f"The teacher {teacher.name} is not compared: its store was built with other held-out text, "
                "masks or eval.passages, and it was not loaded."
            )
    words = evaluate_models(compared, made.valid_corpus, settings, progress)
    words["notes"] += left_out
    return {
        "version": RESULTS_VERSION,
        "name": recipe.name,
        "seed": recipe.seed,
        **described(made, teachers),
        "student": {
            "parameters": report.parameters,
            "family": report.family,
            "vocabulary": made.student_tokenizer.vocab_size,
            "student_sees": recipe.distill.student_sees,
        },
        "weighting": recipe.distill.weighting if made.placed else None,
        "valid": {
            "nats": result.metrics.get("valid_nats"),
            "accuracy": result.metrics.get("valid_accuracy"),
            "best_nats": result.best,
            "best_step": result.best_step,
        },
        "words": words,
        "cost": result.cost(),
    }
