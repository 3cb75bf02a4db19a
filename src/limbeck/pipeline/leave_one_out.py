"""`limbeck distill --leave-one-out`: the student once more without each teacher, and what each was worth.

Same text, order, masks and seed; the students are asked for the same masked words, so that differences are
paired. A run directory each, `without-TEACHER` in the student's own, which goes on where it was stopped.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.files import atomic_write
from limbeck.pipeline.assemble import EVALUATION_SEED, Progress, read_text
from limbeck.pipeline.train import run
from limbeck.processes.group import current
from limbeck.processes.together import together
from limbeck.recipe import Recipe
from limbeck.tasks.mlm import Compared, MlmSettings, evaluate_models
from limbeck.teachers.masked_lm import load_masked_lm
from limbeck.text.pieces import PieceTokenizer

log = logging.getLogger("limbeck")

RESULT = "leave_one_out.json"
VERSION = 2


def leave_one_out(
    recipe: Recipe,
    folder: Path | None = None,
    *,
    resume_hint: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trains the student with all teachers and without each, or goes on with it, and compares.

    Args:
        folder: the run directory; None: `recipe.output`. Others: as `pipeline.train.run`.

    Returns:
        What stands in `leave_one_out.json`: `all` (nats per masked word of valid, with the interval), and of
        each teacher `without` (the same of the student that it did not teach), `usefulness` (`without` less
        `all`: above 0 where the teacher helped), `low` and `high` (95% of the paired difference); of every
        student `weights`, the digest that its run's results have as well.

    Raises:
        UserError: fewer than two teachers; see `pipeline.train.run`.
    """
    if len(recipe.teachers) < 2:
        raise UserError(
            f"--leave-one-out needs two teachers or more, and the recipe has {len(recipe.teachers)}; add "
            "[[teachers]], or train without it"
        )
    folder = Path(recipe.output) if folder is None else folder
    recipe = recipe.model_copy(update={"gloss": None})
    names = [teacher.name for teacher in recipe.teachers]
    fewer = {name: without(recipe, name) for name in names}
    with together():
        log.info("leave one out, part 1 of %d: all teachers", len(names) + 1)
        whole = run(recipe, folder, resume_hint=resume_hint, progress=progress)
        for number, name in enumerate(names, 2):
            log.info("leave one out, part %d of %d: without %s", number, len(names) + 1, name)
            place = folder / f"without-{name}"
            # A store of some of the teachers would serve a student of those alone, but not of all.
            distill = recipe.distill.model_copy(update={"predictions": whole["predictions"]})
            one = fewer[name].model_copy(update={"distill": distill})
            run(one, place, resume_hint=resume_hint, progress=progress)
        return dict(current().from_main(lambda: _compared(recipe, folder, names, progress)))


def without(recipe: Recipe, name: str) -> Recipe:
    """The recipe of the same student without a teacher, whose tokenizer or layers it may still have."""
    gone = next(teacher for teacher in recipe.teachers if teacher.name == name)
    student = recipe.student
    kept = {key: gone.model for key in ("init", "tokenizer") if getattr(student, key) == f"teacher:{name}"}
    changed: dict[str, Any] = {
        "name": f"{recipe.name}-without-{name}",
        "teachers": tuple(teacher for teacher in recipe.teachers if teacher.name != name),
        "student": student.model_copy(update=kept),
        "eval": recipe.eval.model_copy(update={"tasks": None}),
        "pretrain": (),
        "report": None,
    }
    if not any(teacher.prior for teacher in changed["teachers"]):
        raise UserError(
            f"--leave-one-out: without {name} the priors of the teachers sum to 0; give another one a prior"
        )
    return recipe.model_copy(update=changed)


def _compared(recipe: Recipe, folder: Path, names: list[str], progress: Progress | None) -> dict[str, Any]:
    """The students on the same masked words of valid; all words, since their tokenizer is one."""
    assert recipe.text is not None
    _, corpus = read_text(recipe)
    settings = MlmSettings(
        mask=recipe.distill.mask,
        passages=recipe.eval.passages,
        seed=EVALUATION_SEED,
        device=recipe.train.device,
    )
    places = {"all": folder} | {name: folder / f"without-{name}" for name in names}
    students = []
    for name, place in places.items():
        module, tokenizer, report = load_masked_lm(
            place / "model", device=recipe.train.device, what=f"the student {name}"
        )
        pieces = PieceTokenizer.from_hf(tokenizer, limit=report.limit, name=name)
        students.append(Compared(name, module, pieces, f"{place.name}/model"))
    measured = evaluate_models(students, corpus, settings, progress)
    nats = [model["all_words"] for model in measured["models"]]
    rows = []
    weights = [model["weights"] for model in measured["models"]]
    for name, one, digest, difference in zip(
        names, nats[1:], weights[1:], measured["differences"], strict=True
    ):
        paired = difference["all_words"]
        low, high = paired["nats_interval"] or (None, None)
        rows.append(
            {
                "name": name,
                "without": one["nats"],
                "usefulness": paired["nats"],
                "low": low,
                "high": high,
                "run": f"without-{name}",
                "weights": digest,
            }
        )
    low, high = nats[0]["nats_interval"] or (None, None)
    result = {
        "version": VERSION,
        "metric": "nats per masked word",
        "data": {
            "texts": list(recipe.text.valid),
            "fingerprint": measured["data"]["fingerprint"],
            "passages": measured["data"]["passages"],
            "words": nats[0]["words"],
        },
        "all": {"nats": nats[0]["nats"], "low": low, "high": high, "weights": weights[0]},
        "teachers": rows,
        "settings": asdict(settings) | {"interval": 0.95, "resampled": "passages"},
        "versions": measured["versions"],
    }
    atomic_write(folder / RESULT, json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return result
