"""Sets for the detection of machine paraphrase: the three forms, and what is refused."""

from __future__ import annotations

import gzip
import lzma
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zstandard

from limbeck.errors import UserError
from limbeck.finetune.examples import Examples
from limbeck.tasks.paraphrase_data import (
    cut,
    find_part,
    is_unlabelled,
    read_examples,
    read_originals,
    read_paraphrases,
    undecidable,
)
from tests.tiny_labelled import write_table

PAIRS = [("7", "0", "An old car stopped.", "An aged auto halted."), ("7", "1", "It is late.", "It is tardy.")]


def test_pairs_are_two_texts_each(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.tsv", ("article_id", "paragraph", "original", "spun"), PAIRS)
    found = read_paraphrases(path)
    assert found.examples.texts == [
        "An old car stopped.",
        "An aged auto halted.",
        "It is late.",
        "It is tardy.",
    ]
    assert found.examples.labels == ["original", "paraphrased"] * 2
    assert len(set(found.groups.tolist())) == 1, "one article"
    assert (found.form, found.synthetic) == ("pairs", None)
    plain = write_table(tmp_path / "b.tsv", ("spun", "original"), [(s, o) for _, _, o, s in PAIRS])
    again = read_paraphrases(plain)
    assert again.examples.fingerprint == found.examples.fingerprint
    assert len(set(again.groups.tolist())) == 2, "without an article a pair is a group"
    assert read_examples(plain) == again.examples
    assert found.take(np.array([3, 0])).examples.texts == ["It is tardy.", "An old car stopped."]


def test_packed_tables_are_the_same(tmp_path: Path) -> None:
    plain = write_table(tmp_path / "a.tsv", ("original", "spun"), [row[2:] for row in PAIRS])
    content = plain.read_bytes()
    packs = {"zst": zstandard.ZstdCompressor().compress, "gz": gzip.compress, "xz": lzma.compress}
    for ending, pack in packs.items():
        path = tmp_path / f"a.tsv.{ending}"
        path.write_bytes(pack(content))
        assert read_examples(path).fingerprint == read_examples(plain).fingerprint


def test_labels_are_written_in_many_ways(tmp_path: Path) -> None:
    words = ["original", "Paraphrased", "0", "1", "og", "MG", "orig", "spun", " paraphrase "]
    path = write_table(tmp_path / "a.tsv", ("label", "text"), [(word, f"text {word}") for word in words])
    found = read_paraphrases(path)
    assert found.examples.labels == [*["original", "paraphrased"] * 4, "paraphrased"]
    assert found.form == "labelled"
    write_table(path, ("text", "label"), [("a", "0"), ("b", "2")])
    with pytest.raises(
        UserError, match="line 3, has the label '2', which is none of original, orig, og, 0 and par"
    ):
        read_paraphrases(path)


def test_the_published_folders(tmp_path: Path) -> None:
    """As `4115833-ORIG-15.txt` in `og`, `4115833-SPUN-15.txt` in `mg`; white space betrays no class."""
    texts = {"12-ORIG-3": "An old\r\n car.", "12-SPUN-3": "An  aged auto.\n", "9-ORIG-1": "Late."}
    for name, text in texts.items():
        place = tmp_path / "set" / ("og" if "ORIG" in name else "mg") / f"{name}.txt"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode())
    found = read_paraphrases(tmp_path / "set")
    assert found.examples.texts == ["An old car.", "Late.", "An aged auto."]
    assert found.examples.labels == ["original", "original", "paraphrased"]
    assert found.groups[0] == found.groups[2] != found.groups[1], "by article"
    for name in texts:
        (tmp_path / "flat").mkdir(exist_ok=True)
        (tmp_path / "flat" / f"{name}.txt").write_text(texts[name])
    assert read_examples(tmp_path / "flat").fingerprint == found.examples.fingerprint
    (tmp_path / "set/og/12-SPUN-3.txt").write_text("x")
    with pytest.raises(UserError, match=r"12-SPUN-3\.txt is SPUN by its name and original by its folder"):
        read_examples(tmp_path / "set")
    (tmp_path / "flat/other.txt").write_text("x")
    with pytest.raises(UserError, match=r"other\.txt has neither ORIG nor SPUN in its name"):
        read_examples(tmp_path / "flat")


def test_a_spun_table_says_that_it_is_synthetic(tmp_path: Path) -> None:
    rows = [("a b", "a c", "by limbeck spin, rate 0.25")]
    path = write_table(tmp_path / "a.tsv", ("original", "spun", "synthetic"), rows)
    assert read_paraphrases(path).synthetic == "by limbeck spin, rate 0.25"


def test_text_and_spun_are_pairs_and_equal_ones_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [("a car", "an auto"), ("Zzz  qqq.", "Zzz qqq."), ("late", "tardy")]
    for first in ("text", "original"):
        caplog.clear()
        path = write_table(tmp_path / f"{first}.tsv", (first, "spun"), rows)
        assert not is_unlabelled(path)
        found = read_paraphrases(path)
        assert found.examples.texts == ["a car", "an auto", "late", "tardy"]
        assert found.examples.labels == ["original", "paraphrased"] * 2
        assert (found.form, found.unchanged) == ("pairs", 1)
        assert "1 of 3 pairs of " in caplog.text
        assert "have the same text on both sides and are left out" in caplog.text


