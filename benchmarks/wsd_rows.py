"""What benchmarks/wsd.py keeps of a run: F1 by set and kind of instance, nats, cost; how two runs compare."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from limbeck.gloss.instances import load_keys
from limbeck.tasks.wsd import RESULT, Asking, evaluate_model
from limbeck.tasks.wsd_score import Gold, Marks, compare, key_pos
from limbeck.tasks.wsd_sets import choose, find_sets

Row = dict[str, Any]


def evaluation(run: Path, given: Namespace) -> Row:
    """`limbeck eval wsd` of the run's best model; what stands in its folder is not measured again."""
    folder = keys_of(run, given)
    if (folder / RESULT).is_file():
        result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    else:
        asking = Asking(precision=given.precision, device=given.device)
        result = evaluate_model(run / "best", given.data, sets=given.sets, asking=asking, output=folder)
    return {
        "sets": {one["name"]: _scores(one["model"]) | _about(one) for one in result["sets"]},
        "baselines": {
            one["name"]: {name: _scores(scores) for name, scores in one["baselines"].items()}
            for one in result["sets"]
        },
        "seconds_per_1000_instances": result["cost"]["seconds_per_1000_instances"],
        "layout": result["settings"]["layout"],
        "device": result["settings"]["device"],
        "lexicon": result["data"]["lexicon"],
    }


def keys_of(run: Path, given: Namespace) -> Path:
    """Where a run's predicted keys stand."""
    return run / "-".join(["wsd", given.precision, *given.sets])


def _scores(scores: Row) -> Row:
    parts = {name: part and part["f1"] for name, part in scores.get("parts", {}).items()}
    return {"f1": scores["f1"], "f1_interval": scores["f1_interval"], "parts": parts}


def _about(one: Row) -> Row:
    return {"instances": one["instances"], "fingerprint": one["fingerprint"], "against": one["against"]}


def row(results: Row, measured: Row) -> Row:
    """A run in the JSON: what it learnt from, its F1 and nats, what it cost.

    Args:
        results: of `limbeck gloss`. measured: of `evaluation`.
    """
    kept = {name: results[name] for name in ("method", "model", "train", "valid", "cost", "teachers")}
    words = {name: results[name] and _words(results[name]) for name in ("words", "gloss_words")}
    return kept | words | {k: v for k, v in measured.items() if k != "baselines"}


def _words(words: Row) -> Row:
    """Nats per masked word before and after, over words of one piece and over all."""
    before, after = words["models"]
    (difference,) = words["differences"]
    return {
        kind: {
            "words": before[kind]["words"],
            "before": before[kind]["nats"],
            "after": after[kind]["nats"],
            "difference": difference[kind]["nats"],
            "difference_interval": difference[kind]["nats_interval"],
        }
        for kind in ("headline", "all_words")
        if before[kind] is not None
    }


def group_of(result: Row, name: str, setting: Row) -> Row:
    """The group of this setting in the JSON, a new one where there is none yet."""
    groups: list[Row] = result["groups"]
    for group in groups:
        if group["setting"] == setting:
            return group
    groups.append({"name": name, "setting": setting, "variants": {}, "comparisons": {}})
    return groups[-1]


def between(one: Path, other: Path, given: Namespace) -> Row:
    """How much better the second run is on all sets together: paired interval, McNemar's test."""
    gold: list[tuple[str, str | None, tuple[str, ...]]] = []
    said: tuple[dict[str, tuple[str, ...]], ...] = {}, {}
    for labelled in choose(find_sets(given.data), given.sets):
        keys = load_keys(labelled.keys_in)
        gold += [(f"{labelled.name}.{i}", key_pos(k[0]), k) for i, k in keys.items()]
        for run, answers in zip((one, other), said, strict=True):
            found = load_keys(keys_of(run, given) / f"{labelled.name}.key")
            answers.update({f"{labelled.name}.{i}": k for i, k in found.items()})
    standard = Gold.of(gold, None)
    return compare(standard, *(Marks.of(standard, answers) for answers in said))
