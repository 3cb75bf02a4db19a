"""What every training run ends with: `results.json`, with flat rows in it, and the model card."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.files import atomic_write
from limbeck.report.card import write_card
from limbeck.tasks.rows import rows_of

_log = logging.getLogger("limbeck")


def finish(folder: Path, results: dict[str, Any]) -> dict[str, Any]:
    """Writes a run's results (docs/results-schema.md) and its model's card; gives the results, with rows.

    Raises:
        UserError: a file cannot be written.
    """
    results = results | {"rows": rows_of(results)}
    atomic_write(folder / "results.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    try:
        write_card(folder)
    except UserError as error:  # of older results beside the run: the training itself is whole
        _log.warning("there is no model card yet: %s; `limbeck report %s` writes it then", error, folder)
    return dict(json.loads(json.dumps(results)))


def finish_again(folder: Path) -> dict[str, Any]:
    """As `finish`, with the results that the training left: of a run that gained something to tell since.

    Raises:
        UserError: a file cannot be read or written.
    """
    path = folder / "results.json"
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {path}: {error}; start the run again to rewrite it") from error
    return finish(folder, results)
