"""`limbeck wsd`: tables, JSON and pages of text from arguments, files and stdin, and what it refuses."""

from __future__ import annotations

import json
import lzma
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from limbeck import tables
from limbeck.cli import app
from limbeck.errors import UserError
from limbeck.lexicon.lexicon import open_lexicon
from limbeck.tools import questions, reading
from tests.mini_wordnet import write_wordnet
from tests.test_disambiguate import TEXT, make_model


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, checkpoint: Callable[..., Path]) -> Path:
    """A folder with a lexicon `wordnet` and a gloss model `model`."""
    folder = tmp_path_factory.mktemp("home")
    lexicon = open_lexicon(str(write_wordnet(folder / "wordnet", polysemous=True)))
    make_model(checkpoint, lexicon).save(folder / "model")
    return folder


def invoke(home: Path, *words: object, given: str | bytes | None = None) -> Result:
    options = ["--lexicon", home / "wordnet", "--device", "cpu"]
    return CliRunner().invoke(
        app, list(map(str, ["wsd", home / "model", *options, *words])), input=given, prog_name="limbeck"
    )


def run(home: Path, *words: object, given: str | bytes | None = None) -> str:
    result = invoke(home, *words, given=given)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def refused(result: Result) -> str:
    """The one line that a refused command says."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    assert result.stdout == ""
    said = [line for line in result.stderr.splitlines() if line.startswith("limbeck: ")]
    assert len(said) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return said[0].removeprefix("limbeck: ")


def test_a_table_of_the_words(home: Path) -> None:
    lines = run(home, TEXT).strip("\n").splitlines()
    heads = ["characters", "word", "lemma", "part of speech", "sense key", "probability", "gloss"]
    assert [head for head in heads if head in lines[0]] == heads
    rows = [line.split() for line in lines[2:]]
    assert len(rows) == 10
    assert rows[7][:7] == ["68–73", "river", "river", "noun", "river%1:03:00::", "only", "sense"]
    assert lines[3].split()[:3] == ["9–17", "ran", "into"]
    assert lines[9].index("a large natural stream of water") == lines[0].index("gloss")
    (row,) = run(home, "Bank!").strip("\n").splitlines()[2:]
    assert "first sense" in row


def test_json_has_the_whole_of_it(home: Path) -> None:
    found = json.loads(run(home, TEXT, "--json"))
    assert found["model"] == str(home / "model")
    assert found["lexicon"] == "wordnet 3.0"
    assert [word["text"] for word in found["words"]][:3] == ["dogs", "ran into", "bank"]
    for word in found["words"]:
        assert TEXT[word["start"] : word["end"]] == word["text"]
        assert list(word) == [
            "start", "end", "text", "lemma", "pos", "key", "gloss", "probability", "source", "candidates",
        ]  # fmt: skip
    assert found["words"][2]["candidates"] == 4


def test_files_and_stdin_say_the_same(home: Path, tmp_path: Path) -> None:
    expected = run(home, TEXT)
    (tmp_path / "text.txt").write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    (tmp_path / "text.txt.xz").write_bytes(lzma.compress(TEXT.encode()))
    assert run(home, "--file", tmp_path / "text.txt") == expected
    assert run(home, "-f", tmp_path / "text.txt.xz") == expected
    assert run(home, "-", given=TEXT) == expected
    assert run(home, given=TEXT) == expected
    assert run(home, "--layout", "pairs", "--tokens", "64", "--window", "1", TEXT) != expected


class Page(HTMLParser):
    """The text of a page's <main> without its cards, the cards, and all tags and attributes."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.text, self.cards, self.tags = "", [""], set[str]()
        self._spans: list[str] = []
        self._inside = False
        self.feed(content)
        self.close()
        assert not self._spans

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags |= {tag, *(f"{name}=" for name, _ in attrs)}
        self._inside |= tag == "main"
        if tag == "span":
            self._spans.append(dict(attrs).get("class") or "")
            if self._spans[-1] == "card":
                self.cards.append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside &= tag != "main"
        if tag == "span":
            self._spans.pop()

    def handle_data(self, data: str) -> None:
        if "card" in self._spans:
            self.cards[-1] += data
        elif self._inside:
            self.text += data


def test_a_page_shows_the_text_and_its_senses(home: Path, tmp_path: Path) -> None:
    text = f'  <script>alert("dog")</script> & &amp; {TEXT}\n\n  <img src=x onerror=y> "bank\'s"\n'
    (tmp_path / "<b>&.txt").write_text(text, encoding="utf-8")
    path = tmp_path / "new" / "page.html"
    listed = run(home, "--file", tmp_path / "<b>&.txt", "--html", path, "--json")
    content = path.read_text(encoding="utf-8")
    page = Page(content)
    assert page.text == text
    words = json.loads(listed)["words"]
    assert len(page.cards) == len(words) + 1
    for card, word in zip(page.cards[1:], words, strict=True):
        assert card.startswith(word["lemma"])
        assert word["key"] in card
        assert word["gloss"] in card
        assert ("probability" in card) == (word["probability"] is not None)
    assert page.tags.isdisjoint({"script", "img", "link", "src=", "href=", "onerror="})
    assert "http://" not in content
    assert "https://" not in content
    assert "<title>" + str(tmp_path) in content
    assert "&lt;b&gt;&amp;.txt</title>" in content
    assert f"{len(words)} words:" in content


