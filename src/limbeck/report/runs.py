"""Reads a run directory for the report; training never knows that reports exist."""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from limbeck.errors import UserError
from limbeck.report.reading import read_table

Points = list[tuple[float, float]]

_AGAIN = "start the run again to rewrite it"


@dataclass(frozen=True)
class RunFiles:
    """What the files of one run say; a file that does not exist yet is an empty dict, never a guess.

    training, evaluations: lines of `metrics.jsonl` in order of step; final: its last summary; recipe_text: as
    it stands in the file.
    """

    folder: Path
    name: str
    recipe: dict[str, Any]
    recipe_text: str
    environment: dict[str, Any]
    status: dict[str, Any]
    results: dict[str, Any]
    training: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """What was trained: `student` (with or without teachers), `gloss` or `finetune`."""
        if task := self.results.get("task"):
            return str(task)
        if "finetune" in self.recipe:
            return "finetune"
        return "gloss" if "gloss" in self.recipe and "text" not in self.recipe else "student"

    def points(self, key: str, *, evaluation: bool = False) -> Points:
        """(step, value) wherever `key` was logged as a finite number."""
        lines = self.evaluations if evaluation else self.training
        return [(float(line["step"]), float(line[key])) for line in lines if is_number(line.get(key))]

    def teachers(self) -> list[str]:
        """Names of the run's teachers: of its recipe, or of what it logged."""
        given = self.recipe.get("teachers")
        named = (
            [str(t["name"]) for t in given if isinstance(t, dict) and "name" in t]
            if isinstance(given, list)
            else []
        )
        if named:
            return named
        logged = {
            key.removeprefix("weight/") for line in self.training for key in line if key.startswith("weight/")
        }
        return sorted(logged)

    def teacher_table(self) -> list[dict[str, Any]]:
        """Rows of results.json on the teachers: coverage, calibration, size; empty where they are absent."""
        given = self.results.get("teachers")
        return [t for t in given if isinstance(t, dict) and "name" in t] if isinstance(given, list) else []

    def section(self, name: str) -> dict[str, Any]:
        """A section of results.json, {} where it is absent."""
        value = self.results.get(name)
        return value if isinstance(value, dict) else {}

    def setting(self, section: str, name: str) -> Any:
        """A value of the recipe, None where it is absent."""
        value = self.recipe.get(section)
        return value.get(name) if isinstance(value, dict) else None


def is_number(value: object) -> TypeGuard[int | float]:
    """True for a finite int or float, not for a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: object) -> TypeGuard[int]:
    """True for an int, not for a bool."""
    return is_number(value) and isinstance(value, int)


def read_run(folder: Path) -> RunFiles:
    """Reads `recipe.toml`, `environment.json`, `status.json`, `results.json` and `metrics.jsonl`.

    Raises:
        UserError: no such folder; not a run directory; nothing logged yet; a damaged file.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give the folder of a run, such as runs/demo")
    if not (folder / "recipe.toml").is_file():
        raise UserError(
            f"{folder} is not a run directory (it has no recipe.toml); give the folder that a run wrote "
            "(results of `limbeck eval` go into an HTML page alone: -o page.html)"
        )
    lines = _metrics(folder / "metrics.jsonl")
    if not lines:
        raise UserError(f"{folder} has no metrics yet; wait until the run has logged its first steps")
    recipe_text = _text(folder / "recipe.toml")
    try:
        recipe = tomllib.loads(recipe_text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(
            f"{folder / 'recipe.toml'} is damaged ({error}); start the run again to rewrite it"
        ) from error
    with_step = [line for line in lines if is_number(line.get("step"))]
    return RunFiles(
        folder=folder,
        name=str(recipe.get("name") or folder.resolve().name),
        recipe=recipe,
        recipe_text=recipe_text,
        environment=read_table(folder / "environment.json", _AGAIN),
        status=read_table(folder / "status.json", _AGAIN),
        results=read_table(folder / "results.json", _AGAIN),
        training=_by_step([line for line in with_step if "loss" in line]),
        evaluations=_by_step([line for line in with_step if any(key.startswith("valid_") for key in line)]),
        final=next((line for line in reversed(lines) if line.get("kind") == "end"), {}),
    )


def _by_step(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """In order of step; of a step logged twice (before and after a resume) the later line."""
    latest = {line["step"]: line for line in lines}
    return [latest[step] for step in sorted(latest)]


def _metrics(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    lines: list[dict[str, Any]] = []
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith("\n"):
                break  # the line that a running or killed process is in the middle of
            try:
                value = json.loads(line)
            except ValueError as error:
                raise UserError(
                    f"{path}: line {number} is damaged; delete that line and try again"
                ) from error
            if isinstance(value, dict):
                lines.append(value)
    return lines


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}; start the run again to rewrite it") from error
