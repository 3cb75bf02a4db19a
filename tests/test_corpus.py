from __future__ import annotations

import gzip
import json
import lzma
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from limbeck.errors import UserError
from limbeck.lexicon.wordnet import Synset
from limbeck.text import documents
from limbeck.text.corpus import Corpus, build_corpus, overlap
from limbeck.text.documents import Counts
from limbeck.text.passages import Seen, cut
from limbeck.text.readers import find_sources
from limbeck.text.wordnet_documents import synset_document
from limbeck.text.words import passage_hash, word_spans
from tests.mini_wordnet import write_wordnet

Build = Callable[..., Corpus]
TEXT = "One two three four five.\nSix seven.\n\n  \nEight  nine\tten eleven twelve thirteen.\n"


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def call(*patterns: str, words: int = 4, min_words: int = 1, **options: object) -> Corpus:
        given = {"on_error": "stop", "cache": tmp_path / "cache", "label": "text.train", "base": tmp_path}
        return build_corpus(patterns, words=words, min_words=min_words, **(given | options))  # type: ignore[arg-type]

    return call


def texts(corpus: Corpus) -> list[str]:
    return corpus.texts(range(len(corpus)))


def test_passages(tmp_path: Path, build: Build) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    corpus = build("a.txt", words=6)
    assert texts(corpus) == [
        "One two three four five.",
        "Six seven.",
        "Eight  nine\tten eleven twelve thirteen",
        ".",
    ]
    assert corpus.n_words.tolist() == [6, 3, 6, 1]
    assert corpus.hashes.tolist() == [passage_hash(text) for text in texts(corpus)]
    assert corpus.hashes.dtype == np.uint64
    assert (corpus.stats.documents, corpus.stats.passages, corpus.stats.words) == (2, 4, 16)
    assert len(corpus) == 4
    assert corpus.text(1) == "Six seven."
    for outside in (-1, 4):
        with pytest.raises(IndexError):
            corpus.text(outside)
    # A line end inside a passage stays; other systems' line ends and a mark at the start do not matter.
    assert "five.\nSix" in build("a.txt", words=96).text(0)
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    assert texts(build("b.txt", words=6)) == texts(corpus)
    (tmp_path / "c.txt").write_bytes(TEXT.replace("\n", "\r").encode())
    assert texts(build("c.txt", words=6)) == texts(corpus)


def test_short_and_duplicate_passages_are_counted(tmp_path: Path, build: Build) -> None:
    (tmp_path / "a.txt").write_text("a b c\n\na b c\n\na b\n\nd e f g h\n\na b c\n")
    corpus = build("a.txt", words=3, min_words=3)
    assert texts(corpus) == ["a b c", "d e f"]
    stats = corpus.stats
    assert (stats.documents, stats.passages, stats.words) == (5, 2, 6)
    assert (stats.duplicates, stats.too_short) == (2, 2)


def test_prepared_once(tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    first = build("a.txt")
    inode = (first.folder / "passages.arrow").stat().st_ino
    (tmp_path / "renamed.txt").write_text(TEXT)
    for again in (build("a.txt"), build("renamed.txt"), pickle.loads(pickle.dumps(first))):
        assert again.fingerprint == first.fingerprint
        assert texts(again) == texts(first)
        assert (again.folder / "passages.arrow").stat().st_ino == inode
    others = [build("a.txt", words=5), build("a.txt", min_words=2), build("a.txt", on_error="skip")]
    (tmp_path / "a.txt").write_text(TEXT + "more")
    others.append(build("a.txt"))
    assert len({corpus.fingerprint for corpus in [first, *others]}) == 5
    assert not list((tmp_path / "cache").glob(".tmp-*"))


def test_damaged_cache_is_made_again(tmp_path: Path, build: Build) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    first = build("a.txt")
    expected = texts(first)
    file = first.folder / "passages.arrow"
    whole = file.read_bytes()
    file.unlink()  # the old mapping stays as it is
    file.write_bytes(whole[:-10])
    assert texts(build("a.txt")) == expected
    (first.folder / "corpus.json").write_text('{"finger')
    assert texts(build("a.txt")) == expected
    (first.folder / "corpus.json").unlink()
    assert texts(build("a.txt")) == expected
    assert json.loads((first.folder / "corpus.json").read_text())["fingerprint"] == first.fingerprint


def test_record_batches(tmp_path: Path, build: Build) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(f"passage number {index}" for index in range(10_000)))
    corpus = build("a.txt")
    with pa.ipc.open_file(str(corpus.folder / "passages.arrow")) as reader:
        rows = [reader.get_batch(index).num_rows for index in range(reader.num_record_batches)]
        assert rows == [4096, 4096, 1808]
        assert reader.schema.types == [pa.large_utf8(), pa.uint64(), pa.uint16()]
    assert corpus.texts([9999, 0, 4096]) == [f"passage number {index}" for index in (9999, 0, 4096)]


