"""docs/results/study-paraphrase.md of its JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from .parts import COLOURS, GREY, fill, head, interval, number, table

QUESTION = """Is a short text an original or a paraphrasing tool's work: which student tells it with few
texts to
learn from, and is it better than TF-IDF with a logistic regression?"""
TITLES = {"tfidf_300": "*TF-IDF 300*", "tfidf_50000": "*TF-IDF 50,000*"}


def page(result: dict[str, Any], folder: Path) -> str:
    """F1 of every length and size, differences; a figure of F1 against training texts."""
    _figure(result, folder / "study-paraphrase.svg")
    models = {f"`{name}`": row["cells"] for name, row in result["models"].items()}
    every = models | {TITLES[name]: row["cells"] for name, row in result["baselines"].items()}
    heads = [f"{cell['words']} words, {cell['size']:,} texts" for cell in next(iter(every.values()))]
    rows = [[name, *(number(cell["f1"]) for cell in cells)] for name, cells in every.items()]
    changes = [
        [
            f"`{one['model']}`",
            f"{one['words']}",
            f"{one['size']:,}",
            interval(one["start"], "+.2f"),
            interval(one["tfidf"], "+.2f"),
        ]
        for one in result["comparisons"]
    ]
    test = result["test"]
    lost = "; ".join(f"{count:,} with {words} words" for words, count in test["undecidable"].items() if count)
    part = "all" if test["texts"] == test["of"] else f"a fixed sample of {test['of']:,}"
    told = f"""F1-micro in %, which is accuracy here, on {test["texts"]:,} test texts ({part}), which chose
        nothing; the epoch is the best one on {result["valid_texts"]:,} validation texts. In bf16; learning
        rate {result["learning_rate"]:g}, by the models' width. The k-th tuning seed draws the training texts
        and goes with the student of the k-th seed, in turn; tuning seeds
        {", ".join(map(str, result["scale"]["tuning_seeds"]))}; mean ± deviation over them. TF-IDF learns from
        the same texts and has no epoch to choose; of the two TF-IDF the one that is better on the test texts
        is compared, in its favour. {"Texts that stand with both labels: " + lost + "." if lost else ""}"""
    return (
        "\n\n".join(
            [
                *head(result, "Paraphrase detection with few texts", QUESTION),
                fill(told),
                table(["", *heads], rows),
                "![F1 against training texts, of every model and of TF-IDF](study-paraphrase.svg)",
                fill("""Points of F1 of lexical students less the student they started from, and less the
                better of
            the two TF-IDF [95% t-interval, paired by tuning seed]:"""),
                table(["", "words", "texts", "less its start", "less TF-IDF"], changes),
                "## What it says",
                _says(result),
            ]
        )
        + "\n"
    )


def _says(result: dict[str, Any]) -> str:
    """Of every model, how often it is better, by cells of few texts."""
    few = [one for one in result["comparisons"] if one["size"] <= result["few"]]
    won = [one[other]["mean"] > 0 for one in few for other in OTHERS]
    verdict = "**Met**" if all(won) else "**Missed**"
    lines = [
        f"- {verdict}: lexical students beat their own starting point and TF-IDF with up to "
        f"{result['few']:,} texts. Wanted: in every cell, on average over tuning seeds. Measured: in "
        f"{sum(won)} of {len(won)} comparisons."
    ]
    for name in dict.fromkeys(one["model"] for one in few):
        parts = []
        for other, title in OTHERS.items():
            found = [one[other] for one in few if one["model"] == name]
            better = sum(row["mean"] > 0 for row in found)
            clear, lost = sum(_beyond(row, 1) for row in found), sum(_beyond(row, -1) for row in found)
            low, high = min(row["mean"] for row in found), max(row["mean"] for row in found)
            parts.append(
                f"against {title} better in {better} of {len(found)} cells ({low:+.2f} to {high:+.2f}; the "
                f"interval above 0 in {clear}, below in {lost})"
            )
        lines.append(f"- `{name}`: {'; '.join(parts)}.")
    return "\n".join(lines)


OTHERS = {"start": "its start", "tfidf": "TF-IDF"}


def _beyond(row: dict[str, Any], sign: int) -> bool:
    """Whether the whole interval is above 0, or below."""
    bound = row["low"] if sign > 0 else row["high"]
    return bound is not None and sign * bound > 0


def _figure(result: dict[str, Any], path: Path) -> None:
    """A panel for each length."""
    mpl.rcParams.update({"svg.hashsalt": "limbeck", "font.size": 10})
    every = result["models"] | {TITLES[n].strip("*"): row for n, row in result["baselines"].items()}
    lengths = sorted({cell["words"] for cell in next(iter(every.values()))["cells"]})
    figure, panels = plt.subplots(
        1, len(lengths), figsize=(7.5, 4.4), layout="constrained", sharey=True, squeeze=False
    )
    for axes, words in zip(panels[0], lengths, strict=True):
        for name, row in every.items():
            cells = [cell for cell in row["cells"] if cell["words"] == words]
            axes.plot(
                [cell["size"] for cell in cells],
                [cell["f1"]["mean"] for cell in cells],
                color=COLOURS.get(name, GREY),
                linestyle="-" if name in COLOURS else ":" if "300" in name else "--",
                marker="o",
                markersize=4,
                linewidth=1.3,
                label=name,
            )
        axes.set_xscale("log")
        axes.set_xticks(sizes := [c["size"] for c in cells], [f"{size:,}" for size in sizes])
        axes.minorticks_off()
        axes.set_title(f"{words} words", fontsize=10)
        axes.set_xlabel("training texts")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("F1-micro in %")
    panels[0][-1].legend(frameon=False, fontsize=7)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def headline(result: dict[str, Any]) -> list[str]:
    """For the overview."""
    met = sum(bool(one["met"]) for one in result["aims"])
    smallest = min(result["comparisons"], key=lambda one: (one["size"], one["words"]))
    rows = [
        o for o in result["comparisons"] if (o["size"], o["words"]) == (smallest["size"], smallest["words"])
    ]
    best = max(rows, key=lambda one: one["start"]["mean"])
    return [
        f"**Paraphrase detection.** {met} of {len(result['aims'])} comparisons of lexical students "
        "with their "
        f"start and with TF-IDF are won on average; with {best['size']:,} texts of {best['words']} "
        "words the best "
        f"gain over the start is `{best['model']}`'s, {interval(best['start'], '+.2f')} points."
    ]
