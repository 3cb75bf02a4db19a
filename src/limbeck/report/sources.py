"""What a page is made from: run directories, evaluation folders, and single results of `limbeck eval`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.report.reading import in_form, read_table
from limbeck.report.runs import RunFiles, read_run
from limbeck.tasks.fingerprint import is_as_measured
from limbeck.tasks.rows import Row, rows_of

RESULTS = "results.json"
TASK_FILES = ("wsd.json", "glue.json", "paraphrase.json")
"""What `limbeck eval wsd|glue|paraphrase` leaves in its folder."""
LEAVE_ONE_OUT = "leave_one_out.json"
_OF_A_RUN = (
    *(RESULTS, "metrics.jsonl", "recipe.toml", "environment.json", "status.json", "affecting.json"),
    LEAVE_ONE_OUT,
)
GLOSS, EVALUATION = "gloss", "eval"
"""Of a run directory: where the gloss training and the evaluation of its recipe stand."""


@dataclass(frozen=True)
class Source:
    """One run, or one evaluation.

    results: of tasks, with their rows. models: what an evaluation measured (`name`, `path`, `fingerprint`,
    `role`). run: None for an evaluation. without: the student trained without each teacher, {} where that
    was not done. left_out: what could not be measured, or was measured of other weights, a line each.
    """

    name: str
    folder: Path
    results: list[tuple[dict[str, Any], list[Row]]]
    models: list[dict[str, Any]] = field(default_factory=list)
    run: RunFiles | None = None
    without: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)


def read_sources(paths: Sequence[Path]) -> list[Source]:
    """Reads each path, and the gloss training and the evaluation inside a run directory.

    Raises:
        UserError: neither a run directory nor an evaluation; a damaged file; a result of an unknown form.
    """
    if not paths:
        raise UserError("nothing to report on; name at least one run directory or evaluation folder")
    found: list[Source] = []
    seen: set[Path] = set()
    for path in (place for given in paths for place in _places(given)):
        if path.resolve() not in seen:
            seen.add(path.resolve())
            found.append(_read(path))
    return _named(found)


def _places(given: Path) -> list[Path]:
    """The path itself and what belongs to it."""
    inner = [given / GLOSS, given / EVALUATION]
    is_run = (given / "recipe.toml").is_file()
    return [given, *(one for one in inner if is_run and (one / RESULTS).is_file())]


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The files that `read_sources` and the cards read of run directories, whether they are there or not."""
    places = list(dict.fromkeys(place for given in paths for place in _places(given)))
    found = [place / name for place in places for name in _OF_A_RUN]
    return found + [one for place in places for one in sorted(place.glob(f"without-*/{RESULTS}"))]


def _read(path: Path) -> Source:
    if path.is_file():
        return _single(path)
    if (path / "recipe.toml").is_file():
        return _run(path)
    if (path / RESULTS).is_file():
        return _evaluation(path)
    for name in TASK_FILES:
        if (path / name).is_file():
            return _single(path / name)
    if not path.is_dir():
        raise UserError(f"{path} is not a folder; give the folder of a run, such as runs/demo")
    raise UserError(
        f"{path} is neither a run directory (it has no recipe.toml) nor an evaluation (it has no {RESULTS}); "
        "give the folder that `limbeck run` or `limbeck eval` wrote"
    )


def _run(folder: Path) -> Source:
    run = read_run(folder)
    found = [_with_rows(run.results, folder / RESULTS)] if run.results else []
    without = _json(folder / LEAVE_ONE_OUT)
    problem = _not_of_these(without, run) if without else None
    if problem is not None:
        return Source(run.name, folder, found, run=run, left_out=[problem])
    return Source(run.name, folder, found, run=run, without=without)


