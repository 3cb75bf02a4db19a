"""docs/results/study-words.md and its page of plots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .show import SLICE, beyond, draw, gained, machine, table

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f3b08", "#000000")
"""Three of teachers, then of weightings."""
FEW = 100
"""Places below which a group is shown, but nothing is said of it."""
NOTICED = 0.01
"""The least difference of weights that is spoken of."""
SHADES = {"entropy": "o", "max_prob": "s", "margin": "^", "evidence": "D", "gold": "v"}


def page(result: dict[str, Any], folder: Path) -> str:
    """The page; its figure goes into the folder."""
    plots(result, folder / "study-words.svg")
    every = result["all"]
    temperatures = ", ".join(
        f"`{name}` {value:g}" for name, value in result["temperatures"].items() if name != "uniform"
    )
    source = {"convergence": "chosen on held-out text by [question 1](study-convergence.md)"}.get(
        result["temperatures_from"], "the default"
    )
    covered = ", ".join(f"`{name}` {share:.0%}" for name, share in every["covered"].items())
    parts = [
        "# Which words is each teacher heard on?",
        "Written by `benchmarks/study` from the JSON of question `words`; not to be edited."
        " [All questions](study.md).",
        *([SLICE] if result["setting"] == "quick" else []),
        "**Question.** Where do the weights of the three teachers go, and does weighting help there?",
        f"In at most {result['passages']:,} passages of each held-out text 15% of the words are masked; the"
        f" students' tokenizer (`{result['student_tokenizer']}`) makes {every['slots']:,} places of them. At"
        f" {every['n']:,} all three teachers answer ({covered} by themselves), and only these count here:"
        " elsewhere a weight says more of tokenizers than of words. Teachers are calibrated as in the"
        f" students' stores; τ is {source}: {temperatures}. A word's frequency is its rank in the students'"
        " training text; part of speech and number of senses are WordNet's, of all base forms, so that"
        " *several* may be noun as well as verb; function words are a list of closed classes, because WordNet"
        " has some of them as rare nouns. *Agreement*: whether the teachers' likeliest pieces are the same.",
        "`entropy`, `max_prob` and `margin` see what the teachers say alone. `evidence` sees the true pieces"
        " at the other masked places of the passage, `gold` the true piece itself: these two can teach, but"
        " not predict, and the nats of `gold` are no achievement.",
        "![For each group of words, the mean weight of each teacher under each weighting as bars, and at the"
        " right how many nats each weighting gains over equal weights; the tables below have the"
        " figures](study-words.svg)",
        "## What it says",
        "\n".join(f"- {line}" for line in sentences(result)),
        f"## The figures\n\nMean weight of each teacher under `{best(result)}`; nats of the equal mixture on"
        " the true piece (lower is better), and how many fewer the weighted ones have, with the 95% interval"
        " over passages.",
    ]
    for kind, rows in ({"all words": [every]} | result["groups"]).items():
        parts += [f"### By {kind}" if kind != "all words" else "### All words", _table(result, rows)]
    again = " Again: `PYTHONPATH=benchmarks python -m study words`."
    return "\n\n".join([*parts, machine(result) + again]) + "\n"


def _table(result: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """Weights under the best of the blind weightings, nats under all."""
    chosen, teachers = best(result), result["teachers"]
    columns = ["words", "places", "of all", *(f"`{t}`" for t in teachers), "uniform, nats"]
    columns += [f"`{name}` gains" for name in result["weightings"][1:]]
    cells = []
    for row in rows:
        if not row["n"]:
            continue
        share = f"{row['n'] / row['slots']:.0%}" if row.get("slots") else "–"
        line = [row["name"], f"{row['n']:,}", share]
        line += [f"{row['weights'][chosen][teacher]:.2f}" for teacher in teachers]
        line += [f"{row['nats']['uniform']:.3f}", *(gained(row["gain"][w]) for w in result["weightings"][1:])]
        cells.append(line)
    return table(columns, cells)


def best(result: dict[str, Any]) -> str:
    """Of the weightings that see no true piece the one that gains most over equal weights on all words."""
    return max(result["blind"], key=lambda name: float(result["all"]["gain"][name]["mean"]))


def verdict(value: dict[str, Any]) -> str:
    """Whether a gain is one, by its interval, to the digits that are shown."""
    if value["low"] is None:
        return "without an interval"
    return {
        1: "better than equal weights",
        0: "no different from equal weights within the interval",
        -1: "worse than equal weights",
    }[beyond({bound: round(value[bound], 3) for bound in ("low", "high")})]


def sentences(result: dict[str, Any]) -> list[str]:
    """What the figures say, whatever they are."""
    every, chosen = result["all"], best(result)
    lines = []
    for name in result["weightings"][1:]:
        value = every["gain"][name]
        lines.append(f"On all words `{name}` is {verdict(value)}: {gained(value)} nats per masked piece.")
    for name in [chosen, *(n for n in result["weightings"][1:] if n != chosen)]:
        more = [
            f"`{teacher}` {gained(value)}"
            for teacher, value in result["home"][name].items()
            if value["low"] is not None
        ]
        if not more:
            continue
        kept = [teacher for teacher, value in result["home"][name].items() if heard(value)]
        lines.append(
            f"Under `{name}` {len(kept)} of {len(result['teachers'])} teachers have more weight on their own"
            f" text than on the others ({', '.join(more)})."
        )
    for kind, rows in result["groups"].items():
        rows = [row for row in rows if row["n"] >= FEW]
        if len(rows) < 2:
            continue
        ordered = sorted(rows, key=lambda row: float(row["gain"][chosen]["mean"]))
        worst, top = ordered[0], ordered[-1]
        lines.append(
            f"By {kind}, `{chosen}` gains most on *{top['name']}* ({gained(top['gain'][chosen])}) and least"
            f" on *{worst['name']}* ({gained(worst['gain'][chosen])})."
        )
        lines += _heard(kind, rows, chosen, result["teachers"])
    return lines


def _heard(kind: str, rows: list[dict[str, Any]], weighting: str, teachers: list[str]) -> list[str]:
    """On which group each teacher has the most and the least weight, where that makes a difference."""
    lines = []
    for teacher in teachers:
        ordered = sorted(rows, key=lambda row: float(row["weights"][weighting][teacher]))
        least, most = (ordered[place]["weights"][weighting][teacher] for place in (0, -1))
        if most - least >= NOTICED:
            lines.append(
                f"By {kind}, `{teacher}` is heard most on *{ordered[-1]['name']}* ({most:.2f}) and least on "
                f"*{ordered[0]['name']}* ({least:.2f})."
            )
    return lines or [f"By {kind}, no teacher's weight under `{weighting}` moves by as much as {NOTICED}."]


def heard(value: dict[str, Any]) -> bool:
    """Whether a teacher has more weight on its own text, beyond the interval, to the digits shown."""
    return value["low"] is not None and round(value["low"], 3) > 0


def headline(result: dict[str, Any]) -> list[str]:
    """For the overview."""
    chosen = best(result)
    value = result["all"]["gain"][chosen]
    home = [teacher for teacher, one in result["home"][chosen].items() if heard(one)]
    return [
        f"**Which words**: under `{chosen}` {len(home)} of {len(result['teachers'])} teachers are heard more"
        f" on their own text; its mixture is {verdict(value)} ({gained(value)} nats per masked piece)."
    ]


def plots(result: dict[str, Any], path: Path) -> None:
    """Rows: kinds of groups; columns: weightings, and the gains of all of them at the right."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "limbeck", "font.size": 9})
    shown = [name for name in result["weightings"] if name != "uniform"]
    kinds = {kind: [row for row in rows if row["n"]] for kind, rows in result["groups"].items()}
    kinds = {kind: rows for kind, rows in kinds.items() if rows}
    heights = [len(rows) + 0.9 for rows in kinds.values()]
    figure, axes = plt.subplots(
        len(kinds), len(shown) + 1, figsize=(14, 0.34 * sum(heights) + 1.2), layout="constrained",
        squeeze=False, gridspec_kw={"height_ratios": heights, "width_ratios": [1] * len(shown) + [1.5]},
    )  # fmt: skip
    for y, (kind, rows) in enumerate(kinds.items()):
        places = list(range(len(rows)))
        for x, name in enumerate(shown):
            _bars(axes[y, x], rows, name, result["teachers"])
            axes[y, x].set_yticks(places, [row["name"] for row in rows] if x == 0 else [""] * len(rows))
            if y == 0:
                axes[y, x].set_title(name, fontsize=10)
            if y == len(kinds) - 1:
                axes[y, x].set_xlabel("mean weight")
        axes[y, 0].set_ylabel(kind, fontweight="bold")
        last = axes[y, -1]
        _gains(last, rows, shown)
        last.set_yticks(places, [f"{row['n']:,}" for row in rows])
        last.yaxis.tick_right()
        if y == 0:
            last.set_title("nats gained (right: places)", fontsize=10)
    patches, names = axes[0, 0].get_legend_handles_labels()
    dots, weightings = axes[0, -1].get_legend_handles_labels()
    figure.legend(
        [*patches, *dots], [*(f"teacher {name}" for name in names), *weightings],
        loc="outside lower center", ncols=len(names) + len(weightings), frameon=False,
    )  # fmt: skip
    draw(figure, path)


