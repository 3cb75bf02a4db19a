"""docs/results/study-why.md and its figure: what changes the gains that question 1 aimed at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .show import (
    SLICE,
    beyond,
    called,
    draw,
    gained,
    held_out,
    machine,
    seeds,
    signed,
    table,
    times,
)

KINDS = {
    "longer": "Longer trainings",
    "kd": "The teachers' share of the loss",
    "mask": "More masks",
    "seeds": "More seeds for the larger student",
}
COLOURS = dict(zip(KINDS, ("#0072b2", "#d55e00", "#009e73", "#cc79a7"), strict=True))
ABOUT = {
    "longer": "The smaller students leave the plateau of their first steps at different times, which differs"
    " from seed to seed; twice as long trainings are past it. The first rows are question 1's.",
    "kd": "The larger student: half of the steps with teachers against all of them without, by the share of"
    " the teachers in the loss (kd); the true word has the rest.",
    "mask": "The larger student, with more of the words masked, and learnt, in every passage; stores of their"
    " own. The evaluation is the same. The last rows compare the masks with each other.",
    "seeds": "The best weighting against equal weights, as question 1 has it, and with further seeds, which"
    " were fixed before.",
}


def page(result: dict[str, Any], folder: Path) -> str:
    """The page; its figure is written into `folder`."""
    plot(result, folder / "study-why.svg")
    parts = [
        "# What keeps the aims from being met?",
        "Written by `benchmarks/study` from the JSON of question `why`; not to be edited."
        " [All questions](study.md).",
        *([SLICE] if result["setting"] == "quick" else []),
        "[Question 1](study-convergence.md) aims at half of the steps with teachers doing what all of them do"
        " without, and at a weighting that beats equal weights and the best single teacher, beyond the"
        " intervals. Here one thing at a time is changed, with everything else as there, to see what stands"
        f" in the way. {seeds(result)} (further seeds where a row says more). {held_out(result)}",
        "![Nats gained on the mixed text with 95% intervals, by what is changed](study-why.svg)",
        *(part for kind in KINDS for part in _section(result, kind)),
        "## Words that teachers know",
        "A teacher answers where a piece of the student's is one of its own, which is so above all for words"
        " that are one piece for both; elsewhere the student learns from the true word alone. The larger"
        " student with half of the steps and the best weighting against the untaught one with all of them, by"
        " how many teachers know the masked word as one piece:",
        _coverage(result),
        "## What it says",
        "\n".join(f"- {line}" for line in says(result)),
        machine(result) + " Again: `make study`, or `PYTHONPATH=benchmarks python -m study why`.",
    ]
    return "\n\n".join(parts) + "\n"


def of_kind(result: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The comparisons in which this is changed."""
    return [row for row in result["comparisons"] if row["kind"] == kind]


def _section(result: dict[str, Any], kind: str) -> list[str]:
    rows = of_kind(result, kind)
    if not rows:
        return []
    texts = result["scale"]["texts"]
    cells = [
        [
            title(row),
            times(row["size"]),
            str(row["seeds"]),
            gained(row["valid"]["mixed"]),
            *(signed(row["valid"][text]["mean"]) for text in texts),
            gained(row["test"]["mixed"]),
        ]
        for row in rows
    ]
    head = ["gain, in nats", "student", "seeds", "mixed", *texts, "mixed, test"]
    return [f"## {KINDS[kind]}", ABOUT[kind], table(head, cells, left=2)]


def title(row: dict[str, Any]) -> str:
    """What is compared, in words."""
    better, worse = row["better"], row["worse"]
    ways = [called(arm) for arm in (better, worse)]
    if row["kind"] == "kd":
        ways[0] += f", kd {better['kd']:g}"
    if row["kind"] == "mask":
        ways = [f"{way}, {arm['mask']:.0%} masked" for way, arm in zip(ways, (better, worse), strict=True)]
    one, other = (f"{steps:,}" for steps in row["steps"])
    return f"{ways[0]} over {ways[1]}, " + (
        f"{one} steps" if one == other else f"{one} against {other} steps"
    )