def _not_of_these(without: dict[str, Any], run: RunFiles) -> str | None:
    """Why figures without each teacher are not of the students that are here; None where they are.

    A student that is not here, its run or its results, is taken to be what it was.
    """
    given = without.get("teachers")
    rows = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    measured = [(run.results, without.get("all"))]
    measured += [(_json(run.folder / f"without-{one.get('name')}" / RESULTS), one) for one in rows]
    again = "limbeck distill RECIPE --leave-one-out measures again"
    for results, one in measured:
        before = one.get("weights") if isinstance(one, dict) else None
        if before is None:
            return f"the use of each teacher: an earlier version did not say of which weights; {again}"
        words = results.get("words")
        models = words.get("models") if isinstance(words, dict) else None
        now = models[0].get("weights") if isinstance(models, list) and models else None
        if now is not None and now != before:
            return f"the use of each teacher: {results.get('name')} was trained on since; {again}"
    return None


def _evaluation(folder: Path) -> Source:
    path = folder / RESULTS
    content = _json(path)
    if content.get("kind") != "evaluation" or not isinstance(content.get("tasks"), dict):
        raise UserError(f"{path} is not the result of an evaluation; give the folder of `limbeck eval`")
    given = content.get("models")
    models = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    changed = {str(one.get("name")) for one in models if not is_as_measured(one)}
    tasks = [one for value in content["tasks"].values() for one in _results(value, changed)]
    found = [_without(_with_rows(one, path), changed) for one in tasks]
    left_out = [_left_out(one) for one in content.get("left_out") or () if isinstance(one, dict)]
    return Source(
        name=folder.resolve().name,
        folder=folder,
        results=[one for one in found if one[1]],
        models=[one for one in models if one.get("name") not in changed],
        left_out=left_out + [_changed(name, tasks) for name in sorted(changed)],
        environment=content.get("environment") or {},
    )


def _left_out(one: dict[str, Any]) -> str:
    named = [str(one[key]) for key in ("task", "model") if one.get(key)]
    return f"{' of '.join(named)}: {one.get('reason')}"


def _results(value: Any, changed: set[str]) -> list[dict[str, Any]]:
    """A task's results, one for all models or one by each one's name, without those of changed models."""
    if not isinstance(value, dict):
        return []
    if "task" not in value:
        return [one for name, one in value.items() if isinstance(one, dict) and name not in changed]
    return [value]


def _without(read: tuple[dict[str, Any], list[Row]], changed: set[str]) -> tuple[dict[str, Any], list[Row]]:
    """A result of several models without the changed ones; rows are named by what all were measured on."""
    result, rows = read
    models = result.get("models")
    if not changed or not isinstance(models, list):
        return read
    kept = [one for one in models if one["name"] not in changed]
    own = [row for row in rows if row["role"] == "baseline" or row["model"] not in changed]
    return result | {"models": kept}, own


def _changed(name: str, results: Sequence[dict[str, Any]]) -> str:
    """What is said of a model that is not shown."""
    said = f"{name}: it has changed since it was measured"
    words = [one for one in results if one.get("task") == "mlm"]
    if any(one["name"] == name for result in words for one in result["models"]):
        said += "; the others' masked words are those that it could be asked as well"
    return said


def _single(path: Path) -> Source:
    result = _json(path)
    return Source(path.resolve().parent.name, path.parent, [_with_rows(result, path)])


def _with_rows(result: dict[str, Any], path: Path) -> tuple[dict[str, Any], list[Row]]:
    return result, in_form(path, lambda: rows_of(result))


def _json(path: Path) -> dict[str, Any]:
    return read_table(path, "measure again to rewrite it")


def _named(sources: list[Source]) -> list[Source]:
    """Runs of one name are told apart by their folders' names, and these by the folders that they lie in."""
    runs = [source for source in sources if source.run is not None]
    choices = (
        [run.name for run in runs],
        [run.folder.resolve().name for run in runs],
        ["/".join(run.folder.resolve().parts[-2:]) for run in runs],
        [f"{run.name} ({place})" for place, run in enumerate(runs, 1)],
    )
    names = iter(next(chosen for chosen in choices if len(set(chosen)) == len(chosen)))
    found = []
    for one in sources:
        if one.run is not None:
            name = next(names)
            one = replace(one, name=name, run=replace(one.run, name=name))
        found.append(one)
    return found
