"""`limbeck spin`: text, TSV and JSON from files and stdin, and what it refuses."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner, Result

from limbeck.cli import app
from limbeck.tools.spin_sets import cross_sets
from tests.mini_wordnet import write_wordnet

TEXT = "The lawyers ran into the banks.\r\n\r\nIt is a  limbeck.\n"
SPUN = "The attorneys encountered the depositories.\r\n\r\nIt is an  alembic.\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lexicon `wordnet`."""
    folder = tmp_path_factory.mktemp("home")
    write_wordnet(folder / "wordnet", polysemous=True)
    return folder


def invoke(home: Path, *words: object, given: str | bytes | None = None) -> Result:
    options = ["--lexicon", home / "wordnet", "--device", "cpu"]
    return CliRunner().invoke(
        app, list(map(str, ["spin", *options, *words])), input=given, prog_name="limbeck"
    )


def run(home: Path, *words: object, given: str | bytes | None = None) -> bytes:
    result = invoke(home, *words, given=given)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "; the text is synthetic\n" in result.stderr
    return result.stdout_bytes


def refused(result: Result) -> str:
    """The one line that a refused command says."""
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    said = [line for line in result.stderr.splitlines() if line.startswith("limbeck: ")]
    assert len(said) == 1, result.stderr
    assert "Traceback" not in result.stderr
    return said[0].removeprefix("limbeck: ")


def test_text_from_stdin_and_files(home: Path, tmp_path: Path) -> None:
    assert run(home, "--rate", 1, given=TEXT.encode()) == SPUN.encode()
    assert (
        run(home, "--rate", 1, "-", given=b"\xef\xbb\xbf" + TEXT.encode()) == b"\xef\xbb\xbf" + SPUN.encode()
    )
    first, second = tmp_path / "a.txt", tmp_path / "b.txt.gz"
    first.write_bytes(TEXT.encode())
    second.write_bytes(gzip.compress(b"a dog"))
    result = invoke(home, "--rate", 1, first, second)
    assert result.stdout_bytes == SPUN.encode() + b"a dog"
    assert "12 words: 5 could be changed, 5 were, a rate of 0.417 where 1 was asked for" in result.stderr


