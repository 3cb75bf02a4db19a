"""`limbeck ls`: the runs and evaluations below a folder, by what their files say."""

from __future__ import annotations

import fcntl
import json
import os
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.report.reading import DamagedError, read_json, unreadable
from limbeck.report.runs import is_number

Json = dict[str, Any]

_NO_RUNS = {"checkpoints", "best", "model", "head", "report"}
"""Folders of a run that hold no runs."""

_OF_A_RUN = ("kind", "state", "step", "steps", "result", "parameters", "seconds", "date", "problem")


def catalogue(folder: Path) -> Json:
    """The runs of a folder and of all folders below it.

    Nothing is written. A run whose files are damaged is listed with what is wrong as its state.

    Returns:
        JSON-ready: folder; runs, a dict each: path (from the folder), name, kind (pretrain, distill, gloss,
        finetune, evaluation), state (finished, running, stopped, failed, damaged, unreadable), step, steps,
        result (in words), parameters, seconds, date (UTC, when it last changed), problem; unreadable, a line
        for each folder below that may not be read, and may hold more.

    Raises:
        UserError: no such folder; no run in it that can be read.
    """
    try:
        there = folder.is_dir()
    except OSError as error:
        raise UserError(unreadable(error)) from error
    if not there:
        raise UserError(f"{folder} is not a folder; give the folder that your runs stand in, such as runs")
    closed: list[str] = []
    places = find_runs(folder, lambda error: closed.append(unreadable(error)))
    runs = [describe(place, folder) for place in places]
    if not runs and closed:
        raise UserError(f"{closed[0]}; beside it {folder} holds no run of limbeck")
    if not runs:
        raise UserError(f"{folder} holds no run of limbeck; give the folder that your runs stand in")
    return {"folder": str(folder), "runs": runs, "unreadable": closed}


def find_runs(folder: Path, failed: Callable[[OSError], None]) -> Iterator[Path]:
    """Run directories and evaluations, in order of their paths; links are not followed.

    The trainings inside an evaluation are parts of it. failed: is told of what cannot be read.
    """
    for place, below, files in os.walk(folder, onerror=failed):
        try:
            kind = kind_of(Path(place), files)
        except OSError as error:
            failed(error)
            kind = None
        if kind is not None:
            yield Path(place)
        never = set(below) if kind == "evaluation" else _NO_RUNS if kind == "run" else set()
        below[:] = sorted(name for name in below if name not in never and not name.startswith("."))


def kind_of(place: Path, files: list[str]) -> str | None:
    """`run`, `evaluation`, or None, by the names of a folder's files."""
    if "affecting.json" in files:
        return "run"
    if "results.json" in files and "affecting.json" not in files and "recipe.toml" not in files:
        with (place / "results.json").open(encoding="utf-8", errors="replace") as file:
            return "evaluation" if '"kind": "evaluation"' in file.read(200) else None
    return None


def describe(place: Path, above: Path) -> Json:
    """One run, see `catalogue`."""
    found: Json = {
        "path": os.path.relpath(place, above),
        "name": place.resolve().name,
        **dict.fromkeys(_OF_A_RUN),
    }
    try:
        files = (path for path in place.iterdir() if path.is_file() and path.name != ".lock")
        newest = max((path.stat().st_mtime for path in files), default=0)
        found["date"] = datetime.fromtimestamp(newest, UTC).strftime("%Y-%m-%d %H:%M")
        results = read_json(place / "results.json")
        if results.get("kind") == "evaluation":
            return found | _evaluation(results)
        return found | _run(place, results)
    except DamagedError as error:
        return found | {"state": "damaged", "problem": str(error)}
    except PermissionError as error:
        return found | {"state": "unreadable", "problem": unreadable(error)}


def _evaluation(results: Json) -> Json:
    models = results.get("models", [])
    tasks = ", ".join(results.get("tasks", {})) or "no task"
    said = f"{len(models)} model{'s' if len(models) != 1 else ''}: {tasks}"
    return {"kind": "evaluation", "state": "finished", "result": said}


def _run(place: Path, results: Json) -> Json:
    affecting, status = read_json(place / "affecting.json"), read_json(place / "status.json")
    recipe = read_recipe(place)
    kind = kind_of_run(affecting, recipe)
    steps = status.get("steps", affecting.get("train.steps", affecting.get("gloss.steps")))
    found: Json = {
        "name": str(results.get("name") or recipe.get("name") or place.resolve().name),
        "kind": kind,
        "state": state_of(place, status),
        "step": status.get("step"),
        "steps": steps,
        "result": headline(results) or _so_far(place),
        "parameters": parameters(results),
        "seconds": (results.get("cost") or {}).get("seconds"),
    }
    if kind == "finetune":  # its name is the file it learns from
        found["name"] = place.resolve().name
    return found


def read_recipe(place: Path) -> Json:
    """A run's recipe; {} where there is none.

    Raises:
        DamagedError: it is not TOML.
    """
    try:
        return tomllib.loads((place / "recipe.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise DamagedError(f"{place / 'recipe.toml'} is damaged ({error})") from error


def kind_of_run(affecting: Json, recipe: Json) -> str:
    """What was trained: pretrain, distill, gloss, finetune."""
    if "finetune" in recipe:
        return "finetune"
    if any(name.startswith("gloss.") for name in affecting) and not affecting.get("train.steps"):
        return "gloss"
    return "distill" if affecting.get("teachers") else "pretrain"


def state_of(place: Path, status: Json) -> str:
    """finished, running, stopped or failed. What says it is running and is nobody's was killed."""
    state = status.get("state")
    if state in ("finished", "failed"):
        return str(state)
    return "running" if _in_use(place / ".lock") else "stopped"


def _in_use(lock: Path) -> bool:
    """Whether a process holds a run directory's lock."""
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def headline(results: Json) -> str | None:
    """The one figure of finished results, in words; None where there is none yet."""
    valid = results.get("valid") or {}
    if results.get("task") == "gloss":
        return None if not is_number(valid.get("f1")) else f"F1 {100 * valid['f1']:.1f}"
    if results.get("task") == "finetune":
        judge = valid.get("judge")
        value = valid.get(judge) if judge else None
        return f"{judge} {value:.4f}" if is_number(value) else None
    models = (results.get("words") or {}).get("models") or [{}]
    words = models[0].get("headline") or models[0].get("all_words")
    return f"{words['nats']:.3f} nats/word" if words else None


def _so_far(place: Path) -> str | None:
    """The last measurement on valid of a run that has no results yet."""
    last: Json = {}
    try:
        with (place / "metrics.jsonl").open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if '"valid_' in line and line.endswith("\n"):
                    last = json.loads(line)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise DamagedError(f"{place / 'metrics.jsonl'} is damaged") from error
    for name, form in (("valid_f1", "F1 {:.3f} so far"), ("valid_nats", "{:.3f} nats/piece so far")):
        if is_number(last.get(name)):
            return form.format(last[name])
    return None


def parameters(results: Json) -> int | None:
    """Of the trained model."""
    found = (results.get("student") or results.get("model") or {}).get("parameters")
    return int(found) if is_number(found) else None
