"""What questions 3 to 6 share: spreads, paired intervals, aims, tables, sentences, a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from step_page import _fill as fill
from step_page import _table as table

from .intervals import Row, paired, spread
from .models import MODELS
from .setting import Setting
from .text import documents

__all__ = ["aim", "dots", "fill", "head", "interval", "number", "paired", "said", "scale", "spread", "table"]

COLOURS = dict(
    zip(
        MODELS,
        ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
        strict=True,
    )
)
GREY = "#777777"
"""Of what is no student."""


def aim(
    what: str,
    wanted: str,
    found: Mapping[str, Any],
    *,
    decides: str = "mean",
    least: float = 0.0,
    above: bool = False,
    unit: str = "",
) -> Row:
    """An aim and whether it is met: `found[decides]` is `least` or more, or `above` it.

    None where there is no such bound.
    """
    value = found[decides]
    return {
        "what": what,
        "wanted": wanted,
        "unit": unit,
        "mean": found["mean"],
        "low": found["low"],
        "high": found["high"],
        "beyond": None if value is None else value - least,
        "met": None if value is None else value > least or (value == least and not above),
    }


def scale(setting: Setting) -> Row:
    """What every page says of the models and their text."""
    size = setting.sizes[0]
    return {
        "student": size.name,
        "steps": setting.steps,
        "batch": setting.batch,
        "seeds": list(setting.seeds),
        "text_words": setting.text_words,
        "glosses": setting.glosses,
        "gloss_steps": setting.gloss_steps,
        "tuning_seeds": list(setting.tuning_seeds),
        "documents": documents(),
    }


def head(result: Row, title: str, question: str) -> list[str]:
    """Title, the warning of the quick setting, question, scale."""
    found = [f"# {title}", fill(SOURCE.format(name=result["question"]))]
    if result["setting"] == "quick":
        found.append("> **A slice of the study, which only shows that it runs. Its figures prove nothing.**")
    told, machine = result["scale"], result["environment"]
    seeds = told["seeds"]
    made = result["made"]
    way = made["recommended"]
    training = next(iter(made["training"].values()))
    text = f"""Students of {told["student"].replace("x", "×")} (layers × width), {told["steps"]:,} steps of
        {told["batch"]} passages of encyclopedia, fiction and WordNet's glosses ({told["text_words"]:,} words
        each, at most); {"seed" if len(seeds) == 1 else "seeds"} {
        ", ".join(map(str, seeds))
    }. *Distilled*: taught by
        the three house teachers, weighting `{way["weighting"]}`{
        "" if way["temperature"] is None else f", temperature {way['temperature']:g}"
    }, {way["mixture"]} mixture{"" if way["calibrate"] else ", not calibrated"} ({
        way["by"]
    }). Gloss training: {told["gloss_steps"]:,} steps of 32 of
        {training["instances"]:,} instances with a choice (WordNet's examples{SEMCOR[result["setting"]]}), the
        same for all kinds; the last step is measured. Its learning rate, {made["rate"]:g}, was chosen by the
        F1 of the first seed's `distilled+LMGC-M` on SemEval-2007 ({
        ", ".join(f"{rate}: {f1:.1f}" for rate, f1 in made["rates"].items())
    }). How students are taught was chosen on the held-out texts (question 1); nothing else was chosen. {
        machine["processor"]
    },
        {machine["cores"]} cores; torch {machine["versions"]["torch"]}, transformers
        {machine["versions"]["transformers"]}; {result["seconds"] / 3600:.2f} hours, with the training of
        models that no
        earlier question had trained."""
    return [*found, fill(f"**Question.** {question}"), fill(text)]


SEMCOR = {"full": " and SemCor", "quick": ""}
SOURCE = (
    """Written by `python -m study` from `study-{name}.json`; not to be edited. [All questions](study.md)."""
)


def number(value: Mapping[str, Any], form: str = ".2f") -> str:
    """Mean, and the deviation over seeds where there are several."""
    return f"{value['mean']:{form}}" + ("" if value["sd"] is None else f" ± {value['sd']:{form}}")


def interval(found: Mapping[str, Any], form: str = "+.3f") -> str:
    """A difference with its 95% interval."""
    shown = format(found["mean"], form)
    if found["low"] is None:
        return f"{shown} (no interval)"
    return f"{shown} [{format(found['low'], form)}, {format(found['high'], form)}]"


def said(aims: Sequence[Row], form: str = "+.3f") -> str:
    """Sentences on aims: met or missed, by how much, with the interval."""
    lines = []
    for one in aims:
        verdict = {True: "**Met**", False: "**Missed**", None: "**Cannot be told**"}[one["met"]]
        unit = f" {one['unit']}" if one["unit"] else ""
        beyond = one["beyond"]
        how = "" if beyond is None else f", {'by' if one['met'] else 'short by'} {abs(beyond):{form[1:]}}"
        lines.append(
            f"- {verdict}{how}: {one['what']}. Wanted: {one['wanted']}. Measured: "
            f"{interval(one, form)}{unit}."
        )
    return "\n".join(lines)


def dots(
    path: Path, rows: Mapping[str, Mapping[str, Any]], label: str, lines: Mapping[str, float] | None = None
) -> None:
    """Each name's values as dots and their mean as a bar; `lines`: named values to compare with."""
    mpl.rcParams.update({"svg.hashsalt": "limbeck", "font.size": 10})
    figure, axes = plt.subplots(figsize=(7.5, 0.9 + 0.42 * len(rows)), layout="constrained")
    for place, (name, row) in enumerate(rows.items()):
        colour = COLOURS.get(name, GREY)
        axes.plot(row["values"], [place] * len(row["values"]), "o", color=colour, alpha=0.6, markersize=5)
        axes.plot([row["mean"]] * 2, [place - 0.3, place + 0.3], color=colour, linewidth=2)
    for place, (name, value) in enumerate((lines or {}).items()):
        axes.axvline(value, color=GREY, linestyle=("--", ":", "-.")[place % 3], linewidth=1, label=name)
    if lines:
        figure.legend(loc="outside lower center", ncols=len(lines), frameon=False, fontsize=8)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
