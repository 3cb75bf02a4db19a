"""What the model card of a detector says of it: how it is used, what a score is worth, and what it is not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from limbeck.report.markdown import code_block, count, escape, pathless, table
from limbeck.tools.detect_settings import FILE, LEVELS, DetectorSettings, said

USE = """from limbeck import Detector

report = Detector.from_pretrained(FOLDER)("A paragraph.\\n\\nAnother paragraph.")
for passage in report.passages:
    print(passage.score, passage.mark, passage.text)
print(report.summary.record()["paraphrased"])  # share of the words, with its 95% interval"""

_PLAIN = (
    "It loads with transformers alone as well, as a text classifier; what that gives is not calibrated and "
    "is no score."
)


def detector_of(folder: Path) -> DetectorSettings | None:
    """What makes the model of a run directory a detector; None where it is none.

    Raises:
        UserError: its `detector.json` is damaged.
    """
    path = folder / "model" / FILE
    return DetectorSettings.read(path) if path.is_file() else None


def use() -> str:
    """How a detector is used."""
    return f"{code_block(USE, 'python')}\n\n{_PLAIN}"


def worth(detector: DetectorSettings) -> str:
    """What a score means, and how often it errs on texts that were neither learnt nor calibrated on."""
    valid = detector.valid
    lines = "\n".join(f"- {escape(line)}" for line in said(detector))
    rows = [_row(_range(one), one) for one in valid["by_words"]]
    whole = {"texts": valid["measured_on"], "errors": valid["errors"], **valid["after"]}
    heads = ["words", "texts"]
    for level in LEVELS:
        heads += [f"originals at {level:g} or more (false alarms)", f"paraphrases at {level:g} or more"]
    return "\n\n".join(
        [
            f"## What a score is, and is not\n\n{lines}",
            "## Calibration and errors",
            f"Calibrated on {count(valid['calibrated_on'])} passages of the validation texts and measured on "
            f"the other {count(valid['measured_on'])}: the calibration error is "
            f"{valid['before']['calibration_error']:.3f} before calibration and "
            f"{valid['after']['calibration_error']:.3f} after. Shares have their 95% interval.",
            table([*heads, "calibration error"], [*rows, _row("all", whole)]),
        ]
    )


def data(detector: DetectorSettings) -> str:
    """What it learnt from: files, the paraphrasing program where they name it, what stands in both sets."""
    lines = []
    for name, one in (("Training", detector.data["train"]), ("Validation", detector.data["valid"])):
        synthetic = one["synthetic"]
        how = (
            f"synthetic, {escape(pathless(synthetic))}"
            if synthetic
            else "the file does not say how it was made"
        )
        lines.append(
            f"- {name}: {count(one['texts'])} texts of {escape(one['file'])}, with their cuts "
            f"{count(one['rows'])} passages; the paraphrases: {how}."
        )
    lines.append(
        f"- Validation texts that stand in the training texts as well: {count(detector.data['overlap'])}."
    )
    return "\n".join(lines)


def limits(detector: DetectorSettings) -> list[str]:
    """What it is not fit for."""
    marked = detector.language.record()["marked"]
    return [
        f"Passages of fewer than {detector.min_words:,} words get no score, nor do those that seem to be in "
        f"another language ({marked:.2%} of the validation texts are taken for one).",
        "It has learnt one kind of machine paraphrase on one kind of text. Another paraphrasing program may "
        "go unseen, and originals of another kind may score high: try it on originals of your own first.",
        "A score proves nothing about a person; let it decide nothing by itself.",
    ]


def _row(name: str, one: Mapping[str, Any]) -> list[str]:
    cells = [name, count(one["texts"])]
    for level in one["errors"]:
        for kind in ("false_alarms", "found"):
            rate = level[kind]
            cells.append(f"{rate['rate']:.1%} ({rate['low']:.1%} to {rate['high']:.1%})")
    return [*cells, f"{one['calibration_error']:.3f}"]


def _range(one: Mapping[str, Any]) -> str:
    return f"{one['from']} or more" if one["to"] is None else f"{one['from']} to {one['to'] - 1}"
