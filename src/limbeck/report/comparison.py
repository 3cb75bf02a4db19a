"""`limbeck diff`: how two runs differ, in recipe, text, versions and machine, and in what came of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.report.catalogue import kind_of_run, read_recipe, state_of
from limbeck.report.paired import paired
from limbeck.report.reading import DamagedError, in_form, read_json, unreadable
from limbeck.report.runs import is_number
from limbeck.tasks.rows import COLUMNS, rows_of

Json = dict[str, Any]

_CONTENTS = " (contents)"
_OF_PLACE = ("name", "output")
"""Fields of a recipe that say where a run stands, and nothing of what it is."""


def compare(first: Path, second: Path) -> Json:
    """Compares two run directories, or two evaluations. Runs that are not finished are compared as they are.

    Returns:
        JSON-ready: runs (path, name, kind, state); recipe, data, environment: the fields that differ, each
        with name, first, second (None where only one has it), and for recipe whether it affects the result;
        results: figures side by side, each with model, data, metric, first, second (value, low, high),
        difference (second less first; None where one is missing or they were measured on other data), low
        and high (its 95% interval where it is known), better; notes.

    Raises:
        UserError: not a run directory or an evaluation, one of each, a file that is damaged, forbidden or in
            another form than this version's.
    """
    try:
        one, two, both = _read(first), _read(second), paired(first, second)
    except DamagedError as error:
        raise UserError(f"{error}; run it again to write it anew") from error
    except PermissionError as error:
        raise UserError(unreadable(error)) from error
    kinds = {one["kind"], two["kind"]}
    if "evaluation" in kinds and len(kinds) > 1:
        raise UserError(
            f"{first} and {second} are a run and an evaluation; give two runs, or two evaluations"
        )
    figures, notes = [*both, *_figures(one, two)], []
    for read in (one, two):
        if read["state"] != "finished":
            notes.append(f"{read['path']} is not finished ({read['state']}): its figures will change.")
    if one["recipe"] and one["kind"] != two["kind"]:
        notes.append(f"The runs are of two kinds: {one['kind']} and {two['kind']}.")
    if any(row["difference"] is None and row["first"] and row["second"] for row in figures):
        notes.append("Figures of other words, rows or machines have no difference.")
    unsure = [row for row in figures if row["difference"] is not None and row["low"] is None]
    if any(row["first"]["low"] is not None for row in unsure):
        notes.append(
            "A difference has an interval where both keep their answers word by word, which [eval] with mlm "
            "does, and `limbeck eval` with mlm; an evaluation of both models gives it too."
        )
    return {
        "runs": [{key: read[key] for key in ("path", "name", "kind", "state")} for read in (one, two)],
        "recipe": [
            row | {"affects": row["name"] in one["affecting"] or row["name"] in two["affecting"]}
            for row in _differing(one["recipe"], two["recipe"])
        ],
        "data": _differing(one["data"], two["data"]),
        "environment": _differing(one["environment"], two["environment"]),
        "results": figures,
        "notes": notes,
    }


def _read(place: Path) -> Json:
    if not place.is_dir():
        raise UserError(f"{place} is not a folder; give the folder of a run, such as runs/demo")
    affecting, results = read_json(place / "affecting.json"), read_json(place / "results.json")
    evaluation = results.get("kind") == "evaluation"
    if not affecting and not evaluation:
        raise UserError(
            f"{place} is neither a run directory nor an evaluation; give the folder that a run wrote"
        )
    recipe = read_recipe(place)
    found: Json = {
        "path": str(place),
        "name": str(results.get("name") or recipe.get("name") or place.resolve().name),
        "kind": "evaluation" if evaluation else kind_of_run(affecting, recipe),
        "state": "finished" if evaluation else state_of(place, read_json(place / "status.json")),
        "affecting": affecting,
        "results": results,
    }
    if evaluation:
        return found | in_form(place / "results.json", lambda: _of_evaluation(results))
    shown = {name: value for name, value in _flat(recipe) if name not in _OF_PLACE}
    contents = {
        name.removesuffix(_CONTENTS): value for name, value in affecting.items() if name.endswith(")")
    }
    environment = dict(_flat(read_json(place / "environment.json")))
    rows = in_form(place / "results.json", lambda: rows_of(results)) if results else []
    return found | {"recipe": shown, "data": contents, "environment": environment, "rows": rows}


def _of_evaluation(results: Json) -> Json:
    return {
        "recipe": dict(_flat(results.get("settings", {}))),
        "data": {f"model {one['name']}": one["fingerprint"] for one in results["models"]},
        "environment": dict(_flat(results.get("environment", {}))),
        "rows": [
            {name: one[name] for name in COLUMNS} | {"data": one["data"].strip()} for one in results["rows"]
        ],
    }


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted names, a teacher's by its own name."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            for number, one in enumerate(value):
                yield from _flat(one, f"{prefix}{key}.{one.get('name', number)}.")
        else:
            yield f"{prefix}{key}", value


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Json]:
    names = [*first, *(name for name in second if name not in first)]
    return [
        {"name": name, "first": first.get(name), "second": second.get(name)}
        for name in names
        if first.get(name) != second.get(name)
    ]


def _figures(one: Json, two: Json) -> list[Json]:
    """Rows of both, side by side: those of the trained model under no name, others under theirs."""
    sides = []
    for read in (one, two):
        found: dict[tuple[str, ...], Json] = {}
        for row in read["rows"]:
            own = read["kind"] != "evaluation" and row["model"] == read["name"] and row["role"] != "baseline"
            part = row["data"].rsplit(": ", 1)[-1] if row["task"] == "mlm" else ""
            part = "all words" if part.startswith("all ") else "headline" if part else row["data"]
            model = "" if own else row["model"]
            found.setdefault((model, row["task"], part, row["metric"]), row)
        sides.append(found)
    first, second = sides
    figures = []
    for key in [*first, *(key for key in second if key not in first)]:
        a, b = first.get(key), second.get(key)
        some = a or b
        assert some is not None
        values = [row["value"] if row else None for row in (a, b)]
        if not any(is_number(value) for value in values):
            continue
        difference = None
        if a is not None and b is not None and a["data"] == b["data"]:
            before, after = a["value"], b["value"]
            difference = after - before if is_number(before) and is_number(after) else None
        figures.append(
            {
                "model": key[0],
                "task": key[1],
                "data": some["data"],
                "metric": key[3],
                "unit": some["unit"],
                "first": a and {name: a[name] for name in ("value", "low", "high")},
                "second": b and {name: b[name] for name in ("value", "low", "high")},
                "difference": difference,
                "low": None,
                "high": None,
                "better": some["better"],
            }
        )
    return figures
