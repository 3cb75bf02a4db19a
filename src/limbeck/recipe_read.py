"""From a recipe's file to plain tables: TOML, overrides, paths. Use `limbeck.recipe`."""

import glob
import os
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limbeck.errors import UserError
from limbeck.recipe_gloss import WORDNET_EXAMPLES


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        UserError: no such file, not readable, not UTF-8, not TOML (with the line).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read the recipe {path}: {error.strerror}; `limbeck init` writes a new one"
        ) from error
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path} is no recipe: line {line} is not UTF-8 text") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(
            f"{path} is not TOML: {error}; `limbeck init` shows how a recipe is written"
        ) from error


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> list[str]:
    """Sets `section.field=value` in `data` for each override, in order; gives a line for each that is wrong.

    A teacher is named by its name or its number: `teachers.fiction.prior=2`, `teachers.0.prior=2`. The value
    is read as TOML, or else as a plain text.
    """
    problems = []
    for override in overrides:
        name, equals, text = override.partition("=")
        keys = name.strip().split(".")
        if not equals or not all(keys):
            problems.append(f'--set "{override}": must be field=value or section.field=value')
            continue
        problem = _set(data, keys, _value(text.strip()))
        if problem:
            problems.append(f'--set "{override}": {problem}')
    return problems


def _value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if len(parsed) == 1 else text


def _set(data: dict[str, Any], keys: list[str], value: Any) -> str | None:
    table: Any = data
    if keys[0] == "teachers" and len(keys) > 1:
        teachers = data.get("teachers", [])
        tables = [item for item in teachers if isinstance(item, dict)] if isinstance(teachers, list) else []
        found = [item for number, item in enumerate(tables) if keys[1] in (item.get("name"), str(number))]
        if not found:
            names = (
                ", ".join(str(item.get("name", number)) for number, item in enumerate(tables))
                or "none at all"
            )
            return f"there is no teacher {keys[1]}; there are: {names}"
        table, keys = found[0], keys[2:]
    elif len(keys) > 1:
        table, keys = data.setdefault(keys[0], {}), keys[1:]
    if len(keys) != 1 or not isinstance(table, dict):
        return "there is no such field; a field is named section.field, or teachers.NAME.field"
    table[keys[0]] = value
    return None


def absolute_paths(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The tables of a valid recipe with every relative path in them joined to `folder`."""
    text, student, gloss = data["text"] and dict(data["text"]), dict(data["student"]), data["gloss"]
    made = _made([one["recipe"] for one in data["pretrain"]], folder, {_join(folder, data["output"])}, set())
    for key in ("train", "valid"):
        if text is not None:
            text[key] = tuple(_text_path(item, folder) for item in text[key])
    for key in ("init", "tokenizer"):
        student[key] = student[key] and _model_path(student[key], folder, made)
    teachers = tuple(
        {**teacher, "model": _model_path(teacher["model"], folder, made)} for teacher in data["teachers"]
    )
    output = _join(folder, data["output"])
    gloss = gloss and _gloss(gloss, folder, made)
    distill = {**data["distill"], "store": _join(folder, data["distill"]["store"])}
    pretrain = tuple({**one, "recipe": _join(folder, one["recipe"])} for one in data["pretrain"])
    tables = {"text": text, "student": student, "teachers": teachers, "distill": distill, "gloss": gloss}
    tables |= {"pretrain": pretrain, "eval": _eval(data["eval"], folder, made)}
    return {**data, **tables, "output": output}


def _eval(table: dict[str, Any], folder: Path, made: set[str]) -> dict[str, Any]:
    """Data, text and the models beside."""
    table = dict(table)
    if table["text"] is not None:
        table["text"] = tuple(_text_path(name, folder) for name in table["text"])
    if table["beside"] is not None:
        table["beside"] = tuple(_model_path(name, folder, made) for name in table["beside"])
    for key in ("wsd", "glue", "paraphrase"):
        if table[key] is not None and table[key] != "hub" and not table[key].startswith("hf:"):
            table[key] = _join(folder, table[key])
    return table


def _gloss(table: dict[str, Any], folder: Path, made: set[str]) -> dict[str, Any]:
    """Data files, the model and the lexicon's folder."""
    table = dict(table)
    for key in ("train", "valid"):
        if table[key] is not None:
            table[key] = tuple(n if n in WORDNET_EXAMPLES else _join(folder, n) for n in table[key])
    table["init"] = table["init"] and _model_path(table["init"], folder, made)
    if table["lexicon"] != "wordnet" and not table["lexicon"].startswith("wn:"):
        table["lexicon"] = _join(folder, table["lexicon"])
    return table


def _join(folder: Path, name: str) -> str:
    return os.path.normpath(folder / Path(name).expanduser())


def _text_path(name: str, folder: Path) -> str:
    if name.startswith(("wordnet:", "hf:")) or "://" in name:
        return name
    if glob.has_magic(name) and not os.path.isabs(Path(name).expanduser()):
        return os.path.join(glob.escape(str(folder)), name)
    return _join(folder, name)


def _model_path(name: str, folder: Path, made: set[str]) -> str:
    """A path if it is written as one, stands in `folder` or is in a run of `made`; else a hub id.

    A hub id has one `/` at most.
    """
    if name.startswith(("teacher:", "train:")):
        return name
    written_as_path = name.startswith((".", "~")) or os.path.isabs(name) or name.count("/") > 1
    path = _join(folder, name)
    will_be = any(Path(path).is_relative_to(run) for run in made)
    return path if written_as_path or will_be or (folder / name).exists() else name


def _made(recipes: Sequence[str], folder: Path, runs: set[str], seen: set[str]) -> set[str]:
    """`runs`, and the run directories of recipes and of those before them, whether they are there or not.

    What is wrong with such a recipe is told when it is loaded itself.
    """
    for path in (_join(folder, name) for name in recipes):
        if path in seen:
            continue
        seen.add(path)
        try:
            data = read_toml(Path(path))
        except UserError:
            continue
        inner = Path(path).resolve().parent
        output = data.get("output", f"runs/{data.get('name')}")
        if isinstance(output, str):
            runs.add(_join(inner, output))
        before = data.get("pretrain")
        tables = [one for one in before if isinstance(one, dict)] if isinstance(before, list) else []
        _made([str(one["recipe"]) for one in tables if "recipe" in one], inner, runs, seen)
    return runs
