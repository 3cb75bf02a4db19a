"""Two runs or evaluations on the same masked words, word by word: what evaluations have kept of models."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from limbeck.report.reading import in_form, read_json
from limbeck.tasks.bootstrap import paired_means
from limbeck.tasks.fingerprint import is_as_measured
from limbeck.tasks.mlm_kept import kept
from limbeck.tasks.mlm_model import OK
from limbeck.tasks.mlm_words import Measured

Json = dict[str, Any]

RESULT = "results.json"
REPLICATES = 1000
_SAME = ("mask", "passages", "seed", "precision")


def paired(first: Path, second: Path) -> list[Json]:
    """Figures of the students of two run directories, with the interval of the paired difference.

    Over all words that both can be asked. Of two evaluations: of each model that both have measured, by name.
    Nothing where a run has no evaluation of masked words beside it (`[eval]` of the recipe), or the two were
    on other words.

    Raises:
        UserError: a result in another form than this version's.
    """
    sides = [in_form(_result_of(place), partial(_words, place)) for place in (first, second)]
    figures = []
    for name, (asked, one) in sides[0].items():
        there = sides[1].get(name)
        if there is not None and there[0] == asked:
            figures += _difference(name, asked, one, there[1])
    return figures


def _difference(name: str, asked: Json, one: Measured, two: Measured) -> list[Json]:
    """Rows of `limbeck diff` for one model; nothing where there is no word that both can be asked."""
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
                "model": name,
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


def _result_of(place: Path) -> Path:
    """The evaluation of a run directory, or the evaluation itself."""
    own = place / RESULT
    return place / "eval" / RESULT if (place / "affecting.json").is_file() or not own.is_file() else own


def _words(place: Path) -> dict[str, tuple[Json, Measured]]:
    """What models were asked and answered: of a run under "" its own, the first of its evaluation."""
    file = _result_of(place)
    found = read_json(file)
    result = found.get("tasks", {}).get("mlm")
    if not result:
        return {}
    names = [one["name"] for one in found["models"]]
    if file.parent != place:
        first = found["models"][0]
        if not is_as_measured(first | {"path": str(place / "model")}):
            return {}  # the run has been trained on or anew since
        names = names[:1]
    asked = {"text": result["data"]["fingerprint"]} | {name: result["settings"][name] for name in _SAME}
    answers = {}
    for name in names:
        kept_in = found.get("kept", {}).get("mlm", {}).get(name)
        measured = None if kept_in is None else kept(file.parent / kept_in)
        if measured is not None:
            words = {"words": len(measured.scores.state)}
            answers["" if file.parent != place else name] = (asked | words, measured)
    return answers