def test_sources(tmp_path: Path, build: Build) -> None:
    folder = tmp_path / "corpus"
    (folder / "deep").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "no.txt").write_text("hidden")
    (folder / "b.txt").write_text("plain b")
    (folder / "a.txt.gz").write_bytes(gzip.compress(b"gzip a"))
    (folder / "c.txt.xz").write_bytes(lzma.compress(b"xz c"))
    frames = [zstandard.compress(part) for part in (b"zstd ", b"d")]
    (folder / "deep" / "d.txt.zst").write_bytes(b"".join(frames))
    (folder / "table.csv").write_text("no,text")
    assert texts(build("corpus")) == ["gzip a", "plain b", "xz c", "zstd d"]
    assert texts(build("corpus/*.txt", "corpus/deep/d.txt.zst")) == ["plain b", "zstd d"]
    assert texts(build("corpus/**/*.zst")) == ["zstd d"]
    assert texts(build("corpus/b.txt", "corpus")) == ["plain b", "gzip a", "xz c", "zstd d"]
    assert texts(build(str(folder / "table.csv"))) == ["no,text"]
    (folder / "odd[1].txt").write_text("brackets")
    assert texts(build("corpus/odd[1].txt")) == ["brackets"]


def test_progress(tmp_path: Path, build: Build) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(f"passage number {index} " * 20 for index in range(9000)))
    seen: list[tuple[int, int]] = []
    build("a.txt", progress=lambda done, total: seen.append((done, total)))
    size = (tmp_path / "a.txt").stat().st_size
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)


def test_invalid_utf8(tmp_path: Path, build: Build) -> None:
    (tmp_path / "a.txt").write_bytes("good é\n".encode() + b"bad \xff line\nfine\n\ncut \xc3\nlast\n")
    with pytest.raises(UserError, match=r'a\.txt: the byte at 12 .*text\.on_error = "skip"'):
        build("a.txt")
    corpus = build("a.txt", on_error="skip")
    assert texts(corpus) == ["good é\nfine", "last"]
    assert corpus.stats.bad_lines == 2
    # Far into the file, past several blocks, and the last character cut short.
    (tmp_path / "b.txt").write_bytes("é\n".encode() * 1_000_000 + b"\xe2\x82")
    with pytest.raises(UserError, match=r"the byte at 3000000 "):
        build("b.txt")
    (tmp_path / "c.txt").write_bytes(b"\xff\n\xfe\n")
    with pytest.raises(UserError, match=r"c\.txt has no line that is valid UTF-8"):
        build("c.txt", on_error="skip")


BAD = {
    "absent.txt": (None, r"text\.train: there is no .*absent\.txt"),
    "*.none": (None, r"text\.train: nothing matches .*\*\.none"),
    "empty.txt": (b"", r"empty\.txt is empty"),
    "white.txt": (b" \n\t\n\r\n\xe3\x80\x80\n" * 9, r"white\.txt has nothing but white space"),
    "short.txt": (b"a b\n\nc\n", r"text\.train: no passage has 3 words.*text\.min_words"),
    "binary.txt": (b"text\0\x01\x02", r"binary\.txt is not UTF-8 text \(NUL"),
    "utf16.txt": ("text".encode("utf-16"), r"utf16\.txt is not UTF-8 text \(NUL"),
    "cut.txt.zst": (zstandard.compress(os.urandom(5000))[:-30], r"cut\.txt\.zst is damaged"),
    "cut.txt.gz": (gzip.compress(b"words " * 5000)[:-5], r"cut\.txt\.gz is damaged"),
    "cut.txt.xz": (lzma.compress(b"words " * 5000)[:-9], r"cut\.txt\.xz is damaged"),
    "plain.txt.zst": (b"not compressed at all", r"plain\.txt\.zst is damaged or no \.zst"),
    "plain.txt.gz": (b"not compressed at all", r"plain\.txt\.gz is damaged or no \.gz"),
    "plain.txt.xz": (b"not compressed at all", r"plain\.txt\.xz is damaged or no \.xz"),
    "wordnet:nouns": (None, r"'wordnet:nouns' is not understood"),
    "wordnet:noun/test": (None, "is not understood"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, tmp_path: Path, build: Build) -> None:
    content, message = BAD[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        build(name, min_words=3)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "cache").glob("*"))