def _coverage(result: dict[str, Any]) -> str:
    texts = result["scale"]["texts"]
    rows = [
        [
            _class(row),
            f"{row['share']:.0%}",
            gained(row["gain"]["mixed"]),
            *(signed(row["gain"][text]["mean"]) for text in texts),
        ]
        for row in result["coverage"]
    ]
    return table(["the word is", "of the words", "gain, mixed", *texts], rows)


def _class(row: dict[str, Any]) -> str:
    if row["teachers"] is None:
        return "several pieces for the student"
    return "one piece, and for " + ("no teacher" if row["teachers"] == 0 else _teachers(row["teachers"]))


def _teachers(count: int) -> str:
    return f"{count} teacher" + ("s" if count > 1 else "")


STANDS = {1: "beyond its interval", 0: "an interval that holds 0", -1: "behind, beyond its interval"}


def says(result: dict[str, Any]) -> list[str]:
    """A sentence for each comparison that question 1 does not have, and what follows of each kind."""
    lines = []
    for kind, name in KINDS.items():
        rows = of_kind(result, kind)
        told = [
            f"{title(row)}: {gained(row['valid']['mixed'])} ({STANDS[beyond(row['valid']['mixed'])]};"
            f" test {gained(row['test']['mixed'])})"
            for row in rows
            if not row["known"]
        ]
        if told:
            lines.append(f"{name}, in nats. " + "; ".join(told) + ".")
    best = max(of_kind(result, "kd"), key=lambda row: float(row["valid"]["mixed"]["mean"]))
    lines.append(
        f"Of the shares of the teachers in the loss {best['better']['kd']:g} has the highest mean,"
        f" {gained(best['valid']['mixed'])} nats."
    )
    return [*lines, *_words(result)]


def _words(result: dict[str, Any]) -> list[str]:
    rows = [row for row in result["coverage"] if row["teachers"] is not None]
    if len(rows) < 2:
        return []
    least, most = rows[0], rows[-1]
    return [
        f"On words that are one piece for the student and for {_teachers(most['teachers'])} the gain is"
        f" {gained(most['gain']['mixed'])} nats ({most['share']:.0%} of the words), and where that is so for"
        f" {'no teacher' if least['teachers'] == 0 else _teachers(least['teachers'])}"
        f" {gained(least['gain']['mixed'])} ({least['share']:.0%})."
    ]


def headline(result: dict[str, Any]) -> list[str]:
    """For the overview: the first aim in longer trainings, and the second with more seeds."""
    longest = max(row["steps"][1] for row in of_kind(result, "longer"))
    rows = [row for row in of_kind(result, "longer") if row["steps"][1] == longest]
    rows += [row for row in of_kind(result, "seeds") if not row["known"]]
    told = "; ".join(
        f"{title(row)} ({times(row['size'])}) {gained(row['valid']['mixed'])} nats" for row in rows
    )
    return [f"**What follows**: {told}."]


def plot(result: dict[str, Any], path: Path) -> None:
    """Every comparison's gain with its interval; those of question 1 are hollow."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "limbeck", "font.size": 9})
    rows = [row for kind in KINDS for row in of_kind(result, kind)]
    figure, axes = plt.subplots(figsize=(8.5, 0.9 + 0.27 * len(rows)), layout="constrained")
    axes.axvline(0, color="#999999", linewidth=0.8)
    for place, row in enumerate(rows):
        gain, colour = row["valid"]["mixed"], COLOURS[row["kind"]]
        axes.plot([gain["low"], gain["high"]], [place, place], color=colour, linewidth=1.4)
        face = "white" if row["known"] else colour
        axes.plot(gain["mean"], place, "o", color=colour, markerfacecolor=face, markersize=5)
    names = [f"{title(row).replace('`', '').replace('*', '')} ({times(row['size'])})" for row in rows]
    axes.set_yticks(range(len(rows)), names)
    axes.invert_yaxis()
    axes.set_xlabel("nats per masked word gained, mixed text\n(hollow: question 1 has it already)")
    draw(figure, path)