def test_originals_alone(tmp_path: Path) -> None:
    path = write_table(tmp_path / "a.tsv", ("title", "text"), [("Ayn", "Ayn was."), ("Bo", "Bo is.")])
    assert is_unlabelled(path)
    assert read_originals(path).texts == ["Ayn was.", "Bo is."]
    with pytest.raises(
        UserError, match="has one class only: all 2 texts are original; give originals and para"
    ):
        read_paraphrases(path)
    pairs = write_table(tmp_path / "b.tsv", ("original", "spun"), [("a", "b")])
    assert not is_unlabelled(pairs)
    with pytest.raises(UserError, match="is labelled; name a table of originals alone"):
        read_originals(pairs)


def test_bad_sets(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"

    def refused(content: bytes) -> str:
        path.write_bytes(content)
        with pytest.raises(UserError) as error:
            read_paraphrases(path)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 600
        return str(error.value)

    assert "is empty; give it pairs" in refused(b"")
    assert "has no paragraph; give it pairs" in refused(b"original\tspun\n")
    assert "has no column 'text' or 'original'; its header" in refused(b"spun\tx\na\tb\n")
    assert "has no column 'text'; its header" in refused(b"label\n0\n")
    assert "has no column 'text' or 'original'" in refused(b"a" * 100_000)
    assert "has 2 columns named 'text'" in refused(b"text\ttext\tlabel\n")
    assert "line 2, has 1 columns instead of 2" in refused(b"original\tspun\na\n")
    assert "line 3, has no text" in refused(b"original\tspun\na\tb\na\t \n")
    assert "line 2, is not UTF-8" in refused("original\tspun\ncafé\tb\n".encode("latin-1"))
    assert "NUL bytes" in refused(b"original\tspun\n\0\tb\n")
    assert "has 'label' and 'spun' beside 'text'" in refused(b"text\tlabel\tspun\na\t0\tb\n")
    assert "has no pair with two different texts (of 1)" in refused(b"original\tspun\na b\ta  b\n")
    assert "has one class only: all 2 texts are paraphrased" in refused(b"text\tlabel\na\t1\nb\t1\n")
    assert "has a text of 1,000,001 characters" in refused(b"original\tspun\n" + b"a" * 1_000_001 + b"\tb\n")
    with pytest.raises(UserError, match="cannot read"):
        read_paraphrases(tmp_path / "none.tsv")
    folder = tmp_path / "folder"
    (folder / "og").mkdir(parents=True)
    with pytest.raises(UserError, match="has no paragraphs; give it the folders og and mg"):
        read_paraphrases(folder)
    (folder / "og/1-ORIG-1.txt").write_text("text")
    with pytest.raises(UserError, match="has one class only: all 1 texts are original"):
        read_paraphrases(folder)
    (folder / "og/1-ORIG-1.txt").write_bytes("é".encode("latin-1"))
    with pytest.raises(UserError, match="is not UTF-8; convert all files of the set in the same way"):
        read_paraphrases(folder)
    (folder / "og/1-ORIG-1.txt").write_bytes(b"a" * 4_000_001)
    with pytest.raises(UserError, match="has 4,000,001 bytes, so it is no paragraph"):
        read_paraphrases(folder)


def test_parts_of_a_folder(tmp_path: Path) -> None:
    for name in ("train.tsv.zst", "spinbot-wiki.test.tsv", "README.md", "train.tsv.bak", "retrain.tsv"):
        (tmp_path / name).write_text("x")
    assert find_part(tmp_path, "train") == tmp_path / "train.tsv.zst"
    assert find_part(tmp_path, "test") == tmp_path / "spinbot-wiki.test.tsv"
    assert find_part(tmp_path, "valid") is None
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=r"has train and train\.tsv\.zst, both train"):
        find_part(tmp_path, "train")


def test_first_words() -> None:
    rows = Examples(["a b  c d", "a b x", "a"], None, ["original", "paraphrased", "original"], "rows")
    assert cut(rows, 2).texts == ["a b", "a b", "a"]
    assert cut(rows, 0) is rows
    assert undecidable(rows) == 0
    assert undecidable(cut(rows, 2)) == 2


def test_memory_is_a_few_times_the_file(tmp_path: Path) -> None:
    path, line = tmp_path / "a.tsv", b"one two three four five six seven eight nine ten " * 20
    with path.open("wb") as file:
        file.write(b"text\tlabel\n")
        for number in range(50_000):
            file.write(b"%d %s\t%d\n" % (number, line, number % 2))
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from limbeck.tasks.paraphrase_data import read_paraphrases\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "found = read_paraphrases(Path(sys.argv[1]))\n"
        "print(len(found), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    rows, kilobytes = map(int, done.stdout.split())
    assert rows == 50_000
    assert kilobytes * 1024 < 2.5 * path.stat().st_size


@pytest.mark.data
def test_the_real_sets_have_the_known_counts() -> None:
    place = Path(os.environ.get("LIMBECK_DATA", "nowhere")) / "plagiarism"
    if not place.is_dir():
        pytest.skip("LIMBECK_DATA has no plagiarism")
    sizes, articles = {}, {}
    for part in ("train", "valid", "test"):
        path = find_part(place, part)
        assert path is not None
        found = read_paraphrases(path)
        sizes[part], articles[part] = len(found), set(found.groups.tolist())
    assert sizes == {"train": 2 * 66_986, "valid": 2 * 3787, "test": 2 * 8127}
    assert [len(one) for one in articles.values()] == [2700, 160, 320]
    assert not articles["train"] & (articles["valid"] | articles["test"])
    assert len(read_originals(place / "good-articles.original.tsv.zst")) == 7428
