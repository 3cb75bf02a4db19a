"""A row of results: one figure, whose it is, and on what and how it was measured. Read `tasks.rows`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = dict[str, Any]
Result = Mapping[str, Any]

COLUMNS = (
    *("model", "role", "task", "data", "metric", "value", "low", "high", "std", "seeds", "n"),
    *("better", "unit", "weights"),
)
"""The keys of a row. role: student, teacher, model or baseline. low, high: ends of a 95% interval. std: over
`seeds` trainings. n: words, instances or texts behind the value. better: higher, lower or None. unit: nats,
share (0 to 1), correlation (-1 to 1), error, count, bytes, ms, seconds, joules, per second. weights: digest
of the encoder's weights, whatever head the task had it with."""

CORRELATIONS = ("matthews", "pearson", "spearman")


def row(model: str, role: str, task: str, data: str, metric: str, value: Any, **more: Any) -> Row:
    """A row whose other columns are None unless given; `interval`: its ends, or None."""
    low, high = more.pop("interval", None) or (None, None)
    said = {"model": model, "role": role, "task": task, "data": data, "metric": metric, "value": value}
    said |= {"low": low, "high": high, **more}
    return {name: said.get(name) for name in COLUMNS}


def count(
    model: str, role: str, task: str, metric: str, value: Any, weights: Any, unit: str = "count"
) -> Row:
    """A row of a figure that depends on no data: a number of parameters, bytes on disk."""
    return row(model, role, task, "", metric, value, better="lower", unit=unit, weights=weights)


def unit_of(metric: str) -> str:
    """Of GLUE's metrics, whose names may end with that of a dev set: `accuracy_matched`."""
    return "correlation" if metric.split("_")[0] in CORRELATIONS else "share"
