"""The study, or some of its questions; the same command goes on where it was stopped.

    PYTHONPATH=benchmarks python -m study [--quick [--scratch FOLDER]] [QUESTION ...]

Writes a JSON per question to benchmarks/results, and docs/results/study*.md and figures from those files.
The quick setting, a slice of every question, leaves both in FOLDER/quick, by default in
benchmarks/study/scratch. Needs the `bench` and `eval` extras, WordNet 3.0 and the data (LIMBECK_DATA).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from limbeck.errors import Interrupted, UserError
from limbeck.files import atomic_write, check_writable
from limbeck.run import environment

from . import pages
from .jobs import say
from .questions import QUESTIONS
from .setting import DATA, FULL, QUICK, Setting


def main(arguments: Sequence[str] | None = None) -> None:
    """Answers what is asked, in the order of the study."""
    parser = argparse.ArgumentParser(
        prog="study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument("--quick", action="store_true", help="a slice of every question")
    parser.add_argument("--pages", action="store_true", help="only write the pages anew")
    parser.add_argument(
        "--scratch", type=Path, metavar="FOLDER", help="where the quick setting leaves everything"
    )
    parser.add_argument(
        "--without-minilm",
        action="store_true",
        help="leave out MiniLM in `glue` and `cost`: half an hour on two cores",
    )
    given = parser.parse_args(arguments)
    unknown = set(given.questions) - set(QUESTIONS)
    if unknown:
        parser.error(f"no question {', '.join(sorted(unknown))}; there are {', '.join(QUESTIONS)}")
    if given.scratch and not given.quick:
        parser.error("--scratch goes with --quick; the full study keeps its models where its recipes say")
    setting = QUICK if given.quick else FULL
    if given.scratch:
        setting = replace(setting, root=given.scratch.absolute())
    if given.without_minilm:
        setting = replace(setting, big_model=False)
    asked = [name for name in QUESTIONS if not given.questions or name in given.questions]
    try:
        if not given.pages:
            _check(setting)
            for name in asked:
                answer(setting, name)
        pages.write(setting)
    except (KeyboardInterrupt, Interrupted):
        say("stopped; the same command goes on")
        sys.exit(130)
    except UserError as error:
        say(str(error))
        sys.exit(2)


def _check(setting: Setting) -> None:
    """What would otherwise be met late, in one line.

    Raises:
        UserError: no data, or nothing can be written to the scratch folder.
    """
    if not (DATA / "corpus-large").is_dir():
        raise UserError(f"no texts in {DATA}: set LIMBECK_DATA to the data's folder")
    check_writable(_clock(setting, "any"))


def answer(setting: Setting, name: str) -> dict[str, Any]:
    """Does what is missing of a question, and writes its JSON."""
    began = time.perf_counter()
    before = spent_on(setting, name)
    say(f"question {name}")
    try:
        found = QUESTIONS[name].load().answer(setting)
    finally:
        spent = before + time.perf_counter() - began
        clock = _clock(setting, name)
        clock.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(clock, json.dumps(spent))
    result = {"question": name, "setting": setting.name, "seconds": spent} | found
    result["environment"] = environment()
    setting.results.mkdir(parents=True, exist_ok=True)
    file = setting.results / f"study-{name}.json"
    atomic_write(file, json.dumps(result, indent=1) + "\n")
    say(f"wrote {file.name} after {spent / 60:.1f} min")
    return result


def spent_on(setting: Setting, name: str) -> float:
    """Seconds that a question has taken so far, over all sessions."""
    clock = _clock(setting, name)
    return float(json.loads(clock.read_text())) if clock.exists() else 0.0


def _clock(setting: Setting, name: str) -> Path:
    return setting.scratch / "seconds" / f"{name}.json"


if __name__ == "__main__":
    main()
