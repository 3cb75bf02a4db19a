"""The demo's second half: the student learns word senses (LMGC, LMGC-M) and disambiguates a paragraph."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limbeck.pipeline.assemble import Progress
from limbeck.pipeline.gloss import gloss
from limbeck.recipe import load_recipe
from limbeck.tasks.wsd_baselines import FIRST, RANDOM
from limbeck.tools.disambiguate import Disambiguator
from limbeck.tools.words import MODEL, Word

log = logging.getLogger("limbeck")

RECIPES = ("lmgc", "lmgc-m")
TITLES = {"lmgc": "LMGC: glosses alone", "lmgc-m": "LMGC-M: glosses and masked words"}
PARAGRAPH = (
    "The old man sat on the bank of the river and watched the current carry a plant past the pier. He had "
    "run a small firm in the city, and the bank had given him credit when trade was bad."
)


def learn_senses(
    folder: Path,
    overrides: Sequence[str] = (),
    *,
    first_part: int,
    parts: int,
    resume_hint: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trains the student in `folder` on glosses, with and without masked words.

    Args:
        folder: of the demo, with the student and the recipes of `RECIPES`.
        overrides: recipe fields for both.
        first_part, parts: numbers for the log.

    Returns:
        JSON-ready: `senses` (by recipe: F1 on usage examples of held-out synsets, its baselines, nats per
        masked word before and after), `tables`, `words` (the paragraph's).
    """
    found: dict[str, Any] = {}
    for part, name in enumerate(RECIPES, first_part):
        log.info("demo, part %d of %d: %s", part, parts, TITLES[name])
        recipe = load_recipe(folder / f"{name}.toml", overrides)
        found[name] = gloss(recipe, folder / name, resume_hint=resume_hint, progress=progress)
    words = Disambiguator.from_pretrained(folder / "lmgc-m" / "model")(PARAGRAPH)
    return {
        "senses": {name: _summary(result) for name, result in found.items()},
        "tables": [_quality(found), _paragraph(words)],
        "words": [word.record() for word in words],
    }


def _summary(result: dict[str, Any]) -> dict[str, Any]:
    valid = result["valid"]
    nats = {
        name: [model["headline"]["nats"] for model in result[name]["models"]]
        for name in ("words", "gloss_words")
    }
    return {
        "instances": valid["instances"],
        "f1": valid["f1"],
        "baselines": valid["baselines"],
        "nats": {name: {"before": before, "after": after} for name, (before, after) in nats.items()},
    }


def _quality(found: dict[str, Any]) -> dict[str, Any]:
    summaries = {name: _summary(result) for name, result in found.items()}
    some = summaries[RECIPES[0]]
    rows = [
        ["chance", f"{some['baselines'][RANDOM]:.1%}", "", ""],
        ["WordNet's first sense", f"{some['baselines'][FIRST]:.1%}", "", ""],
        ["the student before", "", *(f"{nats['before']:.3f}" for nats in some["nats"].values())],
    ]
    for name, one in summaries.items():
        rows.append(
            [TITLES[name], f"{one['f1']:.1%}", *(f"{nats['after']:.3f}" for nats in one["nats"].values())]
        )
    return {
        "title": f"Word senses: F1 on {some['instances']:,} words in usage examples of held-out synsets",
        "columns": ["", "F1", "nats per masked word: entries", "glosses and examples apart"],
        "rows": rows,
    }


def _paragraph(words: Sequence[Word]) -> dict[str, Any]:
    return {
        "title": "A paragraph, disambiguated by the student",
        "columns": ["word", "part of speech", "sense", "probability", "gloss"],
        "rows": [[w.text, w.pos, w.key, _sure(w), w.gloss] for w in words],
    }


def _sure(word: Word) -> str:
    return f"{word.probability:.2f}" if word.source == MODEL else word.source.replace("-", " ")
