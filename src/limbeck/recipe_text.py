"""A recipe as text: TOML with a comment per field, what each field allows in words, the reference page.

Use `limbeck.recipe`, which gives these functions beside the recipe itself.
"""

import json
import textwrap
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from limbeck.recipe_fields import Allowed, Section


def toml_value(value: Any) -> str:
    """A value as TOML (strings as basic strings; JSON's escapes are TOML's, except for U+007F)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return "[" + ", ".join(toml_value(item) for item in value) + "]"
    if isinstance(value, dict):
        pairs = (f"{json.dumps(key, ensure_ascii=False)} = {toml_value(item)}" for key, item in value.items())
        return "{ " + ", ".join(pairs) + " }"
    return str(value)


def allowed(info: FieldInfo) -> str:
    """What a field may be, in words, made of its type and ranges: `a whole number, at least 1`."""
    return _allowed(info.annotation, info.metadata)


def _allowed(annotation: Any, metadata: list[Any]) -> str:
    said = [item.words for item in metadata if isinstance(item, Allowed)]
    if said:
        return str(said[-1])
    origin = get_origin(annotation)
    if origin is Literal:
        return "one of " + ", ".join(get_args(annotation))
    if origin in (Union, UnionType):
        return " or ".join(_allowed(part, []) for part in get_args(annotation) if part is not NoneType)
    if hasattr(annotation, "__metadata__"):
        inner = [part for item in annotation.__metadata__ for part in getattr(item, "metadata", [item])]
        return _allowed(annotation.__origin__, inner + metadata)
    if annotation is bool:
        return "true or false"
    if annotation in (int, float):
        return ("a whole number" if annotation is int else "a number") + _range(metadata)
    assert annotation is str, f"no words for {annotation}"
    return "a text in quotes, not empty"


def _range(metadata: list[Any]) -> str:
    bounds: dict[str, Any] = {}
    for item in metadata:
        for key in ("ge", "gt", "le", "lt"):
            value = getattr(item, key, None)
            if value is not None:
                bounds[key] = value
    if "ge" in bounds and "le" in bounds:
        return f" from {bounds['ge']} to {bounds['le']}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    said = " and ".join(f"{words[key]} {bounds[key]}" for key in ("ge", "gt", "le", "lt") if key in bounds)
    return f" ({said})" if said else ""


def extras(info: FieldInfo) -> dict[str, Any]:
    """What `recipe_fields.field` noted of a field; empty for the tables of a recipe."""
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def fields(section: type[Section]) -> Iterator[tuple[str, FieldInfo]]:
    """The fields of a table that are values (no tables themselves)."""
    for key, info in section.model_fields.items():
        if extras(info):
            yield key, info


def sections_toml(recipe: Section, *, comments: bool, derived: bool) -> str:
    """A recipe as TOML.

    `derived`: also write the values of fields whose default depends on others. Without it they stand there as
    comments, unless they were set.
    """
    lines: list[str] = []
    if comments:
        lines += ["# A Limbeck recipe: one experiment. Every field is explained in docs/recipe.md.", ""]
    lines += _table(recipe, comments, derived)
    for key in type(recipe).model_fields:
        value = getattr(recipe, key)
        if isinstance(value, Section):
            lines += ["", *_heading(f"[{key}]", value, comments), *_table(value, comments, derived)]
        elif isinstance(value, tuple):
            for number, item in enumerate(value):
                said = comments and number == 0
                lines += ["", *_heading(f"[[{key}]]", item, said), *_table(item, said, derived)]
    return "\n".join(lines) + "\n"


def _heading(name: str, section: Section, comments: bool) -> list[str]:
    text = (type(section).__doc__ or "").replace("`", "")
    return [*(_comment(text) if comments else []), name]


def _comment(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 100, initial_indent="# ", subsequent_indent="# ")


def _table(section: Section, comments: bool, derived: bool) -> list[str]:
    lines = []
    for key, info in fields(type(section)):
        value, extra = getattr(section, key), extras(info)
        open_default = "derived" in extra and key not in section.model_fields_set
        written = value is not None and (derived or not open_default)
        if comments:
            default = f" Default: {extra['derived']}." if "derived" in extra and not written else ""
            lines += _comment((info.description or "") + default)
        if written:
            lines.append(f"{key} = {toml_value(value)}")
        elif comments:
            lines.append(f"# {key} = {toml_value(extra['example'])}")
    return lines


def reference(recipe: type[Section], sections: list[tuple[str, type[Section]]]) -> str:
    """The page `docs/recipe.md`: every field, what it may be, its default, whether it affects the result."""
    page = [
        "# The recipe",
        "",
        "<!-- Made from src/limbeck/recipe_*.py by `make docs`; a test checks that it is current. -->",
        "",
        "A recipe is a TOML file that states a whole experiment. `limbeck init` writes one, with a comment",
        "per field; `--set section.field=value` overrides one (`--set teachers.NAME.prior=2` a teacher's);",
        "`limbeck check` finds everything wrong with one before anything runs. Paths start from the recipe's",
        "folder; a model's name with at most one `/` is a hub id, unless it is there, or in the `output` of",
        "a recipe of `[[pretrain]]`. `--set` is for the recipe that is named, not for those in its",
        "`[[pretrain]]`. A run whose recipe has changed in a field that affects the result does not resume.",
        "",
    ]
    page += ["## Top of the file", "", *_reference_table(recipe)]
    for title, section in sections:
        text = " ".join((section.__doc__ or "").split())
        page += ["", f"## `{title}`", "", text, "", *_reference_table(section)]
    return "\n".join(page) + "\n"


_AFFECTS = {True: "yes", False: "no", "contents": "by its contents", "stage": "this stage alone"}


def _reference_table(section: type[Section]) -> list[str]:
    rows = ["| field | is | default | affects the result | meaning |", "|---|---|---|---|---|"]
    for key, info in fields(section):
        extra = extras(info)
        if "derived" in extra:
            default = str(extra["derived"])
        elif info.default is PydanticUndefined:
            default = "required"
        else:
            default = f"`{toml_value(info.default)}`"
        affects = _AFFECTS[extra["affects_result"]]
        cells = [f"`{key}`", allowed(info), default, affects, info.description or ""]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows
