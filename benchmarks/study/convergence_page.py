"""docs/results/study-convergence.md: its tables; what they say stands in `convergence_says.py`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .convergence_says import headline, says
from .show import (
    SEES,
    SLICE,
    called,
    duration,
    gained,
    held_out,
    machine,
    seeds,
    signed,
    spread,
    table,
    times,
)

__all__ = ["headline", "page"]

PARTS = {
    "none": "no teacher",
    "single": "best single teacher",
    "uniform": "`uniform`",
    "best": "best weighting",
}


def page(result: dict[str, Any], folder: Path) -> str:
    """The page; its figures are written into `folder`."""
    from . import convergence_figures as figures

    names = "study-convergence.svg", "study-convergence-steps.svg"
    figures.curves(result, folder / names[0])
    figures.budgets(result, folder / names[1])
    lines = " and ".join(figures.shown(result).values())
    parts = [
        "# Does a student learn faster from teachers?",
        "Written by `benchmarks/study` from the JSON of question `convergence`; not to be edited.",
        *([SLICE] if result["setting"] == "quick" else []),
        _done(result),
        "## Teachers",
        _teachers(result),
        "Teachers and students of N steps beside each other, in nats per masked word, on the words that are"
        " one piece for all of them; *mixed* is the mean of the texts:",
        _beside(result),
        f"## Every arm, student {times(result['scale']['sizes'][0])}, N steps",
        "Nats per masked word, all words, mean ± standard deviation over the seeds; lower is better. The last"
        " columns: the same on text that chose nothing, and the median time of a training.",
        _arms(result),
        "Geometric mixtures ask the teachers in every step (*online*): a store keeps a few pieces and a"
        " tail, of which a product cannot be made; what comes of it all the same stands in the row without"
        " *online*. So they are compared in trainings of half of the steps:",
        _mixtures(result),
        _logits(result),
        "## Shorter trainings and the larger student",
        "Each with its own full schedule; nats per masked word on the mixed text (in the figure the grey line"
        " is the untaught student of N steps):",
        _budgets(result),
        f"![Nats on the mixed text against the steps of the training, of {lines}]({names[1]})",
        f"![Nats per masked piece of held-out text by step, of {lines}]({names[0]})",
        "## Gains",
        "Nats that the first is ahead of the second (above 0: it is better), by the same words, paired by"
        " seed; intervals are of 95%, over seeds (Student's t) and resampled passages together. Where the"
        " aims are, more seeds are trained after everything was chosen. *Test* is text that chose nothing:"
        " encyclopedia and fiction.",
        _gains(result),
        "## Weights and temperatures",
        "The temperature of each weighting is the one whose mixture alone explains held-out text best, as a"
        " mean over the texts, with all that the teachers predict, not with what a store keeps; no student is"
        " trained for it. `gold` reads the true word, so its nats prove nothing, and its temperature stays 1."
        " Then the mean weight of each teacher, on the pieces that all teachers cover:",
        _weights(result),
        "## What it says",
        "\n".join(f"- {line}" for line in says(result)),
        machine(result) + " Again: `make study`, or `PYTHONPATH=benchmarks python -m study convergence`.",
    ]
    return "\n\n".join(parts) + "\n"


def _done(result: dict[str, Any]) -> str:
    scale = result["scale"]
    students = " and ".join(
        f"{times(size)} (learning rate {rate:g})"
        for size, rate in zip(scale["sizes"], scale["rates"], strict=True)
    )
    shorter = ", ".join(f"{scale['steps'] // share:,}" for share in scale["shares"][1:])
    return (
        f"The same student with no teacher, with each house teacher alone and with all three, under every"
        f" weighting: same text, order, masks and first weights. ModernBERT students of {students}, the best"
        f" rates that were tried without teachers; N = {scale['steps']:,} steps of {scale['batch']} passages."
        f" The best arms also have {shorter} steps, and the larger student: no teacher, the best single"
        f" teacher, `uniform` and the best weighting of the smaller one, and half of the steps with the last."
        f" The text: passages drawn from at most {scale['text_words']:,} words each of encyclopedia, fiction"
        f" and the glosses of `{scale['glosses']}`; {seeds(result)}. Measured on {scale['passages']:,}"
        f" held-out passages of each text at most. Taught students read the teachers' predictions from a"
        f" store that keeps {scale['kept']} pieces of each; what is not kept is approximated, most for"
        f" `entropy` and for geometric mixtures ([how](../store.md)). {scale['trainings']} trainings."
        f" Learning rate, what students see, weighting, temperature and teacher are chosen on the texts that"
        f" are not called *test*, for the small student, which flatters gains there a little; *test* chose"
        f" nothing. {held_out(result)}"
    )


def _teachers(result: dict[str, Any]) -> str:
    texts = result["scale"]["texts"]
    head = [
        "teacher", "parameters", "pieces", "words of its text", "steps", "training", "its store",
        "its store, not calibrated", "calibration", *(f"covers of {text}" for text in texts),
    ]  # fmt: skip
    measured = result["temperatures"]["texts"]
    rows = []
    for name, one in result["teachers"].items():
        stores = (duration(result["stores"][kind][name]) for kind in ("calibrated", "raw"))
        covers = (f"{measured[text]['teachers'][name]['coverage']:.0%}" for text in texts)
        calibration = f"{measured[texts[0]]['teachers'][name]['calibration']:.2f}"
        rows.append(
            [f"*{name}*", f"{one['parameters']:,}", f"{one['vocabulary']:,}", f"{one['words']:,}",
             f"{one['steps']:,}", duration(one["seconds"]), *stores, calibration, *covers]
        )  # fmt: skip
    return table(head, rows)


def _beside(result: dict[str, Any]) -> str:
    texts = [*result["scale"]["texts"], "mixed"]
    rows = []
    for name, row in result["beside_teachers"].items():
        part, _, size = name.partition(" ")
        label = f"{PARTS[part]}, {times(size)}" if size else f"teacher *{name}*"
        rows.append([label, *(spread(row[text]) for text in texts)])
    return table(["", *texts], rows)


def _arms(result: dict[str, Any]) -> str:
    found = result["tables"][0]
    return _nats(result, found, {name: _sees(result, name) for name in found["valid"]})


def _nats(result: dict[str, Any], found: dict[str, Any], names: Mapping[str, str]) -> str:
    """Of some arms of a table, with what is said behind each one's name."""
    texts = [*result["scale"]["texts"], "mixed"]
    rows = [
        [called(result["arms"][name]) + more, *(spread(found["valid"][name][text]) for text in texts),
         spread(found["test"][name]["mixed"]), duration(found["seconds"][name])]
        for name, more in names.items()
    ]  # fmt: skip
    return table(["", *texts, "mixed, test", "training"], rows)


def _mixtures(result: dict[str, Any]) -> str:
    """Geometric mixtures beside the arithmetic ones, in trainings of half of the steps."""
    small, half = result["scale"]["sizes"][0], result["scale"]["steps"] // 2
    found = next(row for row in result["tables"] if (row["size"], row["steps"]) == (small, half))
    parts = result["parts"]
    return _nats(result, found, dict.fromkeys([parts["uniform"], parts["best"], *result["mixtures"]], ""))


def _sees(result: dict[str, Any], name: str) -> str:
    """What the students of an arm see, where that was compared."""
    arm = result["arms"][name]
    of_all = len(arm["teachers"]) > 1 and arm["weighting"] == "uniform" and arm["calibrate"]
    if not arm["teachers"] or (of_all and arm["mixture"] == "arithmetic"):
        return f", sees {SEES[arm['sees']]}"
    return ""


def _logits(result: dict[str, Any]) -> str:
    where = "`uniform`, geometric, online"
    return (
        "Mean of logits, as TextBrewer teaches: the teachers' vocabularies differ, so there is no raw mean."
        " With one vocabulary, the softmax of the mean of the logits is the geometric mixture with equal"
        f" weights and no calibration (a test holds it); so the row {where}, which is calibrated, is its"
        " nearest here."
    )


def _budgets(result: dict[str, Any]) -> str:
    rows = []
    for found in result["tables"]:
        for part, name in result["parts"].items():
            if name not in found["valid"]:
                continue
            if part == "best" and name == result["parts"]["uniform"] and len(found["valid"]) > 1:
                continue
            value, test = found["valid"][name]["mixed"], found["test"][name]["mixed"]
            label = PARTS[part] + (f": {called(result['arms'][name])}" if part in ("single", "best") else "")
            rows.append(
                [times(found["size"]), f"{found['steps']:,}", label, spread(value), spread(test),
                 duration(found["seconds"][name])]
            )  # fmt: skip
    return table(["student", "steps", "", "mixed", "mixed, test", "training"], rows, left=3)


def _gains(result: dict[str, Any]) -> str:
    texts = result["scale"]["texts"]

    def label(name: str) -> str:
        if name not in result["parts"]:
            return called(result["arms"][name])
        return PARTS[name] if name != "best" else called(result["arms"][result["parts"]["best"]])

    rows = []
    for gain in result["gains"]:
        same = result["parts"]["best"] == result["parts"]["uniform"]
        if same and (gain["better"], gain["worse"]) == ("best", "none"):
            continue  # stands there as uniform
        steps = dict.fromkeys(f"{step:,}" for step in gain["steps"])
        what = f"{label(gain['better'])} over {label(gain['worse'])}"
        rows.append(
            [what, times(gain["size"]), " against ".join(steps), str(gain["seeds"]),
             gained(gain["valid"]["mixed"]), *(signed(gain["valid"][text]["mean"]) for text in texts),
             gained(gain["test"]["mixed"])]
        )  # fmt: skip
    return table(["", "student", "steps", "seeds", "mixed", *texts, "mixed, test"], rows, left=3)


def _weights(result: dict[str, Any]) -> str:
    found = result["temperatures"]
    teachers = list(result["teachers"])
    texts = list(found["texts"])
    weightings = [
        name for name in found["chosen"] if any(a["weighting"] == name for a in result["arms"].values())
    ]
    rows = []
    for name in weightings:
        tau = found["chosen"][name]
        cells = []
        for text in texts:
            mixtures = found["texts"][text]["mixtures"]
            cell = next(c for c in mixtures if (c["weighting"], c["temperature"]) == (name, tau))
            cells.append(f"{cell['nats']:.3f}: " + " / ".join(f"{weight:.2f}" for weight in cell["weights"]))
        rows.append([f"`{name}`", f"{tau:g}", *cells])
    alone = [
        " / ".join(f"{found['texts'][text]['teachers'][name]['nats']:.3f}" for name in teachers)
        for text in texts
    ]
    rows.append(["each teacher alone", "", *alone])
    order = " / ".join(f"*{name}*" for name in teachers)
    head = ["weighting", "τ", *(f"{text}: nats, weights" for text in texts)]
    return f"In this order: {order}.\n\n" + table(head, rows)
