"""The detector: trained, calibrated, asked; documents of every kind; what is refused."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from typer.testing import CliRunner, Result

from limbeck import Detector
from limbeck.cli import app
from limbeck.errors import UserError
from limbeck.tools import detect as detect_module
from limbeck.tools.detect import NO_PROSE, OTHER_LANGUAGE, TOO_SHORT, Summary
from limbeck.tools.detect_data import Labelled, make_rows, read_sets
from limbeck.tools.detect_files import find_documents, read_blocks
from limbeck.tools.detect_text import Block, plain, words
from tests.tiny_detect import GERMAN, SYNONYMS, TEXTS, document, pairs, write_set
from tests.tiny_labelled import write_table

OPTIONS = ["--device", "cpu", "--min-words", "8", "--learning-rate", "3e-3", "--epochs", "4"]


def invoke(*given: object) -> Result:
    return CliRunner().invoke(app, list(map(str, given)), prog_name="limbeck")


def refused(*given: object) -> str:
    """The one line that a refused command says."""
    result = invoke("detect", *given)
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    said = [line for line in result.stderr.splitlines() if line.startswith("limbeck: ")]
    assert len(said) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return said[0].removeprefix("limbeck: ")


@pytest.fixture(scope="module")
def bert(checkpoint: Callable[..., Path]) -> Path:
    return checkpoint("bert", texts=TEXTS)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def run(bert: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory of a detector, made by the command."""
    folder = tmp_path_factory.mktemp("detect") / "run"
    result = invoke("detect", "train", bert, "--data", data, "--output", folder, *OPTIONS)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "calibration error" in result.stdout
    return folder


@pytest.fixture(scope="module")
def record(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "model" / "detector.json").read_text()))


@pytest.fixture(scope="module")
def detector(run: Path) -> Detector:
    return Detector.from_pretrained(run / "model", device="cpu")


def test_the_detector_knows_what_it_was_made_of(record: dict[str, Any], run: Path) -> None:
    assert (record["kind"], record["version"], record["paraphrased"]) == ("detector", 1, "paraphrased")
    assert record["trained_on"] == {"min_words": 8, "max_words": 50, "max_length": 64}
    data, valid = record["data"], record["valid"]
    assert (data["train"]["texts"], data["valid"]["texts"], data["overlap"]) == (240, 120, 0)
    assert data["train"]["rows"] > 400  # whole and cut
    assert data["train"]["words"]["least"] >= 8
    assert valid["calibrated_on"] + valid["measured_on"] == data["valid"]["rows"]
    assert valid["accuracy"] > 0.9
    assert valid["after"]["log_loss"] < 0.4
    assert 0 <= valid["after"]["calibration_error"] < 0.15
    assert [one["threshold"] for one in valid["errors"]] == [0.5, 0.9]
    assert sum(one["texts"] for one in valid["by_words"]) == valid["measured_on"]
    assert record["language"]["marked"] < 0.02
    assert not list((run / "model").glob("*.bin"))


