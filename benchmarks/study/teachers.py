"""The house teachers: trained where they are not yet, and as they were part of the way through."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.files import atomic_folder, atomic_write
from limbeck.pipeline.train import run
from limbeck.recipe import Recipe, load_recipe
from limbeck.tasks.fingerprint import fingerprint

from .jobs import Job, do_all
from .setting import HOUSE, TEACHERS, Setting
from .text import write_texts


def teacher_recipe(setting: Setting, name: str) -> Recipe:
    """That of recipes/house; in the quick setting its small copy, on the students' slice of its text."""
    overrides = list(setting.teachers)
    if setting.quick:
        overrides.append(f"output={setting.scratch / 'teachers' / name}")
        kind = {"encyclopedia": "wordpiece", "fiction": "bpe", "lexicon": "unigram"}[name]
        overrides.append(f"student.tokenizer=train:{kind}:2000")
        text = str(write_texts(setting)[name]) if name != "lexicon" else f"{setting.glosses}/train"
        overrides += [
            f"text.train={json.dumps([text])}",
            f"text.valid={json.dumps([setting.texts()['glosses' if name == 'lexicon' else name]])}",
        ]
    return load_recipe(HOUSE / f"{name}.toml", overrides)


def train_teachers(setting: Setting, *, published: bool = True) -> dict[str, dict[str, Any]]:
    """Trains them, or goes on with them; what stands in their results.json, by name.

    published: they must be those that question `teachers` has told of, where it has.

    Raises:
        UserError: they are others than those of the scratch folder or of question `teachers`.
    """
    write_texts(setting)
    jobs = [Job(name, partial(run, teacher_recipe(setting, name))) for name in TEACHERS]
    trained = dict(zip(TEACHERS, do_all(setting, "teachers", jobs), strict=True))
    now = {name: fingerprint(teacher_model(setting, name)) for name in TEACHERS}
    _same(setting, now)
    if published:
        _published(setting, now)
    return trained


def _published(setting: Setting, now: Mapping[str, str]) -> None:
    """Answers of several sets of teachers must not stand beside each other.

    Another kind of machine makes other teachers of the same recipes.
    """
    file = setting.results / "study-teachers.json"
    if file.exists():
        rows = json.loads(file.read_text(encoding="utf-8"))["teachers"]
        if other := [name for name in TEACHERS if rows[name]["fingerprint"] != now[name]]:
            raise UserError(
                f"these teachers are not those of {file} ({', '.join(other)}); nothing is lost, but their"
                " answers would stand beside those of others: ask all questions, from `teachers` on"
            )


def _same(setting: Setting, now: dict[str, str]) -> None:
    """Stores, temperatures and students of other teachers must not stand for those of these."""
    file = setting.scratch / "teachers.json"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, json.dumps(now))
    elif (then := json.loads(file.read_text(encoding="utf-8"))) != now:
        other = ", ".join(name for name in TEACHERS if then.get(name) != now[name])
        raise UserError(
            f"{setting.scratch} was made with other teachers ({other} changed); move it away, and the at-*"
            " folders beside the teachers' models, and start the study again"
        )


def teacher_model(setting: Setting, name: str, stage: int = 100) -> Path:
    """The folder of a trained teacher's model, or of its model at a checkpoint part of the way.

    Raises:
        FileNotFoundError: the teacher has kept no checkpoint at that step.
    """
    import torch
    from safetensors.torch import load_file
    from transformers import AutoModelForMaskedLM

    recipe = teacher_recipe(setting, name)
    folder = Path(recipe.output or "")
    if stage == 100:
        return folder / "model"
    target = folder / f"at-{stage}"
    if target.exists():
        return target
    step = recipe.train.steps * stage // 100
    kept = load_file(folder / "checkpoints" / f"step-{step:08d}" / "model.safetensors")
    model = AutoModelForMaskedLM.from_pretrained(folder / "model")
    state = {key.removeprefix("model."): value for key, value in kept.items()}
    before = model.get_input_embeddings().weight.detach().clone()
    missing, unexpected = model.load_state_dict(state, strict=False)
    model.tie_weights()
    assert not unexpected, unexpected
    assert all("embeddings.tok_embeddings" in key or key.startswith("decoder") for key in missing), missing
    assert not torch.equal(before, model.get_input_embeddings().weight), "still the last step's embeddings"
    with atomic_folder(target) as temporary:
        model.save_pretrained(temporary)
        for file in (folder / "model").glob("*token*"):
            shutil.copy(file, temporary / file.name)
    return target
