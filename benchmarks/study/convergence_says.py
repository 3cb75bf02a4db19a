"""What the figures of question 1 say, computed from them."""

from __future__ import annotations

from typing import Any

from .show import SEES, beyond, called, duration, gained, times


def find(
    result: dict[str, Any], better: str, worse: str, size: str, steps: list[int]
) -> dict[str, Any] | None:
    """A paired gain; None where both are the same students."""
    key = (better, worse, size, steps)
    for gain in result["gains"]:
        if (gain["better"], gain["worse"], gain["size"], gain["steps"]) == key:
            return dict(gain)
    return None


def verdict(gain: dict[str, Any]) -> str:
    """Whether a gain stands, with its figures."""
    figures = f"{gained(gain)} nats on the mixed text"
    if beyond(gain) > 0:
        return f"**met**: {figures}"
    if beyond(gain) < 0:
        return f"**missed**: {figures}"
    side = "ahead" if gain["mean"] > 0 else "not ahead"
    return f"**not shown**: {side} on average, but {figures}, an interval that holds 0"


def reached(gain: dict[str, Any]) -> str:
    """The same of reaching what another reaches: to be as good is enough, if only on average."""
    if beyond(gain) == 0 and gain["mean"] >= 0:
        return f"**met on average**: {gained(gain)} nats on the mixed text, an interval that holds 0"
    return verdict(gain)


def says(result: dict[str, Any]) -> list[str]:
    """A sentence or two for each thing that was asked."""
    return [
        *_aims(result),
        *_test(result),
        *_chosen(result),
        *_mixtures(result),
        _cost(result),
        *_why(result),
        _recommended(result),
    ]


def _aims(result: dict[str, Any]) -> list[str]:
    scale, best = result["scale"], _best(result)
    n, half, lines = scale["steps"], scale["steps"] // 2, []
    for size in scale["sizes"]:
        gain = find(result, "best", "none", size, [half, n])
        assert gain is not None
        lines.append(
            f"Aim, student {times(size)}: {half:,} steps with {best} reach what {n:,} steps reach without"
            f" teachers: {reached(gain['valid']['mixed'])}."
        )
    for size in scale["sizes"]:
        for other, name in (("single", _single(result)), ("uniform", "`uniform`")):
            gain = find(result, "best", other, size, [n, n])
            what = f"Aim, student {times(size)}, {n:,} steps: {best} beats {name}: "
            same = "**missed**: of the weightings `uniform` is itself the best"
            lines.append(what + (same if gain is None else verdict(gain["valid"]["mixed"])) + ".")
    return lines


STANDS = {1: "stands", 0: "may be chance", -1: "a loss"}
"""Of a gain, by its interval."""


def _test(result: dict[str, Any]) -> list[str]:
    n, lines = result["scale"]["steps"], []
    for size in result["scale"]["sizes"]:
        found = {
            name: find(result, "best", other, size, [n, n])
            for other, name in (("none", "no teacher"), ("single", _single(result)), ("uniform", "`uniform`"))
        }
        gains = [
            f"{gained(g['test']['mixed'])} over {name} ({STANDS[beyond(g['test']['mixed'])]})"
            for name, g in found.items()
            if g is not None
        ]
        lines.append(
            f"On text that chose nothing (encyclopedia and fiction), student {times(size)}, {n:,} steps,"
            f" {_best(result)} gains, in nats: " + ", ".join(gains) + "."
        )
    return lines


def _chosen(result: dict[str, Any]) -> list[str]:
    lines = []
    for who, label in (("none", "Untaught"), ("taught", "Taught")):
        values = result["sees"][who]
        one, other = sorted(values, key=values.__getitem__)
        lines.append(
            f"{label} students of the smaller size are best when they see {SEES[one]}: {values[one]:.3f}"
            f" nats against {values[other]:.3f} with {SEES[other]}; so they do in every other row."
        )
    grids: dict[str, list[float]] = {}
    for row in next(iter(result["temperatures"]["texts"].values()))["mixtures"]:
        grids.setdefault(row["weighting"], []).append(row["temperature"])
    compared = {arm["weighting"] for arm in result["arms"].values()}
    edges = [
        f"`{name}` ({tau:g})"
        for name, tau in result["temperatures"]["chosen"].items()
        if name in compared and len(grids[name]) > 1 and tau in (min(grids[name]), max(grids[name]))
    ]
    if edges:
        lines.append(
            f"The best temperature lies at the edge of what was tried for {', '.join(edges)}: there may be"
            " better ones beyond it."
        )
    return lines


def _mixtures(result: dict[str, Any]) -> list[str]:
    lines = []
    for gain in result["gains"]:
        arm = result["arms"].get(gain["better"])
        if arm is None or gain["better"] in result["parts"]:
            continue
        than = called(result["arms"][result["parts"][gain["worse"]]])
        mixed = gain["valid"]["mixed"]
        how = {1: "better than", 0: "no different, beyond its interval, from", -1: "worse than"}[
            beyond(mixed)
        ]
        lines.append(f"{called(arm)} is {how} {than} ({gained(mixed)} nats, {gain['steps'][0]:,} steps).")
    return lines


