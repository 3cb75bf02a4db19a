"""Speed and memory of a step of distillation, against plain training and the usual way; preparation of text.

    python benchmarks/step.py [--rounds 9]

writes benchmarks/results/step.json, and from that docs/results/step.md. Run it on an otherwise idle machine.
The variants take turns in one process; peak memory is measured with one process per variant. Needs the
`bench` extra and the text of LIMBECK_DATA (its folder corpus-small).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from step_measure import KEEP_MEMORY, SMALL_PAGES, isolated, memory, parts, speed
from step_page import page
from step_setting import OTHER, SAME, Made, Setting
from step_text import preparation
from step_variants import VARIANTS

from limbeck.run import environment

ROOT = Path(__file__).resolve().parents[1]
LEAST_SPEED, MOST_MEMORY, LEAST_WORDS = 3.0, 0.40, 150_000
MEMORY_STEPS = 4  # the peak is not in the first step, before which there are no moments
PRECISIONS = ("bf16", "f32")


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9, help="turns that every variant takes (default 9)")
    parser.add_argument("--steps", type=int, default=4, help="steps of a turn")
    parser.add_argument("--parts-steps", type=int, default=24, help="steps whose parts are timed")
    parser.add_argument("--text-rounds", type=int, default=3, help="times that the text is prepared")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--threads", type=int, default=2, help="CPU threads, and processes that prepare text")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "results" / "step.json")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results" / "step.md")
    return parser.parse_args(arguments)


def measure(setting: Setting, given: argparse.Namespace) -> dict[str, Any]:
    """Everything, as it stands in the JSON."""
    say("tokenizers, text")
    result: dict[str, Any] = {
        "benchmark": "step",
        "environment": environment(),
        "setting": setting.public() | {"rounds": given.rounds, "steps": given.steps},
        "batches": isolated(describe, setting),
    }
    for section in ("speed", "speed_memory_kept", "memory", "parts"):
        result[section] = {}
    for precision in given.precisions:
        say(f"{precision}: speed")
        arguments = speed, setting, precision, given.rounds, given.steps
        result["speed"][precision] = isolated(*arguments, environment=SMALL_PAGES)
        kept = SMALL_PAGES | KEEP_MEMORY
        result["speed_memory_kept"][precision] = isolated(*arguments, environment=kept)
        say(f"{precision}: memory")
        used = {
            name: isolated(memory, setting, precision, name, MEMORY_STEPS, environment=SMALL_PAGES)
            for name in VARIANTS
        }
        result["memory"][precision] = used
        say(f"{precision}: parts")
        result["parts"][precision] = {
            name: isolated(parts, setting, precision, which, given.parts_steps)
            for name, which in (("online", SAME), ("online_other", OTHER))
        }
    say("preparing text")
    result["text"] = preparation(setting, given.text_rounds)
    result["targets"] = targets(result)
    return result


def describe(setting: Setting) -> dict[str, Any]:
    """What the batches hold; a process of its own leaves the memory of this one as it is."""
    return Made(setting).describe()


def targets(result: dict[str, Any]) -> list[dict[str, Any]]:
    """What was wanted, what came out."""
    found = []
    for precision, measured in result["speed"].items():
        ratio = measured["ratios"]["online / usual"]["median"]
        found.append(_target(f"speed of online / usual, {precision}", "at least", LEAST_SPEED, ratio))
    for precision, used in result["memory"].items():
        share = used["online"]["over"] / used["usual"]["over"]
        found.append(_target(f"peak memory of online / usual, {precision}", "at most", MOST_MEMORY, share))
    rate = result["text"]["words_per_second"]["median"]
    found.append(_target("words/s of preparing text", "at least", LEAST_WORDS, rate))
    return found


def _target(what: str, sense: str, wanted: float, measured: float) -> dict[str, Any]:
    met = measured >= wanted if sense == "at least" else measured <= wanted
    return {"what": what, "sense": sense, "wanted": wanted, "measured": measured, "met": met}


def say(what: str) -> None:
    """Progress, on stderr."""
    print(f"step: {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None, setting: Setting | None = None) -> None:
    """Measures, writes both files."""
    given = options(arguments)
    result = measure(setting or Setting(threads=given.threads), given)
    for path, content in ((given.json, json.dumps(result, indent=1) + "\n"), (given.page, page(result))):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    for target in result["targets"]:
        say(f"{'met' if target['met'] else 'MISSED'}: {target['what']} {target['measured']:.4g}")


if __name__ == "__main__":
    main()
