"""How the report's parts read the files of runs and evaluations: damaged, forbidden, or of another form."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from limbeck.errors import UserError

Json = dict[str, Any]
Made = TypeVar("Made")


class DamagedError(Exception):
    """A file that cannot be read; the message names it."""


def unreadable(error: OSError) -> str:
    """The line for a file or folder that may not be read."""
    return f"{error.filename} cannot be read ({error.strerror}); ask its owner for permission"


def read_json(path: Path) -> Json:
    """What a JSON file holds; {} where there is none.

    Raises:
        DamagedError: it is not a table of JSON. PermissionError: it may not be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise DamagedError(f"{path} is damaged ({str(error).splitlines()[0]})") from error
    if not isinstance(found, dict):
        raise DamagedError(f"{path} is damaged (not a table)")
    return found


def read_table(path: Path, mend: str) -> Json:
    """As `read_json`, where nothing is to be made of a file that cannot be read; mend: what to do then.

    Raises:
        UserError: it is damaged, or may not be read.
    """
    try:
        return read_json(path)
    except DamagedError as error:
        raise UserError(f"{error}; {mend}") from error
    except PermissionError as error:
        raise UserError(unreadable(error)) from error


def in_form(path: Path, make: Callable[[], Made]) -> Made:
    """What `make` makes of a result that it takes to be in the documented form.

    Raises:
        UserError: it is not: another version wrote it, or somebody changed it.
    """
    try:
        return make()
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise UserError(
            f"{path} is not in the form of docs/results-schema.md ({type(error).__name__}: {error}); was it "
            "written by another version of Limbeck, or changed?"
        ) from error