def test_a_file_is_written_whole(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.txt"
    assert run(home, "--rate", 1, "-o", out, given=TEXT.encode()) == b""
    assert out.read_bytes() == SPUN.encode()


def test_json_has_the_changes_and_the_mark(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(TEXT.encode())
    result = json.loads(run(home, "--rate", 1, "--seed", 3, "--json", file))
    assert result["synthetic"] is True
    assert result["made"] | {"by": ""} == {
        "by": "", "rate": 1.0, "seed": 3, "lexicon": "wordnet 3.0", "model": None,
    }  # fmt: skip
    assert "".join(part["text"] for part in result["paragraphs"]) == SPUN
    assert "".join(part["original"] for part in result["paragraphs"]) == TEXT
    assert {part["file"] for part in result["paragraphs"]} == {str(file)}
    changes = [change for part in result["paragraphs"] for change in part["changes"]]
    assert all(TEXT[one["start"] : one["end"]] == one["text"] for one in changes)
    assert [one["replacement"] for one in changes] == [
        "attorneys",
        "encountered",
        "depositories",
        "an",
        "alembic",
    ]
    assert [bool(one["synset"]) for one in changes] == [True, True, True, False, True]
    assert (result["words"], result["changeable"], result["changed"]) == (10, 5, 5)
    assert result["rate_reached"] == 0.5


def test_tsv_gains_two_columns(home: Path, tmp_path: Path) -> None:
    table = "id\ttext\tlabel\n1\tThe lawyers ran.\tx\n2\tIt is a limbeck.\ty\n"
    file = tmp_path / "a.tsv"
    file.write_text(table)
    lines = run(home, "--rate", 1, "--tsv", "text", file).decode().splitlines()
    assert lines[0] == "id\ttext\tlabel\tspun\tsynthetic"
    rows = [line.split("\t") for line in lines[1:]]
    assert [row[:4] for row in rows] == [
        ["1", "The lawyers ran.", "x", "The attorneys operated."],
        ["2", "It is a limbeck.", "y", "It is an alembic."],
    ]
    assert {row[4].partition("spin, ")[2] for row in rows} == {"rate 1.0, seed 0, lexicon wordnet 3.0"}


def test_tsv_packed_and_of_several_files(home: Path, tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        files.append(tmp_path / f"{name}.tsv.zst")
        with pa.CompressedOutputStream(str(files[-1]), "zstd") as stream:
            stream.write(f"text\r\nThe lawyer {name}x ran.".encode())
    out = tmp_path / "out.tsv.zst"
    run(home, "--rate", 1, "--tsv", "text", "-o", out, *files)
    lines = pa.CompressedInputStream(pa.OSFile(str(out)), "zstd").read().decode().splitlines()
    assert [line.split("\t")[:2] for line in lines] == [
        ["text", "spun"],
        ["The lawyer ax ran.", "The attorney ax operated."],
        ["The lawyer bx ran.", "The attorney bx operated."],
    ]
    other = tmp_path / "other.tsv.zst"
    run(home, "--rate", 1, "--tsv", "text", "-o", other, *reversed(files))
    again = pa.CompressedInputStream(pa.OSFile(str(other)), "zstd").read().decode().splitlines()
    assert sorted(again) == sorted(lines), "the order of files changes no row"


@pytest.mark.parametrize("rate", ["0", "-0.5", "1.01", "nan"])
def test_a_rate_that_is_none(home: Path, rate: str) -> None:
    said = refused(invoke(home, f"--rate={rate}", given=TEXT))
    assert said.endswith("it must be above 0 and at most 1; 0.25 is every fourth word")


def test_missing_lexicon(home: Path) -> None:
    said = refused(invoke(home, "--lexicon", home / "none", given=TEXT))
    assert "is no lexicon" in said


@pytest.mark.parametrize("given", ["", " \n\n "])
def test_empty_text(home: Path, tmp_path: Path, given: str) -> None:
    out = tmp_path / "out.txt"
    assert refused(invoke(home, "-o", out, given=given)) == (
        "the text on stdin is empty; give text with words in it"
    )
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"


def test_text_that_is_none(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"fine\n\xff\xfe")
    assert refused(invoke(home, file)) == f"{file} is not UTF-8 text (at byte 5); save it as UTF-8"
    assert "is not UTF-8 text (at byte 5)" in refused(invoke(home, given=b"fine\n\xff\xfe"))
    file.write_bytes(b"a\0b")
    assert "NUL" in refused(invoke(home, file))
    packed = tmp_path / "a.txt.zst"
    packed.write_bytes(b"no zstd")
    out = tmp_path / "out.tsv.zst"
    assert "is damaged" in refused(invoke(home, packed, "-o", out))
    assert not out.exists()


def test_files_that_are_not_there(home: Path, tmp_path: Path) -> None:
    assert refused(invoke(home, tmp_path / "none.txt")) == (
        f"there is no file {tmp_path / 'none.txt'}; correct the path"
    )
    assert "it is a folder" in refused(invoke(home, "-o", tmp_path, given=TEXT))


def test_tables_that_do_not_fit(home: Path, tmp_path: Path) -> None:
    file, other = tmp_path / "a.tsv", tmp_path / "b.tsv"
    file.write_text("id\ttext\n1\tThe dog.\n2\n")
    other.write_text("text\tid\nThe dog.\t1\n")
    spun = tmp_path / "spun.tsv"
    spun.write_text("text\tspun\nThe dog.\tThe dog.\n")
    out = ["-o", tmp_path / "out.tsv"]
    assert refused(invoke(home, "--tsv", "body", file)) == f"{file} has no column 'body'; it has 'id', 'text'"
    assert "line 3 has 1 fields and the header 2" in refused(invoke(home, "--tsv", "text", file, *out))
    assert "has other columns than" in refused(invoke(home, "--tsv", "text", other, file, *out))
    assert "has a column 'spun' already" in refused(invoke(home, "--tsv", "text", spun))
    file.write_text("It is no table. " * 100)
    said = refused(invoke(home, "--tsv", "text", file))
    assert said.endswith("has no column 'text'; it has 'It is no table. It is no table. It is no'")
    assert "leave one of them out" in refused(invoke(home, "--tsv", "text", "--json", file))
    file.write_text("id\ttext\n")
    assert "is empty" in refused(invoke(home, "--tsv", "text", file, *out))
    assert not (tmp_path / "out.tsv").exists()


def test_a_model_without_a_masked_lm_head(
    home: Path, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    from transformers import AutoModel

    whole = checkpoint("bert")
    AutoModel.from_pretrained(whole).save_pretrained(tmp_path / "encoder")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "encoder" / name).write_bytes((whole / name).read_bytes())
    said = refused(invoke(home, "--context", tmp_path / "encoder", given=TEXT))
    assert "masked-LM head" in said


@pytest.fixture
def spun(home: Path, tmp_path: Path) -> Path:
    """A folder of two tables as the command makes them, one row of which nothing could be changed in."""
    for part, seed in (("train", 1), ("valid", 2)):
        draw = random.Random(seed)
        words = ("lawyers", "banks", "quickly", "limbeck", "distil", "bank", "lawyer", "limbecks")
        texts = [" ".join(draw.choices(words, k=12)).capitalize() + "." for _ in range(60)]
        file = tmp_path / f"{part}.original.tsv"
        file.write_text("\n".join(["text", *texts, " ".join(["qqq"] * 12)]) + "\n")
        run(home, "--rate", 1, "--tsv", "text", "-o", tmp_path / f"set/spun.{part}.tsv", file)
    return tmp_path / "set"


def test_a_detector_is_trained_on_what_is_written(
    spun: Path, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    words = [
        "detect", "train", checkpoint("bert"), "--data", spun, "--output", tmp_path / "run", "--device",
        "cpu", "--min-words", 8, "--epochs", 0.1, "--json",
    ]  # fmt: skip
    result = CliRunner().invoke(app, list(map(str, words)), prog_name="limbeck")
    assert result.exit_code == 0, (result.output, result.exception)
    data = json.loads(result.stdout)["data"]
    assert data["train"]["classes"] == {"original": 60, "paraphrased": 60}
    assert (data["train"]["unchanged_pairs"], data["valid"]["unchanged_pairs"]) == (1, 1)
    assert data["train"]["synthetic"].endswith("rate 1.0, seed 0, lexicon wordnet 3.0")


def test_detection_is_measured_on_what_is_written(spun: Path) -> None:
    (one,), remarks = cross_sets(None, [str(spun / "spun.valid.tsv")], lexicon="none at all")
    assert (one.name, len(one.examples), remarks) == ("spun.valid", 120, [])
    assert one.examples.texts[0].lower() != one.examples.texts[1].lower()
    assert one.synthetic is not None
    assert "rate 1.0" in one.synthetic["said"], "the user's own column, not text spun anew"
    assert one.synthetic["left_out"] == 1


def test_help_says_what_it_is_for(home: Path) -> None:
    told = " ".join(CliRunner().invoke(app, ["spin", "--help"], prog_name="limbeck").stdout.split())
    assert "to train and test detectors with" in told
    assert "no way around a detector" in told