def _bars(axes: Any, rows: list[dict[str, Any]], weighting: str, teachers: list[str]) -> None:
    left = [0.0] * len(rows)
    for colour, teacher in zip(COLOURS, teachers, strict=False):
        widths = [row["weights"][weighting][teacher] for row in rows]
        axes.barh(range(len(rows)), widths, left=left, height=0.72, color=colour, label=teacher)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for share in range(1, len(teachers)):
        axes.axvline(share / len(teachers), color="white", linewidth=1, linestyle=(0, (2, 2)))
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "½", "1"])
    axes.invert_yaxis()


def _gains(axes: Any, rows: list[dict[str, Any]], weightings: list[str]) -> None:
    axes.axvline(0, color="#888888", linewidth=0.8)
    for k, name in enumerate(weightings):
        colour = COLOURS[3 + k]
        for place, row in enumerate(rows):
            value, y = row["gain"][name], place + (k - (len(weightings) - 1) / 2) * 0.14
            if value["low"] is not None:
                axes.plot([value["low"], value["high"]], [y, y], color=colour, linewidth=1)
            label = name if place == 0 else None
            axes.plot([value["mean"]], [y], SHADES.get(name, "o"), color=colour, markersize=3.5, label=label)
    axes.set_ylim(len(rows) - 0.5, -0.5)
