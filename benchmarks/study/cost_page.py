"""docs/results/study-cost.md: one table and one plot of all models, quality beside cost."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import Any

from .show import SLICE, draw, duration, machine, spread, table

MEASURES = {
    "nats": "nats per masked word",
    "f1": "WSD F1",
    "glue": "GLUE average",
    "paraphrase": "paraphrase F1",
    "shared": "GLUE, shared tasks",
}
"""The last where some model has not all tasks."""
DIGITS = {"nats": 3}
"""After the point; 1 elsewhere."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3b08", "#000000", "#999999")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h")
WIDE = 5
"""Costs that differ by more are drawn on a logarithmic scale."""
NONE = "–"


def page(result: dict[str, Any], folder: Path) -> str:
    """The page; its figure goes into the folder."""
    plot(result, folder / "study-cost.svg")
    length, (words, texts) = result["length"], result["paraphrase"]
    store = result["store_seconds"]
    apart = "" if store is None else f"; the stores of their predictions took {duration(store)}, once for all"
    energy = any(
        one is not None
        for row in result["models"].values()
        for one in (row["joules_per_1000_passages"], row["training"]["joules"])
    )
    seeds = len(result["seeds"])
    turns = result["rounds"]
    rounds = f"medians of {turns} rounds in which the models take turns" if turns > 1 else "one round"
    parts = [
        "# What does each model cost for what it can do?",
        "Written by `benchmarks/study` from the JSON of question `cost`; not to be edited."
        " [All questions](study.md).",
        *([SLICE] if result["setting"] == "quick" else []),
        f"Latency (median of one passage at a time), throughput and memory (the peak of one passage, beyond"
        f" the libraries) at {length} pieces,"
        f" {result['precision']}, one thread, the model of the first seed with its head (of masked words"
        " or, after gloss training, of glosses, which has no logits over the vocabulary);"
        f" {rounds}. Training is that of the model from"
        f" nothing, of students the mean over {seeds} seed{'s' if seeds > 1 else ''}: gloss training goes on"
        " from its student's, which is counted too. The three teachers' own"
        f" training ({duration(result['teacher_seconds'])} together) is not in the students'{apart}."
        + ("" if energy else " Energy could not be measured on this machine."),
        "Quality: nats per masked word of general text that chose nothing (lower is better;"
        " [question 3](study-lexical.md), for teachers [their page](study-teachers.md), on other words,"
        " so that they compare among themselves only); F1 of senses ([question 6](study-wsd.md)); the average"
        " of GLUE's tasks, where *shared* of those that all models have ([question 4](study-glue.md)); F1 of"
        " paraphrase detection with"
        f" {texts:,} texts of {words} words ([question 5](study-paraphrase.md)). Mean ± deviation; {NONE}:"
        " not measured, or the model cannot do it.",
        _table(result, energy=energy),
        "![Each measure of quality against parameters, latency and minutes of training, with one mark for"
        " each model; models that were given trained have no training time](study-cost.svg)",
        "## What it says",
        "\n".join(f"- {line}" for line in sentences(result)),
        machine(result) + " Again: `PYTHONPATH=benchmarks python -m study cost`.",
    ]
    return "\n\n".join(parts) + "\n"


def _table(result: dict[str, Any], *, energy: bool) -> str:
    head = [
        "model",
        "parameters, M",
        "without embeddings, M",
        "latency, ms",
        "passages/s",
        "memory, MB",
        "training",
    ]
    head += ["J per 1,000 passages", "training, kJ"] if energy else []
    rows = []
    for name, row in result["models"].items():
        training = row["training"]
        seconds = NONE if training["seconds"] is None else duration(training["seconds"])
        more = " and what it was given" if training["pretrained"] and training["seconds"] is not None else ""
        cells = [
            f"`{name}`",
            f"{row['parameters'] / 1e6:.2f}",
            f"{row['parameters_without_embeddings'] / 1e6:.2f}",
            f"{row['latency_ms']:.2f}",
            f"{row['passages_per_second']:,.0f}",
            NONE if row["memory_bytes"] is None else f"{row['memory_bytes'] / 1e6:,.0f}",
            seconds + more,
        ]
        if energy:
            joules, whole = row["joules_per_1000_passages"], training["joules"]
            cells += [
                NONE if joules is None else f"{joules:.1f}",
                NONE if whole is None else f"{whole / 1e3:.1f}",
            ]
        rows.append(cells + [_of(row, measure) for measure in _measures(result)])
    return table([*head, *_measures(result).values()], rows)


def _measures(result: dict[str, Any]) -> dict[str, str]:
    """Those that the page has."""
    some = any("shared" in row["quality"] for row in result["models"].values())
    return {measure: name for measure, name in MEASURES.items() if some or measure != "shared"}


def _of(row: dict[str, Any], measure: str) -> str:
    value = row["quality"].get(measure)
    return NONE if value is None else spread(value, DIGITS.get(measure, 1))


def _students(result: dict[str, Any]) -> dict[str, Any]:
    """All but the teachers, whose nats are on other words."""
    return {name: row for name, row in result["models"].items() if not name.startswith("teacher ")}


