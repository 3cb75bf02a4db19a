"""What a model's training took, out of the log of the run directory that it lies in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from limbeck.training.energy import JOULES_PER_KWH

Stage = dict[str, Any]


def training_cost(model: str | Path, watts: float | None = None) -> list[Stage] | None:
    """The stages that led to a model in a run directory (`RUN/model`, `RUN/best`), the first one first.

    A gloss model's run lies in its student's, whose training then comes before. Teachers' own training is
    not counted.

    Args:
        watts: a power figure, for an estimate of the energy of stages that did not measure theirs.

    Returns:
        For each stage: run (its folder's name), steps, tokens, seconds, processes, finished, energy; a figure
        the log does not hold is None. None where the model lies in no run directory.
    """
    folder = Path(model).expanduser().absolute().parent
    if not _is_run(folder):
        return None
    folders = [folder.parent, folder] if folder.name == "gloss" and _is_run(folder.parent) else [folder]
    return [_stage(one, watts) for one in folders]


def _is_run(folder: Path) -> bool:
    return (folder / "status.json").is_file() and (folder / "metrics.jsonl").is_file()


def _stage(folder: Path, watts: float | None) -> Stage:
    status = json.loads((folder / "status.json").read_text(encoding="utf-8"))
    finished = status.get("state") == "finished"
    found = dict(status["result"]) if finished else _last_line(folder / "metrics.jsonl")
    joules, seconds = found.get("energy_joules"), found.get("seconds")
    return {
        "run": folder.name,
        "steps": found.get("steps", found.get("step")),
        "tokens": found.get("tokens"),
        "seconds": seconds,
        "processes": _processes(folder),
        "finished": finished,
        "energy": energy(joules, found.get("energy_source"), seconds, watts),
    }


def _last_line(metrics: Path) -> dict[str, Any]:
    """The last line on training; {} before there is one. A line half written by a killed run is none."""
    found: dict[str, Any] = {}
    with metrics.open(encoding="utf-8") as lines:
        for line in lines:
            if line.endswith("\n") and (said := json.loads(line)).get("kind") == "train":
                found = said
    return found


def _processes(folder: Path) -> int | None:
    """Of the last session; a run may go on with another number."""
    path = folder / "environment.json"
    found = json.loads(path.read_text(encoding="utf-8")).get("processes") if path.is_file() else None
    return None if found is None else int(found)


def energy(
    joules: float | None, source: str | None, seconds: float | None, watts: float | None
) -> dict[str, Any] | None:
    """Energy as it was measured, or the estimate `watts` × `seconds`, which says that it is one."""
    if joules is not None:
        return {"joules": joules, "kwh": joules / JOULES_PER_KWH, "measured": True, "source": source}
    if watts is None or seconds is None:
        return None
    guessed = watts * seconds
    return {
        "joules": guessed,
        "kwh": guessed / JOULES_PER_KWH,
        "measured": False,
        "source": f"estimate: {watts:g} W × time",
    }
