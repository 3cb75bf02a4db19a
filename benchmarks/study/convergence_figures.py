"""The pictures of question 1."""

from __future__ import annotations

from pathlib import Path
from statistics import mean, stdev
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from .show import called, draw, times

LINES = {
    "none": ("#000000", "-"),
    "single": ("#0072b2", "-."),
    "uniform": ("#d55e00", "-"),
    "best": ("#009e73", (0, (3, 2))),
}
"""Colour and dash of the parts."""


def shown(result: dict[str, Any]) -> dict[str, str]:
    """The parts that are drawn, with their names; the best weighting is left out where it is `uniform`."""
    arms, parts = result["arms"], result["parts"]
    names = {part: called(arms[name]).replace("*", "").replace("`", "") for part, name in parts.items()}
    names["single"] = f"best single teacher ({names['single'].removeprefix('only ')})"
    if parts["best"] == parts["uniform"]:
        return {part: names[part] for part in ("none", "single", "uniform")}
    return names | {"best": f"best weighting ({names['best']})"}


def curves(result: dict[str, Any], path: Path) -> None:
    """Mean over seeds, with a band of one standard deviation, by step."""
    mpl.rcParams.update({"svg.hashsalt": "limbeck", "font.size": 10})
    sizes = list(result["curves"])
    figure, panels = plt.subplots(
        1, len(sizes), figsize=(4.6 * len(sizes), 4), layout="constrained", squeeze=False
    )
    for axes, size in zip(panels[0], sizes, strict=True):
        for part, name in shown(result).items():
            colour, dash = LINES[part]
            points = result["curves"][size][part]
            steps, means = [step for step, _ in points], [mean(values) for _, values in points]
            axes.plot(steps, means, color=colour, linestyle=dash, linewidth=1.6, label=name)
            if len(points[0][1]) > 1:
                sds = [stdev(values) for _, values in points]
                low, high = ([m + sign * sd for m, sd in zip(means, sds, strict=True)] for sign in (-1, 1))
                axes.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_title(f"student {times(size)}", fontsize=10)
        axes.set_xlabel("optimiser steps")
    panels[0][0].set_ylabel("nats per masked piece of held-out text")
    figure.legend(
        *panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    draw(figure, path)


def budgets(result: dict[str, Any], path: Path) -> None:
    """Nats on the mixed text against the steps of trainings with a full schedule each."""
    mpl.rcParams.update({"svg.hashsalt": "limbeck", "font.size": 10})
    sizes = result["scale"]["sizes"]
    figure, panels = plt.subplots(
        1, len(sizes), figsize=(4.6 * len(sizes), 4), layout="constrained", squeeze=False
    )
    for axes, size in zip(panels[0], sizes, strict=True):
        rows = sorted((row for row in result["tables"] if row["size"] == size), key=lambda row: row["steps"])
        steps = [row["steps"] for row in rows]
        for part, name in shown(result).items():
            colour, dash = LINES[part]
            arm = result["parts"][part]
            there = {row["steps"]: row["valid"][arm]["mixed"] for row in rows if arm in row["valid"]}
            values = list(there.values())
            errors = [value["sd"] or 0.0 for value in values]
            axes.errorbar(
                list(there), [value["mean"] for value in values], errors, color=colour, linestyle=dash,
                marker="o", markersize=4, capsize=2, linewidth=1.4, label=name,
            )  # fmt: skip
        axes.axhline(
            rows[-1]["valid"][result["parts"]["none"]]["mixed"]["mean"],
            color="#999999",
            linewidth=0.8,
            zorder=0,
        )
        axes.set_xscale("log", base=2)
        axes.set_xticks(steps, [f"{step:,}" for step in steps])
        axes.minorticks_off()
        axes.set_title(f"student {times(size)}", fontsize=10)
        axes.set_xlabel("steps of the training")
    panels[0][0].set_ylabel("nats per masked word, mixed text")
    figure.legend(
        *panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False
    )
    draw(figure, path)
