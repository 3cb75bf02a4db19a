"""What is wrong with a recipe, a line each: the place, the value, what is allowed. Use `limbeck.recipe`."""

import difflib
import re
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from limbeck.recipe_distill import DistillSection
from limbeck.recipe_fields import (
    Section,
    StudentSection,
    TeacherSection,
    TextSection,
    TrainSection,
)
from limbeck.recipe_gloss import GlossSection
from limbeck.recipe_stages import EvalSection, PretrainSection, ReportSection
from limbeck.recipe_text import allowed, fields, toml_value

SECTIONS: dict[str, type[Section]] = {
    "text": TextSection,
    "student": StudentSection,
    "teachers": TeacherSection,
    "distill": DistillSection,
    "train": TrainSection,
    "eval": EvalSection,
    "gloss": GlossSection,
    "report": ReportSection,
    "pretrain": PretrainSection,
}
"""The tables that contradictions are looked for in, or another table's field may belong to."""

SEVERAL = ("teachers", "pretrain")
"""Those that a recipe may have several of, each headed by the name in two brackets."""

TOKENIZER_SPEC = re.compile(
    r"train:(wordpiece|bpe|unigram|sentencepiece-bpe):(\d+)(:cased|:uncased)?", re.ASCII
)
TOKENIZER_SIZES = range(300, 1_000_001)

Place = tuple[str | int, ...]
Value = Callable[[str], Any]


def describe(
    error: ValidationError, data: dict[str, Any], recipe: type[Section]
) -> tuple[list[str], frozenset[Place]]:
    """Lines for all that pydantic found, one per field, and the places that are wrong.

    A field of a table has the place `("train", "steps")`, one of a teacher `("teachers", 0, "prior")`.
    """
    lines: dict[Place, list[str]] = {}
    for found in error.errors(include_url=False):
        kind, place = found["type"], _field_of(found["loc"])
        if kind == "contradiction":
            return str(found["ctx"]["problems"]).split("\n"), frozenset()
        if kind != "default_factory_not_called" and place not in lines:
            lines[place] = list(_line(kind, place, data, recipe))
    return [line for some in lines.values() for line in some], frozenset(lines)


def _field_of(place: Place) -> Place:
    """The place cut after the field: what follows it are members of a list and branches of a union."""
    return place[:3] if place and place[0] in SEVERAL else place[:2]


def _line(kind: str, place: Place, data: dict[str, Any], recipe: type[Section]) -> Iterator[str]:
    section = _section(place, recipe)
    value = reduce(_at, place, data)
    where = _where(place, data)
    if kind == "extra_forbidden":
        yield f"{where}{_shown(value)}: unknown; {_suggestion(place, section, recipe)}"
    elif section is None:
        yield f"{where}{_shown(value)}: must be {_table_words(place)}"
    else:
        words = allowed(section.model_fields[str(place[-1])])
        yield (
            f"{where}: missing; it must be {words}"
            if kind == "missing"
            else f"{where}{_shown(value)}: must be {words}"
        )


def _at(table: Any, key: str | int) -> Any:
    found = isinstance(table, list) or key in table
    return table[key] if found else PydanticUndefined


def _section(place: Place, recipe: type[Section]) -> type[Section] | None:
    """The table that the last key of `place` is a field of; None where the place is a table itself."""
    *parents, last = place
    if not parents:
        return recipe if last not in SECTIONS else None
    if len(parents) == 1 and parents[0] in SEVERAL:
        return None
    return SECTIONS[str(parents[0])]


def _table_words(place: Place) -> str:
    return f"tables, each headed [[{place[0]}]]" if place[0] in SEVERAL else f"a table, headed [{place[0]}]"


