"""The tables of `limbeck ls` and `limbeck diff`."""

from collections.abc import Iterator, Mapping
from typing import Any

from limbeck.tables import Table, number
from limbeck.tables_pipeline import interval

Found = Mapping[str, Any]


def catalogue_tables(found: Found) -> Iterator[Table]:
    """What `ls` shows: a row per run."""
    from limbeck.training.progress import duration

    rows = [
        [
            one["path"],
            one["kind"] or "–",
            _state(one),
            one["result"] or "–",
            number(one["parameters"]),
            "–" if one["seconds"] is None else duration(one["seconds"]),
            one["date"] or "–",
        ]
        for one in found["runs"]
    ]
    columns = ["run", "kind", "state", "result", "parameters", "training", "changed (UTC)"]
    yield str(found["folder"]), columns, rows
    problems = [one["problem"] for one in found["runs"] if one["problem"]] + found["unreadable"]
    if problems:
        yield "Damaged or not readable", [], [[f"{place}.", line] for place, line in enumerate(problems, 1)]


def _state(one: Found) -> str:
    step, steps = one["step"], one["steps"]
    if one["state"] == "finished":
        return f"finished, {number(steps)} steps" if steps else "finished"
    if step is None:
        return str(one["state"])
    at = f"step {number(step)}" + (f" of {number(steps)}" if steps else "")
    return f"{one['state']} at {at}"


def comparison_tables(found: Found) -> Iterator[Table]:
    """What `diff` shows: results side by side, and every field that differs."""
    first, second = (f"{one['path']} ({one['state']})" for one in found["runs"])
    rows = [
        [
            " ".join(filter(None, (row["model"], row["metric"]))),
            _data(row),
            _figure(row, row["first"]),
            _figure(row, row["second"]),
            _difference(row),
        ]
        for row in found["results"]
    ]
    if rows:
        yield "Results", ["", "on", first, second, "difference"], rows
    for name, title in (
        ("recipe", "Recipe"),
        ("data", "Text and models, by their contents"),
        ("environment", "Environment"),
    ):
        lines = [
            [row["name"] + (" *" if row.get("affects") else ""), _value(row["first"]), _value(row["second"])]
            for row in found[name]
        ]
        starred = ", * where it affects the result" if name == "recipe" else ""
        if lines:
            yield f"{title}{starred}", ["", first, second], lines
        else:
            yield title, [], [["no difference", ""]]
    if found["notes"]:
        yield "Notes", [], [[f"{place}.", note] for place, note in enumerate(found["notes"], 1)]


def _data(row: Found) -> str:
    """What a figure was measured on, shortened; of masked words which ones they are, that is its end."""
    data = str(row["data"])
    shown = data.rpartition(": ")[2] if row["task"] == "mlm" else data
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "–" if value is None else str(value)


def _form(row: Found) -> str:
    """Fine for nats and shares, whole for counts."""
    return ",.0f" if row["unit"] in ("count", "bytes", "per second") else ",.4f"


def _figure(row: Found, side: Any) -> str:
    return "–" if side is None else interval(side["value"], (side["low"], side["high"]), _form(row))


def _difference(row: Found) -> str:
    return interval(row["difference"], (row["low"], row["high"]), f"+{_form(row)}")
