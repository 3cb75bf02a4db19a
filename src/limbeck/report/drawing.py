"""What the figures share: the sheet they are drawn on, their colours, labels and axes."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Sequence
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
MARKERS = "osD^vP*Xp"
GREY = "#6b6b6b"
_WIDE, _NARROW = 8.0, 3.7
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
class Sheet:
    """What a figure is drawn on. narrow: for small screens; labels stand below the axes there."""

    figure: Figure
    axes: Axes
    narrow: bool

    def svg(self) -> str:
        """The figure as SVG."""
        buffer = io.StringIO()
        whole: dict[str, Any] = {} if self.narrow else {"bbox_inches": "tight", "pad_inches": 0.12}
        self.figure.savefig(buffer, format="svg", metadata={"Date": None}, **whole)
        return buffer.getvalue()

    def title(self, title: str) -> None:
        """Above the axes, in lines of about one length, or a last word would stand alone."""
        if title:
            lines = max(1, -(-len(title) // (44 if self.narrow else 88)))
            text = "\n".join(textwrap.wrap(title, len(title) // lines + 8))
            self.axes.set_title(text, loc="left", pad=10, x=0)

    def labels(self, ends: Sequence[tuple[float, str, str, str]]) -> None:
        """Names each line (its last value, label, colour, dash), right of its end or in a legend below.

        At the right none covers another: they are moved up or down so far.
        """
        if self.narrow:
            self.legend([(_shorten_to(label, 44), colour, dash, "") for _, label, colour, dash in ends])
        else:
            _at_right(self.axes, [(value, label, colour) for value, label, colour, _ in ends])

    def beside(self, points: Points, named: Sequence[tuple[str, str]]) -> None:
        """Names each point (label, colour) at its right; labels of points near each other are pushed apart.

        All that decides the limits of the axes must be drawn.
        """
        self.axes.autoscale_view()
        per_point = 72 / self.figure.dpi
        at = [self.axes.transData.transform(point) * per_point for point in points]
        order = sorted(range(len(at)), key=lambda place: float(at[place][1]))
        heights = {place: float(at[place][1]) for place in order}
        for _ in range(100):  # settles long before
            for i, low in enumerate(order):
                for high in order[i + 1 :]:
                    short = 12.5 - (heights[high] - heights[low])
                    if abs(float(at[low][0] - at[high][0])) < 120 and short > 1e-6:
                        heights[low] -= short / 2
                        heights[high] += short / 2
        for place, (label, colour) in enumerate(named):
            self.axes.annotate(
                self.shorten(label),
                points[place],
                xytext=(10, 7 + heights[place] - float(at[place][1])),
                textcoords="offset points",
                color=colour,
                va="center",
                fontsize=9.5,
            )

    def legend(self, entries: Sequence[tuple[str, str, str, str]]) -> None:
        """A line for each (label, colour, dash, marker), below the axes."""
        from matplotlib.lines import Line2D

        handles = []
        for label, colour, dash, marker in entries:
            handle = Line2D([], [], color=colour, linewidth=2, marker=marker, label=label)
            handle.set_linestyle(dash or "none")  # type: ignore[arg-type]
            handles.append(handle)
        self.figure.legend(handles=handles, loc="outside lower left", frameon=False, fontsize=9.5)

    def shorten(self, label: str) -> str:
        """A label that fits beside the axes."""
        return _shorten_to(label, 16 if self.narrow else 38)

    def wrap(self, text: str) -> str:
        """The text of an axis in lines that fit."""
        return "\n".join(textwrap.wrap(text, 36)) if self.narrow else text

    def steps(self) -> None:
        """Training steps on the axis below, with thousands apart."""
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        self.axes.xaxis.set_major_locator(MaxNLocator(nbins=4 if self.narrow else 7, integer=True))
        self.axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))


@contextmanager
def sheet(height: float, narrow: bool = False) -> Iterator[Sheet]:
    """A figure of its own, apart from pyplot and from the user's settings; height in inches."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_RC)
        if narrow:
            figure = Figure(figsize=(_NARROW, height), layout="constrained")
        else:
            figure = Figure(figsize=(_WIDE, height))
        yield Sheet(figure, figure.add_subplot(), narrow)


def columns_of(points: Points) -> tuple[list[float], list[float]]:
    """The x and the y of points."""
    return [x for x, _ in points], [y for _, y in points]


def style(index: int) -> str:
    """Another dash for every line: one that lies on another shows through, colour is not all that tells."""
    return STYLES[index % len(STYLES)]


def _shorten_to(label: str, most: int) -> str:
    return label if len(label) <= most else label[: most - 1] + "…"


def thin(points: Points) -> Points:
    """Points that are too many for a figure, averaged in equal parts of the axis."""
    if len(points) <= _MOST_POINTS:
        return points
    size = math.ceil(len(points) / _MOST_POINTS)
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]


def _at_right(axes: Axes, lasts: Sequence[tuple[float, str, str]]) -> None:
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
            _shorten_to(label, 44),
            (1, value),
            xytext=(1.03, (place - low) / (high - low)),
            xycoords=("axes fraction", "data"),
            textcoords="axes fraction",
            color=colour,
            va="center",
            fontsize=9.5,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.6, "shrinkA": 1, "shrinkB": 0},
        )
