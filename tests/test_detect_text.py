"""Documents as blocks: plain text, Markdown, HTML; parts that fit; what a detector reads of a text."""

from __future__ import annotations

import logging
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import UserError
from limbeck.tools import detect_markup, detect_tags
from limbeck.tools.detect_markup import html_blocks, markdown_blocks
from limbeck.tools.detect_text import LONGEST, Block, parts, plain, text_blocks, words

TEXT = """\ufeffThe Title of It

The first paragraph is
wrapped. It ends here.

- an item that
  goes on
- another item
1. a numbered one

{long}
After a long line comes this.
""".replace("\ufeff", "").format(long="A line that nobody wraps " * 12)
MARKDOWN = """---
title: left out
---
# A *heading*

Some **bold** text with a [link](https://x.org/y) and `code`
in it &amp; more.<br>Here.

> A quotation.

- one
- two

```python
print("<b>")
```

| a | b |
|---|---|
| c | d |

<div onclick="evil()">Kept <script>evil()</script>text</div>
"""
HTML = """<!DOCTYPE html><html><head><title>T</title><style>p { color: red }</style>
<script>document.write("<p>evil</p>")</script></head><body><nav>Menu</nav>
<h1>Head</h1><p>One &amp; two,<br>three &lt;script&gt;<script>alert("<p>x</p>")</script> four.
<p>Unclosed<ul><li>a<li>b <b>c</b></ul><pre>x\n  y</pre>
<table><tr><td>1<td>2<tr><td>3</table><p hidden>secret<p>shown<div hidden>no<div>no</div>no</div>
tail<!-- a <p>comment</p> --></body></html>"""


def kinds(blocks: list[Block]) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in blocks]


def test_plain_text() -> None:
    assert kinds(list(text_blocks([TEXT]))) == [
        ("heading", "The Title of It"),
        ("text", "The first paragraph is wrapped. It ends here."),
        ("item", "- an item that goes on"),
        ("item", "- another item"),
        ("item", "1. a numbered one"),
        ("text", ("A line that nobody wraps " * 12).strip()),
        ("text", "After a long line comes this."),
    ]


def test_markdown() -> None:
    assert kinds(list(markdown_blocks([MARKDOWN]))) == [
        ("heading", "A heading"),
        ("text", "Some bold text with a link and code in it & more. Here."),
        ("text", "A quotation."),
        ("item", "one"),
        ("item", "two"),
        ("code", 'print("<b>")'),
        ("table", "a b"),
        ("table", "c d"),
        ("text", "Kept text"),
    ]


def test_html() -> None:
    assert kinds(list(html_blocks([HTML], "x"))) == [
        ("text", "Menu"),
        ("heading", "Head"),
        ("text", "One & two, three <script> four."),
        ("text", "Unclosed"),
        ("item", "a"),
        ("item", "b c"),
        ("code", "x\n  y"),
        ("table", "1 2"),
        ("table", "3"),
        ("text", "shown"),
        ("text", "tail"),
    ]


@pytest.mark.parametrize("size", [1, 7, 64])
def test_where_chunks_end_does_not_matter(size: int) -> None:
    def cut(text: str) -> list[str]:
        return [text[low : low + size] for low in range(0, len(text), size)]

    assert list(text_blocks(cut(TEXT))) == list(text_blocks([TEXT]))
    assert list(markdown_blocks(cut(MARKDOWN))) == list(markdown_blocks([MARKDOWN]))
    assert list(html_blocks(cut(HTML), "x")) == list(html_blocks([HTML], "x"))


def test_markdown_is_parsed_in_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n\n".join(f"Paragraph {n} of *it*.\n\n```\ncode {n}\n\nmore\n```" for n in range(50))
    whole = list(markdown_blocks([text]))
    monkeypatch.setattr(detect_markup, "SECTION", 100)
    assert list(markdown_blocks([text])) == whole
    assert len(whole) == 100


def test_html_that_is_not_closed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "limbeck"):
        assert kinds(list(html_blocks(["<p>a<button>b<p>c"], "x.html"))) == [("text", "a")]
    assert "x.html: <button> is opened and never closed; what follows it is not looked at" in caplog.text
    assert kinds(list(html_blocks(["<head><title>t</title><p>a"], "x"))) == [("text", "a")]
    monkeypatch.setattr(detect_tags, "_MOST_HELD", 1000)
    with pytest.raises(
        UserError, match=r"x\.html has a tag, comment or script that is not closed within 1,000"
    ):
        list(html_blocks(["<!-- ", *["no end " * 100] * 5], "x.html"))


