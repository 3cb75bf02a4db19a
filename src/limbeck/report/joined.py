"""One model, whatever it is called: rows of several results joined by weights and by path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from limbeck.report.markdown import pathless
from limbeck.report.runs import RunFiles, is_number
from limbeck.report.sources import Source
from limbeck.tasks.rows import Row

ROLES = ("student", "teacher", "model", "baseline")


@dataclass
class Model:
    """A model or baseline of the page. roles: what it was; run: the one that trained it, if given."""

    name: str
    roles: set[str]
    rows: list[Row] = field(default_factory=list)
    run: RunFiles | None = None

    @property
    def role(self) -> str:
        """`student`, `teacher`, `student, teacher`, `model` or `baseline`."""
        said = [role for role in ROLES if role in self.roles]
        return ", ".join(role for role in said if role != "model") or "model"

    @property
    def teacher(self) -> bool:
        """Whether it only taught."""
        return "teacher" in self.roles and "student" not in self.roles

    def value(self, metric: str, tasks: Sequence[str]) -> float | None:
        """Its first value of a metric that no data belongs to, by the order of the tasks."""
        for task in tasks:
            for row in self.rows:
                if (row["task"], row["metric"]) == (task, metric) and is_number(row["value"]):
                    return float(row["value"])
        return None


@dataclass(frozen=True)
class Column:
    """What was measured in the same way on the same data. cells: row by place of a model."""

    task: str
    data: str
    metric: str
    unit: str
    better: str | None
    cells: dict[int, Row]

    @property
    def best(self) -> float | None:
        """The best value of a model; None where all are the same, or neither direction is better."""
        known = [float(row["value"]) for row in self.cells.values() if row["role"] != "baseline"]
        if len(set(known)) < 2 or self.better is None:
            return None
        return min(known) if self.better == "lower" else max(known)


def join(sources: Sequence[Source]) -> list[Model]:
    """The models of all sources, then the baselines; students before teachers.

    Rows are of one model where their weights or the paths that they were read from are the same. A name alone
    joins nothing but the rows of one source.
    """
    parents: dict[str, str] = {}

    def root(key: str) -> str:
        parents.setdefault(key, key)
        while parents[key] != key:
            key = parents[key]
        return key

    placed: list[tuple[str, Row, str, RunFiles | None]] = []
    for number, source in enumerate(sources):
        named = _paths(source)
        roles = {str(one.get("name")): str(one.get("role") or "") for one in source.models}
        for result, rows in source.results:
            own = str(result.get("name")) if source.run is not None else None
            for row in rows:
                mine = row["model"] == own and row["role"] != "teacher"
                name = source.name if mine else row["model"]
                if row["role"] == "baseline":
                    placed.append((f"baseline:{name}", row, _shown_baseline(name), None))
                    continue
                if row["role"] == "model" and roles.get(name) in ROLES:
                    row = row | {"role": roles[name]}
                keys = [
                    f"name:{number}:{mine}:{name}",
                    *(f"path:{path}" for path in named.get(row["model"], ())),
                ]
                if row["weights"]:
                    keys.append(f"weights:{row['weights']}")
                for key in keys[1:]:
                    parents[root(key)] = root(keys[0])
                trained = source.run if mine else None
                placed.append((keys[0], row, _shown(name), trained))
    models: dict[str, Model] = {}
    for key, row, name, run in placed:
        one = models.setdefault(root(key), Model(name, set()))
        one.roles.add(row["role"])
        one.rows.append(row)
        if run is not None and one.run is None:
            one.name, one.run = name, run
    _inherit(models.values())
    ordered = sorted(models.values(), key=lambda one: min(map(ROLES.index, one.role.split(", "))))
    return _apart(ordered)


def columns(models: Sequence[Model], texts: Mapping[str, str] | None = None) -> list[Column]:
    """What was measured, one column for each task, data and metric; values that are missing have no cell.

    texts: names of texts by the eight letters that stand for them (see `text_names`).
    """
    found: dict[tuple[str, str, str, str], Column] = {}
    for place, model in enumerate(models):
        for row in model.rows:
            if not is_number(row["value"]):
                continue
            key = row["task"], _named_text(row["data"], texts or {}), row["metric"], row["unit"]
            column = found.setdefault(key, Column(*key, better=row["better"], cells={}))
            column.cells.setdefault(place, row)
    return list(found.values())


def _named_text(data: str, texts: Mapping[str, str]) -> str:
    found = re.match("text ([0-9a-f]{8}),", data)
    name = texts.get(found[1]) if found else None
    if found is None or name is None:
        return pathless(data)
    return f"text {name} ({found[1]}){data[found.end() - 1 :]}"


def text_names(sources: Sequence[Source]) -> dict[str, str]:
    """What the texts of masked words were read from, by the first eight letters of their fingerprint."""
    found: dict[str, str] = {}

    def add(fingerprint: Any, given: Any, of: str = "") -> None:
        if isinstance(fingerprint, str) and isinstance(given, list) and given:
            names = [str(one) if not Path(str(one)).is_absolute() else Path(str(one)).name for one in given]
            found.setdefault(fingerprint[:8], of + ", ".join(names))

    for source in sources:
        for result, _ in source.results:
            data = result.get("data")
            if result.get("task") == "mlm" and isinstance(data, dict):
                add(data.get("fingerprint"), data.get("texts"))
            glosses, valid = result.get("gloss_words"), result.get("valid")
            if isinstance(glosses, dict) and isinstance(valid, dict):
                add(glosses["data"]["fingerprint"], valid.get("sources"), "contexts and glosses of ")
        if source.run is not None:
            text = source.run.section("text").get("valid")
            given = source.run.setting("text", "valid")
            add(text.get("fingerprint") if isinstance(text, dict) else None, given)
    return found


def covering(chosen: Sequence[Column], most: int) -> list[Column]:
    """A few columns that together hold every model, as far as `most` go: the one that holds most first."""
    left, found = list(chosen), list[Column]()
    covered: set[int] = set()
    while left and len(found) < most:
        best = max(left, key=lambda column: len(_measured(column) - covered))
        if not _measured(best) - covered:
            break
        covered |= _measured(best)
        found.append(best)
        left.remove(best)
    return found


def _measured(column: Column) -> set[int]:
    return {place for place, row in column.cells.items() if row["role"] != "baseline"}


def _paths(source: Source) -> dict[str, list[Path]]:
    """By the name in a source's rows, where that model lies."""
    found: dict[str, list[Path]] = {}
    for one in source.models:
        if isinstance(one.get("path"), str):
            found.setdefault(str(one.get("name")), []).append(_absolute(one["path"]))
    run = source.run
    if run is not None and run.results:
        found.setdefault(str(run.results.get("name")), []).append(_absolute(run.folder / "model"))
        given: Any = run.recipe.get("teachers")
        for one in given if isinstance(given, list) else []:
            if isinstance(one, dict) and isinstance(one.get("model"), str):
                found.setdefault(str(one.get("name")), []).append(_absolute(one["model"]))
    for _, rows in source.results:
        for row in rows:
            if row["model"] not in found and Path(row["model"]).is_dir():
                found[row["model"]] = [_absolute(row["model"])]
    return found


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().resolve()


