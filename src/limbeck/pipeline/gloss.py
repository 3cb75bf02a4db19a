"""`limbeck gloss`, and what `limbeck run` does with a recipe that has `[gloss]` (architecture §3.2)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from limbeck.distill.step import DistillStep
from limbeck.errors import UserError
from limbeck.files import atomic_write
from limbeck.gloss.batches import GlossBatches
from limbeck.gloss.model import GlossModel
from limbeck.gloss.sources import check_sources, contents
from limbeck.gloss.step import GlossStep
from limbeck.lexicon.lexicon import check_lexicon
from limbeck.pipeline import train as student_stage
from limbeck.pipeline.assemble import Progress, read_text
from limbeck.pipeline.gloss_assemble import (
    GlossAssembled,
    assemble_gloss,
    chosen_layout,
    development_set,
    set_temperatures,
)
from limbeck.pipeline.gloss_head import train_head
from limbeck.pipeline.gloss_result import evaluator, gloss_results
from limbeck.pipeline.place import common
from limbeck.processes.group import current
from limbeck.processes.together import together
from limbeck.recipe import Recipe, affecting, to_toml
from limbeck.report.finish import finish
from limbeck.run import Run
from limbeck.run_folder import check_folder
from limbeck.teachers.loading import find_source
from limbeck.teachers.masked_lm import weights_digest
from limbeck.teachers.teacher import Teacher
from limbeck.training.engine import check_share, choose_device, choose_precision
from limbeck.training.interface import Best, LoopSettings
from limbeck.training.loop import train
from limbeck.training.place import check_run_folder, finished, give_back

log = logging.getLogger("limbeck")

FOLDER = "gloss"
"""Where gloss training stands in the run directory of the student it goes on from."""
BEST = Best("valid_f1", higher=True)


def run(
    recipe: Recipe,
    folder: Path | None = None,
    *,
    extend: bool = False,
    resume_hint: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """`limbeck run`: trains the recipe's student, and goes on with gloss training if it has `[gloss]`.

    Arguments and errors as `pipeline.train.run`; `extend` is of the student.

    Returns:
        The student's results (none for a recipe without text) and, under `gloss`, those of gloss training.
    """
    folder = Path(recipe.output) if folder is None else folder
    if recipe.gloss is None:
        return student_stage.run(recipe, folder, extend=extend, resume_hint=resume_hint, progress=progress)
    if recipe.text is None:
        return {"gloss": gloss(recipe, folder, resume_hint=resume_hint, progress=progress)}
    if recipe.gloss.init is not None:
        raise UserError(
            f"[gloss] init is {recipe.gloss.init}, and not the student of this recipe; leave it out, or use "
            "`limbeck gloss`"
        )
    with together():
        check_gloss(recipe, folder / FOLDER, init=None)
        results = student_stage.run(recipe, folder, extend=extend, resume_hint=resume_hint, progress=progress)
        more = gloss(recipe, folder / FOLDER, student=folder, resume_hint=resume_hint, progress=progress)
        return results | {"gloss": more}


def gloss(
    recipe: Recipe,
    folder: Path | None = None,
    *,
    student: Path | None = None,
    extend: int = 0,
    resume_hint: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trains the model of a recipe on glosses, or goes on with it; a finished run only returns its results.

    Args:
        folder: the run directory; None: `gloss` in that of the student, or `recipe.output` for a recipe
            without text.
        student: run directory of the recipe's student; None: `recipe.output`. Its model is where the training
            starts, unless `gloss.init` names another.
        extend: steps more than the recipe says.

    Returns:
        What stands in the run's `results.json`.

    Raises:
        UserError: see the parts. TrainingDiverged, Interrupted: see training/loop.py.
    """
    if recipe.gloss is None:
        raise UserError("the recipe has no [gloss]; add the table (docs/recipe.md has its fields)")
    student = Path(recipe.output) if student is None else student
    if folder is None:
        folder = student if recipe.text is None else student / FOLDER
    init = recipe.gloss.init or str(student / "model")
    if recipe.gloss.init is None and not Path(init).is_dir():
        raise UserError(
            f"{init} is not there: the student of the recipe is not trained yet; `limbeck run` trains it and "
            "goes on with glosses, or name a model as gloss.init"
        )
    with together() as group:
        group.check_same(common(recipe, "gloss"), "recipe and versions")
        check_gloss(recipe, folder, init=init, extend=extend)
        made = assemble_gloss(recipe, init, progress)
        batches = made.batches()
        if batches.order.batch % group.world:
            raise UserError(
                f"gloss.train has {batches.order.batch} instances to train on, fewer than gloss.batch, and"
                f" {group.world} processes cannot share them evenly; give more text or start one process"
            )
        steps = made.section.steps or max(1, round(made.section.epochs * batches.steps_per_epoch))
        fields = _fields(made) | {"gloss.steps": steps + extend}
        group.check_same(fields, "instances, lexicon and models")
        alone = {
            "output": str(folder.absolute()),
            "text": None,
            "gloss": made.section.model_copy(update={"init": init}),
            "pretrain": (),
            "eval": recipe.eval.model_copy(update={"tasks": None}),
            "report": None,
        }
        saved = to_toml(recipe.model_copy(update=alone))  # for itself: it trains no student
        with Run.open(
            folder, saved, fields, extend=extend > 0, main=group.main, resume_hint=resume_hint
        ) as opened:
            done = group.from_main(lambda: finished(opened, steps + extend))
            if done is not None:
                log.info("%s is finished; nothing to do", folder)
                return dict(done)
            return _train(made, batches, steps + extend, opened, student, progress)


