"""What every training run ends with: `results.json`, with flat rows in it, and the model card."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from limbeck.files import atomic_write
from limbeck.report.card import write_card
from limbeck.tasks.rows import rows_of


def finish(folder: Path, results: dict[str, Any]) -> dict[str, Any]:
    """Writes a run's results (docs/results-schema.md) and its model's card; gives the results, with rows.

    Raises:
        UserError: a file cannot be written.
    """
    results = results | {"rows": rows_of(results)}
    atomic_write(folder / "results.json", json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    write_card(folder)
    return dict(json.loads(json.dumps(results)))
