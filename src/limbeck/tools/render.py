"""Disambiguated text as JSON and as a page to look at, both written as the text comes in."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from limbeck.files import atomic_file
from limbeck.gloss.instance import POS

if TYPE_CHECKING:
    from limbeck.tools.words import Sentence, Word

_OTHERS = 2  # senses shown beside the best
_SOURCES = {
    "model": "chosen by the model",
    "only-sense": "the only sense of the word",
    "first-sense": "the first sense: the model could not be asked",
}
_HEAD = """<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --n: #2457c5; --v: #b3261e; --a: #1b7f3b; --r: #8a4b00;
  --paper: #fdfcf9; --ink: #1d1c1a; --quiet: #66625b; --card: #ffffff; --line: #d9d4c8; }}
@media (prefers-color-scheme: dark) {{ :root {{ --n: #8fb0ff; --v: #ff9d94; --a: #7fd69a; --r: #e9b36b;
  --paper: #1b1a18; --ink: #ece8df; --quiet: #a49f95; --card: #282623; --line: #4a463f; }} }}
body {{ margin: 0 auto; max-width: 42rem; padding: 2rem 1rem 14rem; background: var(--paper);
  color: var(--ink); font: 1.1rem/1.7 Georgia, serif; }}
h1 {{ font-size: 1.3rem; margin: 0; overflow-wrap: anywhere; }}
header p, footer {{ color: var(--quiet); font: .85rem/1.5 system-ui, sans-serif; }}
main {{ white-space: pre-wrap; overflow-wrap: anywhere; border-top: 1px solid var(--line);
  border-bottom: 1px solid var(--line); padding: 1rem 0; }}
.n {{ --c: var(--n); }} .v {{ --c: var(--v); }} .a {{ --c: var(--a); }} .r {{ --c: var(--r); }}
.w {{ border-bottom: 2px solid var(--c); cursor: help; }}
.only-sense {{ border-bottom: 1px solid var(--c); }} .first-sense {{ border-bottom-style: dotted; }}
.w:hover, .w:focus {{ outline: 2px solid var(--c); outline-offset: 2px; border-radius: 2px; }}
.card {{ display: none; }}
.w:hover > .card, .w:focus > .card {{ display: block; position: fixed; z-index: 1; left: 0; right: 0;
  bottom: 0; margin: 0 auto; max-width: 42rem; max-height: 40vh; overflow-y: auto; padding: .7rem 1rem;
  background: var(--card); color: var(--ink); border: 1px solid var(--line);
  border-top: 3px solid var(--c); white-space: normal; font: .95rem/1.45 system-ui, sans-serif; }}
.w:hover > .card {{ z-index: 2; }}
.card > span {{ display: block; }}
.quiet {{ color: var(--quiet); font-size: .85rem; }}
.key b {{ border-bottom: 2px solid var(--c); font-weight: normal; margin-right: .8rem; }}
</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p>{about}</p>
<p class="key">{key} A thin line: its only sense; dots: its first sense, the model could not be asked.
Point at a word, or move to it with the tab key, to see its sense.</p>
</header>
<main>"""


def json_parts(about: dict[str, Any], words: Iterable[Word]) -> Iterator[str]:
    """A JSON object in parts: what `about` has, and `words`, each on a line. There is at least one word."""
    before = json.dumps(about, ensure_ascii=False)[:-1] + ', "words": [\n'
    for word in words:
        yield before + json.dumps(word.record(), ensure_ascii=False)
        before = ",\n"
    yield "\n]}\n"


def page(path: Path, title: str, about: dict[str, str], sentences: Iterable[Sentence]) -> Iterator[Sentence]:
    """The same sentences, which are written to an HTML page as they pass; it is there when they all have.

    The page needs nothing else: no script, no other file, and all text in it is escaped.

    Raises:
        UserError: the file cannot be written.
    """
    with atomic_file(path) as write:
        write(_head(title, about))
        counts: Counter[str] = Counter()
        for sentence in sentences:
            write(_sentence(sentence))
            counts.update(word.source for word in sentence.words)
            yield sentence
        write(_foot(counts))


def _head(title: str, about: dict[str, str]) -> str:
    key = " ".join(f'<b class="{letter}">{name}</b>' for letter, name in POS.items())
    described = " · ".join(f"{escape(name)}: {escape(value)}" for name, value in about.items())
    return _HEAD.format(title=escape(title), about=described, key=key)


def _foot(counts: Counter[str]) -> str:
    told = " · ".join(f"{counts[name]:,} {text}" for name, text in _SOURCES.items() if counts[name])
    return f"</main>\n<footer><p>{counts.total():,} words: {told}.</p></footer>\n</body>\n</html>\n"


def _sentence(sentence: Sentence) -> str:
    parts, done = [], 0
    for word in sentence.words:
        start, end = word.start - sentence.start, word.end - sentence.start
        parts += [escape(sentence.text[done:start]), _marked(word)]
        done = end
    return "".join(parts) + escape(sentence.text[done:])


def _marked(word: Word) -> str:
    """A word and its card, which is seen when the word is pointed at."""
    sure = "" if word.probability is None else f" · probability {word.probability:.2f}"
    lines = [
        f"<b>{escape(word.lemma)}</b> {POS[word.pos]}{sure} · <code>{escape(word.key)}</code>",
        escape(word.gloss),
    ]
    quiet = [] if word.source == "model" else [_SOURCES[word.source]]
    ranked = sorted(zip(word.probabilities, word.senses, strict=False), key=lambda pair: -pair[0])
    quiet += [
        f"{probability:.2f} {escape(sense.lemma)} {POS[sense.pos]}: {escape(sense.gloss)}"
        for probability, sense in [pair for pair in ranked if pair[1] is not word.sense][:_OTHERS]
    ]
    card = "".join(f"<span>{line}</span>" for line in lines)
    card += "".join(f'<span class="quiet">{line}</span>' for line in quiet)
    kind = f"w {word.pos} {word.source}"
    return f'<span class="{kind}" tabindex="0">{escape(word.text)}<span class="card">{card}</span></span>'
