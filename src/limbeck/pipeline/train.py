"""`limbeck run`: trains the student of a recipe, measures it, and leaves a run directory."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from limbeck.distill.step import weighting_temperature
from limbeck.distill.stored import make_step
from limbeck.distill.student import build_student, init_from_layers
from limbeck.errors import UserError
from limbeck.files import atomic_write
from limbeck.pipeline.assemble import EVALUATION_SEED, Assembled, Progress, assemble
from limbeck.pipeline.place import check_place, common
from limbeck.pipeline.results import results_of
from limbeck.pipeline.stored import masks_of
from limbeck.pipeline.teachers import calibrate, describe, teachers_table
from limbeck.processes.group import current
from limbeck.processes.together import together
from limbeck.recipe import Recipe, affecting, to_toml
from limbeck.report.finish import finish
from limbeck.run import Run
from limbeck.teachers.loading import quiet
from limbeck.teachers.masked_lm import MaskedLM, weights_digest
from limbeck.teachers.store import StoredTeacher
from limbeck.teachers.teacher import Teacher
from limbeck.text.batches import Batch, Collator, TextBatches, fixed_batches
from limbeck.training.loop import train
from limbeck.training.place import finished, give_back

log = logging.getLogger("limbeck")


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
        UserError: see the parts. TrainingDiverged, Interrupted: see training/loop.py. Ended: another process
            of several has ended the run.
    """
    folder = Path(recipe.output) if folder is None else folder
    with together() as group:
        group.check_same(common(recipe, "student"), "recipe and versions")
        check_place(recipe, folder, extend=extend)
        made = assemble(recipe, progress)
        fields = affecting(recipe) | _contents(made)
        group.check_same(fields, "text, tokenizer and models")
        saved = to_toml(recipe.model_copy(update={"output": str(folder.absolute())}))
        with Run.open(
            folder, saved, fields, extend=extend, main=group.main, resume_hint=resume_hint
        ) as opened:
            done = group.from_main(lambda: finished(opened, recipe.train.steps))
            if done is not None:
                log.info("%s is finished; nothing to do", folder)
                return dict(done)
            return _run(made, opened, progress)


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
    masks = masks_of(made.recipe)
    # Named only where they are not what they have always been, so that older runs go on.
    if masks.seed != made.recipe.seed:
        found["distill.masking_seed (used)"] = masks.seed
    if made.variants is not None:
        found["distill.variants (used)"] = made.variants
    for placed in made.placed:
        name, teacher = f"teachers.{placed.teacher.name}", placed.teacher
        if isinstance(teacher, Teacher):
            found[f"{name}.model (contents)"] = weights_digest(teacher.module.model)
        else:
            assert made.variants is not None
            found[f"{name}.model (contents)"] = teacher.store.header.weights
            found[f"{name}.store (contents)"] = teacher.store.contents(made.variants)
        found[f"{name}.tokenizer (contents)"] = teacher.tokenizer.fingerprint
    return found


def _run(made: Assembled, opened: Run, progress: Progress | None) -> dict[str, Any]:
    recipe = made.recipe
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    try:
        teachers = prepared_teachers(made, opened.folder, progress)
        module, evaluate = build(made), evaluator(made)
    except BaseException:  # Ctrl-C as well: nothing is trained yet
        if opened.main:
            give_back(opened.folder)
        raise
    source = training_batches(made)
    step = make_step(made.placed, recipe.distill, module.width)
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

    def measured() -> dict[str, Any]:
        results = results_of(made, opened.folder, teachers, result, progress)
        return finish(opened.folder, results)

    return dict(current().from_main(measured))


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
    """`_prepared_teachers` in the main process; the others take its temperatures."""
    table = list(current().from_main(lambda: _prepared_teachers(made, folder, progress)))
    for placed, row in zip(made.placed, table, strict=True):
        placed.teacher.temperature = row["temperature"]
    return table


def _prepared_teachers(
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
    if made.placed and made.recipe.distill.calibrate and not made.from_store:
        calibrate(made, progress)
    table = teachers_table(made, progress)
    if path is not None:
        for row in table:
            log.info(describe(row))
        atomic_write(path, json.dumps(table, indent=1) + "\n")
    return table


def training_batches(made: Assembled) -> TextBatches:
    """The training text, as the recipe's batches."""
    recipe, group = made.recipe, current()
    if recipe.train.batch > len(made.train_rows):
        if len(made.train_rows) % group.world:
            raise UserError(
                f"text.train has {len(made.train_rows)} passages to train on, fewer than train.batch, and"
                f" {group.world} processes cannot share them evenly; give more text or start one process"
            )
        log.warning(
            "text.train has only %d passages to train on: every step takes all of them, not %d",
            len(made.train_rows),
            recipe.train.batch,
        )
    collator = Collator(
        made.student_tokenizer,
        [placed.teacher.tokenizer for placed in made.placed],
        seed=masks_of(recipe).seed,
        rate=recipe.distill.mask,
        student_sees=recipe.distill.student_sees,
        stored=[placed.teacher for placed in made.placed if isinstance(placed.teacher, StoredTeacher)],
    )
    return TextBatches(
        made.train,
        collator,
        made.train_rows,
        batch=recipe.train.batch,
        micro_batch=recipe.train.micro_batch,
        rank=group.rank,
        world=group.world,
        seed=recipe.seed,
        variants=made.variants,
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
