"""What pages share: tables, numbers with their spread, gains with their intervals, the names of arms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

SLICE = (
    "> **A slice of the study** (`--quick`): tiny models, a few steps, little text. It shows that everything"
    " runs; its figures prove nothing."
)


def table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Markdown; the first `left` columns are text, the others numbers."""
    rule = ["---" if column < left else "---:" for column in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def spread(value: dict[str, Any], digits: int = 3) -> str:
    """Mean ± standard deviation over the seeds, where there are several."""
    sd = "" if value["sd"] is None else f" ± {value['sd']:.{digits}f}"
    return f"{value['mean']:.{digits}f}{sd}"


def signed(value: float) -> str:
    """With a sign, and never a negative nothing."""
    return f"{round(value, 3) + 0.0:+.3f}"


def gained(gain: dict[str, Any]) -> str:
    """A paired gain with its interval."""
    if gain["low"] is None:
        return signed(gain["mean"])
    return f"{signed(gain['mean'])} [{signed(gain['low'])}, {signed(gain['high'])}]"


def beyond(gain: dict[str, Any]) -> int:
    """1: the whole interval is above 0; −1: all of it is below; 0: neither, or there is none."""
    if gain["low"] is None:
        return 0
    return int(gain["low"] > 0) - int(gain["high"] < 0)


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def times(size: str) -> str:
    """2x128 as it is printed."""
    return size.replace("x", "×")


SEES = {"bert": "80/10/10", "mask": "the mask alone"}
"""What students are shown at selected words."""


def called(arm: dict[str, Any]) -> str:
    """An arm, in words; what its students see is not among them."""
    if not arm["teachers"]:
        return "no teacher"
    if len(arm["teachers"]) == 1:
        return f"only *{arm['teachers'][0]}*"
    tau = "" if arm["temperature"] is None else f", τ {arm['temperature']:g}"
    mixture = "" if arm["mixture"] == "arithmetic" else ", geometric"
    raw = "" if arm["calibrate"] else ", not calibrated"
    online = ", online" if arm.get("online") else ""
    return f"`{arm['weighting']}`{tau}{mixture}{raw}{online}"


def seeds(result: dict[str, Any]) -> str:
    """What the intervals are over."""
    count = len(result["scale"]["seeds"])
    if count == 1:
        return "one seed, so that the intervals are over passages alone"
    return f"{count} seeds; intervals are of 95%, over seeds (Student's t) and resampled passages together"


def held_out(result: dict[str, Any]) -> str:
    """What the intervals cannot know."""
    parts = result["scale"]["documents"]
    counts = "; ".join(
        f"{part}: {found['encyclopedia']} articles and {found['fiction']} book"
        + ("s" if found["fiction"] != 1 else "")
        for part, found in parts.items()
    )
    return (
        f"The held-out texts are few ({counts}), and passages are resampled as if each stood by itself: the"
        " intervals say nothing of other books, and of other articles too little."
    )


def machine(result: dict[str, Any]) -> str:
    """Hours, machine and versions."""
    environment = result["environment"]
    versions = environment["versions"]
    return (
        f"{duration(result['seconds'])} on {environment['processor']}, {environment['cores']} cores (one"
        f" thread per training, as many trainings at a time as cores); torch {versions['torch']},"
        f" transformers {versions['transformers']}."
    )


def draw(figure: Any, path: Path) -> None:
    """Writes an SVG that is the same for the same figures."""
    from matplotlib import pyplot as plt

    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
