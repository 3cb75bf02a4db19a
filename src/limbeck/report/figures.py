"""The figures of a report as SVG text: plain data in, a string out; the same data give the same bytes.

Every figure has a `narrow` form for small screens, with its labels below; a title of "" is not drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from limbeck.report.drawing import GREY, MARKERS, PALETTE, STYLES, Points, columns_of, sheet, style, thin

REASONS = {"boundaries": "cut elsewhere by the teacher", "gold": "not expressible", "truncated": "truncated"}


@dataclass(frozen=True)
class Curve:
    """A line of a figure: its label and (step, value) points in order of step."""

    label: str
    points: Points


@dataclass(frozen=True)
class Estimate:
    """A measured value and its interval [low, high], None where none was measured; `teacher`: drawn apart."""

    label: str
    value: float
    interval: tuple[float, float] | None
    teacher: bool = False


@dataclass(frozen=True)
class Point:
    """A model in a plot of quality against cost: its label, cost, value and interval; teachers are grey."""

    label: str
    cost: float
    value: float
    interval: tuple[float, float] | None = None
    teacher: bool = False


def learning_curves(
    curves: Sequence[Curve],
    levels: Sequence[tuple[str, float]],
    *,
    title: str,
    unit: str,
    better: str = "lower",
    narrow: bool = False,
) -> str:
    """A figure of held-out text against the step; each of `levels` (a teacher, its value) is a dashed line.

    The first sixth of the training may lie outside the frame: all that matters would be squeezed otherwise.
    """
    with sheet(4.2, narrow) as made:
        axes, ends = made.axes, []
        for index, curve in enumerate(curves):
            colour, last = PALETTE[index % len(PALETTE)], curve.points[-1][1]
            axes.plot(
                *columns_of(curve.points),
                color=colour,
                linewidth=2,
                linestyle=style(index),
                marker="o" if len(curve.points) < 30 else "",
                markersize=3.5,
                clip_on=len(curve.points) > 1,  # a single point often lies on the frame
            )
            ends.append((last, f"{curve.label} {last:.2f}", colour, style(index)))
        for index, (name, value) in enumerate(levels):
            dash = STYLES[1 + index % 3]  # none is drawn through
            axes.axhline(value, color=GREY, linewidth=1.2, linestyle=dash)
            ends.append((value, f"{name} {value:.2f} (teacher)", GREY, dash))
        end = max(point[0] for curve in curves for point in curve.points)
        axes.set_xlim(0, max(end, 1))
        low, high, cut = _frame(curves, levels, end, better)
        axes.set_ylim(low, high)
        made.labels(ends)
        values, side = ("higher", "above") if better == "lower" else ("lower", "below")
        said = f"{values} values at the start lie {side} the frame"
        axes.set_xlabel(made.wrap(f"training step; {said}" if cut else "training step"))
        axes.set_ylabel(f"held-out {unit}\n({better} is better)")
        made.steps()
        made.title(title)
        return made.svg()


def teacher_weights(curves: Sequence[Curve], *, title: str, ylabel: str, narrow: bool = False) -> str:
    """One line per teacher on a scale from 0 to 1, such as its mean weight, against the training step."""
    with sheet(3.4, narrow) as made:
        axes, ends = made.axes, []
        for index, curve in enumerate(curves):
            points = thin(curve.points)
            colour = PALETTE[index % len(PALETTE)]
            dot = "o" if len(points) == 1 else None  # of one point no line is drawn
            axes.plot(*columns_of(points), color=colour, linewidth=2, linestyle=style(index), marker=dot)
            ends.append((points[-1][1], f"{curve.label} {points[-1][1]:.2f}", colour, style(index)))
        axes.axhline(1 / len(curves), color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.set_ylim(0, 1)
        begin, end = min(c.points[0][0] for c in curves), max(c.points[-1][0] for c in curves)
        axes.set_xlim(begin if begin < end else 0, max(1, end))
        made.labels(ends)
        axes.set_xlabel("training step")
        axes.set_ylabel(ylabel)
        made.steps()
        made.title(title)
        return made.svg()


def coverage_bars(
    rows: Sequence[tuple[str, float, Mapping[str, float]]], *, title: str, narrow: bool = False
) -> str:
    """Share of the slots that each teacher covers, and why the rest is not, as one full bar per teacher.

    Args:
        rows: (teacher, share covered, reason -> share); shares of 1.
    """
    named = [reason for _, _, uncovered in rows for reason, part in uncovered.items() if part > 0]
    reasons = list(dict.fromkeys(named))
    with sheet((2.2 if narrow else 1.5) + 0.42 * len(rows), narrow) as made:
        axes = made.axes
        for place, (_, covered, uncovered) in enumerate(rows):
            parts = [("covered", covered, PALETTE[0])]
            parts += [
                (REASONS.get(reason, reason), uncovered.get(reason, 0.0), PALETTE[1:][k % 6])
                for k, reason in enumerate(reasons)
            ]
            left = 0.0
            for name, share, colour in parts:
                label = name if place == 0 else None
                axes.barh(place, share, left=left, height=0.62, color=colour, label=label, ec="white", lw=0.6)
                left += share
            axes.text(0.01, place, f"{covered:.1%}", color="white", va="center", fontweight="bold")
        axes.set_yticks(range(len(rows)), [made.shorten(name) for name, _, _ in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axes.set_xlabel("share of the masked pieces" + ("" if narrow else " of held-out text"))
        axes.grid(visible=False, axis="y")
        if narrow:
            made.figure.legend(loc="outside lower left", frameon=False, title="piece is", alignment="left")
        else:
            axes.legend(
                loc="upper left",
                bbox_to_anchor=(1.01, 1.02),
                frameon=False,
                title="piece is",
                alignment="left",
            )
        made.title(title)
        return made.svg()


def estimates(
    rows: Sequence[Estimate], *, title: str, unit: str, better: str = "lower", narrow: bool = False
) -> str:
    """Values with their 95% intervals, one row each, the best on top."""
    ordered = sorted(rows, key=lambda row: row.value, reverse=better == "higher")
    with sheet(1.3 + 0.38 * len(ordered), narrow) as made:
        axes = made.axes
        for place, row in enumerate(ordered):
            colour = GREY if row.teacher else PALETTE[0]
            if row.interval is not None:
                axes.plot(row.interval, (place, place), color=colour, linewidth=2.4, solid_capstyle="butt")
            axes.plot([row.value], [place], "s" if row.teacher else "o", color=colour, markersize=7)
            right = row.value if row.interval is None else max(row.interval[1], row.value)
            axes.annotate(
                f"{row.value:.3f}",
                (right, place),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                color=colour,
            )
        teacher = "*" if narrow else " (teacher)"
        axes.set_yticks(
            range(len(ordered)), [made.shorten(r.label) + (teacher if r.teacher else "") for r in ordered]
        )
        axes.set_ylim(len(ordered) - 0.4, -0.6)
        axes.margins(x=0.25 if narrow else 0.12)
        said = f"{unit}; {better} is better"
        axes.set_xlabel(made.wrap(said if narrow else f"{said}; bar: 95% interval"))
        axes.grid(visible=False, axis="y")
        made.title(title)
        return made.svg()


def frontier(
    points: Sequence[Point],
    *,
    title: str,
    cost: str,
    quality: str,
    better: str,
    share: bool = False,
    narrow: bool = False,
) -> str:
    """Quality against cost (on a logarithmic scale), with the line of what nothing cheaper surpasses.

    Args:
        cost, quality: what the axes show. better: `higher` or `lower`, of the quality. share: in percent.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    best = efficient(points, better)
    with sheet(4.4 if not narrow else 3.6 + 0.17 * len(points), narrow) as made:
        axes = made.axes
        axes.set_xscale("log")
        line = sorted((point.cost, point.value) for point in best)
        axes.step(*columns_of(line), where="post", color=GREY, linewidth=1.4, linestyle=(0, (5, 3)))
        entries = []
        for index, point in enumerate(points):
            colour = GREY if point.teacher else PALETTE[index % len(PALETTE)]
            marker = MARKERS[index % len(MARKERS)]
            if point.interval is not None:
                axes.plot((point.cost,) * 2, point.interval, color=colour, linewidth=1.6)
            hollow = "none" if point not in best else colour
            axes.plot([point.cost], [point.value], marker, color=colour, mfc=hollow, markersize=8, mew=1.6)
            entries.append((point.label + (" (teacher)" if point.teacher else ""), colour, "", marker))
        axes.margins(x=0.18, y=0.14)
        if narrow:
            made.legend(entries)
        else:
            places = [(point.cost, point.value) for point in points]
            made.beside(places, [(label, colour) for label, colour, _, _ in entries])
        if share:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0%}"))
        axes.xaxis.set_major_locator(FixedLocator(_decades(*axes.get_xlim(), 4 if narrow else 8)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: short_number(x)))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
        axes.set_xlabel(f"{cost} (lower is cheaper)")
        axes.set_ylabel(f"{quality}\n({better} is better)")
        made.title(title)
        return made.svg()


