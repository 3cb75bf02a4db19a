"""`limbeck demo`: two teachers of different tokenizers, their student and its untaught twin, on WordNet.

Every figure it shows is measured in that run. Held-out text is held out by synset.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from limbeck.files import atomic_write
from limbeck.lexicon.wordnet import find_wordnet
from limbeck.pipeline import demo_senses
from limbeck.pipeline.assemble import EVALUATION_SEED, Progress, assemble
from limbeck.pipeline.demo_page import demo_page
from limbeck.pipeline.teachers import mean_weights
from limbeck.pipeline.train import prepared_teachers, run
from limbeck.recipe import Recipe, load_recipe
from limbeck.tasks.mlm import Compared, MlmSettings, evaluate_models
from limbeck.teachers.masked_lm import load_masked_lm
from limbeck.text.pieces import PieceTokenizer

log = logging.getLogger("limbeck")

WEIGHTINGS = ("gold", "evidence")
RECIPES = ("nouns", "others", "student", "alone")
ROLES = {"student": "student", "nouns": "teacher", "others": "teacher", "alone": "model"}
PARTS = len(RECIPES) + 1 + len(demo_senses.RECIPES) + 1
HALVES = {"all": "wordnet:/valid", "nouns": "wordnet:noun/valid", "others": "wordnet:verb,adj,adv/valid"}
TITLES = {
    "nouns": "teacher of the noun entries (uncased WordPiece)",
    "others": "teacher of the verbs, adjectives and adverbs (cased byte-level BPE)",
    "student": "student of both teachers",
    "alone": "the same student without teachers",
}


def run_demo(
    folder: Path,
    overrides: Sequence[str] = (),
    *,
    resume_hint: str = "",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Trains four models in `folder`, or goes on with them, compares them, and teaches the student senses.

    Args:
        folder: gets the recipes, a run directory each, an evaluation `eval`, and `report.html`.
        overrides: recipe fields for all four, such as `train.steps=20`; those of `gloss` for the two after.

    Returns:
        JSON-ready: `tables` (title, columns, rows), `words` (masked words of each half), `weights`,
        `senses` (see `learn_senses`), `paragraph`, `seconds`, `report`.

    Raises:
        UserError: no WordNet, or the folder cannot be written.
    """
    began = time.perf_counter()
    find_wordnet()
    source = resources.files("limbeck") / "recipes" / "demo"
    for name in (*RECIPES, *demo_senses.RECIPES):
        atomic_write(folder / f"{name}.toml", (source / f"{name}.toml").read_text(encoding="utf-8"))
    glosses = [change for change in overrides if change.startswith("gloss.")]
    overrides = [change for change in overrides if change not in glosses]
    for number, name in enumerate(RECIPES, 1):
        log.info("demo, part %d of %d: %s", number, PARTS, TITLES[name])
        run(load_recipe(folder / f"{name}.toml", overrides), resume_hint=resume_hint, progress=progress)
    log.info("demo, part 5 of %d: comparing the four on held-out synsets", PARTS)
    recipe = load_recipe(folder / "student.toml", overrides)
    words = {half: _measure(folder, recipe, source, progress) for half, source in HALVES.items()}
    halves = {half: _weights(folder, recipe, HALVES[half]) for half in ("nouns", "others")}
    weights = {w: {half: found[w] for half, found in halves.items()} for w in WEIGHTINGS}
    senses = demo_senses.learn_senses(
        folder, glosses, first_part=6, parts=PARTS, resume_hint=resume_hint, progress=progress
    )
    log.info("demo, part %d of %d: what the models cost, and the page", PARTS, PARTS)
    runs = ("student", "alone", "nouns", "others", *demo_senses.RECIPES)
    report = demo_page(folder, words["all"], ROLES, runs, progress)
    result = {
        "tables": [_quality(words), _carried(weights), *senses["tables"]],
        "notes": words["all"]["notes"],
        "words": words,
        "weights": weights,
        "senses": senses["senses"],
        "paragraph": senses["words"],
        "seconds": time.perf_counter() - began,
        "report": str(report),
    }
    return result


def _with_valid(recipe: Recipe, source: str) -> Recipe:
    """The recipe with other held-out text; its teachers are asked about that, so none from a store."""
    assert recipe.text is not None
    text = recipe.text.model_copy(update={"valid": (source,)})
    distill = recipe.distill.model_copy(update={"predictions": "online"})
    return recipe.model_copy(update={"text": text, "distill": distill})


def _measure(folder: Path, recipe: Recipe, source: str, progress: Progress | None) -> dict[str, Any]:
    """The four models on the same masked words of one half."""
    from limbeck.pipeline.assemble import read_text

    _, corpus = read_text(_with_valid(recipe, source))
    compared = []
    for name in ("alone", "student", "nouns", "others"):
        module, tokenizer, _ = load_masked_lm(folder / name / "model", what=name)
        compared.append(Compared(name, module, PieceTokenizer.from_hf(tokenizer, name=name), f"{name}/model"))
    settings = MlmSettings(passages=2000, seed=EVALUATION_SEED, precision="bf16", batch=128)
    return evaluate_models(compared, corpus, settings, progress)


def _weights(folder: Path, recipe: Recipe, source: str) -> dict[str, dict[str, float]]:
    """Mean weight of each teacher under each weighting, on the masked words of one half that both cover."""
    made = assemble(_with_valid(recipe, source))
    prepared_teachers(made, folder / "student", None)
    return mean_weights(made, WEIGHTINGS)


def _quality(words: dict[str, Any]) -> dict[str, Any]:
    def cell(half: str, index: int) -> str:
        head = words[half]["models"][index]["headline"]
        low, high = head["nats_interval"]
        return f"{head['nats']:.3f} [{low:.3f}, {high:.3f}]"

    rows = []
    for index, model in enumerate(words["all"]["models"]):
        accuracy = f"{model['headline']['accuracy']:.1%}"
        rows.append(
            [TITLES[model["name"]], f"{model['parameters']:,}", *(cell(h, index) for h in HALVES), accuracy]
        )
    taught = next(d for d in words["all"]["differences"] if d["model"] == "student")["headline"]
    low, high = taught["nats_interval"]
    title = (
        f"Held-out synsets, nats per masked word [95% interval]: taught less untaught {taught['nats']:+.3f} "
        f"[{low:+.3f}, {high:+.3f}]"
    )
    return {
        "title": title,
        "columns": ["model", "parameters", "all", "noun entries", "other entries", "accuracy, all"],
        "rows": rows,
    }


def _carried(weights: dict[str, Any]) -> dict[str, Any]:
    rows = [
        [weighting, teacher, f"{halves['nouns'][teacher]:.2f}", f"{halves['others'][teacher]:.2f}"]
        for weighting, halves in weights.items()
        for teacher in ("nouns", "others")
    ]
    return {
        "title": "Mean weight of each teacher",
        "columns": ["weighting", "teacher", "on noun entries", "on other entries"],
        "rows": rows,
    }
