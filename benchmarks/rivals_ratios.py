"""Ratios, shares and targets from what was measured: pure functions of the result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from step_measure import spread

TEXTBREWER = ("textbrewer", "textbrewer_masked")
ONLINE_F32, ONLINE_BEST, STORE_BEST, STORE_STEP, MEMORY, GPU_SHARE = 6.0, 10.0, 25.0, 1.10, 0.25, 0.40
"""What was wanted (issue 4)."""


def best(speed: dict[str, Any], kinds: Sequence[str], precision: str | None = None) -> str | None:
    """The fastest variant of these kinds, in one precision or in any."""
    rates = speed["tokens_per_second"]
    names = [n for n in rates if n.split()[0] in kinds and precision in (None, n.split()[1])]
    return max(names, key=lambda name: rates[name]["median"], default=None)


def ratios(speed: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Ratios of tokens per second, taken within each round; each names its two variants.

    A program of which two variants were measured stands in with the faster. `step of …` is a ratio of times.
    """
    found: dict[str, dict[str, Any]] = {}

    def add(title: str, one: str | None, other: str | None) -> None:
        if one is not None and other is not None:
            rates = speed["tokens_per_second"]
            pairs = zip(rates[one]["rounds"], rates[other]["rounds"], strict=True)
            found[title] = spread([a / b for a, b in pairs]) | {"of": one, "over": other}

    for ours in ("online", "store"):
        for precision in ("f32", "bf16"):
            add(
                f"{ours} / TextBrewer, {precision}",
                best(speed, [ours], precision),
                best(speed, TEXTBREWER, precision),
            )
        for title, kinds in (
            ("TextBrewer", TEXTBREWER),
            ("Trainer", ("trainer",)),
            ("torchdistill", ("torchdistill",)),
        ):
            add(f"{ours} / {title}, each at its best", best(speed, [ours]), best(speed, kinds))
    for ours in ("store", "online"):
        for precision in ("f32", "bf16"):
            plain = best(speed, ["plain"], precision)
            add(f"step of {ours} / step of plain, {precision}", plain, best(speed, [ours], precision))
    return found


def shares(speed: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Of every variant: operations per second, and their share of the bf16 peak, needed and done.

    The peak is the fastest of the products: what the machine can do when nothing else disturbs it.
    """
    peak = speed["matrix_product"]["bf16"]["high"]
    found = {}
    for name, milliseconds in speed["milliseconds_per_step"].items():
        per_second = {what: count / milliseconds * 1000 for what, count in speed["flops"][name].items()}
        found[name] = {
            "needed_per_second": per_second["needed"],
            "needed_share": per_second["needed"] / peak,
            "done_share": per_second["done"] / peak,
        }
    return found


def memory_shares(memory: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Peak of each variant as a share of TextBrewer's in the same precision (its leaner variant)."""
    found = {}
    for name, used in memory.items():
        kind, precision = name.split()
        others = [f"{other} {precision}" for other in TEXTBREWER if f"{other} {precision}" in memory]
        if used is None or kind in TEXTBREWER or not others:
            continue
        other = min(others, key=lambda name: memory[name]["over"])
        found[name] = {"share": used["over"] / memory[other]["over"], "over": other}
    return found


def targets(result: dict[str, Any], gpu: bool) -> list[dict[str, Any]]:
    """What was wanted, what came out; on a GPU the share of its peak that the store-fed step reaches."""
    rows: list[dict[str, Any]] = []

    def row(what: str, sense: str, wanted: float, measured: float, versus: str) -> None:
        check: Callable[[float, float], bool] = float.__ge__ if sense == "at least" else float.__le__
        met = check(float(measured), float(wanted))
        rows.append(
            {
                "what": what,
                "sense": sense,
                "wanted": wanted,
                "measured": measured,
                "met": met,
                "versus": versus,
            }
        )

    for title, sense, wanted in (
        ("online / TextBrewer, f32", "at least", ONLINE_F32),
        ("online / TextBrewer, each at its best", "at least", ONLINE_BEST),
        ("store / TextBrewer, each at its best", "at least", STORE_BEST),
        ("step of store / step of plain, f32", "at most", STORE_STEP),
        ("step of store / step of plain, bf16", "at most", STORE_STEP),
    ):
        if title in result["ratios"]:
            ratio = result["ratios"][title]
            row(title, sense, wanted, ratio["median"], f"{ratio['of']} : {ratio['over']}")
    for name, share in result["memory_shares"].items():
        if name.split()[0] in ("online", "store"):
            what = f"peak memory of {name} / TextBrewer"
            row(what, "at most", MEMORY, share["share"], f"{name} : {share['over']}")
    if gpu and "store bf16" in result["shares_of_peak"]:
        share = result["shares_of_peak"]["store bf16"]["needed_share"]
        row("share of the peak, store bf16", "at least", GPU_SHARE, share, "bf16 matrix product")
    return rows
