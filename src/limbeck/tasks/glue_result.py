"""What was measured on GLUE as a JSON-ready result: metrics, spread over seeds, baselines, notes."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from limbeck.finetune.metrics import Array, measure
from limbeck.finetune.train import Finetuned
from limbeck.tasks.glue_data import TaskData


def figures_of(data: TaskData, outputs: dict[str, Array]) -> dict[str, float | None]:
    """The task's metrics of outputs on its dev sets: `accuracy`, or `accuracy_matched` of several."""
    found: dict[str, float | None] = {}
    for name, one in outputs.items():
        values = measure(data.labels, data.labels.encode(data.dev[name]), one)
        ending = name.removeprefix("dev")
        found |= {f"{metric}{ending}": values[metric] for metric in data.task.metrics}
    return found


def _score(figures: dict[str, float | None]) -> float | None:
    """GLUE's figure of a task: the mean of its metrics; None where one is not defined."""
    values = [value for value in figures.values() if value is not None]
    return statistics.fmean(values) if len(values) == len(figures) else None


def run_row(seed: int, tuned: Finetuned, figures: dict[str, float | None]) -> dict[str, Any]:
    """What the result says of one training."""
    cost, valid = tuned.results["cost"], tuned.results["valid"]
    return {
        "seed": seed,
        "metrics": figures,
        "score": _score(figures),
        "steps": cost["steps"],
        "epochs": cost["epochs"],
        "measured_step": cost["steps"] if valid is None else valid["best_step"],
        "seconds": cost["seconds"],
        "tokens_per_second": cost["tokens_per_second"],
    }


def spread(values: Sequence[float | None]) -> dict[str, float | None]:
    """Mean and standard deviation (of n - 1) over seeds; None where a value or a second seed is missing."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return {"mean": None, "std": None}
    return {"mean": statistics.fmean(known), "std": statistics.stdev(known) if len(known) > 1 else None}


def task_result(
    data: TaskData,
    runs: list[dict[str, Any]],
    baselines: dict[str, dict[str, Array]],
    tuned: Finetuned,
) -> dict[str, Any]:
    """What the result says of a task.

    Args:
        runs: `run_row` of each seed. baselines: outputs of each on each dev set. tuned: the last training.
    """
    held = tuned.results["data"]["valid"]
    answered = {name: figures_of(data, outputs) for name, outputs in baselines.items()}
    return {
        "name": data.task.name,
        "counts": {"train": tuned.results["data"]["train"]["rows"], "held_out": held["rows"] if held else 0}
        | {name: len(one) for name, one in data.dev.items()},
        "fingerprints": {"train": data.train.fingerprint}
        | {name: one.fingerprint for name, one in data.dev.items()},
        "overlap": data.overlap,
        "cut": tuned.results["data"]["train"]["cut"],
        "runs": runs,
        "metrics": {name: spread([run["metrics"][name] for run in runs]) for name in runs[0]["metrics"]},
        "score": spread([run["score"] for run in runs]),
        "baselines": {
            name: {"metrics": figures, "score": _score(figures)} for name, figures in answered.items()
        },
    }


def average(measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean of the tasks' scores, and which tasks they are: averages over other tasks do not compare."""
    scores = [one["score"]["mean"] for one in measured]
    mean = None if None in scores else statistics.fmean(scores)
    return {"tasks": [one["name"] for one in measured], "mean": mean}


def notes(measured: Sequence[dict[str, Any]], left_out: Sequence[str]) -> list[str]:
    """What a reader must know before comparing."""
    found = [*left_out]
    for one in measured:
        if one["overlap"]:
            found.append(f"{one['overlap']:,} texts of {one['name']}'s dev stand in its train as well.")
        if one["score"]["mean"] is None:
            found.append(
                f"A model gave the same answer everywhere on {one['name']}: there is no correlation."
            )
    if any(one["name"] == "wnli" for one in measured):
        found.append(
            "wnli's dev repeats sentences of train with the other label, so that what is learnt by heart is "
            "wrong there: the majority is hard to beat."
        )
    if any(len(one["runs"]) == 1 for one in measured):
        found.append("One seed says nothing of the spread; --seeds 0,1,2 does.")
    return found