def _best(result: dict[str, Any], measure: str) -> str | None:
    """The model that is best on average; None where nothing was measured."""
    known = {
        name: row["quality"][measure]["mean"]
        for name, row in _students(result).items()
        if measure in row["quality"]
    }
    if not known:
        return None
    return (min if measure == "nats" else max)(known, key=lambda name: float(known[name]))


def sentences(result: dict[str, Any]) -> list[str]:
    """The best by measure with its cost, the cheapest, and what distillation and glosses add to training."""
    models, lines = result["models"], []
    for measure, name in _measures(result).items():
        best = _best(result, measure)
        if best is None:
            lines.append(f"{name}: not measured yet.")
            continue
        row = models[best]
        took = row["training"]["seconds"]
        training = "" if took is None else f", {duration(took)} of training"
        training += " and what it was given" if row["training"]["pretrained"] else ""
        lines.append(
            f"{name}: best on average is `{best}` with {_of(row, measure)}, at {row['latency_ms']:.2f} ms and"
            f" {row['parameters'] / 1e6:.2f} million parameters{training}."
        )
    fast = min(models, key=lambda name: float(models[name]["latency_ms"]))
    slow = max(models, key=lambda name: float(models[name]["latency_ms"]))
    ratio = models[slow]["latency_ms"] / models[fast]["latency_ms"]
    lines.append(
        f"The slowest, `{slow}`, takes {ratio:.1f} times as long for a passage as the fastest, `{fast}`."
    )
    scratch, distilled = (models[name]["training"]["seconds"] for name in ("scratch", "distilled"))
    lines.append(
        f"A distilled student's training takes {distilled / scratch:.2f} times as long as one from scratch"
        f" ({duration(distilled)} and {duration(scratch)}), without the teachers and their stores."
    )
    return lines


def headline(result: dict[str, Any]) -> list[str]:
    """For the overview."""
    models = result["models"]
    scratch, distilled = (models[name]["training"]["seconds"] for name in ("scratch", "distilled"))
    lines = [
        f"**Cost**: to distil takes {distilled / scratch:.2f} times the training from scratch, once the"
        f" teachers and the stores of their predictions are there; a student"
        f" takes {models['distilled']['latency_ms']:.2f} ms a passage of {result['length']} pieces"
    ]
    best = _best(result, "glue")
    if best is not None:
        row = models[best]
        lines[0] += f"; best on GLUE is `{best}` ({_of(row, 'glue')}, {row['latency_ms']:.2f} ms)"
    return [lines[0] + "."]


def plot(result: dict[str, Any], path: Path) -> None:
    """Rows: measures of quality; columns: parameters, latency, training time. One mark for each model."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

    mpl.rcParams.update({"svg.hashsalt": "limbeck", "font.size": 9})
    students, measures = _students(result), _measures(result)
    models = {name: row for name, row in students.items() if row["quality"]} or students
    costs = {
        "parameters, M": [row["parameters"] / 1e6 for row in models.values()],
        f"ms a passage of {result['length']} pieces": [row["latency_ms"] for row in models.values()],
        "minutes of training": [
            float("nan") if row["training"]["pretrained"] else row["training"]["seconds"] / 60
            for row in models.values()
        ],
    }
    figure, axes = plt.subplots(
        len(measures), 3, figsize=(10, 1 + 2.4 * len(measures)),
        layout="constrained", sharey="row", sharex="col",
    )  # fmt: skip
    for line, (measure, name) in zip(axes, measures.items(), strict=True):
        for one, across in zip(line, costs.values(), strict=True):
            for place, ((model, row), x) in enumerate(zip(models.items(), across, strict=True)):
                value = row["quality"].get(measure)
                one.errorbar(
                    [x],
                    [float("nan") if value is None else value["mean"]],
                    None if value is None or value["sd"] is None else [value["sd"]],
                    color=COLOURS[place % len(COLOURS)], marker=MARKERS[place % len(MARKERS)], capsize=2,
                    alpha=0.85, markersize=7, elinewidth=0.8, linestyle="none", label=model,
                )  # fmt: skip
        line[0].set_ylabel(name + ("\n(lower is better)" if measure == "nats" else ", %"))
        if not any(measure in row["quality"] for row in models.values()):
            line[0].text(0.5, 0.5, "not measured", transform=line[0].transAxes, ha="center", color="#777777")
    for one, name in zip(axes[-1], costs, strict=True):
        one.set_xlabel(name)
    drawn = any(row["quality"] for row in models.values())  # a logarithm of nothing cannot be drawn
    for one, across in zip(axes[-1], costs.values(), strict=True):
        known = [x for x in across if not isnan(x)]
        if drawn and max(known) > WIDE * min(known):
            one.set_xscale("log")  # of the whole column
            one.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            one.xaxis.set_major_formatter(ScalarFormatter())
            one.xaxis.set_minor_locator(NullLocator())
        else:
            one.set_xlim(0, 1.1 * max(known))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    draw(figure, path)
