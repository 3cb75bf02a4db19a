"""Text, recipes and runs so small that a whole distillation takes seconds."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.recipe import Recipe, recipe_from
from tests.models import TEXTS

WORDS = sorted({word for text in TEXTS for word in text.split()})


def sentences(count: int, seed: int, shortest: int = 4, longest: int = 30) -> list[str]:
    """Different runs of words, most of them short, a few long."""
    draw = random.Random(seed)
    lengths = (min(longest, shortest + int(draw.expovariate(4 / longest))) for _ in range(count))
    return [" ".join(draw.choices(WORDS, k=length)) for length in lengths]


def write_text(folder: Path) -> None:
    """`train.txt` of 150 documents and `valid.txt` of 24."""
    (folder / "train.txt").write_text("\n\n".join(sentences(150, seed=1)), encoding="utf-8")
    (folder / "valid.txt").write_text("\n\n".join(sentences(24, seed=2)), encoding="utf-8")


def tables(**changes: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's tables for the text of `write_text`, some of their fields changed."""
    base: dict[str, dict[str, Any]] = {
        "text": {"train": ["train.txt"], "valid": ["valid.txt"], "words": 24, "workers": 1},
        "student": {"layers": 1, "hidden": 32, "max_length": 64, "tokenizer": "train:wordpiece:300"},
        "distill": {},
        "train": {
            "steps": 2, "batch": 16, "micro_batch": 8, "precision": "f32", "threads": 1, "eval_every": 2,
            "save_every": 2, "log_every": 1, "device": "cpu",
        },
        "eval": {"passages": 16},
    }  # fmt: skip
    merged: dict[str, Any] = {name: table | dict(changes.get(name, {})) for name, table in base.items()}
    if "init" in merged["student"]:
        merged["student"] = {"max_length": 64} | dict(changes["student"])
    return {"name": "tiny", "seed": 3} | merged


def tiny_recipe(
    folder: Path, teachers: Mapping[str, Path | str] | None = None, **changes: Mapping[str, Any]
) -> Recipe:
    """The recipe of `tables`, at home in `folder`; `teachers`: model by name."""
    named = [{"name": name, "model": str(model), "device": "cpu"} for name, model in (teachers or {}).items()]
    return recipe_from(tables(**changes) | {"teachers": named}, folder)


def written_recipe(
    folder: Path, teachers: Mapping[str, Path | str] | None = None, **changes: Mapping[str, Any]
) -> Path:
    """`recipe.toml` in `folder`, in the user's own words: only what differs from the defaults."""
    made = tables(**changes)
    lines = [f"{key} = {json.dumps(made[key])}" for key in ("name", "seed")]
    lines.append('output = "run"')
    for name in ("text", "student", "distill", "train", "eval"):
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in made[name].items())]
    for name, model in (teachers or {}).items():
        lines += ["[[teachers]]", f'name = "{name}"', f"model = {json.dumps(str(model))}", 'device = "cpu"']
    path = folder / "recipe.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
