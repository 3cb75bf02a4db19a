"""`limbeck run`: the stages of a recipe in order, each done where it is missing or its inputs have changed.

Teachers by recipes of their own (`[[pretrain]]`), the student, glosses, `[eval]`, `[report]`. Every stage
knows by fingerprints whether it is done; a training whose inputs have changed is refused, and done anew with
`again` alone, because that deletes hours of work.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from limbeck import __version__
from limbeck.errors import ChangedRun, UserError
from limbeck.files import atomic_write
from limbeck.pipeline import train as student_stage
from limbeck.pipeline.assemble import EVALUATION_SEED, Progress
from limbeck.pipeline.before import check_before, planned
from limbeck.pipeline.evaluation import EvaluationSettings, Model, evaluate, named_model
from limbeck.pipeline.gloss import FOLDER, gloss
from limbeck.processes.together import together
from limbeck.recipe import Recipe, load_recipe
from limbeck.report.card import write_card
from limbeck.report.html import write_page
from limbeck.report.page import write_report
from limbeck.report.sources import files_of
from limbeck.run import clear_run

log = logging.getLogger("limbeck")

Json = dict[str, Any]

EVAL, REPORT = "eval", "report.json"
"""In the run directory: the folder of its evaluation, the record of what its report was made of."""

_OF_TRAINING = (
    *("results.json", "status.json", "checkpoints", "best", "model", "head", "teachers.json"),
    *("temperatures.json", "leave_one_out.json", "metrics.jsonl", "log.txt", "recipe.toml"),
    *("environment.json", "affecting.json"),
)
"""What a training leaves in its run directory, and `again` takes away: that it is another's goes last."""


def run_stages(
    recipe: Recipe,
    folder: Path | None = None,
    *,
    extend: bool = False,
    again: bool = False,
    inner: bool = False,
    resume_hint: str = "",
    progress: Progress | None = None,
) -> Json:
    """Does what is missing of a recipe, in order; killed at any moment, the same call goes on.

    Args:
        folder: the run directory; None: `recipe.output`.
        extend: the recipe's `train.steps` may be more than the student's run had.
        again: a training whose recipe, text or teachers changed is deleted and done anew.
        inner: it comes before another recipe, with which it was checked.

    Returns:
        The student's results, and under `gloss`, `eval`, `report` those of the other stages; `stages`: a row
        each with stage, state (`ran` or `skipped`), seconds and folder.

    Raises:
        UserError: see the parts; a recipe that pretrains itself. TrainingDiverged, Interrupted: see
            training/loop.py.
    """
    folder = Path(recipe.output) if folder is None else folder
    with together() as group:
        if again and group.world > 1:
            raise UserError("--again deletes runs, and wants one process; start it without torchrun")
        before = [load_recipe(one.recipe) for one in recipe.pretrain]
        if not inner:
            plan = planned(recipe, folder, extend=extend)
            check_before(plan, eval_settings, main=group.main, progress=progress)
        rows: list[Json] = []
        for one in before:
            log.info("%s: the recipe %s comes first", recipe.name, one.name)
            made = run_stages(one, again=again, inner=True, resume_hint=resume_hint, progress=progress)
            rows += [row | {"stage": f"{one.name}: {row['stage']}"} for row in made["stages"]]
        found: Json = {}
        options: Json = {"resume_hint": resume_hint, "progress": progress}
        if recipe.text is not None:
            name = "distill" if recipe.teachers else "pretrain"
            row, found = _training(
                name, folder, again, lambda: student_stage.run(recipe, folder, extend=extend, **options)
            )
            rows.append(row)
        if recipe.gloss is not None:
            place = folder if recipe.text is None else folder / FOLDER
            row, more = _training(
                "gloss", place, again, lambda: gloss(recipe, place, student=folder, **options)
            )
            rows.append(row)
            found = found | {"gloss": more}
        later = [("eval", recipe.eval.tasks is not None), ("report", recipe.report is not None)]
        if group.world > 1 and any(wanted for _, wanted in later):
            log.warning("eval and report are for one process: the same command without torchrun does them")
        else:
            found |= group.from_main(lambda: _after(recipe, folder, rows, options))
        return found | {"stages": rows}


def _training(name: str, folder: Path, again: bool, run: Callable[[], Json]) -> tuple[Json, Json]:
    """A stage that trains, and its row."""
    began, before = time.perf_counter(), _written(folder / "results.json")
    try:
        found = run()
    except ChangedRun as error:
        if not again:
            raise UserError(f"{error}; or do it anew with --again, which deletes what is there") from error
        log.info("%s; doing it anew", error)
        clear_run(folder, _OF_TRAINING)
        found = run()
    return _row(name, folder, began, before == _written(folder / "results.json") is not None), found


