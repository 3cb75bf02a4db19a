"""Running text, key files and the unified XML format."""

from __future__ import annotations

import gzip
import lzma
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import UserError
from limbeck.gloss.instances import gold_beside, load_keys, read_keys, read_unified, write_keys
from limbeck.gloss.running import join


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("I ca n't find it .", "I can't find it."),
        ("You can n't , and he won n't .", "You can't, and he won't."),  # SemCor's way
        ("They do n't know we 're here , they 'll see .", "They don't know we're here, they'll see."),
        ("the `` two-hit '' theory", 'the "two-hit" theory'),
        ("He said , `` Go home . ''", 'He said, "Go home."'),
        ("discovered the `` cause `` of it", 'discovered the "cause" of it'),  # Senseval's way
        ("`` I am sorry , `` she said , `` but no . ``", '"I am sorry," she said, "but no."'),
        ("so it ended . ``", 'so it ended."'),
        ('an " ans " variable', 'an "ans" variable'),
        ("a form of ` alien ' life", "a form of 'alien' life"),
        ("considered ' final ' in court", "considered 'final' in court"),
        ("the ladies ' man and the builders ' intentions", "the ladies' man and the builders' intentions"),
        ("takin ' me home", "takin' me home"),
        ("Mr. O ' Connor at ten o ' clock", "Mr. O'Connor at ten o'clock"),
        ("-LRB- see chart 5 -RRB- and [ so on ]", "(see chart 5) and [so on]"),
        ("$ 7 million or 40 % of it ; see below : here !", "$7 million or 40% of it; see below: here!"),
        ("Standard &amp; Poor 's", "Standard & Poor's"),
        ("and / or", "and/or"),
        ("gained one thing - he left -- at last", "gained one thing - he left -- at last"),
        ("sum () or so ...", "sum() or so..."),
        ("the Reagan '80s and 'em", "the Reagan '80s and 'em"),
        ("' Thank God '", "'Thank God'"),
        ("37 ` C", "37` C"),
        ("It is n't ca n't n't", "It isn't can'tn't"),
    ],
)
def test_tokens_become_running_text(tokens: str, text: str) -> None:
    assert join(tokens.split())[0] == text


def test_spans_are_those_of_the_tokens() -> None:
    tokens = ["He", "ca", "n't", "see", "O ' Banion", ",", "``", "Harper 's Ferry", "''", "."]
    text, spans = join(tokens)
    assert text == "He can't see O'Banion, \"Harper's Ferry\"."
    shown = [text[start:end] for start, end in spans]
    assert shown == ["He", "ca", "n't", "see", "O'Banion", ",", '"', "Harper's Ferry", '"', "."]
    assert join(["can", "n't"]) == ("can't", [(0, 3), (3, 5)])
    assert join([]) == ("", [])


_MARKS = ["``", "''", "'", "`", '"', "n't", "'s", "-LRB-", "-RRB-", "$", "%", ",", ".", "/", "can", "o", "s"]
_token = st.one_of(
    st.sampled_from(_MARKS),
    st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=6),
    st.sampled_from(["a b", "O ' Neil", "x \t y"]),
).filter(lambda token: bool(token.strip()))


@given(st.lists(_token, max_size=12))
def test_nothing_is_lost_and_spans_tile_the_text(tokens: list[str]) -> None:
    text, spans = join(tokens)
    end = 0
    for (start, stop), token in zip(spans, tokens, strict=True):
        assert start < stop
        assert text[end:start] in ("", " ")
        assert not text[start].isspace()
        assert not text[stop - 1].isspace()
        if token.isalnum():
            assert text[start:stop] == token
        end = stop
    assert end == len(text)
    assert "  " not in text


