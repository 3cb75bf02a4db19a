"""docs/results/study-pays.md: the plot that helps to decide, its table, what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .setting import TEACHERS
from .show import SLICE, beyond, called, draw, gained, held_out, machine, seeds, signed, table, times

COLOURS = {"constant": "#0072b2", "falling": "#d55e00"}
HOLLOW = ("o", "s")
"""Markers of the sizes; short trainings are hollow."""


def page(result: dict[str, Any], folder: Path) -> str:
    """The page; its figure is written into `folder`."""
    plot(result, folder / "study-pays.svg")
    scale = result["scale"]
    short, long = (f"{steps:,}" for steps in sorted({point["steps"] for point in result["points"]}))
    alternative = "Gain from teachers against how far they are ahead of the untaught student"
    parts = [
        "# When does it pay to have teachers?",
        "Written by `benchmarks/study` from the JSON of question `pays`; not to be edited.",
        *([SLICE] if result["setting"] == "quick" else []),
        f"Students with the teachers as they were after {_listed(scale['stages'])}% of their training, taught"
        f" under {called(result | {'teachers': TEACHERS})}, the recommended mixture of"
        f" [question 1](study-convergence.md). Students of {' and '.join(map(times, scale['sizes']))};"
        f" {short} and {long} steps, each with its own schedule; a share of the teachers in the loss (kd)"
        f" that stays {result['kd']:g} and one that falls from there to 0 at the last step. {seeds(result)};"
        " the larger student with the first seed alone, so that its intervals are over passages alone."
        f" {held_out(result)} Teachers part of the way have no schedule of their own: they are checkpoints of"
        " their one training; the temperature chosen with the finished ones is kept.",
        "Across: nats per masked word that teachers are ahead of the untaught student of the same size and"
        " steps, on words that are one piece for all models; on every text the best teacher there counts, and"
        " the mean of the texts is drawn. Up: nats that the taught student is ahead of the untaught, all"
        " words, mixed text.",
        f"![{alternative}: by size, steps and kd](study-pays.svg)",
        _table(result),
        "## What it says",
        "\n".join(f"- {line}" for line in says(result)),
        machine(result) + " Again: `make study`, or `PYTHONPATH=benchmarks python -m study pays`.",
    ]
    return "\n\n".join(parts) + "\n"


def plot(result: dict[str, Any], path: Path) -> None:
    """Every point with its interval; a training of the other length is hollow."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "limbeck", "font.size": 10})
    figure, axes = plt.subplots(figsize=(7.5, 4.8), layout="constrained")
    sizes, longest = result["scale"]["sizes"], result["scale"]["steps"]
    markers = dict(zip(sizes, HOLLOW, strict=True))
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.axvline(0, color="#999999", linewidth=0.8, linestyle=":")
    for size in sizes:
        for steps in sorted({point["steps"] for point in result["points"]}):
            for kd, colour in COLOURS.items():
                points = _sorted(result, size=size, steps=steps, kd=kd)
                across = [point["ahead"]["mixed"] for point in points]
                gains = [point["gain"]["mixed"] for point in points]
                up = [gain["mean"] for gain in gains]
                for x, gain in zip(across, gains, strict=True):
                    if gain["low"] is not None:
                        axes.plot([x, x], [gain["low"], gain["high"]], color=colour, linewidth=0.8, alpha=0.6)
                axes.plot(
                    across, up, color=colour, marker=markers[size], markersize=6, linewidth=0.8,
                    linestyle="-" if size == sizes[0] else "--",
                    markerfacecolor=colour if steps == longest else "white",
                    label=f"{times(size)}, {steps:,} steps, kd {kd}",
                )  # fmt: skip
    axes.set_xlabel("nats per masked word that teachers are ahead of the untaught student")
    axes.set_ylabel("nats per masked word gained, mixed text")
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8
    )
    draw(figure, path)


