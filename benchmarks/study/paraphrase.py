"""Question 5, the real problem: machine paraphrase told from originals with few texts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from limbeck.finetune.settings import FinetuneSettings
from limbeck.tasks.fingerprint import fingerprint
from limbeck.tasks.paraphrase import MAX_LENGTH, RESULT, evaluate_paraphrase
from limbeck.tasks.paraphrase_sets import Sets, read_sets

from .jobs import Job, digest, do_all
from .models import LEXICAL, MODELS, make_models, model_folders, start
from .paraphrase_page import headline, page
from .parts import Row, aim, paired, scale, spread
from .setting import DATA, Setting

__all__ = ["answer", "headline", "page"]

FEW = 1000
"""Training texts up to which the aim asks for more than the starting point and TF-IDF."""
SETTINGS = FinetuneSettings(max_length=MAX_LENGTH, threads=1, device="cpu", precision="bf16")
BASELINES = ("tfidf_300", "tfidf_50000")


def answer(setting: Setting) -> dict[str, Any]:
    """Fine-tunes and measures all models at all sizes and lengths."""
    made = make_models(setting)
    folders = model_folders(setting)
    seeds = setting.tuning_seeds[: setting.paraphrase_seeds]
    places = {
        name: [each[number % len(each)] for number in range(len(seeds))] for name, each in folders.items()
    }
    jobs = [
        Job(f"{name} seed {seed}", partial(_tune, setting, place, seed))
        for name, each in places.items()
        for seed, place in zip(seeds, each, strict=True)
        if not (_kept(setting, place, seed) / RESULT).exists()
    ]
    do_all(setting, "paraphrase", jobs)
    runs = {
        name: [
            json.loads((_kept(setting, place, seed) / RESULT).read_text(encoding="utf-8"))
            for seed, place in zip(seeds, each, strict=True)
        ]
        for name, each in places.items()
    }
    some = runs[MODELS[0]]
    models = {name: {"cells": cells(results)} for name, results in runs.items()}
    tfidf = {name: cells(some, name) for name in BASELINES}
    found = comparisons(models, tfidf)
    test = some[0]["data"]["tests"][0]
    return {
        "scale": scale(setting) | {"tuning_seeds": list(seeds)},
        "made": made,
        "test": {name: test[name] for name in ("name", "texts", "of", "undecidable")},
        "valid_texts": some[0]["data"]["valid"]["texts"],
        "learning_rate": some[0]["settings"]["learning_rate"],
        "models": models,
        "baselines": {name: {"cells": rows} for name, rows in tfidf.items()},
        "few": FEW,
        "comparisons": found,
        "aims": aims(found),
    }


def _sets(setting: Setting) -> Sets:
    limit = setting.paraphrase_limit
    if limit is None:
        return read_sets(DATA / "plagiarism")
    return read_sets(DATA / "plagiarism", test_limit=limit, valid_limit=limit)


def _kept(setting: Setting, place: Path, seed: int) -> Path:
    """Its folder goes by what the model is and by how it is fine-tuned and measured."""
    asked = (setting.paraphrase_sizes, setting.paraphrase_words, setting.paraphrase_limit)
    return setting.scratch / "paraphrase" / f"{fingerprint(place)}-{seed}-{digest(SETTINGS, asked)}"


def _tune(setting: Setting, place: Path, seed: int) -> dict[str, Any]:
    evaluate_paraphrase(
        str(place),
        _sets(setting),
        sizes=setting.paraphrase_sizes,
        words=setting.paraphrase_words,
        seeds=[seed],
        settings=SETTINGS,
        output=_kept(setting, place, seed),
    )
    return {}


def cells(results: list[Row], baseline: str | None = None) -> list[Row]:
    """F1-micro in % on the test set of every length and size, over the tuning seeds.

    results: of `limbeck eval paraphrase`, one for each seed. baseline: its figures instead of the model's.
    """
    found = []
    for each in zip(*(result["cells"] for result in results), strict=True):
        names = [row["name"] for row in results[0]["data"]["tests"][:1]]
        tests = [cell["tests"] if baseline is None else cell["baselines"][baseline]["tests"] for cell in each]
        values = [100 * one[names[0]]["f1_micro"]["mean"] for one in tests]
        found.append({"words": each[0]["words"], "size": each[0]["size"], "f1": spread(values)})
    return found


def comparisons(models: Mapping[str, Row], tfidf: Mapping[str, list[Row]]) -> list[Row]:
    """Every lexical model in every cell: less its starting point, less the better TF-IDF, paired by seed."""
    found = []
    for name in LEXICAL:
        for number, cell in enumerate(models[name]["cells"]):
            before = models[start(name)]["cells"][number]["f1"]
            best = max(tfidf, key=lambda one: tfidf[one][number]["f1"]["mean"])
            found.append(
                {
                    "model": name,
                    "words": cell["words"],
                    "size": cell["size"],
                    "start": paired(cell["f1"]["values"], before["values"]),
                    "tfidf": paired(cell["f1"]["values"], tfidf[best][number]["f1"]["values"]),
                    "which": best,
                }
            )
    return found


def aims(found: list[Row]) -> list[Row]:
    """Of each lexical model and each cell of few texts: better than its start, better than TF-IDF."""
    return [
        aim(
            f"`{row['model']}` beats {'its starting point' if other == 'start' else 'TF-IDF'} with "
            f"{row['size']:,} texts of {row['words']} words",
            "more than 0, on average over tuning seeds",
            row[other],
            above=True,
            unit="points of F1",
        )
        for row in found
        if row["size"] <= FEW
        for other in ("start", "tfidf")
    ]