def _inherit(models: Iterable[Model]) -> None:
    """What was trained further is what it was trained from: a student that learnt senses is a student."""
    students = {_absolute(one.run.folder / "model") for one in models if one.run and "student" in one.roles}
    for one in models:
        if one.run is not None and one.run.kind == "gloss":
            init = one.run.setting("gloss", "init")
            if isinstance(init, str) and _absolute(init) in students:
                one.roles.add("student")


def _shown(name: str) -> str:
    """A model's name, of a path its last folder: `student` of RUN/student/model, `student/best`."""
    parts = Path(name).parts
    if len(parts) > 1 and parts[-1] == "model":
        return parts[-2]
    if len(parts) > 1 and parts[-1] == "best":
        return "/".join(parts[-2:])
    return parts[-1] if len(parts) > 1 and (Path(name).is_absolute() or parts[0] == "..") else name


def _shown_baseline(name: str) -> str:
    known = {"majority": "commonest answer", "random": "chance"}
    return known.get(name, name.replace("_", " ").replace("tfidf", "TF-IDF"))


def _apart(models: list[Model]) -> list[Model]:
    """Models of one name are numbered."""
    seen: dict[str, int] = {}
    for one in models:
        seen[one.name] = seen.get(one.name, 0) + 1
        if seen[one.name] > 1:
            one.name = f"{one.name} ({seen[one.name]})"
    return models
