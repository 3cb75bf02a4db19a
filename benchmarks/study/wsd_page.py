"""docs/results/study-wsd.md of its JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .parts import dots, fill, head, interval, number, said, table

QUESTION = """Which gloss fits a word in its context, by models that have learnt WordNet's glosses: are they
better
than the first sense, and does distillation help what LMGC then learns?"""
BASELINES = {
    "first_sense": "*WordNet's first sense*",
    "most_frequent_sense": "*SemCor's most frequent sense*",
    "random": "*chance*",
}
PARTS = {"n": "nouns", "v": "verbs", "a": "adjectives", "r": "adverbs", "seen": "seen", "unseen": "unseen"}


def page(result: dict[str, Any], folder: Path) -> str:
    """Tables by set, by kind of word, of comparisons; a figure of all sets together."""
    models, baselines, whole = result["models"], result["baselines"], result["whole"]
    lines = {title.strip("*"): baselines[whole][name] for name, title in _there(result).items()}
    dots(folder / "study-wsd.svg", {n: row["f1"] for n, row in models.items()}, f"F1 in % on {whole}", lines)
    sets = list(result["instances"])
    rows = [[f"`{name}`", *(number(row["sets"][one]) for one in sets)] for name, row in models.items()]
    rows += [[title, *(f"{baselines[one][n]:.2f}" for one in sets)] for n, title in _there(result).items()]
    parts = [part for part in PARTS if part in next(iter(models.values()))["parts"]]
    by_part = [[f"`{name}`", *(number(row["parts"][p]) for p in parts)] for name, row in models.items()]
    counts = "; ".join(f"{name}: {count:,}" for name, count in result["instances"].items())
    told = f"""F1 in % by the official rule, candidates of the gold part of speech, mean ± deviation over
        seeds.
        SemEval-2007 chose the learning rate, so that its F1 is no test; ALL holds it, by the field's habit.
        Instances: {counts}."""
    left = " ".join(f"`{name}` is left out: {why}." for name, why in result["left_out"].items())
    return (
        "\n\n".join(
            [
                *head(result, "Sense", QUESTION),
                fill(told),
                table(["", *(f"{one} (dev)" if one == "semeval2007" else one for one in sets)], rows),
                f"![F1 on {whole} of every model and seed, beside the baselines](study-wsd.svg)",
                f"{whole} by kind of word (seen: a right sense occurs in SemCor):",
                table(["", *(PARTS[part] for part in parts)], by_part),
                fill(COMPARED),
                _comparisons(result),
                fill(left),
                "## What it says",
                said(result["aims"], "+.2f") + "\n" + _beside(result),
            ]
        )
        + "\n"
    )


COMPARED = """Differences in points of F1 on all sets together, over the mean of the seeds [95%, sentences
and seeds drawn
together], and seed by seed [95%, sentences drawn] with the instances that only the first named, or only the
other, has right
and McNemar's exact p:"""


def _there(result: dict[str, Any]) -> dict[str, str]:
    """Baselines that were measured."""
    return {name: title for name, title in BASELINES.items() if name in result["baselines"][result["whole"]]}


def _comparisons(result: dict[str, Any]) -> str:
    rows = []
    for name, found in result["comparisons"].items():
        better, worse = name.split(" - ")
        rows.append(
            [f"`{better}` less `{worse}`", "mean", interval(found["mean over seeds"], "+.2f"), "", ""]
        )
        for seed, one in found["seeds"].items():
            test, bounds = one["mcnemar"], one["f1_difference_interval"]
            shown = f"{100 * one['f1_difference']:+.2f}"
            if bounds is not None:
                shown += f" [{100 * bounds[0]:+.2f}, {100 * bounds[1]:+.2f}]"
            rows.append(
                ["", seed, shown, f"{test['only_second']} and {test['only_first']}", f"{test['p']:.2g}"]
            )
    return table(["", "seed", "points", "right alone", "McNemar's p"], rows)


def _beside(result: dict[str, Any]) -> str:
    """The best model beside the baselines."""
    name, row = max(result["models"].items(), key=lambda item: item[1]["f1"]["mean"])
    lines = []
    for baseline, title in _there(result).items():
        less = row["f1"]["mean"] - result["baselines"][result["whole"]][baseline]
        word = "above" if less >= 0 else "below"
        lines.append(f"- The best model, `{name}`, is {abs(less):.2f} points {word} {title}.")
    return "\n".join(lines)


def headline(result: dict[str, Any]) -> list[str]:
    """For the overview."""
    models, whole = result["models"], result["whole"]
    name, row = max(models.items(), key=lambda item: item[1]["f1"]["mean"])
    first = result["baselines"][whole]["first_sense"]
    return [
        f"**Sense.** F1 on {whole}: best `{name}` {number(row['f1'])}, WordNet's first sense {first:.2f}; "
        f"distilled before LMGC-M against from scratch "
        f"{interval(result['comparisons']['distilled+LMGC-M - scratch+LMGC-M']['mean over seeds'], '+.2f')}."
    ]