def _cost(result: dict[str, Any]) -> str:
    scale, parts = result["scale"], result["parts"]
    size, n = scale["sizes"][0], scale["steps"]
    seconds = {row["steps"]: row["seconds"] for row in result["tables"] if row["size"] == size}
    stores = sum(result["stores"]["calibrated"].values())
    training = sum(one["seconds"] for one in result["teachers"].values())
    once = stores + seconds[n // 2][parts["best"]]
    return (
        f"Wall clock, student {times(size)}: {n:,} steps take {duration(seconds[n][parts['none']])} without"
        f" teachers and {duration(seconds[n][parts['best']])} with {_best(result)}, {n // 2:,} steps with it"
        f" {duration(seconds[n // 2][parts['best']])}, on one core. The stores of the three teachers took"
        f" {duration(stores)} of one core: a single student of half the steps and its stores take"
        f" {duration(once)}; the stores serve every student and weighting of this page. The teachers' own"
        f" training, apart, took {duration(training)}."
    )


def _why(result: dict[str, Any]) -> list[str]:
    """Where an aim is not met: what is known of the teachers."""
    scale = result["scale"]
    n, half, texts = scale["steps"], scale["steps"] // 2, scale["texts"]
    wanted = [("none", [half, n]), ("single", [n, n]), ("uniform", [n, n])]
    gains = [find(result, "best", other, size, steps) for size in scale["sizes"] for other, steps in wanted]
    if all(gain is not None and beyond(gain["valid"]["mixed"]) > 0 for gain in gains):
        return []
    found = result["beside_teachers"]
    lines = ["Not every aim is met beyond its interval. What is known of the teachers:"]
    for size in scale["sizes"]:
        ahead = []
        for text in texts:
            teacher = min(result["teachers"], key=lambda name: found[name][text]["mean"])
            lead = found[f"none {size}"][text]["mean"] - found[teacher][text]["mean"]
            ahead.append(f"{lead:+.3f} on {text} (*{teacher}*)")
        lines.append(
            f"The best teacher of each text is ahead of the untaught student {times(size)}, on words of one"
            f" piece, by {', '.join(ahead)} nats."
        )
    measured = result["temperatures"]["texts"]
    covers = "; ".join(
        f"{text} "
        + ", ".join(f"{one['coverage']:.0%} *{name}*" for name, one in measured[text]["teachers"].items())
        for text in texts
    )
    lines.append(
        f"The teachers cover of the pieces to be learnt: {covers}. The others learn from the true word alone."
    )
    lines.append(
        "By teacher quality, length and share of the teachers in the loss: [when it pays](study-pays.md);"
        " by longer training, share of the teachers, words masked, seeds and coverage, with what follows:"
        " [what keeps the aims from being met](study-why.md)."
    )
    return lines


def _recommended(result: dict[str, Any]) -> str:
    found, default = result["recommended"], result["default"]
    arm = found["arm"]
    what = f"Of all that was tried for N steps the way whose students have the lowest nats is {called(arm)}"
    if found["lead"] is None:
        lead = "it is `uniform`, and nothing leads it"
    else:
        gain, test = found["lead"]["valid"]["mixed"], found["lead"]["test"]["mixed"]
        stands, too = ("beyond" if beyond(one) > 0 else "not beyond" for one in (gain, test))
        lead = (
            f"its lead over `uniform`, {gained(gain)} nats, is {stands} its interval (on text that"
            f" chose nothing {gained(test)}, {too} its)"
        )
    now = f"`{default['weighting']}`, τ {default['temperature']:g}, {default['mixture']}"
    return f"{what}: {lead}. Limbeck's default when this was measured: {now}."


def headline(result: dict[str, Any]) -> list[str]:
    """For the overview."""
    scale = result["scale"]
    n, half, size = scale["steps"], scale["steps"] // 2, scale["sizes"][0]
    gain, at_half = (find(result, "best", "none", size, steps) for steps in ([n, n], [half, n]))
    assert gain is not None
    assert at_half is not None
    lines = [
        f"**Convergence**: taught with {_best(result)}, the {times(size)} student gains"
        f" {gained(gain['valid']['mixed'])} nats in {n:,} steps over none. Half of the steps reach what the"
        f" untaught one reaches in all of them: {reached(at_half['valid']['mixed'])}. On text that chose"
        f" nothing it gains {gained(gain['test']['mixed'])}."
    ]
    others = []
    for other, name in (("single", _single(result)), ("uniform", "`uniform`")):
        found = find(result, "best", other, size, [n, n])
        if found is not None:
            others.append(f"over {name} {gained(found['valid']['mixed'])}")
    return [*lines, f"Its gain {' and '.join(others)}."] if others else lines


def _best(result: dict[str, Any]) -> str:
    return called(result["arms"][result["parts"]["best"]])


def _single(result: dict[str, Any]) -> str:
    return f"the best single teacher ({called(result['arms'][result['parts']['single']])})"
