"""Documents as a page to look at, with marked passages and their scores; written as they come in.

The page needs nothing else: no script, no other file; all text in it is escaped.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, TextIO

from limbeck.files import atomic_file, writing
from limbeck.tools.detect import NO_PROSE, Passage
from limbeck.tools.detect_settings import LEVELS, percent

_BLOCK = 1 << 20
_STYLE = """
:root { color-scheme: light dark; --paper: #fdfcf9; --ink: #1d1c1a; --quiet: #66625b; --card: #fff;
  --line: #d9d4c8; --high: #ffdcc2; --high-edge: #b8410b; --some: #fdf0c8; --some-edge: #8a6a00; }
@media (prefers-color-scheme: dark) { :root { --paper: #1b1a18; --ink: #ece8df; --quiet: #a49f95;
  --card: #282623; --line: #4a463f; --high: #57290f; --high-edge: #ff9a5c; --some: #40360f;
  --some-edge: #e0b83a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 44rem; padding: 2rem 1rem 4rem; background: var(--paper);
  color: var(--ink); font: 1.05rem/1.65 Georgia, serif; overflow-wrap: anywhere; }
h1, h2 { font-size: 1.35rem; line-height: 1.3; margin: 0 0 .6rem; }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
header, .sum, .note, .s, .m, .page, footer { font-family: system-ui, sans-serif; }
.quiet, .note, footer { color: var(--quiet); font-size: .85rem; line-height: 1.5; }
.sum { background: var(--card); border: 1px solid var(--line); border-radius: .4rem; padding: .8rem 1rem;
  margin: 0 0 1rem; font-size: .95rem; line-height: 1.5; }
.sum strong { font-size: 1.25rem; } .sum p { margin: .2rem 0; }
.bar { position: relative; height: .9rem; margin: .7rem 0 .2rem; border: 1px solid var(--line);
  border-radius: .2rem; background: var(--paper); print-color-adjust: exact;
  -webkit-print-color-adjust: exact; }
.bar i { position: absolute; top: 0; bottom: 0; background: var(--high); border: 0 solid var(--high-edge);
  border-width: 0 1px; min-width: 2px; }
.bar b { position: absolute; top: -3px; bottom: -3px; width: 3px; margin-left: -1px;
  background: var(--high-edge); }
.ends { display: flex; justify-content: space-between; }
ul { padding-left: 1.2rem; margin: .4rem 0 1rem; }
p { margin: 0 0 .9rem; } .item { padding-left: 1.2rem; }
pre { white-space: pre-wrap; font-size: .85rem; color: var(--quiet); }
mark { color: inherit; border-radius: .15rem; padding: .05rem .15rem; box-decoration-break: clone;
  -webkit-box-decoration-break: clone; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
.note mark { color: var(--ink); }
.high { background: var(--high); border-bottom: 2px solid var(--high-edge); }
.some { background: var(--some); border-bottom: 2px dotted var(--some-edge); }
.s, .m { font-size: .72rem; white-space: nowrap; color: var(--quiet); border: 1px solid var(--line);
  border-radius: .6rem; padding: .05rem .4rem; vertical-align: .1rem; }
.high + .s { color: var(--high-edge); border-color: var(--high-edge); font-weight: bold; }
.some + .s { color: var(--some-edge); border-color: var(--some-edge); }
.out { color: var(--quiet); } .page { color: var(--quiet); font-size: .75rem; text-align: right; margin: 0;
  border-top: 1px dotted var(--line); }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
section { border-top: 2px solid var(--line); padding-top: 1.2rem; margin-top: 1.6rem; }
@media print { body { max-width: none; padding: 0; font-size: 10.5pt; } p { break-inside: avoid; }
  .sum { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
"""
_KEY = """<p class="note">The number behind a passage is its score. <mark class="high">Scored {high:g} or
more</mark>, <mark class="some">scored {some:g} or more</mark>; passages below are not marked. Grey passages
have no score: the words behind them say why; headings, code and tables are not scored. The text is the
document's, without its markup.</p>
</header>
"""


class Page:
    """A page of documents, as a sink of `detect_output.examine`; use `page`."""

    def __init__(self, body: TextIO) -> None:
        self.body = body
        self.documents: list[tuple[str, dict[str, Any]]] = []
        self._name, self._at, self._open = "", None, False

    def open(self, name: str) -> None:
        """Begins a document."""
        self._name, self._at = name, None
        self.body.write(f'<section id="d{len(self.documents) + 1}" aria-label="{escape(name)}">\n')
        self.body.write(f'<h2>{escape(name)}</h2>\n<article dir="auto">\n')

    def add(self, passage: Passage) -> None:
        """Writes a passage."""
        parts = []
        if passage.page is not None and passage.page != self._at and passage.part == 1:
            parts.append(f'<p class="page">page {passage.page}</p>\n')
            self._at = passage.page  # type: ignore[assignment]
        text = escape(passage.text)
        if passage.mark == NO_PROSE:
            tag = {"heading": "h3", "code": "pre"}.get(passage.kind, "p")
            kind = ' class="out"' if tag == "p" else ""
            self.body.write("".join([*parts, f"<{tag}{kind}>{text}</{tag}>\n"]))
            return
        if passage.part == 1:
            parts.append('<p class="item">' if passage.kind == "item" else "<p>")
        parts.append(_scored(text, passage.score) if passage.mark is None else _marked(text, passage.mark))
        parts.append("</p>\n" if passage.part == passage.parts else " ")
        self.body.write("".join(parts))

    def close(self, summary: dict[str, Any]) -> None:
        """Ends a document."""
        self.documents.append((self._name, summary))
        self.body.write("</article>\n</section>\n")


@contextlib.contextmanager
def page(path: Path, title: str, about: dict[str, Any]) -> Iterator[Page]:
    """A page to write documents to; it is there when the block ends well, and as it was else.

    Its head tells what all the documents came to, so what comes in waits in a file beside it.

    Args:
        about: of `detect_output.about`.

    Raises:
        UserError: the file cannot be written.
    """
    with contextlib.ExitStack() as stack:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            body = stack.enter_context(
                tempfile.TemporaryFile("w+", encoding="utf-8", newline="", dir=path.parent)
            )
        made = Page(body)
        yield made
        with atomic_file(path) as write:
            write(_HEAD.format(title=escape(title), style=_STYLE))
            for number, (name, summary) in enumerate(made.documents, 1):
                write(_summary(name if len(made.documents) > 1 else "", number, summary))
            meaning = "\n".join(f"<li>{escape(line)}</li>" for line in about["meaning"])
            write(f'<h2>What a score is, and is not</h2>\n<ul class="note">\n{meaning}\n</ul>\n')
            write(_KEY.format(high=LEVELS[1], some=LEVELS[0]))
            write("<main>\n")
            with writing(path):
                body.seek(0)
            while block := body.read(_BLOCK):
                write(block)
            write(f"</main>\n<footer><p>{escape(_made(about))}</p></footer>\n</body>\n</html>\n")


def _summary(name: str, number: int, summary: dict[str, Any]) -> str:
    lines = [f'<div class="sum">\n{_link(name, number)}']
    found = summary["paraphrased"]
    if found is None:
        lines.append("<p><strong>No passage could be scored.</strong></p>\n")
    else:
        low, high, middle = (percent(found[name]) for name in ("low", "high", "share"))
        between = low if low == high else f"{low} to {high}"
        told = escape(f"{between} of the scored words are machine-paraphrased, best estimate {middle}")
        left, width = 100 * found["low"], 100 * (found["high"] - found["low"])
        lines.append(
            f"<p><strong>{escape(between)}</strong> of the scored words are estimated to be "
            f"machine-paraphrased (95% interval; best estimate {escape(middle)}).</p>\n"
            f'<div class="bar" role="img" aria-label="Scale from 0 to 100%: {told}">'
            f'<i style="left:{left:.2f}%;width:{width:.2f}%"></i>'
            f'<b style="left:{100 * found["share"]:.2f}%"></b></div>'
            '\n<div class="ends quiet" aria-hidden="true"><span>0%</span><span>100%</span></div>\n'
        )
    lines.append(f'<p class="quiet">{escape(counts(summary))}</p>\n</div>\n')
    return "".join(lines)


def _link(name: str, number: int) -> str:
    return f'<p><a href="#d{number}">{escape(name)}</a></p>\n' if name else ""


def counts(summary: dict[str, Any]) -> str:
    """The counts of a summary in words."""
    marked = [f"{name} {count:,}" for name, count in summary["marked"].items()]
    levels: Sequence[str] = [f"{count:,} at {level} or more" for level, count in summary["at_least"].items()]
    scored = f"{summary['scored']:,} of {summary['passages']:,} passages scored"
    return f"{scored} ({summary['scored_words']:,} of {summary['words']:,} words): {', '.join(levels)}." + (
        f" Without a score: {', '.join(marked)}." if marked else ""
    )


def _scored(text: str, score: float | None) -> str:
    assert score is not None
    chip = f'<span class="s"><span class="sr">score </span>{score:.2f}</span>'
    level = "high" if score >= LEVELS[1] else "some" if score >= LEVELS[0] else ""
    return f'<mark class="{level}">{text}</mark> {chip}' if level else f"<span>{text}</span> {chip}"


def _marked(text: str, mark: str) -> str:
    return f'<span class="out">{text}</span> <span class="m">{escape(mark)}</span>'


def _made(about: dict[str, Any]) -> str:
    known = about["trained_on"]
    return (
        f"Made by limbeck detect with {about['detector']}, trained on {known['texts']:,} texts of "
        f"{known['file']}; passages of {known['min_words']:,} to {known['max_words']:,} words are scored."
    )
