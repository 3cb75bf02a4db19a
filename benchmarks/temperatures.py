"""Which temperature suits each weighting: how well the mixture it makes explains held-out text.

    python benchmarks/temperatures.py            # with the teachers of benchmarks/first.py

No student is trained: for every weighting and temperature, the mean −log of the mixture's mass on the true
piece, over the slots of a sample of `valid` that all teachers cover. `gold` reads the true piece itself, so
its figure proves nothing; it keeps 1, the posterior of a single word. Writes
benchmarks/results/temperatures.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch

from limbeck.distill import weighting as weighting_
from limbeck.distill.step import DistillStep
from limbeck.distill.weighting import DEFAULT_TEMPERATURE, TeacherStats
from limbeck.files import atomic_write
from limbeck.pipeline.assemble import EVALUATION_SEED, Assembled, assemble
from limbeck.pipeline.train import prepared_teachers
from limbeck.recipe import load_recipe
from limbeck.run import environment
from limbeck.text.batches import Collator, fixed_batches

HERE = Path(__file__).resolve().parent
SETTINGS = {"domains": "domains-student.toml", "wordnet": "wordnet-student.toml"}
GRID = {
    "gold": (1.0,),
    "evidence": (1.0, 2.0, 4.0, 8.0, 16.0, 32.0),
    "entropy": (0.25, 0.5, 1.0, 2.0, 4.0, 8.0),
    "max_prob": (0.125, 0.25, 0.5, 1.0, 2.0, 4.0),
    "margin": (0.05, 0.1, 0.2, 0.4, 0.8, 1.6),
}


def measure(setting: str) -> dict[str, Any]:
    """Nats of every mixture and of each teacher alone, and the first teacher's mean weight."""
    made = assemble(load_recipe(HERE / "first" / SETTINGS[setting]))
    teachers = prepared_teachers(made, None, None)
    found = explain(made)
    return {
        "slots": found["slots"],
        "teachers": {
            row["name"]: {"nats": nats, "calibration": row["temperature"]}
            for row, nats in zip(teachers, found["alone"], strict=True)
        },
        "mixtures": [
            {name: row[name] for name in ("weighting", "temperature", "nats")}
            | {"weight_of_first": row["weights"][0]}
            for row in found["mixtures"]
        ],
    }


def explain(made: Assembled) -> dict[str, Any]:
    """How well the teachers explain the sample of valid, alone and mixed by every weighting and temperature.

    The teachers are loaded, and calibrated if they are to be. Returns `slots` (those that all teachers
    cover), `alone` (nats per slot of each teacher) and `mixtures`: rows of `weighting`, `temperature`, `nats`
    and `weights` (each teacher's mean).
    """
    recipe = made.recipe
    width = made.placed[0].projection.student_width
    step = DistillStep(made.placed, recipe.distill, width)
    collator = Collator(
        made.student_tokenizer, [p.teacher.tokenizer for p in made.placed], seed=EVALUATION_SEED,
        rate=recipe.distill.mask, student_sees="mask",
    )  # fmt: skip
    priors = torch.zeros(len(made.placed))
    cells = [("uniform", 1.0), *((name, tau) for name, grid in GRID.items() for tau in grid)]
    nats = dict.fromkeys(cells, 0.0)
    totals = {cell: torch.zeros(len(made.placed)) for cell in cells}
    alone, slots = [0.0] * len(made.placed), 0
    for batch in fixed_batches(made.valid, collator, made.valid_rows, 64):
        said = step.predict(batch).at_one
        stats = weighting_.stats(said, batch.gold, batch.count, width)
        together = stats.covered.all(0)
        own = conditional(said, stats, batch.count)
        for t, value in enumerate(own):
            alone[t] -= float(value[together].log().sum())
        for name, tau in cells:
            scores = weighting_.scores(name, stats, batch.passage)
            weight = weighting_.weights(scores, priors, tau, stats.covered)
            nats[name, tau] -= float((weight * own).sum(0)[together].log().sum())
            totals[name, tau] += weight[:, together].sum(1)
        slots += int(together.sum())
    return {
        "slots": slots,
        "alone": [total / slots for total in alone],
        "mixtures": [
            {
                "weighting": name,
                "temperature": tau,
                "nats": nats[name, tau] / slots,
                "weights": (totals[name, tau] / slots).tolist(),
            }
            for name, tau in cells
        ],
    }


def conditional(said: list[Any], stats: TeacherStats, slots: int) -> torch.Tensor:
    """Each teacher's mass on the true piece, given that the student can express it: [T, S], 0 uncovered."""
    found = torch.zeros(len(said), slots)
    for t, part in enumerate(said):
        expressible = part.rows(slice(None)).expressible.clamp_min(1e-6)
        found[t, part.slot] = stats.log_gold[t, part.slot].exp() / expressible
    return found.clamp_min(1e-9) * stats.covered


def main() -> None:
    """Measures the settings whose teachers are there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("settings", nargs="*", default=list(SETTINGS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    path = HERE / "results" / "temperatures.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}  # settings measured before
    found |= {"defaults": DEFAULT_TEMPERATURE, "environment": environment()}
    for setting in given.settings:
        found[setting] = measure(setting)
        for row in found[setting]["mixtures"]:
            print(setting, *(f"{key} {value}" for key, value in row.items()))
        print(setting, found[setting]["teachers"], found[setting]["slots"])
    atomic_write(path, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
