"""Writes docs/results/first.md and its pictures from benchmarks/results/first-*.json."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
SIZE = "2x128"  # of the recipes as they stand
TITLES = {
    "wordnet": "Two halves of WordNet",
    "domains": "Encyclopedia and fiction",
}
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3b08")


def row(cells: list[str]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def number(value: dict[str, Any], sign: str = "") -> str:
    """Mean ± standard deviation over the seeds."""
    spread = "" if value["sd"] is None else f" ± {value['sd']:.3f}"
    return f"{value['mean']:{sign}.3f}{spread}"


def quality(result: dict[str, Any]) -> list[str]:
    """Nats per masked word of every student and teacher, text by text."""
    texts = list(result["nats_per_word"])
    lines = [row(["model", *texts, "gain over no teacher", "gain over uniform"])]
    lines.append(row(["---"] + ["---:"] * (len(texts) + 2)))
    first = result["nats_per_word"][texts[0]]
    teachers = [teacher["name"] for teacher in result["teachers"]]
    for name in first:
        label = {"none": "student, no teacher"}.get(name, f"student, `{name}`")
        cells = [f"teacher *{name}*" if name in teachers else label]
        for text in texts:
            value = result["nats_per_word"][text][name]
            cells.append(f"{value['mean']:.3f}" if name in teachers else number(value))
        for other in ("none", "uniform"):
            gain = first[name].get(f"gain_over_{other}")
            cells.append("" if gain is None else number(gain, "+"))
        lines.append(row(cells))
    return lines


def weights(result: dict[str, Any]) -> list[str]:
    """Mean weight of the first teacher on every text, under every weighting."""
    teacher = result["teachers"][0]["name"]
    texts = list(result["weights"])
    lines = [row(["weighting", *(f"on {text}" for text in texts)]), row(["---"] + ["---:"] * len(texts))]
    for name in result["weights"][texts[0]]:
        lines.append(row([f"`{name}`", *(f"{result['weights'][t][name][teacher]:.2f}" for t in texts)]))
    return [f"Mean weight of the teacher *{teacher}* (the other has the rest):", "", *lines]


def curves(result: dict[str, Any], path: Path) -> None:
    """Mean over seeds of the nats per slot of valid, by step."""
    mpl.rcParams.update({"svg.hashsalt": "limbeck", "font.size": 10})
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    seeds = list(result["curves"])
    for colour, name in zip(COLOURS, result["curves"][seeds[0]], strict=True):
        steps = [step for step, _ in result["curves"][seeds[0]][name]]
        by_step = zip(*([nats for _, nats in result["curves"][s][name]] for s in seeds), strict=True)
        means = [statistics.mean(values) for values in by_step]
        label = "no teacher" if name == "none" else name
        axes.plot(steps, means, color=colour, linewidth=2 if name == "none" else 1.4, label=label)
    axes.set_xlabel("optimiser steps")
    axes.set_ylabel("nats per masked piece of valid")
    axes.legend(frameon=False, ncols=2)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def section(result: dict[str, Any], folder: Path) -> list[str]:
    """All of one setting."""
    setting, seeds = result["setting"], result["seeds"]
    student, train, environment = result["student"], result["train"], result["environment"]
    size = f"{student['layers']}x{student['hidden']}"
    figure = f"first-{setting}-{size}.svg"
    curves(result, folder / figure)
    teachers = "; ".join(
        f"*{t['name']}*: {t['parameters']:,} parameters, coverage {t['coverage']:.0%}, "
        f"calibration {t['temperature']:.2f}"
        for t in result["teachers"]
    )
    sees = {"bert": "80/10/10 as well"}.get(result["distill"]["student_sees"], "the mask")
    words = ", ".join(f"{count:,} on {text}" for text, count in result["masked_words"].items())
    changed = (
        ""
        if size == SIZE
        else "".join(
            f" --set {table}.{name}={result[table][name]}"
            for table, names in (("student", ("layers", "hidden")), ("train", ("steps", "learning_rate")))
            for name in names
        )
    )
    versions = environment["versions"]
    return [
        f"## {TITLES[setting]}, student {size.replace('x', '×')}",
        "",
        f"Student {student['layers']}×{student['hidden']} ({student['family']}, {student['tokenizer']}),",
        f"{train['steps']} steps of {train['batch']} passages, learning rate {train['learning_rate']},",
        f"{train['precision']}; kd {result['distill']['kd']}; taught students see {sees}; seeds",
        f"{', '.join(map(str, seeds))}.",
        f"Teachers: {teachers}.",
        "",
        "Nats per masked word, over words that are one piece in every tokenizer, on held-out text (lower is",
        f"better); mean ± standard deviation over {len(seeds)} seeds; gains are paired by seed, on the first",
        f"text. Words: {words}.",
        "",
        *quality(result),
        "",
        f"![Nats per masked piece of held-out text by step, untaught and under each weighting]({figure})",
        "",
        *weights(result),
        "",
        f"{environment['processor']}, {environment['cores']} cores; torch {versions['torch']}, transformers",
        f"{versions['transformers']}. Again: `python benchmarks/first.py {setting}{changed}`.",
        "",
    ]


def main() -> None:
    """Reads every result and writes the page."""
    folder = ROOT / "docs" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "# What teaching is worth",
        "",
        "Written by `benchmarks/first_page.py` from `benchmarks/results/first-*.json`; not to be edited.",
        "The same student, text, order and number of steps, with no teacher (it sees 80% mask, 10% a random",
        "word, 10% the word: its best) and with both teachers under each weighting at its own temperature.",
        "`static` counts the first teacher twice; with equal priors it is `uniform`.",
        "",
    ]
    for path in sorted((ROOT / "benchmarks" / "results").glob("first-*.json"), reverse=True):
        lines += section(json.loads(path.read_text(encoding="utf-8")), folder)
    notes = ROOT / "benchmarks" / "results" / "first-notes.md"
    if notes.exists():
        lines += [notes.read_text(encoding="utf-8")]
    (folder / "first.md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