def test_no_page_is_left_where_there_is_nothing_to_show(home: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("old")
    said = refused(invoke(home, "of the", "--html", page))
    assert "no word of the text ('of the') has a sense in the lexicon wordnet 3.0" in said
    assert [entry.name for entry in tmp_path.iterdir()] == ["page.html"]
    assert page.read_text() == "old"
    assert "it is a folder" in refused(invoke(home, TEXT, "--html", tmp_path))


def test_a_long_text_is_shown_in_several_tables(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "WORDS_AT_ONCE", 4)
    lines = run(home, TEXT).splitlines()
    assert sum("sense key" in line for line in lines) == 3
    assert sum("–" in line for line in lines) == 10


def test_bad_input_is_one_line(home: Path, tmp_path: Path, checkpoint: Callable[..., Path]) -> None:
    (tmp_path / "latin.txt").write_bytes(b"The bank " * 900 + "café".encode("latin-1"))
    (tmp_path / "binary").write_bytes(b"The bank \0\1\2")
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "broken.xz").write_bytes(lzma.compress(TEXT.encode())[:-9])
    for words, message in (
        (["  "], "the text is empty; give it words"),
        ([""], "the text is empty"),
        (["--file", tmp_path / "empty.txt"], "empty.txt is empty; give it words"),
        (["--file", tmp_path / "none.txt"], "there is no file"),
        ([tmp_path / "empty.txt"], "is a file; to have it read, give --file"),
        (["--file", tmp_path / "latin.txt"], "latin.txt is not UTF-8 text (at byte 8,103)"),
        (["--file", tmp_path / "binary"], "has a NUL byte"),
        (["--file", tmp_path / "broken.xz"], "is damaged or no .xz file"),
        (["--file", tmp_path / "empty.txt", "bank"], "leave one of them out"),
        (["xyzzy"], "no word of the text ('xyzzy') has a sense in the lexicon"),
        (["the bank", "--precision", "f8"], "precision is 'f8'; it must be one of f32"),
        (["the bank", "--layout", "boxed"], "use pairs or packed"),
    ):
        assert message in refused(invoke(home, *words)), words
    assert "the text on stdin is empty" in refused(invoke(home, given=""))
    assert "the text on stdin is not UTF-8 text (at byte 4)" in refused(invoke(home, given=b"dog \xff"))


def test_a_mistake_far_into_the_text_is_told_behind_what_came_before(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHUNK", 1000)
    monkeypatch.setattr(questions, "BATCH", 8)
    monkeypatch.setattr(tables, "WORDS_AT_ONCE", 4)
    late = invoke(home, given=b"The bank of the river. " * 300 + b"\xff")
    assert late.exit_code == 2
    assert "river" in late.stdout
    assert [line for line in late.stderr.splitlines() if line.startswith("limbeck: ")] == [
        "limbeck: the text on stdin is not UTF-8 text (at byte 6,900); save it as UTF-8"
    ]


def test_a_text_that_ends_within_a_character_is_no_utf_8() -> None:
    class OneByte:
        def __init__(self, content: bytes) -> None:
            self.left = list(content)

        def read1(self, _: int) -> bytes:
            return bytes([self.left.pop(0)]) if self.left else b""

    file: Any = OneByte("dé 日".encode())
    assert "".join(reading.decoded(file, "x")) == "dé 日"
    file = OneByte("dé 日".encode()[:-1])
    with pytest.raises(UserError, match=r"x is not UTF-8 text \(at byte 4\)"):
        list(reading.decoded(file, "x"))


def test_models_and_lexicons_that_cannot_be_used(
    home: Path, tmp_path: Path, checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(model: object, *words: object) -> str:
        return refused(CliRunner().invoke(app, ["wsd", *map(str, (model, "the bank", *words))]))

    wordnet = ["--lexicon", home / "wordnet"]
    assert "has no gloss head" in call(checkpoint("bert"), *wordnet)
    assert "'no/such'" in call("no/such", *wordnet)
    other = write_wordnet(tmp_path / "other", copies=2, polysemous=True)
    said = call(home / "model", "--lexicon", other)
    assert "the model was trained on the lexicon wordnet 3.0, another wordnet 3.0" in said
    assert "--other-lexicon" in said
    assert run(home, "the bank", "--lexicon", other, "--other-lexicon")
    assert "is no lexicon" in call(home / "model", "--lexicon", "words")
    monkeypatch.setenv("LIMBECK_WORDNET", str(tmp_path))
    assert "LIMBECK_WORDNET is" in call(home / "model")


def test_stdin_of_a_terminal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda self: True, "buffer": None})())
    with pytest.raises(UserError, match="no text is given; write it in quotes"):
        reading.find_source(None, None)


def test_progress_is_told_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    from limbeck.tools.words import Sentence

    told: list[tuple[str, int, int]] = []
    source = reading.Source("x", [], 8)
    sentences = [Sentence(0, "né. ", ()), Sentence(4, "two", ())]
    assert list(reading.told(sentences, source, lambda *said: told.append(said))) == sentences
    assert told == []
    monkeypatch.setattr(reading, "_QUIET", -1.0)
    list(reading.told(sentences, source, lambda *said: told.append(said)))
    assert told == [("disambiguating, bytes", 5, 8), ("disambiguating, bytes", 8, 8)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_does_not_grow_with_the_text(home: Path) -> None:
    code = (
        "import resource, sys; from limbeck.cli import app\n"
        "try: app(sys.argv[1:], prog_name='limbeck')\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    peaks = []
    for copies in (50, 800):
        words = ["wsd", home / "model", "-", "--lexicon", home / "wordnet", "--device", "cpu"]
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, words)],
            input=f"{TEXT}.\n" * copies, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert sum("–" in line for line in done.stdout.splitlines()) == 10 * copies
        assert "disambiguating, bytes" in done.stderr or copies == 50
        peaks.append(int(done.stderr.splitlines()[-1]) / 1024)
    assert peaks[1] - peaks[0] < 60, peaks
