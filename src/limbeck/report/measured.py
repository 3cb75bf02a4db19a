"""What runs measured of students and teachers on the same masked words, and which of it may be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from limbeck.report.runs import RunFiles, is_number


@dataclass(frozen=True)
class Measured:
    """A model that a run measured; headline, all_words: as `limbeck.tasks.mlm` writes them, {} if absent."""

    name: str
    run: str
    teacher: bool
    weights: str
    headline: dict[str, Any]
    all_words: dict[str, Any]
    pieces: float | None
    parameters: int | None


def _measured(run: RunFiles) -> list[Measured]:
    """The student (first, under the run's name) and the teachers of a run; empty where none was measured."""
    given = run.section("words").get("models")
    models = [m for m in given if isinstance(m, dict)] if isinstance(given, list) else []
    if run.kind == "gloss":
        models = models[1:]  # the first one is the model before
    found = []
    for place, model in enumerate(models):
        pieces, parameters = model.get("pieces_per_word"), model.get("parameters")
        found.append(
            Measured(
                name=str(model.get("name")) if place else run.name,
                run=run.name,
                teacher=place > 0,
                weights=str(model.get("weights")),
                headline=model.get("headline") or {},
                all_words=model.get("all_words") or {},
                pieces=float(pieces) if is_number(pieces) else None,
                parameters=int(parameters) if is_number(parameters) else None,
            )
        )
    return found


def students(runs: Sequence[RunFiles]) -> list[Measured]:
    """The students of the runs that have measured theirs on words."""
    return [model for run in runs for model in _measured(run) if not model.teacher]


def teachers(runs: Sequence[RunFiles]) -> list[Measured]:
    """The teachers of all runs, each once; different figures under one name carry the run's name."""
    found: dict[tuple[object, ...], Measured] = {}
    for run in runs:
        for model in _measured(run):
            if model.teacher:
                figures = model.headline.get("nats"), model.all_words.get("nats")
                found.setdefault((model.name, model.weights, *figures), model)
    names = [model.name for model in found.values()]
    return [
        replace(model, name=f"{model.name} of {model.run}") if names.count(model.name) > 1 else model
        for model in found.values()
    ]


def best_comparison(runs: Sequence[RunFiles]) -> tuple[str | None, str]:
    """The strictest part of the results that means the same words in all runs, and how to call it.

    `headline` asks for the same text, settings and tokenizers; `all_words` for the same text and settings and
    the same number of words (a word that some model cannot be asked is left out); None: not comparable.
    """
    texts, counts, tokenizers, singles = set(), set(), set(), set()
    for run in runs:
        words = run.section("words")
        data, settings, counted = words.get("data", {}), words.get("settings", {}), words.get("counts", {})
        if not words.get("models"):
            return None, ""
        texts.add((data.get("fingerprint"), data.get("passages"), settings.get("mask"), settings.get("seed")))
        counts.add(counted.get("all_words"))
        singles.add(counted.get("headline"))
        tokenizers.add(frozenset(model.get("tokenizer") for model in words["models"]))
    if len(texts) > 1 or len(counts) > 1:
        return None, ""
    if len(tokenizers) == 1 and len(singles) == 1 and singles != {0}:
        return "headline", "single-piece words"
    return "all_words", "all words"