def _sorted(result: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    found = [p for p in result["points"] if all(p[key] == value for key, value in wanted.items())]
    return sorted(found, key=lambda point: float(point["ahead"]["mixed"]))


def _listed(stages: list[int]) -> str:
    *first, last = map(str, sorted(stages))
    return f"{', '.join(first)} and {last}" if first else last


def _table(result: dict[str, Any]) -> str:
    texts = result["scale"]["texts"]
    rows = [
        [
            times(point["size"]),
            f"{point['steps']:,}",
            f"{point['stage']}%",
            point["kd"],
            signed(point["ahead"]["mixed"]),
            gained(point["gain"]["mixed"]),
            *(signed(point["gain"][text]["mean"]) for text in texts),
        ]
        for point in result["points"]
    ]
    head = [
        "student",
        "steps",
        "teachers at",
        "kd",
        "teachers ahead",
        "gain, mixed",
        *(f"gain, {t}" for t in texts),
    ]
    return table(head, rows, left=4)


def says(result: dict[str, Any]) -> list[str]:
    """Counted from the points."""
    points = result["points"]
    lines = [f"Of {len(points)} settings {_counted(points)}: {_by_size(result)}."]
    behind = [point for point in points if point["ahead"]["mixed"] <= 0]
    lines += (
        [f"Where the teachers are behind the untaught student ({len(behind)}), {_counted(behind)}."]
        if behind
        else []
    )
    gains = [point for point in points if beyond(point["gain"]["mixed"]) > 0]
    if gains:
        least = min(gains, key=lambda point: float(point["ahead"]["mixed"]))
        lines.append(
            f"The smallest lead of teachers (below 0: behind) at which a gain is beyond its interval is"
            f" {signed(least['ahead']['mixed'])} nats ({_where(least)}; {gained(least['gain']['mixed'])})."
        )
    losses = [point for point in points if beyond(point["gain"]["mixed"]) < 0]
    if losses:
        most = max(losses, key=lambda point: float(point["ahead"]["mixed"]))
        lines.append(
            f"The largest lead at which teachers do harm is {signed(most['ahead']['mixed'])} nats"
            f" ({_where(most)}; {gained(most['gain']['mixed'])})."
        )
    lines += [*_lengths(result), _falling(result)]
    if len(result["scale"]["stages"]) > 1:
        lines.append(_stages(result))
    return lines


def _counted(points: list[dict[str, Any]]) -> str:
    signs = [beyond(point["gain"]["mixed"]) for point in points]
    return (
        f"teachers help in {signs.count(1)}, do harm in {signs.count(-1)}, and in {signs.count(0)} the"
        " interval holds 0"
    )


def _by_size(result: dict[str, Any]) -> str:
    """The same for each student, with its number of seeds."""
    lines = []
    for size in result["scale"]["sizes"]:
        points = [point for point in result["points"] if point["size"] == size]
        seeds = len(points[0]["gain"]["mixed"]["values"])
        count = f"{seeds} seeds" if seeds > 1 else "one seed, intervals over passages alone"
        lines.append(f"with {times(size)} ({count}) {_counted(points)}")
    return "; ".join(lines)


def _where(point: dict[str, Any]) -> str:
    where = f"student {times(point['size'])}, {point['steps']:,} steps, teachers at {point['stage']}%"
    return f"{where}, kd {point['kd']}"


def _means(points: list[dict[str, Any]]) -> float:
    return sum(float(point["gain"]["mixed"]["mean"]) for point in points) / len(points)


def _lengths(result: dict[str, Any]) -> list[str]:
    lines, stage = [], max(result["scale"]["stages"])
    for size in result["scale"]["sizes"]:
        found = sorted(
            (p for p in result["points"] if (p["size"], p["stage"], p["kd"]) == (size, stage, "constant")),
            key=lambda point: int(point["steps"]),
        )
        gains = " and ".join(f"{gained(p['gain']['mixed'])} nats in {p['steps']:,} steps" for p in found)
        lines.append(f"With finished teachers and kd constant the student {times(size)} gains {gains}.")
    return lines


def _falling(result: dict[str, Any]) -> str:
    points = result["points"]
    by_kd = {
        kd: {(p["size"], p["steps"], p["stage"]): p for p in points if p["kd"] == kd}
        for kd in ("constant", "falling")
    }
    better = sum(
        point["gain"]["mixed"]["mean"] > by_kd["constant"][where]["gain"]["mixed"]["mean"]
        for where, point in by_kd["falling"].items()
    )
    means = {kd: _means(list(found.values())) for kd, found in by_kd.items()}
    return (
        f"A share that falls to 0 is better than a constant one in {better} of {len(by_kd['falling'])}"
        f" settings; mean gain {signed(means['falling'])} against {signed(means['constant'])} nats."
    )


def _stages(result: dict[str, Any]) -> str:
    points = result["points"]
    means = [
        f"{signed(_means([p for p in points if p['stage'] == stage]))} at {stage}%"
        for stage in sorted(result["scale"]["stages"])
    ]
    return f"Mean gain by how far the teachers were trained: {', '.join(means)}."


def headline(result: dict[str, Any]) -> list[str]:
    """For the overview."""
    return [
        f"**When it pays**: {len(result['points'])} settings of teachers, students and lengths:"
        f" {_by_size(result)}."
    ]