@pytest.mark.parametrize(
    "unit",
    ["<a ", "<!--", "<!--x>", "<![CDATA[x>", "<!x ", "<?x ", "</a ", "<a b='", '<a b=">" ', "<", "&", "&#",
     "=", "<a =", "<script>", "<style ", "<p hidden>", "-", "<a b= '\">", "<a  ", "<ul><li>"],
)  # fmt: skip
def test_what_is_never_closed_takes_linear_time(unit: str) -> None:
    """100,000 characters took minutes where each tag was followed to the end of the page."""
    for begin, end in (
        ("<p>seen</p>", ""),
        ("<p>seen</p>", ">"),
        ("<p>seen</p><!-- ", ""),
        ("seen<a b='", ""),
    ):
        page = begin + unit * (100_000 // len(unit)) + end
        began = time.process_time()
        blocks = list(
            html_blocks([page[low : low + 65_536] for low in range(0, len(page), 65_536)], "a page")
        )
        assert time.process_time() - began < 5
        assert blocks[0].text.startswith("seen")


def test_tags_that_are_odd() -> None:
    def seen(page: str) -> str:
        found = [" ".join(block.text for block in html_blocks([page], "a page"))]
        found.append(" ".join(block.text for block in html_blocks(list(page), "a page")))
        assert found[0] == found[1], "where chunks end does not matter"
        return found[0]

    assert seen("a < b and <c and more") == "a < b and <c and more"
    assert seen("1 <2 <b>x</b >&lt;p&gt; &amp;amp; &eacute;t&eacute &") == "1 <2 x<p> &amp; été &"
    assert seen("a<!-->b<!---->c<!-- > -- > -->d<!-- x --!>e") == "abcde"
    assert seen("a<!DOCTYPE x>b<?php echo ?>c</>d</ x>e<![if !x]>f<![endif]>g<![x[y]]>h") == "abcdefgh"
    assert seen("a<![CDATA[<p>x > y</p>]]>b") == "ab"
    assert seen("a<img alt='>' title=\"<p>\">b<a href = 'x>y'>c</a>") == "a bc"
    assert seen('a<b title="x>c</b> d <i>e</i>') == "ac d e", "a quote that is not closed"
    assert seen("a<SCRIPT>if (x</y) '</scripts>'</Script x='>'>b<script/>c<style>p{}</style>d") == "abcd"
    assert seen("a<b<i>x</i>") == "ax"
    assert seen("<p>a<p/>b<div/>c") == "a b c"


@given(st.text(alphabet="<>/!-ap '\"=&;[]?x\n", max_size=60), st.integers(1, 20))
def test_any_page_is_read_and_its_chunks_do_not_matter(page: str, size: int) -> None:
    chunks = [page[low : low + size] for low in range(0, len(page), size)]
    assert list(html_blocks(chunks, "a page")) == list(html_blocks([page], "a page"))


def test_what_only_the_end_of_the_page_closes_is_told(caplog: pytest.LogCaptureFixture) -> None:
    page = "<body><p>seen</p><ul><li hidden>a<li>b</ul><p>lost</p></body>"
    with caplog.at_level(logging.WARNING, "limbeck"):
        assert [block.text for block in html_blocks([page], "a page")] == ["seen"]
    assert "<li> is opened and never closed" in caplog.text


def test_deep_lists_of_markdown_are_read() -> None:
    deep = "\n".join(f"{'  ' * depth}- item {depth}" for depth in range(14))
    assert [block.text for block in markdown_blocks([deep])] == [f"item {depth}" for depth in range(14)]


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("---\n\nPart one.\n\n---\n\nPart two.\n", ["Part one.", "Part two."]),
        ("---\n\nAll there is.\n", ["All there is."]),
        ("---\nPart one.\n\n---\n\nPart two.\n", ["Part one.", "Part two."]),
        ("---\nNote: it goes on.\n\nAnd on.\n", ["Note: it goes on.", "And on."]),
        ("---\n---\nText.\n", ["Text."]),
        ("---\n" + "a: b\n" * 300, [" ".join(["a: b"] * 300)]),
        ("---\ntitle: x\n\ntags:\n- y\n...\nText.\n", ["Text."]),
        ('---\r\n# of the editor\r\n"a b": c\r\n---  \r\nText.\r\n', ["Text."]),
    ],
)
def test_a_rule_that_opens_markdown_hides_no_text(text: str, seen: list[str]) -> None:
    for size in (1, 1000):
        chunks = [text[low : low + size] for low in range(0, len(text), size)]
        assert [block.text for block in markdown_blocks(chunks)] == seen


@pytest.mark.parametrize("word", ["word ", "word"])
def test_no_block_is_too_long(word: str) -> None:
    endless = word * (LONGEST // 2)
    for read in (text_blocks, markdown_blocks, lambda chunks: html_blocks(chunks, "x")):
        blocks = list(read([endless[low : low + 50_000] for low in range(0, len(endless), 50_000)]))
        assert max(len(block.text) for block in blocks) < 6 * LONGEST
        assert "".join("".join(block.text for block in blocks).split()) == "word" * (LONGEST // 2)


def test_what_a_detector_reads() -> None:
    typeset = "“It’s ﬁne” – he\u00ad said…\n now—\u200bhere  10–20"
    assert plain(typeset) == '"It\'s fine" - he said… now - here 10 - 20'
    assert plain(plain(typeset)) == plain(typeset)
    assert [typeset[start:end] for start, end in words("well-known 3.5 it's 日本 x.")] == [
        typeset[start:end] for start, end in [(0, 10), (11, 14), (15, 19), (20, 21), (21, 22), (23, 24)]
    ]


@given(st.text(max_size=300), st.integers(1, 40))
def test_parts_are_the_whole_text_and_fit(text: str, most: int) -> None:
    found = list(parts(text, lambda one: len(one) <= most))
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(part and part == part.strip() and len(part) <= most for part in found)


def test_parts_end_where_sentences_do() -> None:
    text = "One two three. Four five six! Seven eight nine? Ten."
    assert list(parts(text, lambda one: len(words(one)) <= 6)) == [
        "One two three. Four five six!",
        "Seven eight nine? Ten.",
    ]
    assert list(parts("one two three four", lambda one: len(words(one)) <= 2)) == ["one two", "three four"]