def _where(place: Place, data: dict[str, Any]) -> str:
    """The place as it is headed in the file: `[train] steps`, `[[teachers]] "fiction" prior`."""
    if place[0] in SEVERAL and len(place) > 1:
        table = data[str(place[0])][place[1]]
        name = table.get("name") if isinstance(table, dict) else None
        called = f'"{name}"' if isinstance(name, str) else f"number {int(place[1]) + 1}"
        return " ".join([f"[[{place[0]}]]", called, *map(str, place[2:])])
    return f"[{place[0]}] {place[1]}" if len(place) > 1 else str(place[0])


def _shown(value: Any) -> str:
    text = toml_value(value)
    return " = " + (text if len(text) <= 60 else text[:57] + "...")


def _suggestion(place: Place, section: type[Section] | None, recipe: type[Section]) -> str:
    key = str(place[-1])
    own = list((section or recipe).model_fields)
    near = difflib.get_close_matches(key, own, 1)
    if near:
        return f"did you mean {near[0]}?"
    owners = [name for name, other in SECTIONS.items() if key in other.model_fields]
    if key in recipe.model_fields and section is not recipe:
        return "it belongs at the top of the file"
    if owners:
        heading = f"[[{owners[0]}]]" if owners[0] in SEVERAL else f"[{owners[0]}]"
        return f"it belongs in {heading}"
    return "there is " + ", ".join(own)


def contradictions(data: dict[str, Any], bad: frozenset[Place]) -> list[str]:
    """Fields that do not fit together, a line each; nothing is said of fields at the places in `bad`."""
    problems: list[str] = []
    for check in (_no_text, _text, _student, _teacher_names, _teachers, _train, _gloss, _eval):
        problems += check(data, bad)
    return problems


def _reader(section: str, data: dict[str, Any], bad: frozenset[Place]) -> Value:
    """A function from a field's name to its value: as given, or its plain default; None if it is wrong."""
    table = data.get(section, {})
    wrong = (section,) in bad or not isinstance(table, dict)

    def value(key: str) -> Any:
        if wrong or (section, key) in bad:
            return None
        default = SECTIONS[section].model_fields[key].default
        return table.get(key, None if default is PydanticUndefined else default)

    return value


def _no_text(data: dict[str, Any], bad: frozenset[Place]) -> Iterator[str]:
    """Only a recipe that trains on glosses alone, from a model that is there already, needs no text."""
    gloss = data.get("gloss")
    if data.get("text") is not None or {("text",), ("gloss",), ("gloss", "init")} & bad:
        return
    if isinstance(gloss, dict) and gloss.get("init"):
        return
    for key, info in fields(TextSection):
        if info.is_required():
            yield f"[text] {key}: missing; it must be {allowed(info)}"


def _text(data: dict[str, Any], bad: frozenset[Place]) -> Iterator[str]:
    value = _reader("text", data, bad)
    words, least = value("words"), value("min_words")
    if words and least and least > words:
        yield f"[text] min_words = {least}: must be at most words, {words}"


def _student(data: dict[str, Any], bad: frozenset[Place]) -> Iterator[str]:
    value = _reader("student", data, bad)
    init, layers, tokenizer = value("init"), value("layers"), value("tokenizer")
    if init:
        for key in ("family", "hidden", "heads", "intermediate"):
            if value(key) is not None:
                yield f"[student] {key}{_shown(value(key))}: does not go with init; leave out one of them"
        if isinstance(layers, int):
            yield f"[student] layers = {layers}: with init it must be a list of layers, such as [0, 2, 4]"
        if tokenizer:
            yield f"[student] tokenizer{_shown(tokenizer)}: with init it is that model's own; leave it out"
    elif isinstance(layers, list | tuple):
        yield f"[student] layers{_shown(layers)}: must be a number of layers; a list takes them from init"
    hidden, heads = value("hidden"), value("heads")
    if hidden and heads and hidden % heads:
        yield f"[student] heads = {heads}: must divide hidden, {hidden}"
    spec = TOKENIZER_SPEC.fullmatch(tokenizer or "")
    if tokenizer and tokenizer.startswith("train:") and not (spec and int(spec[2]) in TOKENIZER_SIZES):
        yield (
            f"[student] tokenizer{_shown(tokenizer)}: must be train:KIND:SIZE, train:KIND:SIZE:cased or "
            "train:KIND:SIZE:uncased; KIND wordpiece, bpe, unigram or sentencepiece-bpe; SIZE 300 to 1000000"
        )


