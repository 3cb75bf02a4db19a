"""docs/results/study-glue.md of its JSON."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from .big import NAMES, SHARE
from .parts import dots, fill, head, interval, number, said, table

QUESTION = """What is each student worth where it is fine-tuned on tasks of GLUE: from scratch, distilled,
and after gloss training?"""
BIG = " The pre-trained all-MiniLM-L6-v2 stands beside, with and without LMGC."
METRICS = {
    "cola": "Matthews' correlation",
    "sst2": "accuracy",
    "mrpc": "mean of accuracy and F1",
    "stsb": "mean of Pearson's and Spearman's correlation",
    "rte": "accuracy",
}


def page(result: dict[str, Any], folder: Path) -> str:
    """Scores by task, differences of averages; a figure of the averages."""
    models, tasks = result["models"], result["tasks"]
    whole = with_all(result)
    fewer = shared(result)
    dots(folder / "study-glue.svg", {n: row["average"] for n, row in whole.items()}, "average in %")
    rows = [
        [
            f"`{name}`",
            *(number(row["tasks"][task]) if task in row["tasks"] else "–" for task in tasks),
            number(row["average"]) if name in whole else "–",
            *([number(row["shared"])] if fewer else []),
        ]
        for name, row in models.items()
    ]
    for baseline, title in (("majority", "*commonest class*"), ("tfidf", "*TF-IDF*")):
        scores = [result["baselines"][task][baseline] for task in tasks]
        means = [fmean(scores)]
        means += [fmean(result["baselines"][task][baseline] for task in fewer)] if fewer else []
        rows.append([title, *(f"{s:.2f}" for s in (*scores, *means))])
    changes = [
        [f"`{b}` less `{w}`", interval(found, "+.2f"), str(len(found["tasks"]))]
        for (b, w), found in ((name.split(" - "), one) for name, one in result["differences"].items())
    ]
    metrics = "; ".join(f"{task}: {METRICS.get(task, 'GLUE’s own metrics')}" for task in tasks)
    counts = "; ".join(
        f"{task} {count['train']:,} and {count['dev']:,}" for task, count in result["counts"].items()
    )
    subset = (
        "**Training rows are the first few of each task: these are no scores of GLUE.** "
        if result["subset"]
        else ""
    )
    seeds = ", ".join(map(str, result["scale"]["tuning_seeds"]))
    if "sst2" in tasks:
        seeds += "; of SST-2 the first three, and one epoch"
    told = f"""{subset}In %, on `dev`, which chose nothing: three epochs in bf16, batches of 32, learning rate
        by the model's width, the last epoch. {metrics}. Rows of training and dev: {counts}.
        The k-th tuning seed goes with the student of the k-th seed, in turn; tuning seeds {seeds}.
        Mean ± deviation over tuning seeds; the average's deviation is over seeds that have all tasks."""
    notes = [
        f"`{name}` gave the same answer everywhere in {count} fine-tunings, which count as no correlation, 0."
        for name, count in result["undefined"].items()
    ]
    if len(whole) < len(models):
        notes.append(
            "The last column is the average of the tasks that all models have; "
            f"{NAMES[1]} has learnt glosses of {SHARE:.0%} of SemCor and WordNet's examples; "
            "where no deviation stands, it has the first tuning seed alone."
        )
    return (
        "\n\n".join(
            [
                *head(result, "Understanding: tasks of GLUE", QUESTION + (BIG if NAMES[0] in models else "")),
                fill(told),
                table(["", *tasks, "average", *(["of " + ", ".join(fewer)] if fewer else [])], rows),
                *([fill(" ".join(notes))] if notes else []),
                "![Average over the tasks of every model and tuning seed](study-glue.svg)",
                fill("""Differences of averages, paired by tuning seed, averaged for each student [95%
                t-interval over the students]:"""),
                table(["", "points", "tasks"], changes),
                "## What it says",
                "\n".join(
                    [
                        said(result["aims"], "+.2f"),
                        beside(whole, result["baselines"]),
                        *([far(models, whole, fewer)] if fewer else []),
                    ]
                ),
            ]
        )
        + "\n"
    )


def with_all(result: dict[str, Any]) -> dict[str, Any]:
    """The models that have all tasks."""
    models, tasks = result["models"], result["tasks"]
    return {name: row for name, row in models.items() if set(row["tasks"]) == set(tasks)}


def shared(result: dict[str, Any]) -> list[str]:
    """The tasks that all models have; none where that is all of them."""
    found: list[str] = next(iter(result["models"].values()))["shared"]["tasks"]
    return found if len(found) < len(result["tasks"]) else []


def far(models: dict[str, Any], whole: dict[str, Any], tasks: list[str]) -> str:
    """The best of the models that have all tasks beside the best of the others, on what both have."""

    def best(names: Iterable[str]) -> str:
        name = max(names, key=lambda name: float(models[name]["shared"]["mean"]))
        return f"`{name}` ({models[name]['shared']['mean']:.2f})"

    others = best(name for name in models if name not in whole)
    return f"- On {', '.join(tasks)} alone the best student is {best(whole)}; beside it stands {others}."


def beside(models: dict[str, Any], baselines: dict[str, dict[str, float]]) -> str:
    """The best average of the models beside that of TF-IDF, which knows nothing but the training rows."""
    best = max(models, key=lambda name: float(models[name]["average"]["mean"]))
    average = float(models[best]["average"]["mean"])
    tfidf = fmean(row["tfidf"] for row in baselines.values())
    side = "above" if average > tfidf else "below"
    far = [task for task, row in baselines.items() if models[best]["tasks"][task]["mean"] < row["tfidf"]]
    tasks = f"; it is behind in {', '.join(far)}" if far else ""
    return f"- The best model, `{best}` ({average:.2f}), is {side} TF-IDF's average, {tfidf:.2f}{tasks}."


def headline(result: dict[str, Any]) -> list[str]:
    """For the overview."""
    found = result["differences"]
    return [
        f"**Understanding.** Average of {len(result['tasks'])} tasks: distilled less from scratch "
        f"{interval(found['distilled - scratch'], '+.2f')}, LMGC-M less distilled "
        f"{interval(found['distilled+LMGC-M - distilled'], '+.2f')} points. "
        + beside(with_all(result), result["baselines"]).removeprefix("- ")
    ]