XML = """<?xml version="1.0" encoding="UTF-8" ?>
<corpus lang="en" source="mine">
<text id="d000">
<sentence id="d000.s000">
<wf lemma="he" pos="PRON">He</wf>
<instance id="d000.s000.t000" lemma="run" pos="VERB">ran</instance>
<wf lemma="." pos=".">.</wf>
</sentence>
<sentence id="d000.s001">
<wf lemma="the" pos="DET">The</wf>
<instance id="d000.s001.t000" lemma="new_york" pos="NOUN">New York</instance>
<instance id="d000.s001.t001" lemma="dog" pos="NOUN">dogs</instance>
<wf lemma="do" pos="VERB">did</wf>
<wf lemma="not" pos="ADV">n't</wf>
</sentence>
<sentence id="d000.s002">
<wf lemma="ok" pos="X">Caf\u00e9</wf>
</sentence>
</text>
<text id="d001">
<sentence id="d001.s000">
<instance id="d001.s000.t000" lemma="calm" pos="ADJ">Calm</instance>
<wf lemma="!" pos=".">!</wf>
</sentence>
</text>
</corpus>
"""
KEYS = """d000.s000.t000 run%2:38:00::
d000.s001.t000 new_york%1:15:00:: new_york%1:15:01::
d000.s001.t001 dog%1:05:00::
d001.s000.t000 calm%3:00:00::
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    xml, gold = tmp_path / "mine.data.xml", tmp_path / "mine.gold.key.txt"
    xml.write_text(XML, encoding="utf-8")
    gold.write_text(KEYS, encoding="utf-8")
    return xml, gold


def test_instances_of_the_unified_format(files: tuple[Path, Path]) -> None:
    found = list(read_unified(*files))
    assert [(i.id, i.target, i.lemma, i.pos) for i in found] == [
        ("d000.s000.t000", "ran", "run", "v"),
        ("d000.s001.t000", "New York", "new york", "n"),
        ("d000.s001.t001", "dogs", "dog", "n"),
        ("d001.s000.t000", "Calm", "calm", "a"),
    ]
    assert found[1].context == "The New York dogs didn't"
    assert found[1].gold == ("new_york%1:15:00::", "new_york%1:15:01::")
    assert [i.gold for i in read_unified(files[0], None)] == [()] * 4


@pytest.mark.parametrize(
    ("window", "contexts"),
    [
        (0, ["He ran.", "The New York dogs didn't", "Calm!"]),
        (1, ["He ran. The New York dogs didn't", "He ran. The New York dogs didn't Caf\u00e9", "Calm!"]),
        (
            9,
            [
                "He ran. The New York dogs didn't Caf\u00e9",
                "He ran. The New York dogs didn't Caf\u00e9",
                "Calm!",
            ],
        ),
    ],
)
def test_window_stays_in_the_document(files: tuple[Path, Path], window: int, contexts: list[str]) -> None:
    found = list(read_unified(*files, window=window))
    assert list(dict.fromkeys((i.id[:9], i.context) for i in found)) == list(
        zip(["d000.s000", "d000.s001", "d001.s000"], contexts, strict=True)
    )
    assert [i.target for i in found] == ["ran", "New York", "dogs", "Calm"]


def test_window_slides_over_a_long_document(tmp_path: Path) -> None:
    write_long(tmp_path / "a.data.xml", 9)
    found = list(read_unified(tmp_path / "a.data.xml", None, window=2))
    words = [[int(word[1:]) for word in i.context.split() if word.startswith("w")] for i in found]
    assert words == [list(range(max(0, n - 2), min(9, n + 3))) for n in range(9)]
    assert [i.target for i in found] == [f"w{n}" for n in range(9)]


def write_long(path: Path, sentences: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write('<corpus><text id="d0">')
        for n in range(sentences):
            file.write(f'<sentence id="s{n}"><wf>the</wf><instance id="s{n}.t0" lemma="a" pos="NOUN">w{n}')
            file.write("</instance><wf>fox</wf></sentence>\n")
        file.write("</text></corpus>")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    peaks = []
    for sentences in (1_000, 8_000):
        path = tmp_path / f"{sentences}.data.xml"
        write_long(path, sentences)
        gold = tmp_path / f"{sentences}.gold.key.txt"
        gold.write_text("".join(f"s{n}.t0 a%1:00:00::\n" for n in range(sentences)))
        tracemalloc.start()
        assert sum(1 for _ in read_unified(path, gold, window=3)) == sentences
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 200_000, peaks  # the larger file's tree has 8 MB


def test_packed_files_read_alike(files: tuple[Path, Path], tmp_path: Path) -> None:
    plain = list(read_unified(*files))
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "mine.data.xml.xz").write_bytes(lzma.compress(files[0].read_bytes()))
    (packed / "mine.gold.key.txt.gz").write_bytes(gzip.compress(files[1].read_bytes()))
    xml = packed / "mine.data.xml.xz"
    assert list(read_unified(xml, gold_beside(xml))) == plain
    xml.write_bytes(xml.read_bytes()[:-30])
    with pytest.raises(UserError, match=r"mine\.data\.xml\.xz is damaged or no \.xz file"):
        list(read_unified(xml, None))


def test_gold_in_another_order_is_found(files: tuple[Path, Path]) -> None:
    plain = list(read_unified(*files))
    files[1].write_text("".join(reversed(KEYS.splitlines(keepends=True))))
    assert list(read_unified(*files)) == plain


def wrong(xml: Path, gold: Path | None = None) -> str:
    with pytest.raises(UserError) as caught:
        list(read_unified(xml, gold))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_gold_keys_without_instances_and_the_reverse(files: tuple[Path, Path]) -> None:
    xml, gold = files
    gold.write_text(KEYS + "d9.s0.t0 dog%1:05:00::\nd9.s0.t1 dog%1:05:00::\n")
    assert "has keys for 2 instances (d9.s0.t0, d9.s0.t1) that mine.data.xml has not" in wrong(xml, gold)
    gold.write_text("\n".join(KEYS.splitlines()[::3]))
    assert "no line for 2 instances (d000.s001.t000, d000.s001.t001) of mine.data.xml" in wrong(xml, gold)
    gold.write_text("")
    assert "no line for 4 instances" in wrong(xml, gold)
    gold.write_text(KEYS.splitlines()[2] + "\n" + KEYS)
    assert "more than one line for 1 instance (d000.s001.t001); leave one" in wrong(xml, gold)
    gold.write_text(KEYS + KEYS.splitlines()[0])
    assert "more than one line for 1 instance (d000.s000.t000); leave one" in wrong(xml, gold)
    xml.write_text(XML.replace("s001.t001", "s001.t000"), encoding="utf-8")
    gold.write_text(KEYS)
    assert "several instances of the same id: 1 instance (d000.s001.t000)" in wrong(xml, gold)


def test_hostile_and_damaged_xml(files: tuple[Path, Path]) -> None:
    xml, _ = files
    bomb = '<!DOCTYPE corpus [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>\n'
    head, body = XML.split("\n", 1)
    xml.write_text(f"{head}\n{bomb}{body.replace('ran', '&b;')}", encoding="utf-8")
    assert "declares entities" in wrong(xml)
    xml.write_text(
        f'{head}\n<!DOCTYPE corpus [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n{body.replace("ran", "&a;")}',
        encoding="utf-8",
    )
    assert "declares entities" in wrong(xml)
    for cut in (0, 200, len(XML) - 12):
        xml.write_text(XML[:cut], encoding="utf-8")
        assert "cut short or not well-formed XML" in wrong(xml)
    xml.write_bytes(XML.encode("latin-1"))
    assert "cut short or not well-formed XML" in wrong(xml)
    xml.write_text("<html><p>404</p></html>")
    assert "its root is <html>, not <corpus>" in wrong(xml)
    xml.write_text("<corpus><text id='a'><sentence id='b'><wf>x</wf></sentence></text></corpus>")
    assert "has no instance in it" in wrong(xml)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('pos="VERB"', 'pos="PRON"', "'PRON'; it must be one of NOUN, VERB, ADJ, ADV"),
        ('id="d000.s000.t000" ', "", "sentence d000.s000: the instance 'ran' lacks an id"),
        ('lemma="run"', 'lemma=""', "lacks an id without white space or a lemma"),
        ('"d000.s000.t000"', '"d000 t000"', "lacks an id without white space"),
    ],
)
def test_instances_that_lack_something(files: tuple[Path, Path], old: str, new: str, says: str) -> None:
    assert old in XML
    files[0].write_text(XML.replace(old, new, 1), encoding="utf-8")
    assert says in wrong(*files)


def test_files_that_are_not_there(files: tuple[Path, Path], tmp_path: Path) -> None:
    xml, gold = files
    assert gold_beside(xml) == gold
    gold.unlink()
    with pytest.raises(UserError, match=r"has no mine\.gold\.key\.txt beside it"):
        gold_beside(xml)
    with pytest.raises(UserError, match=r"not named NAME\.data\.xml"):
        gold_beside(tmp_path / "mine.xml")
    assert "cannot read" in wrong(tmp_path / "no.data.xml")
    assert "cannot read" in wrong(xml, gold)
    assert "cannot read" in wrong(tmp_path)


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.key"
    write_keys(path, [("b.1", ["x%1", "y%1"]), ("b.2", []), ("a.1", ["z%1"])])
    assert path.read_text() == "b.1 x%1 y%1\na.1 z%1\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["a.key"]
    assert load_keys(path) == {"b.1": ("x%1", "y%1"), "a.1": ("z%1",)}
    path.write_bytes(b"\xef\xbb\xbfb.1\tx%1 x%1\r\n\r\n")
    assert list(read_keys(path)) == [("b.1", ("x%1",))]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"a.1 x\na.2\n", "line 2: 'a.2' has no sense key"),
        (b"a.1 x\na.2 x\na.1 y\n", r"more than one line for 1 instance \(a\.1\)"),
        (b"a.1 x\n\xff\xfe\n", "line 2 is not UTF-8"),
        (b"a.1 \0\n", "NUL byte"),
    ],
)
def test_bad_key_files(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "bad.key"
    path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        load_keys(path)
