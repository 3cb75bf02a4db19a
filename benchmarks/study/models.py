"""The models that questions 3 to 6 judge: students from scratch, distilled, and taught glosses."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from limbeck.pipeline.gloss import gloss
from limbeck.recipe import DistillSection, Recipe, load_recipe

from .chosen import chosen
from .jobs import Job, digest, do_all
from .setting import DATA, HOUSE, TEACHERS, Setting
from .students import Arm, Student, folder, train_students
from .teachers import teacher_model

RECIPE = HOUSE / "gloss.toml"
KINDS = {
    "LMGC": ("gloss.masked=false",),
    "LMGC-M": (),
    "cohesive": ("gloss.cohesive=true",),
}
"""Of gloss training, and what differs from the recipe."""
STARTS = ("scratch", "distilled")
LEXICAL = (
    "scratch+LMGC",
    "scratch+LMGC-M",
    "distilled+LMGC",
    "distilled+LMGC-M",
    "distilled+cohesive",
)
MODELS = (*STARTS, *LEXICAL)
SWEPT = "distilled+LMGC-M"
"""Its F1 on the development set chooses the learning rate of every gloss training."""


def start(model: str) -> str:
    """What a model's gloss training started from."""
    return model.partition("+")[0]


def recommended(setting: Setting) -> dict[str, Any]:
    """The best way to be taught, `weighting`, `temperature`, `mixture`, and who says so (`by`)."""
    way = arm(setting, "distilled")
    names = ("weighting", "temperature", "mixture", "calibrate")
    by = "the defaults" if chosen(setting) is None else "question 1"
    return {name: getattr(way, name) for name in names} | {"by": by}


def arm(setting: Setting, model: str) -> Arm:
    """How the model's student was taught: as question 1 has chosen, whose students these are then."""
    usual = DistillSection()
    none, taught = chosen(setting) or (
        Arm("none", teachers=()),
        Arm(usual.weighting, weighting=usual.weighting, mixture=usual.mixture),
    )
    return none if start(model) == "scratch" else taught


def student(setting: Setting, model: str, seed: int) -> Student:
    """The student that the model is, or that its gloss training started from."""
    return Student(arm(setting, model), setting.sizes[0], setting.steps, seed)


def gloss_folder(setting: Setting, model: str, seed: int, rate: float) -> Path:
    """The run directory of a gloss training; it goes by how that is done and by what comes before."""
    kind, before = model.partition("+")[2], student(setting, model, seed)
    made_by = digest(before, arm(setting, "distilled"), setting.gloss_instances, setting.glosses)
    name = f"{before.arm.name}-{kind}-{setting.gloss_steps}-{rate:g}-{seed}-{made_by}"
    return setting.scratch / "gloss" / name


def gloss_recipe(setting: Setting, model: str, seed: int, rate: float) -> Recipe:
    """The house's gloss recipe for this model."""
    wsd = DATA / "wsd"
    way = arm(setting, "distilled")
    section = [
        f"seed={seed}",
        f"student.tokenizer={setting.tokenizer}",
        f"text.train={json.dumps([f'{setting.glosses}/train'])}",
        f"text.valid={json.dumps(list(setting.texts().values()))}",
        f"distill.weighting={way.weighting}",
        f"distill.mixture={way.mixture}",
        f"distill.calibrate={str(way.calibrate).lower()}",
        f"gloss.init={folder(setting, student(setting, model, seed)) / 'model'}",
        f"gloss.train={json.dumps(['wordnet-examples/train', str(wsd / 'semcor' / 'semcor.data.xml.xz')])}",
        f"gloss.valid={json.dumps([str(wsd / 'eval' / 'semeval2007.data.xml')])}",
        f"gloss.steps={setting.gloss_steps}",
        f"gloss.learning_rate={rate}",
        f"gloss.eval_every={max(1, setting.gloss_steps // 4)}",
    ]
    if setting.quick:
        section += ['gloss.train=["wordnet-examples/train"]', "eval.passages=16", "gloss.valid_limit=64"]
    if setting.gloss_instances is not None:
        section.append(f"gloss.limit={setting.gloss_instances}")
    if way.temperature is not None:
        section.append(f"distill.weighting_temperature={way.temperature}")
    section += [f"teachers.{name}.model={teacher_model(setting, name)}" for name in TEACHERS]
    return load_recipe(RECIPE, [*section, *KINDS[model.partition("+")[2]]])


