"""What `tasks/mlm.py` measured as a JSON-ready result and as a table for people."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import Any

from limbeck.tasks.bootstrap import PairedMeans
from limbeck.tasks.mlm_model import LEFT_OUT, Compared
from limbeck.tasks.mlm_words import WordScores
from limbeck.teachers.masked_lm import encoder_digest


def table(result: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a result for people: one row per model, with 95% intervals of nats and accuracy."""
    columns = ["model", "nats/word", "accuracy", "difference"]
    columns += ["nats/word, all words", "accuracy, all words", "pieces/word"]
    differences = {d["index"]: d for d in result["differences"]}
    rows = []
    for index, model in enumerate(result["models"]):
        head, rest = model["headline"], model["all_words"]
        against = differences.get(index, {}).get("headline")
        rows.append(
            [
                model["name"],
                _number(head, "nats", "{:.3f}"),
                _number(head, "accuracy", "{:.1%}"),
                _number(against, "nats", "{:+.3f}"),
                _number(rest, "nats", "{:.3f}"),
                _number(rest, "accuracy", "{:.1%}"),
                f"{model['pieces_per_word']:.2f}",
            ]
        )
    return columns, rows


def _number(measured: dict[str, Any] | None, key: str, form: str) -> str:
    """`value [low, high]`, or a dash where there was nothing to measure."""
    if measured is None:
        return "–"
    bounds = measured[f"{key}_interval"]
    value = form.format(measured[key])
    return value if bounds is None else f"{value} [{form.format(bounds[0])}, {form.format(bounds[1])}]"


def means(measured: PairedMeans | None, nats: list[int], accuracy: list[int]) -> dict[str, Any] | None:
    """A column, or the first less the second, of nats and accuracy, with intervals; None: no word counts."""
    if measured is None:
        return None
    result: dict[str, Any] = {"words": measured.count}
    for name, columns in (("nats", nats), ("accuracy", accuracy)):
        result[name], result[f"{name}_interval"] = measured.contrast(*columns)
    return result


def describe(compared: Compared, scores: WordScores) -> dict[str, Any]:
    """What a result says of a model beside its nats and accuracy."""
    return {
        "name": compared.name,
        "model": compared.model,
        "parameters": sum(p.numel() for p in compared.module.parameters()),
        "weights": encoder_digest(getattr(compared.module, "model", compared.module)),
        "tokenizer": compared.tokenizer.fingerprint,
        "vocabulary": compared.tokenizer.vocab_size,
        "longest_input": compared.tokenizer.limit,
        "pieces_per_word": scores.pieces / scores.words,
        "left_out": {name: int((scores.state == code).sum()) for code, name in LEFT_OUT.items()},
    }


def notes(described: Sequence[dict[str, Any]], probes: Sequence[str], any_single: bool) -> list[str]:
    """What a reader must know before comparing; probes: the same text as each tokenizer normalises it."""
    found = []
    if len(set(probes)) > 1:
        found.append(
            "The models' tokenizers normalise differently (case, accents or character forms), so the right "
            "answers differ: a cased model must also find the case. Their nats and accuracy are not strictly "
            "comparable."
        )
    if not any_single:
        found.append(
            "No masked word is a single piece in every tokenizer: there is no headline, only all words."
        )
    for model in described:
        if unknown := model["left_out"]["unknown"]:
            found.append(
                f"{unknown} masked words are not in the vocabulary of {model['name']}; they are left out for "
                "every model."
            )
    return found


def versions() -> dict[str, str]:
    """The versions that a figure may depend on."""
    from importlib.metadata import version

    names = ("limbeck", "torch", "transformers", "tokenizers", "numpy")
    return {"python": platform.python_version()} | {name: version(name) for name in names}
