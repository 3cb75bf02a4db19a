"""What was measured of paraphrase detection as a JSON-ready result: figures, spread over seeds, notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.finetune.examples import Examples, overlap
from limbeck.finetune.metrics import Array, accuracy, f1
from limbeck.finetune.train import Finetuned
from limbeck.tasks.glue_result import spread
from limbeck.tasks.paraphrase_data import cut, undecidable
from limbeck.tasks.paraphrase_rows import ORIGINAL, PARAPHRASED
from limbeck.tasks.paraphrase_sets import EvalSet, Sets

METRICS = ("f1_micro", "f1_original", "f1_paraphrased")

Figures = dict[str, float]


def figures(gold: Array, chosen: Array) -> Figures:
    """F1-micro, which is accuracy where every text has one label, and the F1 of each class.

    gold, chosen: int [N], 0 for original and 1 for paraphrased.
    """
    return {
        "f1_micro": accuracy(gold, chosen),
        "f1_original": f1(gold, chosen, 0),
        "f1_paraphrased": f1(gold, chosen, 1),
    }


def run_row(seed: int, tuned: Finetuned, measured: Mapping[str, Figures]) -> dict[str, Any]:
    """What the result says of one training."""
    cost, valid, train = tuned.results["cost"], tuned.results["valid"], tuned.results["data"]["train"]
    return {
        "seed": seed,
        "tests": dict(measured),
        "valid": valid["best"],
        "steps": cost["steps"],
        "epochs": cost["epochs"],
        "measured_step": valid["best_step"],
        "cut": train["cut"],
        "seconds": cost["seconds"],
        "tokens_per_second": cost["tokens_per_second"],
    }


def over_seeds(rows: Sequence[Mapping[str, Figures]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Mean and standard deviation of each figure on each set; rows: one for each seed."""
    return {
        name: {metric: spread([row[name][metric] for row in rows]) for metric in METRICS} for name in rows[0]
    }


def cell(
    words: int,
    size: int,
    runs: Sequence[dict[str, Any]],
    baselines: Sequence[Mapping[str, Mapping[str, Any]]],
) -> dict[str, Any]:
    """What the result says of one length and number of training texts.

    Args:
        runs: `run_row` of each seed, none where baselines alone are measured. baselines: of each seed.
    """
    found: dict[str, Any] = {"words": words, "size": size}
    if runs:
        found |= {"tests": over_seeds([run["tests"] for run in runs]), "runs": list(runs)}
    return found | {
        "baselines": {
            name: {
                "tests": over_seeds([one[name]["tests"] for one in baselines]),
                "converged": all(one[name]["converged"] for one in baselines),
            }
            for name in baselines[0]
        }
    }


def described(sets: Sets, words: Sequence[int]) -> dict[str, Any]:
    """What was learnt from and measured on: names, counts, fingerprints."""
    train = sets.train.examples
    known = {count: cut(train, count) for count in words}
    return {
        "place": sets.place,
        "train": {
            "file": train.name,
            "form": sets.train.form,
            "texts": len(train),
            "classes": Counter(train.labels),
            "fingerprint": train.fingerprint,
        },
        "valid": {
            "is": sets.valid_is,
            "texts": len(sets.valid),
            "fingerprint": sets.valid.fingerprint,
            "overlap": sets.overlap["valid"],
            "overlap_by_words": _overlap(known, sets.valid),
        },
        "tests": [_described(one, sets, known) for one in sets.tests],
    }


def _overlap(train: Mapping[int, Examples], other: Examples) -> dict[str, int]:
    """By length how many texts, cut to it, stand in the training set cut to it."""
    return {str(count): overlap(known, cut(other, count)) for count, known in train.items()}


def _described(one: EvalSet, sets: Sets, train: Mapping[int, Examples]) -> dict[str, Any]:
    """train: its texts by the length to which they are cut."""
    counts = Counter(one.examples.labels)
    return {
        "name": one.name,
        "file": one.examples.name,
        "texts": len(one.examples),
        "of": one.of,
        "whole": len(one.examples) == one.of,
        "classes": {name: counts[name] for name in (ORIGINAL, PARAPHRASED)},
        "fingerprint": one.examples.fingerprint,
        "overlap": sets.overlap[one.name],
        "overlap_by_words": _overlap(train, one.examples),
        "undecidable": {str(count): undecidable(cut(one.examples, count)) for count in train},
        "synthetic": one.synthetic,
    }


def notes(result: Mapping[str, Any]) -> list[str]:
    """What a reader must know before comparing."""
    data = result["data"]
    found = ["F1-micro is accuracy here: every text has one label."]
    for one in data["tests"]:
        if not one["whole"]:
            found.append(f"{one['name']} is a fixed sample, {one['texts']:,} texts of {one['of']:,}.")
        if one["synthetic"] is not None:
            found.append(f"{one['name']} is synthetic: {_made(one['synthetic'])}.")
        if shared := _shared(one):
            found.append(f"Texts of {one['name']} that stand in the training set as well: {shared}.")
        if lost := {words: count for words, count in one["undecidable"].items() if count}:
            of = _by_length(lost, one["texts"])
            found.append(f"In {one['name']} the same text stands with both labels: {of}.")
    if shared := _shared(data["valid"]):
        found.append(f"Validation texts that stand in the training set as well: {shared}.")
    if not all(one["converged"] for each in result["cells"] for one in each["baselines"].values()):
        found.append("A logistic regression ended at its number of iterations, before it converged.")
    if len(result["seeds"]) == 1:
        found.append("One seed says nothing of the spread; --seeds 0,1,2 does.")
    return found


def _shared(one: Mapping[str, Any]) -> str:
    """How many texts of a set stand in train, at each length at which there are some, and whole."""
    counts = {"0": one["overlap"]} | one["overlap_by_words"]
    return _by_length({words: count for words, count in counts.items() if count}, one["texts"])


def _by_length(counts: Mapping[str, int], texts: int) -> str:
    return ", ".join(f"{n:,} of {texts:,} {_long(int(words))}" for words, n in counts.items())


def _made(synthetic: Mapping[str, Any]) -> str:
    if "said" in synthetic:
        return str(synthetic["said"])
    return (
        f"synonyms by {synthetic['by']} where {synthetic['rate']:g} of the words were asked for and "
        f"{synthetic['rate_reached']:.3f} were changed; it stands in for spinners whose text is not public"
    )


def _long(words: int) -> str:
    return f"with {words} words" if words else "whole"