def _jobs(setting: Setting, model: str, rate: float, seeds: Sequence[int]) -> list[Job]:
    """What is not trained yet; a finished run's folder says by its name what it is."""
    return [
        Job(
            f"{model} seed {seed} rate {rate:g}",
            partial(
                gloss,
                gloss_recipe(setting, model, seed, rate),
                gloss_folder(setting, model, seed, rate),
                student=folder(setting, student(setting, model, seed)),
            ),
        )
        for seed in seeds
        if not (gloss_folder(setting, model, seed, rate) / "results.json").exists()
    ]


def make_models(setting: Setting) -> dict[str, Any]:
    """Trains what is missing of all models.

    Returns:
        `recommended`; `rates`, the sweep of gloss training's learning rate (F1 in % on the development set by
        rate, of the first seed) and the `rate` chosen; `training`, of each lexical model what `limbeck gloss`
        says of the run of the first seed, and its mean seconds.
    """
    wanted = [student(setting, model, seed) for model in STARTS for seed in setting.seeds]
    absent = [one for one in wanted if not (folder(setting, one) / "results.json").exists()]
    train_students(setting, "students", absent)
    rates = [job for rate in setting.gloss_rates for job in _jobs(setting, SWEPT, rate, setting.seeds[:1])]
    do_all(setting, "gloss rates", rates)
    f1s = {rate: dev_f1(setting, SWEPT, rate) for rate in setting.gloss_rates}
    rate = chosen_rate(f1s)
    names = reversed(LEXICAL)  # the longest first
    do_all(setting, "gloss", [job for model in names for job in _jobs(setting, model, rate, setting.seeds)])
    return {
        "recommended": recommended(setting),
        "rates": {f"{value:g}": f1 for value, f1 in f1s.items()},
        "rate": rate,
        "training": {model: _training(setting, model, rate) for model in LEXICAL},
    }


def dev_f1(setting: Setting, model: str, rate: float) -> float:
    """F1 in % of the last step on the development set, of the first seed."""
    return 100 * float(_results(setting, model, setting.seeds[0], rate)["valid"]["f1"])


def chosen_rate(f1s: dict[float, float]) -> float:
    """The rate of the highest F1; of equal ones the lowest."""
    return max(sorted(f1s), key=lambda rate: f1s[rate])


def _results(setting: Setting, model: str, seed: int, rate: float) -> dict[str, Any]:
    file = gloss_folder(setting, model, seed, rate) / "results.json"
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _training(setting: Setting, model: str, rate: float) -> dict[str, Any]:
    runs = [_results(setting, model, seed, rate) for seed in setting.seeds]
    return {
        "method": runs[0]["method"],
        "steps": setting.gloss_steps,
        "instances": runs[0]["train"]["used"],
        "epochs": runs[0]["train"]["epochs"],
        "dev_f1": 100 * statistics.fmean(run["valid"]["f1"] for run in runs),
        "seconds": statistics.fmean(run["cost"]["seconds"] for run in runs),
    }


def model_folders(setting: Setting) -> dict[str, list[Path]]:
    """The model folder of each seed, by model; `make_models` comes first."""
    rate = chosen_rate({rate: dev_f1(setting, SWEPT, rate) for rate in setting.gloss_rates})
    students = {
        model: [folder(setting, student(setting, model, seed)) / "model" for seed in setting.seeds]
        for model in STARTS
    }
    return students | {
        model: [gloss_folder(setting, model, seed, rate) / "model" for seed in setting.seeds]
        for model in LEXICAL
    }
