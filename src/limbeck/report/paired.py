"""Two runs on the same masked words, word by word: what their evaluations have kept of both models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from limbeck.report.catalogue import read_json
from limbeck.tasks.bootstrap import paired_means
from limbeck.tasks.fingerprint import is_as_measured
from limbeck.tasks.mlm_kept import kept
from limbeck.tasks.mlm_model import OK
from limbeck.tasks.mlm_words import Measured

Json = dict[str, Any]

REPLICATES = 1000
_SAME = ("mask", "passages", "seed", "precision")


def paired(first: Path, second: Path) -> list[Json]:
    """Figures of the students of two run directories, with the interval of the paired difference.

    Over all words that both can be asked. Nothing where a run has no evaluation of masked words beside it
    (`[eval]` of the recipe), or the two were on other words.
    """
    sides = [_words(place) for place in (first, second)]
    if sides[0] is None or sides[1] is None or sides[0][0] != sides[1][0]:
        return []
    (asked, one), (_, two) = sides[0], sides[1]
    keep = (one.scores.state == OK) & (two.scores.state == OK)
    columns = [values for side in (one, two) for values in (side.scores.nats, side.scores.correct)]
    passages = int(one.scores.passage.max()) + 1 if len(one.scores.passage) else 0
    measured = paired_means(
        columns, keep, one.scores.passage, passages, replicates=REPLICATES, seed=asked["seed"]
    )
    if measured is None:
        return []
    figures = []
    for number, (metric, unit) in enumerate((("nats per masked word", "nats"), ("accuracy", "share"))):
        values = []
        for column in (number, 2 + number):
            value, bounds = measured.contrast(column)
            low, high = bounds or (None, None)
            values.append({"value": value, "low": low, "high": high})
        difference, bounds = measured.contrast(2 + number, number)
        low, high = bounds or (None, None)
        figures.append(
            {
                "model": "",
                "task": "mlm",
                "data": f"text {asked['text'][:8]}: all {measured.count:,} words of both, paired",
                "metric": metric,
                "unit": unit,
                "first": values[0],
                "second": values[1],
                "difference": difference,
                "low": low,
                "high": high,
                "better": "lower" if unit == "nats" else "higher",
            }
        )
    return figures


def _words(place: Path) -> tuple[Json, Measured] | None:
    """What was asked, and what the run's own model, the first of its evaluation, answered."""
    folder = place / "eval"
    found = read_json(folder / "results.json")
    result = found.get("tasks", {}).get("mlm")
    if not result:
        return None
    first = found["models"][0]
    if not is_as_measured(first | {"path": str(place / "model")}):
        return None  # the run has been trained on or anew since
    own = first["name"]
    file = found.get("kept", {}).get("mlm", {}).get(own)
    measured = None if file is None else kept(folder / file)
    if measured is None:
        return None
    asked = {"text": result["data"]["fingerprint"], "words": len(measured.scores.state)}
    return asked | {name: result["settings"][name] for name in _SAME}, measured
