"""The study, or some of its questions; the same command goes on where it was stopped.

    PYTHONPATH=benchmarks python -m study [--quick] [QUESTION ...]

Writes a JSON per question to benchmarks/results, and docs/results/study*.md and figures from those files.
The quick setting, a slice of every question, leaves both in benchmarks/study/scratch/quick. Needs the `bench`
extra, WordNet 3.0 and the data (LIMBECK_DATA).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from limbeck.errors import Interrupted, UserError
from limbeck.files import atomic_write
from limbeck.run import environment

from . import pages
from .jobs import say
from .setting import FULL, QUICK, Setting

QUESTIONS = ("convergence", "pays", "words", "lexical", "glue", "paraphrase", "wsd", "cost")


def main(arguments: Sequence[str] | None = None) -> None:
    """Answers what is asked, in the order of the study."""
    parser = argparse.ArgumentParser(
        prog="study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=", ".join(QUESTIONS))
    parser.add_argument("--quick", action="store_true", help="a slice of every question")
    parser.add_argument("--pages", action="store_true", help="only write the pages anew")
    given = parser.parse_args(arguments)
    unknown = set(given.questions) - set(QUESTIONS)
    if unknown:
        parser.error(f"no question {', '.join(sorted(unknown))}; there are {', '.join(QUESTIONS)}")
    setting = QUICK if given.quick else FULL
    try:
        for name in QUESTIONS if not given.pages else ():
            if not given.questions or name in given.questions:
                answer(setting, name)
        pages.write(setting)
    except (KeyboardInterrupt, Interrupted):
        say("stopped; the same command goes on")
        sys.exit(130)
    except UserError as error:
        sys.exit(f"study: {error}")


def answer(setting: Setting, name: str) -> dict[str, Any]:
    """Does what is missing of a question, and writes its JSON."""
    began = time.perf_counter()
    clock = setting.scratch / "seconds" / f"{name}.json"
    before = json.loads(clock.read_text()) if clock.exists() else 0.0
    say(f"question {name}")
    try:
        found = import_module(f"{__package__}.{name}").answer(setting)
    finally:
        spent = before + time.perf_counter() - began
        clock.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(clock, json.dumps(spent))
    result = {"question": name, "setting": setting.name, "seconds": spent} | found
    result["environment"] = environment()
    setting.results.mkdir(parents=True, exist_ok=True)
    file = setting.results / f"study-{name}.json"
    atomic_write(file, json.dumps(result, indent=1) + "\n")
    say(f"wrote {file.name} after {spent / 60:.1f} min")
    return result


if __name__ == "__main__":
    main()