def check_gloss(
    recipe: Recipe,
    folder: Path,
    *,
    init: str | None,
    extend: int = 0,
    later: Callable[[str], bool] = lambda _: False,
) -> None:
    """Refuses at once what would otherwise be refused only after text is read or a student trained.

    Args:
        init: the model to start from; None: the student, which is not there yet.
        later: says of a model's path that it is still to be made.

    Raises:
        UserError: device or precision that this machine lacks, a number of processes that does not divide the
            batch, a file or a model that does not exist, no development set, no lexicon, a layout that the
            student's family cannot do, a run directory that cannot be written or holds another run.
    """
    section = recipe.gloss
    assert section is not None
    device = choose_device(section.device)
    choose_precision(section.precision, device)
    check_share(current(), section.batch, device, "gloss.batch")
    check_sources(section.train, "gloss.train")
    check_sources(development_set(section), "gloss.valid")
    check_lexicon(section.lexicon)
    if init is not None:
        if not later(init):
            find_source(init, f"gloss.init: {init!r}")
    elif recipe.student.family is not None:
        chosen_layout(section, recipe.student.family)
    if section.cohesive:
        for spec in (one for one in recipe.teachers if not later(one.model)):
            find_source(spec.model, f"teacher {spec.name!r}: {spec.model!r}")
    if not current().main:
        return
    check_run_folder(folder)
    if section.steps is not None:  # else their number is known when the instances are read
        known = _named_fields(recipe) | {"gloss.steps": section.steps + extend}
        check_folder(folder, known, extend=extend > 0)


def _named_fields(recipe: Recipe) -> dict[str, Any]:
    """The recipe's own fields that affect the result, but for the number of steps, however it is given."""
    fields = affecting(recipe, "gloss").items()
    return {name: value for name, value in fields if name not in ("gloss.steps", "gloss.epochs")}


def _fields(made: GlossAssembled) -> dict[str, Any]:
    """What affects the result: a resume on other instances, another lexicon or another model is refused."""
    found = _named_fields(made.recipe) | {
        "gloss.init (contents)": weights_digest(made.model),
        "gloss.init (tokenizer)": made.encoder.tokenizer.fingerprint,
        "gloss.lexicon (contents)": made.lexicon.fingerprint,
        "gloss.train (contents)": contents(made.section.train, made.lexicon, "gloss.train"),
        "gloss.valid (contents)": contents(made.valid_names, made.lexicon, "gloss.valid"),
        "gloss.layout (used)": made.settings.layout,
    }
    for placed in made.placed:
        name, teacher = f"teachers.{placed.teacher.name}", placed.teacher
        assert isinstance(teacher, Teacher), "no store has the contexts and glosses"
        found[f"{name}.model (contents)"] = weights_digest(teacher.module.model)
        found[f"{name}.tokenizer (contents)"] = teacher.tokenizer.fingerprint
    return found


def _train(
    made: GlossAssembled,
    batches: GlossBatches,
    steps: int,
    opened: Run,
    student: Path,
    progress: Progress | None,
) -> dict[str, Any]:
    section = made.section
    if section.threads:
        torch.set_num_threads(section.threads)
    try:
        _temperatures(made, opened.folder, student, progress)
        if section.masked and made.headless:
            head = {name: value for name, value in opened.affecting.items() if name != "gloss.steps"}
            train_head(made, opened.folder / "head", head, opened.resume_hint)
        torch.manual_seed(made.recipe.seed)
        module = GlossModel(
            made.model, made.encoder, made.settings, masking=section.masked, dropout=section.dropout
        )
    except BaseException:  # Ctrl-C as well: nothing of the glosses is trained yet
        if opened.main:
            give_back(opened.folder)
        raise
    step = GlossStep(
        section,
        candidates=float(made.instances.candidates[made.rows].mean()),
        teaching=teaching(made),
    )
    names = LoopSettings.__dataclass_fields__.keys() - {"steps", "sharding"}
    settings = LoopSettings(steps=steps, sharding="none", **{name: getattr(section, name) for name in names})
    result = train(
        module,
        step,
        batches,
        settings,
        opened,
        seed=made.recipe.seed,
        save_model=module.save,
        evaluate=evaluator(made),
        best=BEST,
    )
    text = None if made.recipe.text is None else read_text(made.recipe)[1]

    def measured() -> dict[str, Any]:
        results = gloss_results(made, opened.folder, result, batches.steps_per_epoch, text, progress)
        return finish(opened.folder, results)

    return dict(current().from_main(measured))


def teaching(made: GlossAssembled) -> DistillStep | None:
    """The distil stage's step with its teachers, for cohesive training."""
    if not made.section.cohesive:
        return None
    return DistillStep(made.placed, made.recipe.distill, made.placed[0].projection.student_width)


def _temperatures(made: GlossAssembled, folder: Path, student: Path, progress: Progress | None) -> None:
    """Calibrates the teachers, or takes the temperatures that the run found at its first start."""

    def known() -> dict[str, float]:
        path = folder / "temperatures.json"
        if path.is_file():
            return dict(json.loads(path.read_text(encoding="utf-8")))
        set_temperatures(made, student, progress)
        found = {p.teacher.name: p.teacher.temperature for p in made.placed}
        log.info("temperatures of the teachers: %s", ", ".join(f"{n} {t:.2f}" for n, t in found.items()))
        atomic_write(path, json.dumps(found, indent=1) + "\n")
        return found

    if made.placed:
        found = current().from_main(known)
        for placed in made.placed:
            placed.teacher.temperature = found[placed.teacher.name]
