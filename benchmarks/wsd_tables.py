"""Tables of benchmarks/results/wsd.json for the page: F1 by set and kind, comparisons, cost, nats."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from step_page import _table

from limbeck.tasks.wsd_sets import ALL, DEVELOPMENT

Row = dict[str, Any]

TITLES = {
    "pairs": "`pairs`, as published",
    "choice": "`choice`, pairs layout",
    "packed": "`choice`, packed",
    "packed_examples": "`choice`, packed, and WordNet's examples",
    "lmgc": "LMGC",
    "lmgcm": "LMGC-M",
    "cohesive": "LMGC-M, cohesive",
}
BASELINES = {
    "first_sense": "*WordNet's first sense*",
    "most_frequent_sense": "*SemCor's most frequent sense*",
    "random": "*chance*",
}
PARTS = {"n": "nouns", "v": "verbs", "a": "adjectives", "r": "adverbs", "seen": "seen", "unseen": "unseen"}


def f1s(runs: Row, name: str, part: str | None = None) -> list[float]:
    """F1 of each seed on a set, or of a part of it; empty where there is none."""
    sets = [run["sets"][name] for run in runs.values() if name in run["sets"]]
    found = [one["f1"] if part is None else one["parts"][part] for one in sets]
    return [value for value in found if value is not None]


def percent(values: Sequence[float], bounds: Sequence[float] | None = None) -> str:
    """Mean in %, with the deviation over seeds, or with the interval of a single one."""
    if not values:
        return "–"
    shown = f"{100 * statistics.mean(values):.2f}"
    if len(values) > 1:
        return f"{shown} ± {100 * statistics.stdev(values):.2f}"
    return shown if bounds is None else f"{shown} [{100 * bounds[0]:.1f}, {100 * bounds[1]:.1f}]"


def _difference(value: float, bounds: Sequence[float] | None, form: str, scale: int = 1) -> str:
    """With a sign, and its interval."""
    shown = format(scale * value, form)
    if bounds is None:
        return shown
    return f"{shown} [{format(scale * bounds[0], form)}, {format(scale * bounds[1], form)}]"


def by_set(group: Row) -> str:
    """F1 of every variant and baseline on every set."""
    names, rows = list(group["baselines"]), []
    for variant, runs in group["variants"].items():
        sets = next(iter(runs.values()))["sets"]
        bounds = {ALL: sets[ALL]["f1_interval"]} if ALL in sets else {}
        rows.append([TITLES[variant], *(percent(f1s(runs, name), bounds.get(name)) for name in names)])
    for baseline, title in BASELINES.items():
        found = [group["baselines"][name].get(baseline) for name in names]
        rows.append([title, *(percent([scores["f1"]] if scores else []) for scores in found)])
    heads = [f"{name} (dev)" if name == DEVELOPMENT else name for name in names]
    return "F1 on each set, with its 95% interval or the deviation over seeds:\n\n" + _table(
        ["", *heads], rows
    )


def by_part(group: Row) -> str:
    """F1 by part of speech, seen and unseen, on ALL."""
    whole = ALL if ALL in group["baselines"] else next(iter(group["baselines"]))
    baselines = {name: found["parts"] for name, found in group["baselines"][whole].items()}
    parts = [part for part in PARTS if part in baselines["first_sense"]]
    rows = [
        [TITLES[name], *(percent(f1s(runs, whole, part)) for part in parts)]
        for name, runs in group["variants"].items()
    ]
    for name, title in BASELINES.items():
        found = baselines.get(name)
        if found:
            rows.append([title, *(percent([found[p]] if found[p] is not None else []) for p in parts)])
    what = f"{whole} by part of speech, and by whether a right sense occurs in SemCor (all of it):"
    return what + "\n\n" + _table(["", *(PARTS[part] for part in parts)], rows)


def compared(group: Row) -> str:
    """Variants against each other."""
    rows = []
    for name, seeds in group["comparisons"].items():
        second, first = (TITLES[one] for one in name.split(" - "))
        for seed, found in seeds.items():
            test = found["mcnemar"]
            f1 = _difference(found["f1_difference"], found["f1_difference_interval"], "+.2f", 100)
            counts = f"{test['only_second']:,} and {test['only_first']:,}"
            rows.append([f"{second} less {first}", seed, f1, counts, f"{test['p']:.2g}"])
    if not rows:
        return "No two variants to compare are measured yet."
    what = "All sets together [95% interval, paired]; right only by the first named, and only by the other:"
    return what + "\n\n" + _table(["", "seed", "F1", "right alone", "McNemar's p"], rows)


def cost(group: Row) -> str:
    """What training and answering took."""
    rows = []
    for name, runs in group["variants"].items():
        some = list(runs.values())
        rate = statistics.mean(run["cost"]["instances_per_second"] for run in some)
        rows.append(
            [
                TITLES[name],
                f"{some[0]['train']['used']:,}",
                f"{some[0]['train']['candidates_per_instance']:.2f}",
                f"{statistics.mean(run['cost']['seconds'] for run in some):,.0f}",
                f"{rate:,.1f}",
                f"{statistics.mean(run['seconds_per_1000_instances'] for run in some):,.1f}",
                f"{max(run['cost']['peak_memory_bytes'] for run in some) / 1e9:.1f} GB",
            ]
        )
    head = ["", "instances", "candidates", "training, s", "instances/s", "s per 1,000 answers", "peak memory"]
    what = "Training, with its measurements on SE07; answers to the evaluation sets, with reading them:"
    return what + "\n\n" + _table(head, rows)


def nats(group: Row) -> str:
    """The language model before and after, seed by seed and on average."""
    tables = []
    for kind, text in (
        ("words", "held-out running text"),
        ("gloss_words", "SE07 and the glosses of its senses"),
    ):
        rows = []
        for name, runs in group["variants"].items():
            found = [run[kind]["headline"] for run in runs.values()]
            for seed, words in zip(runs, found, strict=True):
                added = _difference(words["difference"], words["difference_interval"], "+.3f")
                rows.append([TITLES[name], seed, f"{words['before']:.3f}", f"{words['after']:.3f}", added])
            if len(found) > 1:
                each = [words["difference"] for words in found]
                added = f"{statistics.mean(each):+.3f} ± {statistics.stdev(each):.3f}"
                means = (statistics.mean(words[when] for words in found) for when in ("before", "after"))
                rows.append([TITLES[name], "mean", *(f"{mean:.3f}" for mean in means), f"**{added}**"])
        head = ["", "seed", "nats before", "nats after", "added [95%]"]
        tables.append(f"On {text}, {found[0]['words']:,} words:\n\n" + _table(head, rows))
    return "\n\n".join(tables)