def _row(name: str, folder: Path, began: float, skipped: bool) -> Json:
    state = "skipped" if skipped else "ran"
    return {
        "stage": name,
        "state": state,
        "seconds": round(time.perf_counter() - began, 3),
        "folder": str(folder),
    }


def _written(path: Path) -> tuple[int, int] | None:
    """What changes when a file is written anew; None where there is none, or no folder for one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _after(recipe: Recipe, folder: Path, rows: list[Json], options: Json) -> Json:
    """The stages behind the training, in the main process."""
    found: Json = {}
    if recipe.eval.tasks is not None:
        began, before = time.perf_counter(), _written(folder / EVAL / "results.json")
        models, missing = eval_models(recipe, folder)
        found["eval"] = evaluate(models, eval_settings(recipe), folder / EVAL, missing=missing, **options)
        skipped = before == _written(folder / EVAL / "results.json") is not None
        rows.append(_row("eval", folder / EVAL, began, skipped))
    if recipe.report is not None:
        began = time.perf_counter()
        found["report"], skipped = _report(recipe, folder)
        rows.append(_row("report", folder, began, skipped))
    return found


def eval_settings(recipe: Recipe) -> EvaluationSettings:
    """What `[eval]` asks for; it must have tasks."""
    section = recipe.eval
    assert section.tasks is not None
    texts = section.text or (recipe.text.valid if recipe.text is not None else ())
    words: Json = (  # as the student's text is read
        {}
        if recipe.text is None
        else {name: getattr(recipe.text, name) for name in ("words", "min_words", "on_error")}
    )
    device = (recipe.train if recipe.text is not None or recipe.gloss is None else recipe.gloss).device
    return EvaluationSettings(
        tasks=tuple(section.tasks),
        named=True,
        texts=tuple(texts),
        mask=recipe.distill.mask,
        passages=section.passages,
        seed=EVALUATION_SEED,
        wsd=section.wsd,
        wsd_sets=tuple(section.wsd_sets or ()),
        glue=section.glue,
        glue_tasks=tuple(section.glue_tasks or ()),
        paraphrase=section.paraphrase,
        sizes=tuple(section.sizes or ()),
        first=section.words,
        test_limit=section.test_limit,
        seeds=tuple(section.seeds),
        epochs=section.epochs,
        lengths=tuple(section.lengths),
        device=device,
        **words,
    )


def eval_models(recipe: Recipe, folder: Path) -> tuple[list[Model], list[Json]]:
    """The models that `[eval]` measures, and the teachers that are not here (their store is)."""
    role = "student" if recipe.teachers else "model"
    models, missing = [named_model(recipe.name, str(folder / "model"), role)], []
    if recipe.gloss is not None and recipe.text is not None:
        models.append(named_model(f"{recipe.name}, glossed", str(folder / FOLDER / "model"), role))
    for spec in recipe.teachers if recipe.eval.teachers else ():
        try:
            models.append(named_model(spec.name, spec.model, "teacher"))
        except UserError as error:
            if recipe.distill.predictions == "online":
                raise
            missing += [
                {"task": task, "model": spec.name, "reason": str(error)} for task in recipe.eval.tasks or ()
            ]
    models += [named_model(path, path) for path in recipe.eval.beside or ()]
    names = [model.name for model in models]
    apart = [replace(m, name=f"{m.name} ({m.path})") if names.count(m.name) > 1 else m for m in models]
    return apart, missing


def _report(recipe: Recipe, folder: Path) -> tuple[Json, bool]:
    """Writes what `[report]` asks for; and whether it was all there, made of the same files."""
    assert recipe.report is not None
    before_it = [Path(load_recipe(one.recipe).output) for one in recipe.pretrain]
    digest = hashlib.sha256(f"{__version__} {recipe.report.model_dump_json()}".encode())
    for source in files_of([folder, *before_it]):
        digest.update(source.read_bytes() if source.is_file() else b"\0")
    made: Json = {"inputs": digest.hexdigest()[:16]}
    record = folder / REPORT
    try:
        before = dict(json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        before = {}
    if before.get("inputs") == made["inputs"]:
        written = [Path(path) for name, path in before.items() if name != "inputs"]
        if all(path.is_file() for path in written):
            return {name: path for name, path in before.items() if name != "inputs"}, True
    if recipe.report.page:
        made["page"] = str(write_page([folder, *before_it], folder / "report.html"))
    if recipe.report.markdown:
        made["markdown"] = str(write_report([folder], folder / "report.md"))
    if recipe.report.card:
        made["card"] = str(write_card(folder))
        if recipe.gloss is not None and recipe.text is not None:
            made["card of the glossed model"] = str(write_card(folder / FOLDER))
    atomic_write(record, json.dumps(made, indent=1) + "\n")
    return {name: path for name, path in made.items() if name != "inputs"}, False