def test_transformers_alone_gives_the_margins(run: Path, detector: Detector, record: dict[str, Any]) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(run / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    texts = document([True, False, True])
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    place = model.config.label2id["paraphrased"]
    known = record["calibration"]
    scaled = known["slope"] * (logits[:, place] - logits[:, 1 - place]).numpy() + known["offset"]
    expected = known["floor"] + (1 - 2 * known["floor"]) / (1 + np.exp(-scaled))
    scores = [passage.score for passage in detector("\n\n".join(texts)).passages]
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_passages_are_told_apart_and_the_share_is_near(detector: Detector) -> None:
    spun = [place % 4 == 0 for place in range(40)]
    report = detector("\n\n".join(document(spun)))
    assert [passage.number for passage in report.passages] == list(range(1, 41))
    scores = np.array([passage.score for passage in report.passages])
    assert scores[spun].mean() > 0.8
    assert scores[~np.array(spun)].mean() < 0.2
    found = report.summary.record()
    assert (found["passages"], found["scored"], found["marked"]) == (40, 40, {})
    assert found["paraphrased"]["low"] <= 0.25 <= found["paraphrased"]["high"]
    assert found["words"] == found["scored_words"] == 40 * 30


def test_nothing_of_a_long_paragraph_is_cut_away(detector: Detector) -> None:
    text = " ".join(document([False, True] * 10))
    passages = detector(text).passages
    assert " ".join(passage.text for passage in passages) == text
    assert {passage.number for passage in passages} == {1}
    assert [passage.part for passage in passages] == list(range(1, len(passages) + 1))
    assert {passage.parts for passage in passages} == {len(passages)}
    assert max(passage.words for passage in passages) <= 50
    encoded = detector.classifier.encode([plain(passage.text) for passage in passages])
    assert (len(passages) > 8, encoded.cut) == (True, 0)


def test_what_it_was_not_trained_on_is_marked_and_not_scored(detector: Detector) -> None:
    passages = detector(f"A Heading\n\nThe big house.\n\n{GERMAN}\n\n{document([False])[0]}").passages
    assert [passage.mark for passage in passages] == [NO_PROSE, TOO_SHORT, OTHER_LANGUAGE, None]
    assert [passage.score is None for passage in passages] == [True, True, True, False]


def test_typography_changes_no_score(detector: Detector) -> None:
    text = document([True])[0]
    one, other = text.replace("was", "'was'"), text.replace("was", "‘was’").replace(" on ", "\u200b on ")
    assert detector(one).passages[0].score == detector(other).passages[0].score


def test_batches_do_not_matter(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n\n".join(document([True, False] * 8, sentences=4))
    whole = [passage.score for passage in detector(text).passages]
    monkeypatch.setattr(detect_module, "AT_ONCE", 3)
    np.testing.assert_allclose([passage.score for passage in detector(text).passages], whole, atol=1e-5)


def test_rows_are_texts_and_cuts_of_them() -> None:
    texts = [one for _, original, spun in pairs(20, 0) for one in (original, spun)]
    labels = ["original", "paraphrased"] * 20
    from limbeck.finetune.examples import Examples

    labelled = Labelled(Examples(texts, None, labels, "x"), np.arange(40, dtype=np.uint64))
    rows = make_rows(labelled, least=12, most=40, fits=lambda text: len(text) < 180, seed=0)
    assert [len(words(text)) for text in rows.examples.texts] == rows.sizes.tolist()
    assert rows.sizes.min() >= 12
    assert rows.sizes.max() <= 40
    assert max(map(len, rows.examples.texts)) < 180
    assert rows.left_out == 8  # of ten words
    whole = "\n".join(map(plain, texts))
    assert all(text in whole for text in rows.examples.texts)
    spun = [any(w in SYNONYMS.values() for w in text.lower().split()) for text in rows.examples.texts]
    assert spun == [label == "paraphrased" for label in rows.examples.labels]
    again = make_rows(labelled, least=12, most=40, fits=lambda text: len(text) < 180, seed=0)
    assert again.examples.texts == rows.examples.texts


def test_the_same_command_goes_on_and_a_finished_one_is_read(
    run: Path, bert: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = run / "model" / "detector.json"
    before = place.read_bytes(), place.stat().st_mtime_ns
    train = ("detect", "train", bert, "--data", data, "--output", run, *OPTIONS)
    assert invoke(*train).exit_code == 0
    assert (place.read_bytes(), place.stat().st_mtime_ns) == before
    place.unlink()  # killed between training and calibration
    assert invoke(*train).exit_code == 0
    assert place.read_bytes() == before[0]
    card = run / "model" / "README.md"
    written = card.read_bytes()
    card.unlink()
    assert invoke(*train).exit_code == 0
    assert card.read_bytes() == written
    assert "detect.min_words" in refused(*train[1:], "--min-words", 9)


def test_the_run_ends_with_rows_and_a_card(run: Path, record: dict[str, Any]) -> None:
    results = json.loads((run / "results.json").read_text())
    assert {row["metric"] for row in results["rows"]} >= {"accuracy", "parameters"}
    text = (run / "model" / "README.md").read_text(encoding="utf-8")
    card = ModelCard(text)
    assert card.data.pipeline_tag == "text-classification"
    assert "A detector of machine-paraphrased passages" in text
    assert "Detector.from_pretrained(FOLDER)" in text
    assert "need not be calibrated" not in text
    for line in (
        "It is no proof", "Judge nobody by a score", "Calibrated on 1", "the calibration error is",
        "120 texts of tiny.valid.tsv, with their cuts", "the file does not say how it was made",
        "fewer than 8 words get no score", "Another paraphrasing program may go unseen",
    ):  # fmt: skip
        assert line in text
    alarms = record["valid"]["errors"][-1]["false_alarms"]
    shown = f"{alarms['rate']:.1%} ({alarms['low']:.1%} to {alarms['high']:.1%})"
    (whole,) = [line for line in text.splitlines() if line.startswith("| all |")]
    assert shown in whole
    assert str(run.parent) not in text


def test_labels_of_ones_own(bert: Path, tmp_path: Path) -> None:
    files = []
    for name, first, rows in (("train", 0, 80), ("valid", 10_000, 60)):
        labelled = [(text, str(spun)) for _, *both in pairs(rows, first) for spun, text in enumerate(both)]
        files.append(write_table(tmp_path / f"{name}.tsv", ("text", "label"), labelled))
    given = ["train", bert, "--train", files[0], "--valid", files[1], "--output", tmp_path / "run", *OPTIONS]
    result = invoke("detect", *given, "--paraphrased", "1", "--epochs", "1", "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["paraphrased"], found["detector"]) == ("1", str(tmp_path / "run" / "model"))
    assert Detector.from_pretrained(tmp_path / "run", device="cpu").settings.paraphrased == "1"
    assert "one of them '2'" in refused(*given, "--paraphrased", "2")
    write_table(files[1], ("text", "label"), [("the big house was in the town", "7")])
    assert "has the label '7' (1 rows), which the training rows have not" in refused(
        *given, "--paraphrased", 1
    )


def test_training_sets_that_cannot_be_used(bert: Path, data: Path, tmp_path: Path) -> None:
    out = ("--output", tmp_path / "run", *OPTIONS)
    assert "by --data PLACE, or by --train FILE and --valid FILE" in refused("train", bert, *out)
    assert "there is no folder" in refused("train", bert, "--data", tmp_path / "no", *out)
    assert "has no train set" in refused("train", bert, "--data", tmp_path, *out)
    one = write_table(tmp_path / "one.tsv", ("text", "label"), [("the big house", "original")])
    few = write_table(tmp_path / "few.tsv", ("original", "spun"), [row[1:] for row in pairs(12, 90_000)])
    train = data / "tiny.train.tsv"
    assert "has one class only" in refused("train", bert, "--train", one, "--valid", few, *out)
    assert "too few texts" in refused("train", bert, "--train", train, "--valid", few, *out)
    assert not (tmp_path / "run").exists()
    short = write_table(tmp_path / "short.tsv", ("original", "spun"), [("the house", "the domicile")] * 9)
    assert "no text of 8 words or more" in refused("train", bert, "--train", short, "--valid", few, *out)


def test_texts_in_both_sets_are_counted_and_told(bert: Path, data: Path, tmp_path: Path) -> None:
    train = data / "tiny.train.tsv"
    result = invoke(
        "detect", "train", bert, "--train", train, "--valid", train, "--output", tmp_path / "run", *OPTIONS,
        "--epochs", "0.1", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["data"]["overlap"] == 240
    assert "figures on them will flatter" in result.stderr


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A text, a Markdown and an HTML document; the last one is hostile."""
    first, second, third = (tmp_path / name for name in ("a.txt", "b.md", "c<i>.html"))
    first.write_text("\n\n".join(["A Title", *document([True, False, True]), GERMAN]))
    second.write_text("# Head\n\n" + document([False])[0] + "\n\n- " + document([True], 7)[0])
    evil = "<script>alert(1)</script><p>&lt;script&gt;alert(2)&lt;/script&gt; <img src=x onerror=alert(3)>"
    third.write_text(f"<p>{document([True], 9)[0]}</p>{evil}{document([False], 9)[0]}")
    return [first, second, third]


def test_json(run: Path, files: list[Path]) -> None:
    result = invoke("detect", run / "model", *files, "--device", "cpu", "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    found = json.loads(result.stdout)
    assert [one["file"] for one in found["documents"]] == list(map(str, files))
    assert [one["summary"]["passages"] for one in found["documents"]] == [5, 3, 2]
    passage = found["documents"][0]["passages"][1]
    assert passage["score"] > 0.5
    assert passage["mark"] is None
    assert {"number", "kind", "text", "page", "words", "part", "parts"} <= passage.keys()
    assert found["documents"][0]["summary"]["marked"] == {NO_PROSE: 1, OTHER_LANGUAGE: 1}
    assert any("It is no proof" in line for line in found["meaning"])
    assert found["trained_on"]["min_words"] == 8


def test_the_terminal(run: Path, files: list[Path]) -> None:
    result = invoke("detect", run, *files, "--device", "cpu")
    assert result.exit_code == 0, (result.output, result.exception)
    assert "of the scored words (95% interval), best estimate" in result.stdout
    assert "passages that score highest" in result.stdout
    assert "Judge nobody by a score." in result.stdout
    assert invoke("detect", "score", run, *files, "--device", "cpu").stdout == result.stdout


class Reader(HTMLParser):
    """The tags of a page, and its marked passages."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.marked: list[str] = []
        self._in = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self._in = tag == "mark"

    def handle_endtag(self, tag: str) -> None:
        self._in = self._in and tag != "mark"

    def handle_data(self, data: str) -> None:
        if self._in:
            self.marked.append(data)


def test_the_page(run: Path, files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "new" / "page.html"
    assert invoke("detect", run, *files, "--device", "cpu", "--html", out).exit_code == 0
    text = out.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert set(reader.marked) >= {document([True])[0], document([True], 9)[0]}
    assert not {"script", "img", "i'"} & set(reader.tags)
    assert not [name for name in reader.attributes if name.startswith("on") or name in ("src", "srcset")]
    assert "&lt;script&gt;alert(2)&lt;/script&gt;" in text
    assert "alert(1)" not in text
    assert "c&lt;i&gt;.html" in text
    assert text.count('role="img" aria-label="Scale from 0 to 100%') == 3
    assert '<span class="sr">score </span>' in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert "http" not in text.replace("http-equiv", "")
    assert list(out.parent.iterdir()) == [out]


def test_names_that_are_not_utf_8(run: Path, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/B\xe4r<.txt"))
    try:
        path.write_text(document([True])[0])
    except OSError:
        pytest.skip("the file system has names in UTF-8 alone")
    out = tmp_path / "page.html"
    result = invoke("detect", run, path, "--device", "cpu", "--html", out, "--json")
    assert result.exit_code == 0, (result.output, result.exception)
    assert json.loads(result.stdout_bytes.decode())["documents"][0]["file"] == f"{tmp_path}/B\ufffdr<.txt"
    assert "<title>B\ufffdr&lt;.txt</title>" in out.read_bytes().decode()
    path.write_text("")
    assert refused(run, path, "--device", "cpu").endswith(
        "B\ufffdr<.txt is empty; give it text with words in it"
    )


def test_the_page_is_none_of_the_documents(run: Path, files: list[Path]) -> None:
    before = files[2].read_bytes()
    assert "is one of the documents" in refused(run, *files, "--device", "cpu", "--html", files[2])
    assert files[2].read_bytes() == before


def test_halves_of_characters_are_read(detector: Detector) -> None:
    found = detector(document([True])[0] + " \ud835\udc65 \ud835")
    assert found.passages[0].text.endswith("\U0001d465 \ufffd")


def test_a_page_is_whole_or_absent(run: Path, files: list[Path], tmp_path: Path) -> None:
    bad, out = tmp_path / "bad.txt", tmp_path / "page.html"
    bad.write_bytes(b"the house \xff")
    out.write_text("old")
    assert "bad.txt is not UTF-8 text" in refused(run, files[0], bad, "--html", out, "--device", "cpu")
    assert out.read_text() == "old"
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".html", ".html", ".md", ".txt", ".txt"]


def test_documents_that_cannot_be_read(run: Path, tmp_path: Path) -> None:
    def say(name: str, content: bytes | None) -> str:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        return refused(run, tmp_path / name, "--device", "cpu")

    assert say("no.txt", None).endswith("no.txt; correct the path")
    assert "is of an unknown kind; it must end in" in say("a.docx", b"x")
    assert say("empty.txt", b"").endswith("empty.txt is empty; give it text with words in it")
    assert say("blank.md", b"\n# \n\n...\n").endswith("blank.md is empty; give it text with words in it")
    assert "empty" in say("tags.html", b"<html><script>let words = 1</script></html>")
    assert "is not UTF-8 text (at byte 4)" in say(
        "latin.txt", "Die Bären".encode("latin-1")[:9].replace(b"B", b"")
    )
    assert "has a NUL byte" in say("nul.txt", b"a\0b")
    assert "is damaged or no PDF" in say("a.pdf", b"%PDF-1.4 nothing")
    assert f"{tmp_path} is a folder" in refused(run, tmp_path)


def test_models_that_are_no_detector(run: Path, bert: Path, files: list[Path], tmp_path: Path) -> None:
    said = refused(bert, files[0])
    assert "is no detector: it has no detector.json; make one with `limbeck detect train" in said
    assert "does not exist" in refused(tmp_path / "no", files[0])
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in (run / "model").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    content = json.loads((copy / "detector.json").read_text())

    def changed(**fields: Any) -> str:
        (copy / "detector.json").write_text(json.dumps(content | fields))
        return refused(copy, files[0], "--device", "cpu")

    assert "has other weights than its detector.json is about" in changed(weights="other")
    assert "is of another version" in changed(version=2)
    assert "is damaged" in changed(calibration={})
    assert "has no class 'spun'" in changed(paraphrased="spun")
    (copy / "detector.json").write_text("{")
    assert "detector.json is damaged" in refused(copy, files[0])
    assert "precision is 'x'; it must be one of f32" in refused(
        run, files[0], "--precision", "x", "--device", "cpu"
    )
    with pytest.raises(UserError, match="the text is empty"):
        Detector.from_pretrained(run, device="cpu")(" \n")


def test_memory_is_flat_in_the_documents_length(detector: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "probabilities", lambda texts: np.full(len(texts), 0.5))
    paragraphs = document([False] * 32)

    def blocks(count: int) -> Iterator[Block]:
        for number in range(count):
            yield Block("text", paragraphs[number % 32])

    def peak(count: int) -> int:
        tracemalloc.start()
        summary = Summary()
        for passage in detector.stream(blocks(count)):
            summary.add(passage)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert summary.passages == count
        return found

    peak(512)
    # A number and a size each, and up to 2,000 tuples that Python keeps for reuse; passages would be 410 kB.
    assert peak(3072) < peak(512) + 300_000


def test_a_large_file_is_read_in_flat_memory(tmp_path: Path) -> None:
    def peak(name: str, text: str, times: int) -> int:
        path = tmp_path / name
        with path.open("w") as file:
            for _ in range(times):
                file.write(text)
        tracemalloc.start()
        count = sum(1 for _ in read_blocks(find_documents([path])[0]))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count >= times
        return found

    for name, text in (("a.txt", "A word. " * 40 + "\n\n"), ("a.md", "A word. " * 40 + "\n\n"),
                       ("a.html", f"<p>{'A word. ' * 40}\n")):  # fmt: skip
        peak(name, text, 10)
        assert peak(name, text, 4_000) < peak(name, text, 1_000) + 500_000, name


def test_read_sets_wants_one_way(data: Path) -> None:
    train, valid, label = read_sets(data, None, None, None)
    assert (len(train.examples), len(valid.examples), label) == (240, 120, "paraphrased")
    assert len(set(train.groups.tolist())) == 60
    with pytest.raises(UserError, match="by --data PLACE, or by"):
        read_sets(data, data, data, None)
