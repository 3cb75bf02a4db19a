"""Writes docs/results/wsd.md from wsd.json, gloss.json and wsd-notes.md in benchmarks/results.

What is not measured yet is said, with the command that measures it.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gloss_page import machine, section
from step_page import _fill, _table
from wsd_tables import by_part, by_set, compared, cost, f1s, nats

from limbeck.files import atomic_write
from limbeck.tasks.wsd_sets import ALL

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
Row = dict[str, Any]

SOURCE = """Written by `benchmarks/wsd_page.py` from `wsd.json` (`benchmarks/wsd.py`) and `gloss.json`
    (`benchmarks/gloss.py`) in `benchmarks/results/`; not to be edited. Data, protocol and score are those of
    [wsd.md](../wsd.md): F1 in % by the official rule, candidates of the gold part of speech, single models.
    SemEval-2007 (dev) chose the checkpoints, so its F1 is no test; ALL holds it, by the field's habit."""
F1_AIM, WITHIN = 0.75, 0.005
HEADINGS = {
    "minilm": "## What learns the senses",
    "student": "## What it costs the language model",
}


def page(study: Row | None, speed: Row | None, notes: str = "") -> str:
    """The page, from the two results (None: not measured) and what there is to say of them."""
    groups: list[Row] = [] if study is None else study["groups"]
    parts = ["# Word sense disambiguation", _fill(SOURCE), _aims(groups, speed)]
    for name, heading in HEADINGS.items():
        here = [SECTIONS[name](group) for group in groups if group["name"] == name]
        parts += [heading, *(here or [_absent(f"wsd.py --only {name}")])]
    parts += ["## Speed", _absent("gloss.py") if speed is None else section(speed)]
    return "\n\n".join([*parts, *([notes.strip()] if notes else [])]) + "\n"


def _absent(script: str) -> str:
    return f"Not measured yet: `python benchmarks/{script}`."


def _aims(groups: Sequence[Row], speed: Row | None) -> str:
    rows = [*_speed_aims(speed), *(row for g in groups if g["name"] == "minilm" for row in _f1_aims(g))]
    return "## Aims\n\n" + (
        _table(["", "wanted", "measured", "met"], rows) if rows else "Nothing measured yet."
    )


def _speed_aims(speed: Row | None) -> Iterator[list[str]]:
    for target in [] if speed is None else speed["targets"]:
        figures = f"at least {target['wanted']:g} ×", f"{target['measured']:.2f} ×"
        yield [target["what"], *figures, _met(target["met"])]


def _f1_aims(group: Row) -> Iterator[list[str]]:
    label = _part(group["setting"])
    if seeds := group["comparisons"].get("packed - choice"):
        mean = statistics.mean(one["f1_difference"] for one in seeds.values())
        what = f"F1 of `choice` packed less pairs layout, {label}"
        yield [what, "at least −0.5", f"{100 * mean:+.2f}", _met(mean >= -WITHIN)]
    means = [statistics.mean(found) for runs in group["variants"].values() if (found := f1s(runs, ALL))]
    if means and group["setting"]["share"] == 1:
        yield [f"F1 on ALL, {label}", "at least 75.0", f"{100 * max(means):.2f}", _met(max(means) >= F1_AIM)]


def _met(met: bool) -> str:
    return "yes" if met else "**no**"


def _part(setting: Row) -> str:
    return "all of SemCor" if setting["share"] == 1 else f"{100 * setting['share']:.3g}% of SemCor"


def _seeds(group: Row) -> str:
    seeds = sorted({int(seed) for runs in group["variants"].values() for seed in runs})
    return ("seeds " if len(seeds) > 1 else "seed ") + ", ".join(map(str, seeds))


def _minilm(group: Row) -> str:
    setting = group["setting"]
    some = [next(iter(runs.values())) for runs in group["variants"].values()]
    fewest = min(run["train"]["used"] for run in some)
    length = f"{setting['steps']} steps" if setting["steps"] else f"{setting['epochs']:g} time(s) through"
    text = f"""`{setting["model"]}`, {some[0]["model"]["parameters"] / 1e6:.1f}M parameters, on
        {_part(setting)}: {fewest:,} instances with a choice, the same for every variant of a seed; with
        WordNet's examples, the same share of those beside them. {length}, {setting["batch"]} instances a
        step, learning rate {setting["learning_rate"]:g}, {setting["precision"]}, at most
        {setting["max_length"]} pieces; {_seeds(group)}. {machine(group["environment"])}."""
    tables = by_set(group), by_part(group), compared(group), cost(group)
    return "\n\n".join([f"### With {_part(setting)}", _fill(text), *tables])


def _student(group: Row) -> str:
    setting = group["setting"]
    some = next(iter(next(iter(group["variants"].values())).values()))
    millions = some["model"]["parameters"] / 1e6
    text = f"""The student of [first.md](first.md) that `margin` has taught, {millions:.1f}M parameters,
        another one for each seed, and the same teachers: {setting["steps"]} steps of {setting["batch"]}
        of {some["train"]["used"]:,} usage examples of WordNet, learning rate {setting["learning_rate"]:g},
        {setting["precision"]}, {_seeds(group)}. LMGC learns glosses alone; LMGC-M predicts masked words as
        well; the cohesive form has the teachers' targets there. Nats per masked word (lower is better), over
        words that are one piece. {machine(group["environment"])}."""
    tables = nats(group), by_set(group), by_part(group), compared(group), cost(group)
    return "\n\n".join([_fill(text), *tables])


SECTIONS = {"minilm": _minilm, "student": _student}


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads what is there and writes the page."""
    parser = argparse.ArgumentParser(description="docs/results/wsd.md from the two JSON files")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results" / "wsd.md")
    given = parser.parse_args(arguments)
    files = given.results / "wsd.json", given.results / "gloss.json"
    found = [json.loads(f.read_text(encoding="utf-8")) if f.is_file() else None for f in files]
    notes = given.results / "wsd-notes.md"
    atomic_write(given.page, page(*found, notes.read_text(encoding="utf-8") if notes.is_file() else ""))


if __name__ == "__main__":
    main()
