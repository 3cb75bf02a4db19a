"""Whether a folder is a run's to go on with: whose files it holds, and made with which settings."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from limbeck.errors import ChangedRun, UserError
from limbeck.files import half_written

STEPS = ("train.steps", "gloss.steps")
"""The affecting fields that may grow on a resume (`--extend`); a run has one of them."""

LATER = ("gloss", "eval", "report", "report.md", "report.html", "report.json", "leave_one_out.json")
WITHOUT = "without-"
"""What stages after a training leave in its run directory, also where the training is taken away."""


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Fields whose values differ or that only one of the two has, each with both values, sorted."""
    lines = []
    for name in sorted(old.keys() | new.keys()):
        before, after = old.get(name), new.get(name)
        if before != after or (name in old) != (name in new):
            lines.append(f"{name} (was {json.dumps(before)}, now {json.dumps(after)})")
    return lines


def check_folder(folder: Path, affecting: Mapping[str, object], *, extend: bool = False) -> None:
    """Refuses a folder that `Run.open` would refuse, before any text is read or model loaded.

    `affecting`: the recipe's own fields; what a run adds to them from text and models, marked by a
    parenthesis behind the name, is compared by `Run.open`.

    Raises:
        UserError: the folder is another program's, or holds a run with other settings.
    """
    if not folder.is_dir():
        return
    record = folder / "affecting.json"
    if not record.exists():
        check_ours(folder)
        return
    old = {name: value for name, value in json.loads(record.read_text()).items() if not name.endswith(")")}
    check_same(folder, old, json.loads(json.dumps(affecting)), extend)


def check_ours(folder: Path, besides: Sequence[str] = ()) -> None:
    """Refuses a folder without a run that holds what neither a run nor `besides` leaves."""
    ours = {".lock", "log.txt", *LATER, *besides, *(path.name for path in half_written(folder))}
    names = sorted(path.name for path in folder.iterdir())
    if foreign := [name for name in names if name not in ours and not name.startswith(WITHOUT)]:
        what = "which no run leaves" if besides else "but no run of limbeck"
        raise UserError(f"{folder} holds {foreign[0]} {what}; choose a new or an empty folder")


def check_same(folder: Path, old: dict[str, Any], new: dict[str, Any], extend: bool) -> None:
    """Refuses other settings than the run has (`old`), but for more steps where it is extended."""
    changed = differences(old, new)
    steps = next((name for name in STEPS if name in new), STEPS[0])
    before, now = old.get(steps, 0), new.get(steps, 0)
    if extend and now >= before:
        changed = [line for line in changed if line.split(" ", 1)[0] != steps]
    if not changed:
        return
    only_steps = len(changed) == 1 and changed[0].startswith(f"{steps} ")
    mend = "set it back, or choose another run directory"
    if only_steps and not extend and now > before:
        mend = f"to train on, set {steps} back to {before} and add --extend {now - before}"
    raise ChangedRun(f"{folder} holds a run with other settings: {'; '.join(changed)}; {mend}")
