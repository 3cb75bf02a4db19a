"""The question `teachers`: what the three house teachers are, and what they know of each text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from limbeck.tasks.fingerprint import fingerprint

from . import nats
from .setting import HOUSE, TEACHERS, Setting
from .show import SLICE, draw, duration, machine, table, times
from .teachers import teacher_model, teacher_recipe, train_teachers


def answer(setting: Setting) -> dict[str, Any]:
    """Trains the teachers where they are not yet, and measures them on every text."""
    trained = train_teachers(setting, published=False)
    models = {name: teacher_model(setting, name) for name in TEACHERS}
    texts, tests = setting.texts(), setting.test_texts()
    nats.measure(setting, list(models.values()), [*texts, *tests])
    places = {name: [place] for name, place in models.items()}
    held_out, test = nats.table(setting, places, list(texts)), nats.table(setting, places, list(tests))
    rows = {name: _row(setting, name, trained[name], models[name]) for name in TEACHERS}
    for name, row in rows.items():
        row["nats"] = {text: value["mean"] for text, value in held_out[name].items()}
        row["test_nats"] = {text: test[name][text]["mean"] for text in tests}
    return {"teachers": rows, "passages": setting.passages}


def _row(setting: Setting, name: str, trained: dict[str, Any], model: Path) -> dict[str, Any]:
    recipe = teacher_recipe(setting, name)
    student, cost = trained["student"], trained["cost"]
    with (model.parent / "metrics.jsonl").open(encoding="utf-8") as lines:
        logged = [json.loads(line) for line in lines]
    return {
        "recipe": f"recipes/house/{name}.toml",
        "recipe_sha256": hashlib.sha256((HOUSE / f"{name}.toml").read_bytes()).hexdigest(),
        "overrides": list(setting.teachers),
        "fingerprint": fingerprint(model),
        "layers": recipe.student.layers,
        "hidden": recipe.student.hidden,
        "tokenizer": recipe.student.tokenizer,
        "parameters": student["parameters"],
        "vocabulary": student["vocabulary"],
        "train_words": trained["text"]["train"]["words"],
        "steps": cost["steps"],
        "batch": recipe.train.batch,
        "tokens": cost["tokens"],
        "seconds": cost["seconds"],
        "energy_joules": cost["energy_joules"],
        "valid_nats_per_piece": trained["valid"]["nats"],
        "curve": [[row["step"], row["valid_nats"]] for row in logged if row["kind"] == "valid"],
    }


def best(result: dict[str, Any]) -> dict[str, str]:
    """Of each text the teacher with the fewest nats per word."""
    rows = result["teachers"]
    texts = next(iter(rows.values()))["nats"]
    return {text: min(rows, key=lambda name: float(rows[name]["nats"][text])) for text in texts}


OWN = {"encyclopedia": "encyclopedia", "fiction": "fiction", "lexicon": "glosses"}
"""The text that each teacher has learnt from."""
COLOURS = ("#0072b2", "#d55e00", "#009e73")


def page(result: dict[str, Any], folder: Path) -> str:
    """docs/results/study-teachers.md and its figure."""
    rows = result["teachers"]
    _curves(rows, folder / "study-teachers.svg")
    texts, tests = (list(next(iter(rows.values()))[kind]) for kind in ("nats", "test_nats"))
    made = [
        [
            f"`{name}`", times(f"{row['layers']}x{row['hidden']}"), row["tokenizer"].removeprefix("train:"),
            f"{row['parameters'] / 1e6:.2f}", f"{row['train_words'] / 1e6:.2f}", f"{row['steps']:,}",
            f"{row['tokens'] / 1e6:.1f}", duration(row["seconds"]), f"`{row['fingerprint']}`",
        ]
        for name, row in rows.items()
    ]  # fmt: skip
    told = [
        [f"`{name}`", *(f"{value:.3f}" for kind in ("nats", "test_nats") for value in row[kind].values())]
        for name, row in rows.items()
    ]
    head = ["teacher", "layers × width", "tokenizer", "parameters, M", "words of text, M", "steps",
            "tokens read, M", "training", "fingerprint"]  # fmt: skip
    parts = [
        "# The house teachers",
        "Written by `benchmarks/study` from the JSON of question `teachers`; not to be edited."
        " [All questions](study.md).",
        *([SLICE] if result["setting"] == "quick" else []),
        "Three ModernBERT-style masked language models, each with a tokenizer and a text of its own, trained"
        " from nothing by [`recipes/house`](../../recipes/house/README.md). Their weights are not in the"
        " repository; the fingerprint tells whether those you have trained are these.",
        table(head, made, left=3),
        f"Nats per masked word on held-out text, at most {result['passages']:,} passages of each, on the"
        " words that all three can be asked (a word of several pieces is the sum of its pieces; lower is"
        " better):",
        table(["teacher", *texts, *tests], told),
        "![Nats per masked piece of each teacher's own held-out text by share of its training; the pieces"
        " differ, so that only the shapes compare](study-teachers.svg)",
        "## What it says",
        "\n".join(f"- {line}" for line in sentences(result)),
        "The trainings took what the table says, on one core each, beside other work; the measuring: "
        + machine(result)
        + " Again: `PYTHONPATH=benchmarks python -m study teachers`.",
    ]
    return "\n\n".join(parts) + "\n"


def _curves(rows: dict[str, Any], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "limbeck", "font.size": 10})
    figure, axes = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
    for colour, (name, row) in zip(COLOURS, rows.items(), strict=True):
        steps, values = zip(*row["curve"], strict=True)
        share = [100 * step / row["steps"] for step in steps]
        axes.plot(share, values, color=colour, marker="o", markersize=3, label=name)
    axes.set_xlabel("per cent of its training")
    axes.set_ylabel("nats per masked piece of its own\nheld-out text (lower is better)")
    axes.set_ylim(top=_roof([row["curve"] for row in rows.values()]))
    axes.legend(frameon=False)
    draw(figure, path)


def _roof(curves: list[list[list[float]]]) -> float:
    """So that the first evaluations, far above all others, do not flatten the rest."""
    values = [value for curve in curves for _, value in curve[len(curve) // 6 :]]
    return max(values) + 0.05 * (max(values) - min(values) + 0.1)


def sentences(result: dict[str, Any]) -> list[str]:
    """Who knows which text best; whether it is who learnt from it; how much is still being learnt."""
    rows, found = result["teachers"], best(result)
    lines = []
    for name, text in OWN.items():
        winner = found[text]
        least = float(rows[winner]["nats"][text])
        gap = min(float(row["nats"][text]) for other, row in rows.items() if other != winner) - least
        who = "its own teacher" if winner == name else "**not** the teacher that learnt from it"
        lines.append(f"On {text} the best is `{winner}` ({least:.3f} nats, {gap:.3f} below the next): {who}.")
    mixed = found["mixed"]
    lines.append(f"On the mean of the texts the best is `{mixed}` ({rows[mixed]['nats']['mixed']:.3f} nats).")
    for name, row in rows.items():
        if len(row["curve"]) > 3:
            (earlier, before), (last, now) = row["curve"][-1 - len(row["curve"]) // 4], row["curve"][-1]
            lines.append(
                f"`{name}` went from {before:.3f} to {now:.3f} nats per piece between step {earlier:,} and"
                f" {last:,}, the last."
            )
    return lines


def headline(result: dict[str, Any]) -> list[str]:
    """For the overview."""
    rows, found = result["teachers"], best(result)
    own = [name for name, text in OWN.items() if found[text] == name]
    nats_own = ", ".join(f"`{name}` {rows[name]['nats'][text]:.2f}" for name, text in OWN.items())
    return [
        f"**Teachers**: {len(own)} of {len(OWN)} are the best of the three on their own text (nats per masked"
        f" word there: {nats_own})."
    ]
