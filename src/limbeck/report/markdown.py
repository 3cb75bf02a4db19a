"""Values and text of unknown origin as Markdown: tables, code blocks, numbers for people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from limbeck.report.runs import is_number

NONE = "–"
"""Stands where a run recorded no value."""


def escape(value: object) -> str:
    """Text of unknown origin as plain inline Markdown: no markup, link, HTML or table border gets through."""
    text = " ".join(str(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "&#124;")
    text = re.sub(r"([\\`*_\[\]#~$^])", r"\\\1", text)
    # what GitHub makes a link of without any markup: an address, a mail address, a person
    return text.replace("://", "&#58;//").replace("www.", "www&#46;").replace("@", "&#64;")


_PATH = re.compile(r"""(?:(?<=^)|(?<=[\s,=(\[{"'])|(?<=file://))(?:~|[A-Za-z]:)?[/\\][^\s,;)"']*""")


def pathless(text: str) -> str:
    """Text in which every absolute path is its last part: what goes out tells nothing of folders at home."""
    return _PATH.sub(_last_part, text)


def last_part(name: object) -> str:
    """A single path or name without the folders of an absolute path, which may have blanks in it."""
    text = str(name)
    absolute = text.startswith(("/", "~", "\\", "file:")) or text[1:3] in (":\\", ":/")
    return re.split(r"[/\\]", text.rstrip("/\\"))[-1] if absolute else pathless(text)


def _last_part(found: re.Match[str]) -> str:
    text = found[0]
    parts = PureWindowsPath(text).parts if "\\" in text else PurePosixPath(text).parts
    return parts[-1] if len(parts) > 1 else text


def code_block(text: str, language: str = "") -> str:
    """A fenced block whose fence is longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; cells are escaped, and a cell of None or "" is a dash."""
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = [NONE if cell is None or cell == "" else escape(cell) for cell in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def bounds(value: object) -> tuple[float, float] | None:
    """[low, high] as a pair of numbers; None where it is anything else."""
    if isinstance(value, list | tuple) and len(value) == 2 and all(is_number(v) for v in value):
        return float(value[0]), float(value[1])
    return None


def interval(pair: tuple[float, float] | None) -> str:
    """`3.512 to 3.601`."""
    return NONE if pair is None else f"{pair[0]:.3f} to {pair[1]:.3f}"


def fixed(value: Any) -> str:
    """`3.512`."""
    return f"{value:.3f}" if is_number(value) else NONE


def share(value: Any) -> str:
    """`41.3%` of a share of 1."""
    return f"{value:.1%}" if is_number(value) else NONE


def count(value: Any) -> str:
    """`1,048,576`."""
    return f"{value:,.0f}" if is_number(value) else NONE


def duration(value: Any) -> str:
    """`1 h 12 min`, `3 min 20 s` or `4.2 s`, of seconds."""
    if not is_number(value):
        return NONE
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{value:.1f} s"
    )


def memory(value: Any) -> str:
    """`1.25 GiB`, of bytes."""
    return f"{value / 2**30:.2f} GiB" if is_number(value) else NONE