def _teacher_tables(data: dict[str, Any], bad: frozenset[Place]) -> list[dict[str, Any]] | None:
    """The teachers, if all of them are tables with a good name."""
    teachers = data.get("teachers", ())
    if ("teachers",) in bad or any(len(place) == 2 and place[0] == "teachers" for place in bad):
        return None
    named = all(("teachers", number, "name") not in bad for number in range(len(teachers)))
    return list(teachers) if named else None


def _teacher_names(data: dict[str, Any], bad: frozenset[Place]) -> Iterator[str]:
    teachers = _teacher_tables(data, bad)
    if teachers is None:
        return
    names = [teacher["name"] for teacher in teachers]
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            yield f'[[teachers]] name = "{name}": {names.count(name)} teachers have it; give each its own'
    value = _reader("student", data, bad)
    for key in ("init", "tokenizer"):
        kind, _, name = (value(key) or "").partition(":")
        if kind == "teacher" and name not in names:
            there = ", ".join(names) or "none at all"
            yield f'[student] {key} = "teacher:{name}": there is no such teacher; there are: {there}'


def _teachers(data: dict[str, Any], bad: frozenset[Place]) -> Iterator[str]:
    teachers = _teacher_tables(data, bad)
    if not teachers:
        return
    if not any(place[0] == "teachers" and place[-1] == "prior" for place in bad) and not any(
        teacher.get("prior", 1.0) for teacher in teachers
    ):
        yield "[[teachers]] prior: the priors sum to 0; give at least one teacher a prior above 0"
    for number, teacher in enumerate(teachers):
        good = not {("teachers", number, "precision"), ("teachers", number, "device")} & bad
        if good and teacher.get("precision") == "f16" and teacher.get("device") == "cpu":
            yield f'[[teachers]] "{teacher["name"]}" precision = "f16": needs a GPU; use bf16 or f32 on a CPU'


def _train(data: dict[str, Any], bad: frozenset[Place]) -> Iterator[str]:
    value = _reader("train", data, bad)
    batch, micro = value("batch"), value("micro_batch")
    if batch and micro and micro > batch:
        yield f"[train] micro_batch = {micro}: must be at most batch, {batch}"
    if value("precision") == "f16" and value("device") == "cpu":
        yield '[train] precision = "f16": needs a GPU; use bf16 or f32 on a CPU'


def _gloss(data: dict[str, Any], bad: frozenset[Place]) -> Iterator[str]:
    value = _reader("gloss", data, bad)
    if value("cohesive"):
        if value("masked") is False:
            yield "[gloss] cohesive = true: the teachers teach masked words; it needs masked = true"
        if not data.get("teachers") and ("teachers",) not in bad:
            yield "[gloss] cohesive = true: there is no teacher; add [[teachers]], or leave it out"
    if value("precision") == "f16" and value("device") == "cpu":
        yield '[gloss] precision = "f16": needs a GPU; use bf16 or f32 on a CPU'


def _eval(data: dict[str, Any], bad: frozenset[Place]) -> Iterator[str]:
    value = _reader("eval", data, bad)
    glossed = data.get("gloss") is not None or ("gloss",) in bad or value("beside")
    if "wsd" in (value("tasks") or ()) and not glossed:
        yield '[eval] tasks: "wsd" needs a model with a gloss head; add [gloss], or name one in beside'
    seeds = value("seeds") or ()
    if len(set(seeds)) < len(seeds):
        yield f"[eval] seeds{_shown(seeds)}: must differ"
