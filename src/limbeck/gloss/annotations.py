"""A user's own sense annotations: JSON Lines, an instance on each line (docs/wsd.md)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.files import atomic_write
from limbeck.gloss.instance import POS, Instance
from limbeck.gloss.keys import lines

MOST_SHOWN = 20
"""So many bad lines at most are shown; the rest are counted."""

_TYPES: dict[str, type] = {
    "id": str,
    "context": str,
    "start": int,
    "end": int,
    "lemma": str,
    "pos": str,
    "gold": list,
}
_HALF = re.compile("[\ud800-\udfff]")
_NEEDED = ("context", "start", "end")


def read_jsonl(path: Path) -> Iterator[Instance]:
    """The instances of a JSONL file, streamed; packed (.xz, .gz) too.

    Fields: `context`, `start`, `end`; may be left out: `id` (the line's number), `lemma` (every base form of
    the target counts), `pos` (all compete), `gold` (a list of sense keys).

    Raises:
        UserError: a file that cannot be read or has no instance; as soon as one line is bad, one line for
            each bad one.
    """
    ids: set[str] = set()
    for number, line in lines(path):
        instance = _instance(line, number, ids)
        if isinstance(instance, str):
            raise UserError("\n".join(_problems(path)))
        yield instance
    if not ids:
        raise UserError(f"{path} is empty; give it an instance on each line, as docs/wsd.md tells")


def write_jsonl(path: Path, instances: Iterable[Instance]) -> None:
    """Writes instances so that `read_jsonl` reads the same; the file is whole or absent.

    Raises:
        UserError: the file cannot be written.
    """
    rows = []
    for instance in instances:
        row: dict[str, Any] = {
            "id": instance.id,
            "context": instance.context,
            "start": instance.start,
            "end": instance.end,
        }
        if instance.lemma:
            row["lemma"] = instance.lemma
        if instance.pos is not None:
            row["pos"] = instance.pos
        if instance.gold:
            row["gold"] = list(instance.gold)
        rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    atomic_write(path, "".join(rows))


def _problems(path: Path) -> list[str]:
    """One line for each bad line of the file, the first of them in full."""
    ids: set[str] = set()
    found = [
        f"{path}, line {number}: {problem}"
        for number, line in lines(path)
        if isinstance(problem := _instance(line, number, ids), str)
    ]
    more = len(found) - MOST_SHOWN
    return found[:MOST_SHOWN] + ([f"{path}: {more:,} more such lines"] if more > 0 else [])


def _instance(line: str, number: int, ids: set[str]) -> Instance | str:
    """The instance of a line, whose id is added to `ids`; or what is wrong with the line."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # a number of too many digits is a plain ValueError
        return f"this is no JSON ({error}); write one object on each line"
    if not isinstance(row, dict):
        return "this is no JSON object; write {...} with the fields context, start, end"
    if problem := _fields(row):
        return problem
    context, start, end = row["context"], row["start"], row["end"]
    if not 0 <= start < end <= len(context):
        return f"start {start} and end {end} are no part of a context of {len(context)} characters"
    if _HALF.search(context):
        return "the context has half of a character in it (a lone surrogate); write the whole character"
    if not context[start:end].strip():
        return f"the target from {start} to {end} is white space; move start and end"
    pos, name = row.get("pos"), row.get("id", str(number))
    if pos is not None and pos not in POS:
        return f"pos is {pos!r}; it must be one of {', '.join(POS)}, or left out"
    if name in ids:
        return f"the id {name!r} stands on an earlier line too; give each its own"
    ids.add(name)
    lemma = " ".join(row.get("lemma", "").replace("_", " ").split())
    gold = tuple(dict.fromkeys(row.get("gold", ())))
    return Instance(name, context, start, end, lemma, pos, gold)


def _fields(row: dict[str, Any]) -> str | None:
    """What is wrong with the fields as such."""
    if lacking := [name for name in _NEEDED if name not in row]:
        return f"{' and '.join(lacking)} lacking; an instance needs {', '.join(_NEEDED)}"
    if unknown := [name for name in row if name not in _TYPES]:
        return f"unknown field {unknown[0]!r}; the fields are {', '.join(_TYPES)}"
    for name, value in row.items():
        kind = _TYPES[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            words = {str: "text", int: "a whole number", list: "a list of sense keys"}
            return f"{name} is {value!r:.40}; it must be {words[kind]}"
    for name, values in (("id", [row.get("id", "-")]), ("gold", row.get("gold", ()))):
        for value in values:
            if not isinstance(value, str) or value.split() != [value]:
                return f"{name} has {value!r:.40}; it must be text without white space"
    return None
