"""A mini WordNet, its examples as instances, and recipes so small that gloss training takes seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.gloss.instances import Instance, wordnet_examples, write_jsonl
from limbeck.gloss.settings import GlossSettings
from limbeck.lexicon.lexicon import Lexicon, open_lexicon
from limbeck.recipe import Recipe, recipe_from
from tests.mini_wordnet import ADJECTIVES, ADVERBS, MORE, NOUNS, VERBS, write_wordnet
from tests.models import TEXTS

_ENTRIES = (NOUNS, VERBS, ADJECTIVES, ADVERBS, *MORE.values())
GLOSSES = tuple(entry[1] for entries in _ENTRIES for entry in entries)
TRAINING_TEXT = (*TEXTS, *GLOSSES, 'he said "dog" : an animal')


def world(folder: Path) -> Lexicon:
    """A folder with `wordnet`, and its examples as `train.jsonl` (all) and `valid.jsonl` (every third)."""
    lexicon = open_lexicon(str(write_wordnet(folder / "wordnet", polysemous=True)))
    instances = list(wordnet_examples(lexicon))
    write_jsonl(folder / "train.jsonl", instances)
    write_jsonl(folder / "valid.jsonl", instances[::3])
    return lexicon


def gloss_tables(init: Path | str | None, **changes: Any) -> dict[str, Any]:
    """A recipe's tables for `world`, some fields of `[gloss]` changed."""
    base: dict[str, Any] = {
        "lexicon": "wordnet", "train": ["train.jsonl"], "valid": ["valid.jsonl"], "max_length": 64,
        "steps": 2, "batch": 8, "tokens": 1024, "precision": "f32", "device": "cpu", "threads": 1,
        "learning_rate": 1e-3, "eval_every": 2, "save_every": 2, "log_every": 1, "valid_limit": 12,
    }  # fmt: skip
    if init is not None:
        base["init"] = str(init)
    return {"name": "tiny", "seed": 3, "output": "run", "gloss": base | changes}


def gloss_recipe(
    folder: Path, init: Path | str | None, teachers: Mapping[str, Path] | None = None, **changes: Any
) -> Recipe:
    """The recipe of `gloss_tables`, at home in `folder`."""
    named = [{"name": name, "model": str(model), "device": "cpu"} for name, model in (teachers or {}).items()]
    changes = {"lexicon": str(folder / "wordnet")} | changes
    return recipe_from(gloss_tables(init, **changes) | {"teachers": named}, folder)


def some(folder: Path, instances: Sequence[Instance], name: str = "some.jsonl") -> str:
    """The instances as a file of `folder`."""
    write_jsonl(folder / name, instances)
    return str(folder / name)


def settings(**changes: Any) -> GlossSettings:
    """Settings for models of 64 positions."""
    return GlossSettings(**{"max_length": 64} | changes)