def test_bad_places(tmp_path: Path, build: Build) -> None:
    with pytest.raises(UserError, match="names no text"):
        build()
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=r"folder ends in \.txt"):
        build("folder")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        build("pipe")
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        build("a.txt", cache=tmp_path / "file" / "cache")
    # An empty file beside others of its pattern does no harm; one that is named alone is a mistake.
    (tmp_path / "empty.txt").write_text("")
    assert len(build("*.txt")) == len(build("a.txt"))
    with pytest.raises(UserError, match="is empty"):
        build("a.txt", "empty.txt")


def test_long_lines(tmp_path: Path, build: Build) -> None:
    count = 600_000
    line = " ".join(f"wörd{index}" for index in range(count))
    (tmp_path / "a.txt").write_text(f"Title\n\n{line}\n")
    corpus = build("a.txt", words=100)
    assert " ".join(texts(corpus)) == f"Title {line}"
    assert corpus.stats.documents == 2
    assert corpus.stats.words == count + 1
    (tmp_path / "b.txt").write_text("Title\n\nA line\n" + "x" * 1_000_001 + "\n")
    with pytest.raises(
        UserError, match=r"b\.txt, line 4: more than 1,000,000 characters without white space"
    ):
        build("b.txt")
    (tmp_path / "c.txt").write_text("x" * 1_000_000 + " y")
    corpus = build("c.txt", words=100)
    assert [len(text) for text in texts(corpus)] == [60_000, 40_000, 1]  # of 16 equal parts 15 are dropped
    assert corpus.stats.duplicates == 15


def test_endless_runs_may_be_skipped_and_are_counted(tmp_path: Path, build: Build) -> None:
    run = "x" * 1_000_001
    (tmp_path / "a.txt").write_text(f"before {run} behind\n\nnext {run}{run}{run}\n\n{run}\n\nthe last {run}")
    with pytest.raises(UserError, match=r'a\.txt, line 1: .*drop it with text\.on_error = "skip"'):
        build("a.txt")
    corpus = build("a.txt", on_error="skip")
    assert texts(corpus) == ["before", "behind", "next", "the last"]
    assert (corpus.stats.bad_lines, corpus.stats.documents) == (4, 3)
    (tmp_path / "b.txt").write_text(run)
    with pytest.raises(UserError, match=r"b\.txt has no line that is valid UTF-8 text and not far too long"):
        build("b.txt", on_error="skip")


@settings(max_examples=60)
@given(st.lists(st.text("ab \n", max_size=40), max_size=12), st.integers(1, 40))
def test_skipping_does_not_depend_on_blocks(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], block: int
) -> None:
    path = tmp_path_factory.mktemp("blocks") / "a.txt"
    path.write_text("".join(parts))
    runs = path.read_text().split()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "BLOCK", block)
        patch.setattr(documents, "LONGEST", 12)
        counts = Counts()
        source = find_sources([str(path)], path.parent, "text.train")[0]
        pieces = list(source.documents("skip", counts))
    assert " ".join(pieces).split() == [run for run in runs if len(run) <= 12]
    assert counts.bad_lines == sum(len(run) > 12 for run in runs)
    assert all(0 < len(piece) <= 12 for piece in pieces)


LINES = st.lists(st.text("ab .\u3000é", max_size=12), max_size=12)


@settings(max_examples=60)
@given(LINES, st.integers(1, 40), st.integers(5, 30), st.sampled_from(["\n", "\r\n", "\r"]))
def test_reading_does_not_depend_on_blocks(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], block: int, longest: int, end: str
) -> None:
    """Whatever the size of the blocks, documents are what joining and splitting all lines in memory gives."""
    path = tmp_path_factory.mktemp("blocks") / "a.txt"
    path.write_bytes(end.join(lines).encode())
    expected, document = [], []
    for line in [*lines, ""]:
        if line.strip():
            document.append(line)
        elif document:
            expected.append("\n".join(document).strip())
            document = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "BLOCK", block)
        counts = Counts()
        source = find_sources([str(path)], path.parent, "text.train")[0]
        assert list(source.documents("stop", counts)) == expected
        assert counts.documents == len(expected)
        patch.setattr(documents, "LONGEST", max(longest, 12))
        pieces = list(source.documents("stop", Counts()))
    assert "".join("".join(pieces).split()) == "".join("".join(expected).split())


