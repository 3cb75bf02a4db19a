"""The figures of a report as SVG text: plain data in, a string out; the same data give the same bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float]]

# Okabe and Ito's palette, told apart with every kind of colour blindness; its yellow is too pale for a line.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "--", ":", "-.")
GREY = "#6b6b6b"
REASONS = {"boundaries": "cut elsewhere by the teacher", "gold": "not expressible", "truncated": "truncated"}
_WIDTH = 8.0
# More points than this in a line are averaged in equal parts of the axis: the figure cannot show more.
_MOST_POINTS = 200

_RC: Any = {
    "svg.fonttype": "none",  # text stays text: small files that can be searched, read aloud and zoomed
    "svg.hashsalt": "limbeck",
    "text.parse_math": False,  # a run may have a $ in its name
    "font.family": "sans-serif",
    "font.sans-serif": [
        "DejaVu Sans"
    ],  # comes with matplotlib and is wide: no other font overflows its place
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": "#222222",
    "ytick.labelcolor": "#222222",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


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


def learning_curves(
    curves: Sequence[Curve], levels: Sequence[tuple[str, float]], *, title: str, unit: str
) -> str:
    """Nats on held-out text against the step; each of `levels` (a teacher, its nats) is a dashed line.

    The first sixth of the training may lie above the frame: all that matters would be squeezed into its foot.
    """
    with _figure(4.2) as (figure, axes):
        lasts = []
        for index, curve in enumerate(curves):
            colour = PALETTE[index % len(PALETTE)]
            marker = "o" if len(curve.points) < 30 else ""
            axes.plot(
                *_columns(curve.points),
                color=colour,
                linewidth=2,
                linestyle=_style(index),
                marker=marker,
                markersize=3.5,
                clip_on=len(curve.points) > 1,  # a single point often lies on the frame
            )
            lasts.append((curve.points[-1][1], f"{curve.label} {curve.points[-1][1]:.2f}", colour))
        for name, value in levels:
            axes.axhline(value, color=GREY, linewidth=1.2, linestyle=(0, (5, 3)))
            lasts.append((value, f"{name} {value:.2f} (teacher)", GREY))
        end = max(point[0] for curve in curves for point in curve.points)
        axes.set_xlim(0, max(end, 1))
        low, high, cut = _frame(curves, levels, end)
        axes.set_ylim(low, high)
        _labels_at_right(axes, lasts)
        axes.set_xlabel("training step" + ("; higher values at the start lie above the frame" if cut else ""))
        axes.set_ylabel(f"held-out {unit}\n(lower is better)")
        _thousands(axes)
        _title(axes, title)
        return _svg(figure)


def teacher_weights(curves: Sequence[Curve], *, title: str, ylabel: str) -> str:
    """One line per teacher on a scale from 0 to 1, such as its mean weight, against the training step."""
    with _figure(3.4) as (figure, axes):
        lasts = []
        for index, curve in enumerate(curves):
            points = _thin(curve.points)
            colour = PALETTE[index % len(PALETTE)]
            dot = "o" if len(points) == 1 else None  # of one point no line is drawn
            axes.plot(*_columns(points), color=colour, linewidth=2, linestyle=_style(index), marker=dot)
            lasts.append((points[-1][1], f"{curve.label} {points[-1][1]:.2f}", colour))
        axes.axhline(1 / len(curves), color=GREY, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.set_ylim(0, 1)
        begin, end = min(c.points[0][0] for c in curves), max(c.points[-1][0] for c in curves)
        axes.set_xlim(begin if begin < end else 0, max(1, end))
        _labels_at_right(axes, lasts)
        axes.set_xlabel("training step")
        axes.set_ylabel(ylabel)
        _thousands(axes)
        _title(axes, title)
        return _svg(figure)


def coverage_bars(rows: Sequence[tuple[str, float, Mapping[str, float]]], *, title: str) -> str:
    """Share of the slots that each teacher covers, and why the rest is not, as one full bar per teacher.

    Args:
        rows: (teacher, share covered, reason -> share); shares of 1.
    """
    named = [reason for _, _, uncovered in rows for reason, part in uncovered.items() if part > 0]
    reasons = list(dict.fromkeys(named))
    with _figure(1.5 + 0.42 * len(rows)) as (figure, axes):
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
        axes.set_yticks(range(len(rows)), [_shorten(name) for name, _, _ in rows])
        axes.invert_yaxis()
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        axes.set_xlabel("share of the masked pieces of held-out text")
        axes.grid(visible=False, axis="y")
        axes.legend(
            loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, title="piece is", alignment="left"
        )
        _title(axes, title)
        return _svg(figure)


def estimates(rows: Sequence[Estimate], *, title: str, unit: str) -> str:
    """Values with their 95% intervals, one row each, the best on top."""
    ordered = sorted(rows, key=lambda row: row.value)
    with _figure(1.3 + 0.38 * len(ordered)) as (figure, axes):
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
        axes.set_yticks(
            range(len(ordered)), [_shorten(r.label) + (" (teacher)" if r.teacher else "") for r in ordered]
        )
        axes.set_ylim(len(ordered) - 0.4, -0.6)
        axes.margins(x=0.12)
        axes.set_xlabel(f"held-out {unit}; lower is better; bar: 95% interval")
        axes.grid(visible=False, axis="y")
        _title(axes, title)
        return _svg(figure)


@contextmanager
def _figure(height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of its own, apart from pyplot and from the user's settings."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        figure = Figure(figsize=(_WIDTH, height))
        yield figure, figure.add_subplot()


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", pad_inches=0.12, metadata={"Date": None})
    return buffer.getvalue()


def _columns(points: Points) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _style(index: int) -> str:
    """Another dash for every line: one that lies on another shows through, colour is not all that tells."""
    return STYLES[index % len(STYLES)]


def _shorten(label: str, most: int = 38) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def _thin(points: Points) -> Points:
    if len(points) <= _MOST_POINTS:
        return points
    size = math.ceil(len(points) / _MOST_POINTS)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def _frame(
    curves: Sequence[Curve], levels: Sequence[tuple[str, float]], end: float
) -> tuple[float, float, bool]:
    """Lower and upper limit of the learning curves, and whether something lies above."""
    values = [y for curve in curves for _, y in curve.points]
    shown = [value for _, value in levels]
    for curve in curves:
        later = [y for x, y in curve.points if x >= end / 6]
        shown += later if len(later) > 1 else [y for _, y in curve.points]
    low, high = min(shown), max(shown)
    margin = 0.07 * (high - low) or 0.5
    return low - margin, high + margin, max(values) > high + margin


def _labels_at_right(axes: Axes, lasts: Sequence[tuple[float, str, str]]) -> None:
    """A label behind the end of each line, moved up or down so far that none covers another."""
    low, high = axes.get_ylim()
    height = axes.get_position().height * float(axes.figure.bbox.height) / axes.figure.dpi * 72  # in points
    step = (high - low) * 13.5 / height
    ordered = sorted(lasts)
    places = [min(max(value, low), high) for value, _, _ in ordered]
    for _ in range(200):  # push neighbours apart; settles long before for the dozen lines a figure can hold
        for i in range(len(places) - 1):
            short = step - (places[i + 1] - places[i])
            if short > 1e-9:
                places[i] -= short / 2
                places[i + 1] += short / 2
    for place, (value, label, colour) in zip(places, ordered, strict=True):
        axes.annotate(
            _shorten(label, 44),
            (1, value),
            xytext=(1.03, (place - low) / (high - low)),
            xycoords=("axes fraction", "data"),
            textcoords="axes fraction",
            color=colour,
            va="center",
            fontsize=9.5,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 0},
        )


def _thousands(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))


def _title(axes: Axes, title: str) -> None:
    import textwrap

    lines = max(1, -(-len(title) // 88))
    # lines of about one length, or a last word would stand alone
    axes.set_title("\n".join(textwrap.wrap(title, len(title) // lines + 8)), loc="left", pad=10, x=0)
