"""Results as flat rows, one figure each: what other tools read, and what a report compares.

A row says what was measured of whom (`model`, `role`), on what (`task`, `data`), and how (`metric`,
`value`, its spread). Two rows compare only where task, data, metric and unit are the same: `data` names the
very words, rows or machine. A figure that was not measured has the value None; none is ever made up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from limbeck.errors import UserError
from limbeck.tasks.row import COLUMNS, Result, Row
from limbeck.tasks.rows_runs import TRAINED, of_finetune, of_gloss, of_run
from limbeck.tasks.rows_tasks import POS, of_cost, of_glue, of_mlm, of_paraphrase, of_wsd

__all__ = ["COLUMNS", "POS", "TRAINED", "Result", "Row", "rows_of"]


def rows_of(result: Result) -> list[Row]:
    """The rows of one result: of a task (`task`: mlm, wsd, glue, paraphrase, cost) or of a training run.

    Args:
        result: as the task gives it, or as it stands in a run's `results.json`.

    Raises:
        UserError: a result of a kind that is not known.
    """
    task = result.get("task", "run")
    if task not in _KINDS:
        raise UserError(f"a result of the task {task!r} is not known; known are {', '.join(sorted(_KINDS))}")
    return list(_KINDS[task](result))


_KINDS: dict[str, Callable[[Result], Iterator[Row]]] = {
    "mlm": of_mlm,
    "wsd": of_wsd,
    "glue": of_glue,
    "paraphrase": of_paraphrase,
    "cost": of_cost,
    "gloss": of_gloss,
    "finetune": of_finetune,
    "run": of_run,
}
