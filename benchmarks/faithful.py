"""Whether a student taught from the store ends where the student taught online does.

    python benchmarks/faithful.py [--seeds 11 12 13] [--kept 16 32] [--threads 1]

The teachers and the 2x128 student of `benchmarks/first.py domains`, which says how they come to be, on a
fourteenth of its text. A student that starts from random weights leaves its plateau sooner or later by luck,
by hundreds of steps in runs that differ in the last digit, and that drowns what is looked for. So a student
of each seed is first trained without teachers, by the recipe, and goes on from there in several ways: without
a teacher, taught online, and from stores of so many pieces, each of which one build fills for all seeds.
These have the same text in the same order under the same masks, and of the taught ones the targets are all
there is to learn from (kd = 1). Writes
benchmarks/results/faithful.json, which grows with every seed; the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from limbeck.files import atomic_write
from limbeck.pipeline import run
from limbeck.pipeline.store import build
from limbeck.recipe import Recipe, load_recipe, recipe_from
from limbeck.recipe_read import apply_overrides, read_toml
from limbeck.run import environment

ROOT = Path(__file__).resolve().parents[1]
FIRST = ROOT / "benchmarks" / "first"
PART = 14
VARIANTS = 2
LEAST_GAIN, MOST_APART = 0.1, 0.02
START, ALONE = "start", "none"


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=[11, 12, 13])
    add("--kept", type=int, nargs="+", default=[16, 32], help="pieces of a prediction in a store, one each")
    add("--steps", type=int, default=500, help="of every way to go on")
    add("--rate", type=float, default=1e-3, help="its learning rate")
    add("--threads", type=int, default=2, help="CPU threads")
    add("--set", action="append", default=[], metavar="FIELD=VALUE", help="override of the recipe")
    add("--recipe", type=Path, default=FIRST / "domains-student.toml")
    add("--scratch", type=Path, default=FIRST / "scratch" / "faithful", help="folder of the runs")
    add("--json", type=Path, default=ROOT / "benchmarks" / "results" / "faithful.json")
    return parser.parse_args(arguments)


def part_of(source: Path, target: Path) -> None:
    """Writes one paragraph in `PART` of a text, whichever its hash chooses, as documents of their own."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    kept = []
    with source.open(encoding="utf-8") as lines:
        for line in lines:
            if line.strip() and hashlib.blake2b(line.encode(), digest_size=4).digest()[0] % PART == 0:
                kept.append(line + "\n")
    atomic_write(target, "".join(kept))


def arms(given: argparse.Namespace) -> list[str]:
    """The ways in which a seed's student goes on, the quick ones first."""
    return [ALONE, *(f"store{kept}" for kept in given.kept), "online"]


def recipe_of(arm: str, seed: int, given: argparse.Namespace) -> Recipe:
    """What an arm runs: the arms of a seed differ in where their targets come from alone."""
    text = given.scratch / "train.txt"
    stored = arm.startswith("store")
    overrides = [
        f"text.train={json.dumps([str(text)])}",
        f"seed={seed}",
        "distill.kd=1",
        "distill.kd_final=1",
        f"distill.variants={VARIANTS}",
        "distill.masking_seed=1",
        f"distill.predictions={'store' if stored else 'online'}",
        *([f"distill.store={given.scratch / arm}", f"distill.kept={arm[5:]}"] if stored else []),
        f"train.threads={given.threads}",
        f"output={given.scratch / f'{arm}-{seed}'}",
    ]
    data = read_toml(given.recipe)
    if arm != START:
        data["student"] = {"init": str(given.scratch / f"{START}-{seed}" / "model")}
        overrides += [f"train.steps={given.steps}", f"train.learning_rate={given.rate}"]
    recipe = recipe_from(data, given.recipe.resolve().parent, apply_overrides(data, overrides + given.set))
    return recipe.model_copy(update={"teachers": []}) if arm in (START, ALONE) else recipe


def study(given: argparse.Namespace) -> dict[str, Any]:
    """Trains every arm of every seed; the JSON grows with each seed."""
    source = Path(load_recipe(given.recipe).text.train[0])
    part_of(source, given.scratch / "train.txt")
    for seed in given.seeds:
        say(f"seed {seed}: {START}")
        run(recipe_of(START, seed, given))
    first, shared = (recipe_of(arm, given.seeds[0], given) for arm in (START, ALONE))
    stores: dict[str, Any] = {}
    for arm in arms(given)[1:-1]:
        say(f"building {arm}")
        made = build(recipe_of(arm, given.seeds[0], given))["stores"]
        names = ("bytes_per_token", "bytes_per_prediction", "predictions")
        stores[arm] = [{name: store[name] for name in names} for store in made]
    result: dict[str, Any] = {
        "benchmark": "faithful",
        "environment": environment() | {"threads": given.threads},
        "setting": {
            "student": f"{first.student.layers}x{first.student.hidden}",
            "start_steps": first.train.steps,
            "part_of_text": f"1/{PART}",
            "words": shared.text.words,
            "steps": shared.train.steps,
            "learning_rate": shared.train.learning_rate,
            "batch": shared.train.batch,
            "weighting": shared.distill.weighting,
            "kept": given.kept,
            "variants": VARIANTS,
            "student_sees": shared.distill.student_sees,
            "kd": 1.0,
        },
        "stores": stores,
        "seeds": {},
    }
    for seed in given.seeds:
        rows = {}
        for arm in arms(given):
            say(f"seed {seed}: {arm}")
            found = run(recipe_of(arm, seed, given))
            rows[arm] = found["valid"] | {"seconds": found["cost"]["seconds"]}
        result["seeds"][str(seed)] = rows
        result["summary"] = summary(result["seeds"], list(stores))
        atomic_write(given.json, json.dumps(result, indent=1) + "\n")
        say(json.dumps(result["summary"]))
    return result


def summary(seeds: dict[str, Any], stores: Sequence[str]) -> dict[str, Any]:
    """Nats per masked piece of valid: what teaching online gains, and how far each store ends from it."""

    def apart(one: str, other: str) -> list[float]:
        return [rows[one]["nats"] - rows[other]["nats"] for rows in seeds.values()]

    gain = apart(ALONE, "online")
    found: dict[str, Any] = {"none - online": gain, "asked": min(gain) >= LEAST_GAIN}
    for name in stores:
        values = apart(name, "online")
        found[name] = {
            "apart": values,
            "mean": statistics.mean(values),
            "met": all(abs(value) <= MOST_APART for value in values),
        }
    return found


def say(what: str) -> None:
    """Progress, on stderr."""
    print(f"faithful: {what}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what is not trained yet, and writes the file."""
    study(options(arguments))


if __name__ == "__main__":
    main()
