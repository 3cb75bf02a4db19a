"""docs/results/study-lexical.md of its JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from .parts import COLOURS, fill, head, interval, number, said, table
from .show import held_out

QUESTION = """Learning which gloss of a lexicon fits a word (LMGC): what does it cost the language model
that a student
is, where words are masked and predicted beside it (LMGC-M), and where the teachers give the targets of those
(cohesive)? And does it add parameters?"""


def page(result: dict[str, Any], folder: Path) -> str:
    """Tables of nats and of differences, F1 beside; a figure of one against the other."""
    models, gains = result["models"], result["gains"]
    _figure(result, folder / "study-lexical.svg")
    valid = list(models["distilled"]["nats"])
    tests = list(models["distilled"]["test_nats"])
    rows = [
        [
            f"`{name}`",
            *(number(row["nats"][text], ".3f") for text in valid),
            *(number(row["test_nats"][text], ".3f") for text in tests),
            "–" if row["f1"] is None else number(row["f1"]),
        ]
        for name, row in models.items()
    ]
    names = ["general text" if text == "mixed" else text for text in (*valid, *tests)]
    names[valid.index("mixed")] = "mean of these"
    names[-1] = "mean of test"
    texts = [text for text in valid if text != "mixed"]
    changes = [
        [
            f"`{name}`",
            *(interval(found["valid"][text]) for text in texts),
            interval(found["general"]),
            interval(found["test"]),
        ]
        for name, found in gains.items()
    ]
    counts = result["parameters"]["counts"]
    same = "**equal in number and shape**" if result["parameters"]["equal"] else "**not equal**"
    shown = ", ".join(f"`{name}` {count:,}" for name, count in counts.items())
    return (
        "\n\n".join(
            [
                *head(result, "Does lexical pre-training keep the language model?", QUESTION),
                fill(f"""Nats per masked word, lower is better, on up to {result["passages"]:,} passages of
                each
            text; mean ± deviation over seeds. F1 in % as in [study-wsd.md](study-wsd.md)."""),
                table(["", *names, "F1"], rows),
                fill("""Nats before less after, above 0 where the model got better, paired by seed and word
                [95%, over seeds, Student's t, and resampled passages together]. General text is encyclopedia
                and fiction, each half:"""),
                table(["", *texts, "general", "general, test"], changes),
                fill(f"""WordNet's examples of the synsets of held-out glosses are left out of gloss training,
                but SemCor's are not, and all glosses are read as candidates: better nats there are in part of
                glosses met before. {held_out(result)}"""),
                "![Nats on general text against F1 of every model and seed](study-lexical.svg)",
                fill(f"""Parameters of the language models: {shown}: {same}. The gloss head, two outputs of
                the
            pooled state, lies in a file beside the model and is no part of it."""),
                "## What it says",
                said(result["aims"]) + "\n" + lost(result["gains"]),
            ]
        )
        + "\n"
    )


def lost(gains: dict[str, Any]) -> str:
    """What LMGC-M costs on text that chose nothing, by what comes before it and who gives its targets."""
    scratch, plain, cohesive = (
        gains[name]["test"] for name in ("scratch+LMGC-M", "distilled+LMGC-M", "distilled+cohesive")
    )
    line = (
        f"- On general text of test LMGC-M changes a student from scratch by {interval(scratch)}, a distilled"
        f" one by {interval(plain)}, and by {interval(cohesive)} where the teachers go on giving the targets"
        " (cohesive)."
    )
    if plain["mean"] < cohesive["mean"] < 0:
        line += (
            f" Their targets keep {1 - cohesive['mean'] / plain['mean']:.0%} of what is lost without them."
        )
    return line


def _figure(result: dict[str, Any], path: Path) -> None:
    """F1 against nats of general text; models that have learnt no glosses as lines of their nats."""
    mpl.rcParams.update({"svg.hashsalt": "limbeck", "font.size": 10})
    figure, axes = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    for name, row in result["models"].items():
        if row["f1"] is None:
            style = "--" if name == "distilled" else ":"
            axes.axvline(
                row["general"]["mean"], color=COLOURS[name], linestyle=style, linewidth=1, label=name
            )
        else:
            points = row["general"]["values"], row["f1"]["values"]
            axes.plot(*points, "o", color=COLOURS[name], alpha=0.4, markersize=5)
            means = [row["general"]["mean"]], [row["f1"]["mean"]]
            axes.plot(*means, "D", color=COLOURS[name], markersize=8, label=name)
    axes.set_xlabel("nats per masked word of general text (lower is better)")
    axes.set_ylabel("F1 in %")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def headline(result: dict[str, Any]) -> list[str]:
    """For the overview."""
    gains = result["gains"]
    parts = "; ".join(
        f"{name} {interval(gains[f'distilled+{name}']['test'])}" for name in ("LMGC", "LMGC-M", "cohesive")
    )
    return [f"**Lexical pre-training** changes nats on general text of test (before less after): {parts}."]