@given(
    st.lists(st.text("ab1. 中\u0301\n", max_size=25), min_size=1, max_size=6),
    st.integers(1, 6),
    st.integers(1, 9),
)
def test_cut(documents: list[str], words: int, longest: int) -> None:
    passages, n_words = cut(documents, words, longest)
    assert [len(word_spans(text)) for text in passages] == n_words.tolist()
    assert all(1 <= count <= words for count in n_words.tolist())
    assert all(1 <= len(text) <= longest for text in passages)
    assert "".join("".join(passages).split()) == "".join("".join(documents).split())
    free, counts = cut(documents, words)
    expected = []
    for document in documents:
        spans = word_spans(document)
        for first in range(0, len(spans), words):
            inside = spans[first : first + words]
            expected.append(document[inside[0, 0] : inside[-1, 1]])
    assert free == expected
    assert counts.sum() == sum(len(word_spans(document)) for document in documents)


@given(st.lists(st.lists(st.integers(0, 30), max_size=9), max_size=9))
def test_seen(groups: list[list[int]]) -> None:
    seen, reference = Seen(), set[int]()
    for group in groups:
        expected = []
        for number in group:
            expected.append(number not in reference)
            reference.add(number)
        assert seen.add(np.array(group, dtype=np.uint64)).tolist() == expected


def test_overlap(tmp_path: Path, build: Build) -> None:
    (tmp_path / "a.txt").write_text("a b\n\nc d\n\ne f")
    (tmp_path / "b.txt").write_text("c d\n\ng h\n\na b")
    assert overlap(build("a.txt"), build("b.txt")) == 2
    assert overlap(build("b.txt"), build("b.txt")) == 3


def test_wordnet(tmp_path: Path, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_wordnet(tmp_path / "wordnet", copies=40)
    monkeypatch.setenv("LIMBECK_WORDNET", str(folder))
    everything = build("wordnet:", words=96)
    dog = "dog, domestic dog: a tame animal that barks. the dog barked all night. walk the dog; it is late."
    assert dog in texts(everything)
    assert everything.stats.documents == 400
    assert everything.stats.duplicates == 0
    train, valid = build("wordnet:/train", words=96), build("wordnet:/valid", words=96)
    assert len(train) + len(valid) == len(everything)
    assert 4 <= len(valid) <= 40  # 5% of 400
    assert overlap(train, valid) == 0
    nouns, others = build("wordnet:noun", words=96), build("wordnet:verb, adj,adv", words=96)
    assert (len(nouns), len(others)) == (200, 200)
    assert texts(nouns) + texts(others) == texts(everything)
    assert set(texts(build("wordnet:n/valid", words=96))) <= set(texts(valid))
    with pytest.raises(UserError, match="no passage has 90 words"):
        build("wordnet:", words=96, min_words=90)
    (folder / "data.adj").unlink()
    with pytest.raises(UserError, match=r"lacks data\.adj"):
        build("wordnet:")


def test_synset_document() -> None:
    synset = Synset(1, "n", ("a b", "c"), "what it is", ("is it?", "it is"))
    assert synset_document(synset) == "a b, c: what it is. is it? it is."


_MEASURE = """
import resource, sys
from pathlib import Path
from limbeck.text.corpus import build_corpus
given = {"base": Path("/"), "cache": Path(sys.argv[2]), "on_error": "stop", "label": "text.train"}
build_corpus([sys.argv[1]], words=96, min_words=2, **given)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.parametrize("end", ["\n\n", " "])
def test_memory_stays_flat(tmp_path: Path, end: str) -> None:
    """Six times the text, as documents or as one line of 54 MB, takes (almost) no more memory."""
    peaks = []
    for copies in (300, 1800):
        path = tmp_path / f"{copies}.txt"
        with path.open("w") as file:
            for copy in range(copies):
                file.write("".join(f"{'some words of it ' * 8}{copy} {index}{end}" for index in range(180)))
        command = [sys.executable, "-c", _MEASURE, str(path), str(tmp_path / "cache")]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        path.unlink()
    assert peaks[1] - peaks[0] < 30, peaks  # MiB; the larger text is 45 MiB larger


@pytest.mark.data
def test_real_text(tmp_path: Path, build: Build) -> None:
    data = Path(os.environ.get("LIMBECK_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (data / "corpus-small").is_dir():
        pytest.skip("no corpus-small")
    train = build(str(data / "corpus-small" / "train.txt.zst"), words=96, min_words=8)
    valid = build(str(data / "corpus-small" / "valid.txt.zst"), words=96, min_words=8)
    assert train.stats.words > 2_000_000
    assert train.n_words.mean() > 90
    assert overlap(valid, train) == 0
    for index in range(0, len(train), 997):
        assert len(word_spans(train.text(index))) == train.n_words[index]