def efficient(points: Sequence[Point], better: str) -> list[Point]:
    """The points that no other equals or beats at no more cost: the efficient frontier, by cost."""
    sign = 1 if better == "higher" else -1
    found: list[Point] = []
    for point in sorted(points, key=lambda one: (one.cost, -sign * one.value)):
        if not found or sign * point.value > sign * found[-1].value:
            found.append(point)
    return found


def _decades(low: float, high: float, most: int) -> list[float]:
    """Round numbers from low to high for a logarithmic axis, at most so many."""
    found: list[float] = []
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(k / 10 for k in range(10, 100))):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [step * 10.0**power for power in powers for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if found and len(ticks) > most:
            break
        found = ticks
    return found[:: -(-len(found) // most)] if found else [low, high]


def short_number(value: float) -> str:
    """`1.3 M`, `250 k`, `12`, `0.5`."""
    for size, sign in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{sign}"
    return f"{value:.3g}"


def _frame(
    curves: Sequence[Curve], levels: Sequence[tuple[str, float]], end: float, better: str
) -> tuple[float, float, bool]:
    """Lower and upper limit of the learning curves, and whether something lies outside."""
    values = [y for curve in curves for _, y in curve.points]
    shown = [value for _, value in levels]
    for curve in curves:
        later = [y for x, y in curve.points if x >= end / 6]
        shown += later if len(later) > 1 else [y for _, y in curve.points]
    low, high = min(shown), max(shown)
    margin = 0.07 * (high - low) or (0.5 if better == "lower" else 0.05)
    cut = max(values) > high + margin if better == "lower" else min(values) < low - margin
    return low - margin, high + margin, cut
